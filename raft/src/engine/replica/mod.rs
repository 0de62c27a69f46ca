//! One replica of one group: openraft, started and spoken to in the library's own words.
//!
//! Promises: no openraft type leaves this module; an error says whether the operation can have happened.
//! Leaves out: forwarding, deadlines and retries, which are the [`crate::group`]'s.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal as RaftFatal, ForwardReason, ForwardToLeader, InitializeError,
    LinearizableReadError, RaftError,
};
use openraft::raft::ReadPolicy;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{ChangeMembers, Config, SnapshotPolicy};
use tokio::sync::{Mutex, oneshot};

use super::inbound::{self, Incoming};
use super::log::LogAdapter;
use super::machine::{MachineAdapter, Shared};
use super::network::Network;
use super::proposer::{Proposed, Proposer};
use super::runtime::{ago, scoped};
use super::state::State;
use super::types::{TypeConfig, log_id_from, membership_from};
use super::{compaction, leadership};
use crate::env::{Env, Moment};
use crate::error::{Fatal, Rejected, Unknown, WriteError};
use crate::group::{GroupOptions, Leadership, Status};
use crate::host::Caller;
use crate::log::{Entry, Full, LogStore, Write};
use crate::machine::{CommandVersion, Machine, Undecodable, Versions};
use crate::metrics::HostMetrics;
use crate::planted::{self, Bug};
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::transport::{Append, Appended, ReadIndex, Reply, Request};
use crate::types::{GroupId, Index, Membership, NodeId};
use crate::watch;

pub(super) type Raft = openraft::Raft<TypeConfig, MachineAdapter>;

/// What a replica is made of.
pub(crate) struct ReplicaSpec {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    /// What is applied already; the stores' snapshot and log are applied to it.
    pub(crate) state: State,
    pub(crate) log: Arc<dyn LogStore>,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
    pub(crate) options: GroupOptions,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) caller: Caller,
    /// Since when it acknowledges nothing; `None` when it may have until now.
    pub(crate) silent_since: Option<Moment>,
    pub(crate) metrics: Arc<HostMetrics>,
}

/// A running replica.
pub(crate) struct Replica {
    pub(super) raft: Raft,
    proposer: Arc<Proposer>,
    group: GroupId,
    pub(super) node: NodeId,
    pub(super) shared: Arc<Shared>,
    log: Arc<dyn LogStore>,
    snapshots: Arc<dyn SnapshotStore>,
    incoming: Mutex<Option<Incoming>>,
    leadership: watch::Receiver<Leadership>,
    /// The last leader whose message was accepted, and when it came.
    heard: StdMutex<Option<(NodeId, Moment)>>,
    env: Arc<dyn Env>,
    lease: Duration,
    simulated: bool,
}

/// Why a proposal was not accepted here, or a read index not given.
#[derive(Clone, Debug)]
pub(crate) enum NotHere {
    /// Another node leads, perhaps this one.
    Leader(Option<NodeId>),
    /// This node leads but cannot accept it at the moment.
    NotReady(String),
    /// This replica has stopped.
    Stopped(Fatal),
}

impl Replica {
    /// Starts a replica on what its stores hold.
    pub(crate) async fn start(spec: ReplicaSpec) -> Result<Arc<Replica>, Fatal> {
        let config = Arc::new(config(&spec)?);
        outwait_lease(&spec).await?;
        let shared = Arc::new(Shared::new(
            spec.state,
            Arc::clone(&spec.log),
            Arc::clone(&spec.snapshots),
            spec.options.snapshot_log_bytes,
            Arc::clone(&spec.metrics),
            Arc::clone(&spec.env),
        ));
        shared.load().await.map_err(|error| Fatal(format!("state of {}: {error}", spec.group)))?;
        // Soon enough that a lost one is sent again before its follower is missed.
        let append_timeout = spec.options.heartbeat.max(spec.options.election_timeout.0 / 2);
        let network = Network { group: spec.group, caller: spec.caller, append_timeout };
        let start = Raft::new(
            spec.node,
            config,
            network,
            LogAdapter::new(
                Arc::clone(&spec.log),
                spec.options.flush_before_send && !planted::is(Bug::SentBeforeFlush),
            ),
            MachineAdapter(Arc::clone(&shared)),
        );
        let raft = scoped(spec.env.as_ref(), start).await.map_err(|error| Fatal(error.to_string()))?;
        let leadership = leadership::watch(&raft, &shared, spec.env.as_ref(), spec.metrics.leader_changes.clone());
        compaction::start(&raft, &shared, Arc::clone(&spec.log), &spec.options, &spec.env);
        let proposer = Proposer::start(raft.clone(), Arc::clone(&spec.env), spec.metrics.writes_per_entry.clone());
        Ok(Arc::new(Replica {
            raft,
            proposer,
            group: spec.group,
            node: spec.node,
            shared,
            log: spec.log,
            snapshots: spec.snapshots,
            incoming: Mutex::new(None),
            leadership,
            heard: StdMutex::default(),
            simulated: spec.env.simulation().is_some(),
            env: spec.env,
            lease: spec.options.election_timeout.1.saturating_sub(spec.options.lease_margin),
        }))
    }

    /// Acts on a consensus message of another node. The rest of the messages are the group's.
    pub(crate) async fn consensus(&self, request: Request) -> Reply {
        match request {
            Request::Append(append) => self.append(append).await,
            Request::Vote(ballot) => inbound::vote(&self.raft, ballot, false).await,
            Request::PreVote(ballot) => inbound::vote(&self.raft, ballot, true).await,
            Request::Transfer { from, to, last } => inbound::transfer(&self.raft, from, to, last).await,
            Request::Snapshot(chunk) => inbound::chunk(&self.raft, &self.snapshots, &self.incoming, chunk).await,
            _ => Reply::Refused(Rejected::Invalid("not a consensus message".into())),
        }
    }

    /// Whether about so many bytes of writes may be proposed, or accepted from a leader, as far as the log's disk goes.
    pub(crate) fn admits(&self, bytes: u64) -> Result<(), Rejected> {
        self.log.admits(bytes).map_err(|Full(text)| Rejected::DiskFull(text))
    }

    /// Whether commands may be proposed, as far as their version goes.
    pub(crate) fn is_fit(&self) -> Result<(), Rejected> {
        if self.shared.is_fit() {
            return Ok(());
        }
        let text = format!("{} of the commands is in force, and none of its own", self.version_in_force());
        Err(Rejected::LeaderNotReady(text))
    }

    /// The version of commands that is in force here.
    pub(crate) fn version_in_force(&self) -> CommandVersion {
        self.shared.read().version().0
    }

    /// Whether its machine has a digest of its state.
    pub(crate) fn has_digest(&self) -> bool {
        self.shared.read().digest().is_some()
    }

    /// The digest of the state at the entry at `index`, where one was asked for; waits for ever if there will be none.
    pub(crate) async fn digest_at(&self, index: Index) -> Option<u64> {
        self.shared.digests.at(index).await
    }

    /// The versions of commands that its machine can apply.
    pub(crate) fn versions(&self) -> Versions {
        self.shared.read().versions()
    }

    async fn append(&self, append: Append) -> Reply {
        // Before openraft sees it: an error of the log would stop the replica. Heartbeats have no entries.
        if !append.entries.is_empty()
            && let Err(full) = self.admits(append.entries.iter().map(Entry::size).sum())
        {
            return Reply::Refused(full);
        }
        let (leader, came) = (append.vote.node, self.env.now());
        let reply = inbound::append(&self.raft, append).await;
        // Refused for the state of the log or not: its sender leads, as far as this replica's term goes.
        if matches!(&reply, Reply::Append(appended) if !matches!(appended, Appended::HigherVote(_))) {
            let mut heard = self.heard();
            *heard = heard.filter(|(_, before)| *before > came).or(Some((leader, came)));
        }
        reply
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Option<(NodeId, Moment)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last leader whose message was accepted here, and when it came.
    pub(crate) fn leader_heard(&self) -> Option<(NodeId, Moment)> {
        *self.heard()
    }

    /// Who leads, as this replica knows it.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this replica leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.leadership.borrow().leader == Some(self.node)
    }

    /// Has `write` proposed, together with whatever else is to be proposed now, and waits for its outcome. Whoever gives up
    /// before that has nothing proposed; afterwards the write may still be carried out.
    pub(crate) async fn propose(&self, write: Write) -> Result<Proposed, oneshot::error::RecvError> {
        let (sender, receiver) = oneshot::channel();
        self.proposer.submit(write, sender).await;
        receiver.await
    }

    /// Has `writes` proposed in their order; each has an outcome of its own.
    pub(crate) fn propose_many(&self, writes: impl IntoIterator<Item = Write>) -> Vec<oneshot::Receiver<Proposed>> {
        let (queued, receivers): (Vec<_>, _) = writes
            .into_iter()
            .map(|write| {
                let (sender, receiver) = oneshot::channel();
                ((write, sender), receiver)
            })
            .unzip();
        self.proposer.submit_many(queued);
        receivers
    }

    /// A read index that reflects everything acknowledged before the call; a quorum confirms this leader after it.
    pub(crate) async fn read_index(&self, wait: Duration) -> Result<ReadIndex, NotHere> {
        if planted::is(Bug::UnconfirmedReadIndex) {
            return self.believed_index();
        }
        self.read_log_id(LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(wait)).await
    }

    /// A read index on the strength of the lease, less the margin for drifting clocks.
    pub(crate) async fn lease_index(&self) -> Result<ReadIndex, NotHere> {
        if planted::is(Bug::LeaseUnchecked) {
            return self.believed_index();
        }
        self.read_log_id(LinearizerOption::new(Some(self.lease), false).with_wait_timeout(Duration::ZERO)).await
    }

    /// What some planted bugs take for a read index: all that this node has committed, if it believes that it leads.
    fn believed_index(&self) -> Result<ReadIndex, NotHere> {
        let Status { leadership, committed, .. } = self.status();
        if leadership.leader != Some(self.node) {
            return Err(NotHere::Leader(leadership.leader));
        }
        Ok(ReadIndex { term: leadership.term, index: committed.map(|id| id.index) })
    }

    async fn read_log_id(&self, option: LinearizerOption) -> Result<ReadIndex, NotHere> {
        match self.raft.get_read_log_id(option).await {
            Ok((id, _)) => Ok(ReadIndex { term: *id.committed_leader_id(), index: Some(Index(id.index())) }),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => Err(forwarded(&forward)),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
                Err(NotHere::NotReady(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(NotHere::Stopped(self.fatal(&fatal))),
        }
    }

    /// The last applied index.
    pub(crate) fn applied(&self) -> Option<Index> {
        self.shared.applied.get()
    }

    /// Waits until `index` is applied here; for ever if the replica stops.
    pub(crate) async fn reach(&self, index: Option<Index>) {
        if let Some(index) = index {
            self.shared.applied.reach(index).await;
        }
    }

    /// Answers from what is applied, together with the index that the answer reflects.
    pub(crate) fn query(&self, query: &[u8]) -> (Option<Index>, Result<bytes::Bytes, Undecodable>) {
        let state = self.shared.read();
        let answer = state.query(query);
        self.shared.stop_on_fault(&state);
        (state.last.map(|id| id.index), answer)
    }

    /// Runs `look` on the machine, together with the index that it reflects. Applies wait meanwhile.
    pub(crate) fn with_machine<T>(
        &self,
        look: impl FnOnce(&dyn Machine) -> T,
    ) -> (Option<Index>, Result<T, Undecodable>) {
        let state = self.shared.read();
        let seen = state.look(look);
        self.shared.stop_on_fault(&state);
        (state.last.map(|id| id.index), seen)
    }

    /// How many sessions are open, as far as is applied.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.read().sessions()
    }

    /// What this replica knows of its group.
    pub(crate) fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow().clone();
        Status {
            node: self.node,
            group: self.group,
            leadership: self.leadership.borrow().clone(),
            last: metrics.last_log_index.map(Index),
            committed: metrics.local_committed.map(log_id_from),
            applied: self.shared.read().last,
            snapshot: metrics.snapshot.map(log_id_from),
            purged: metrics.purged.map(log_id_from),
            log_bytes: self.log.bytes(),
            replication: metrics
                .replication
                .into_iter()
                .flatten()
                .map(|(node, id)| (node, id.map(log_id_from)))
                .collect(),
        }
    }

    /// How long ago `node` last acknowledged this leader; `None` if it never did, or this node does not lead.
    pub(crate) fn acknowledged_ago(&self, node: NodeId) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let acknowledged = metrics.heartbeat.as_ref()?.get(&node)?.as_ref()?;
        Some(ago(self.simulated, **acknowledged))
    }

    /// Makes this replica and `voters` a new group. Once, on one node, on an empty log.
    pub(crate) async fn initialize(&self, voters: BTreeSet<NodeId>) -> Result<(), Rejected> {
        match self.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(error))) => Err(Rejected::Invalid(error.to_string())),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => Err(Rejected::Invalid(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(Rejected::Stopped),
        }
    }

    /// Adds a learner; returns when the membership is committed, not when the learner has caught up.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<Result<(), WriteError>, NotHere> {
        self.check_belongs().await?;
        changed(self.raft.add_learner(node, (), false).await.map(drop), self)
    }

    /// The membership in force, read from the core itself: what is watched may be a change behind.
    pub(crate) async fn membership(&self) -> Result<Membership, Fatal> {
        let read = self.raft.with_raft_state(|state| membership_from(state.membership_state.effective().membership()));
        read.await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Makes `add` voters and takes `remove` out of the group, from whatever the membership is when the core comes to
    /// it. Joint consensus, both steps; ends a joint membership that an earlier change left.
    pub(crate) async fn change_voters(
        &self,
        add: Option<NodeId>,
        remove: Option<NodeId>,
    ) -> Result<Result<(), WriteError>, NotHere> {
        let add = ChangeMembers::AddVoterIds(add.into_iter().collect());
        let remove = ChangeMembers::RemoveVoters(remove.into_iter().collect());
        self.check_belongs().await?;
        changed(self.raft.change_membership(ChangeMembers::Batch(vec![add, remove]), false).await.map(drop), self)
    }

    /// A leader that was taken out of its group leads on until another one is elected, but proposes no change of members any
    /// more: the core takes it for no leader, and where it checks itself, it stops.
    async fn check_belongs(&self) -> Result<(), NotHere> {
        match self.membership().await {
            Ok(membership) if membership.contains(self.node) => Ok(()),
            Ok(_) => Err(NotHere::Leader(None)),
            Err(fatal) => Err(NotHere::Stopped(fatal)),
        }
    }

    /// Removes a learner.
    pub(crate) async fn remove_learner(&self, node: NodeId) -> Result<Result<(), WriteError>, NotHere> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        self.check_belongs().await?;
        changed(self.raft.change_membership(change, false).await.map(drop), self)
    }

    /// Starts to hand leadership over; whether it arrives is for the caller to watch.
    pub(crate) async fn start_transfer(&self, to: NodeId) -> Result<(), Fatal> {
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Stands for election at once, without asking first: ends a handing-over that went nowhere.
    pub(crate) async fn stand(&self) -> Result<(), Fatal> {
        self.raft.trigger().elect(false).await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Starts to take a snapshot.
    pub(crate) async fn start_snapshot(&self) -> Result<(), Fatal> {
        self.raft.trigger().snapshot().await.map_err(|fatal| self.fatal(&fatal))
    }

    /// The state as it is applied now.
    pub(crate) fn copy(&self) -> Snapshot {
        self.shared.copy()
    }

    /// Has the log drop what the newest snapshot covers, but for the last entries.
    pub(crate) async fn purge_behind_snapshot(&self, keep_entries: u64) -> Result<(), Fatal> {
        let covered = compaction::next(self.raft.metrics().borrow().snapshot);
        let purged = compaction::purge(&self.raft, covered.saturating_sub(keep_entries)).await;
        purged.map_err(|fatal| self.fatal(&fatal))
    }

    /// Stops the replica. What its stores hold stays.
    pub(crate) async fn shutdown(&self) {
        self.proposer.stop(Fatal(format!("{} on {}: shut down", self.group, self.node)));
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(group = %self.group, %error, "a replica's task had failed before it was shut down");
        }
        // Whoever calls from now on is to find that it has stopped.
        let _ = self.leadership().wait_for(|now| now.stopped.is_some()).await;
    }

    /// Takes the state away from a replica that was shut down, and leaves `fresh`, which nobody can use.
    pub(crate) fn give_up_state(&self, fresh: State) -> State {
        self.shared.give_up(fresh)
    }

    fn fatal(&self, fatal: &RaftFatal<TypeConfig>) -> Fatal {
        Fatal(format!("{} on {}: {fatal}", self.group, self.node))
    }

    /// What to say of a proposal whose answer the core dropped.
    pub(crate) fn lost(&self) -> WriteError {
        match &self.leadership.borrow().stopped {
            Some(fatal) => fatal.clone().into(),
            None => Unknown::AnswerLost("the replica was shut down".into()).into(),
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.proposer.stop(Fatal(format!("{} on {}: dropped", self.group, self.node)));
    }
}

/// Waits as long as a leader's lease may still run that this replica acknowledged in an earlier life. openraft has forgotten
/// it, and could vote for another leader, or stand itself, while the old one still answers lease reads.
async fn outwait_lease(spec: &ReplicaSpec) -> Result<(), Fatal> {
    let fatal = |error| Fatal(format!("vote of {}: {error}", spec.group));
    if let Some(vote) = spec.log.vote().await.map_err(fatal)? {
        if spec.options.flush_before_send {
            // What an earlier life in this process appended may still wait for its flush, and nobody would know: a saved
            // vote has all that was queued before it flushed.
            spec.log.save_vote(vote).await.map_err(fatal)?;
        }
        let taken_over = spec.silent_since.is_some();
        if planted::is(Bug::LeaseNotOutwaited) || taken_over && planted::is(Bug::TakeOverTooSoon) {
            return Ok(());
        }
        let waited = spec.silent_since.map_or(Duration::ZERO, |since| spec.env.now().since(since));
        spec.env.sleep(spec.options.election_timeout.1.saturating_sub(waited)).await;
    }
    Ok(())
}

/// openraft's settings from ours.
fn config(spec: &ReplicaSpec) -> Result<Config, Fatal> {
    let options = &spec.options;
    if options.lease_margin >= options.election_timeout.1 {
        return Err(Fatal(format!("options of {}: the lease margin leaves nothing of the lease", spec.group)));
    }
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: spec.group.to_string(),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election_timeout.0),
        election_timeout_max: ms(options.election_timeout.1),
        // A restarted leader must not resume its lease: it may have slept through an election.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // By bytes of log, see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        // By `compaction` too.
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1024,
        install_snapshot_timeout: 10_000,
        backoff: "50ms".to_string(),
        // Bounds of channels, not of the log: the defaults cost 90 KiB a replica.
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        ..Config::default()
    };
    config.validate().map_err(|error| Fatal(format!("options of {}: {error}", spec.group)))
}

pub(super) fn forwarded(forward: &ForwardToLeader<TypeConfig>) -> NotHere {
    match forward.reason {
        ForwardReason::NotLeader => NotHere::Leader(forward.leader_id),
        ForwardReason::LeadershipTransfer => NotHere::NotReady("leadership is being handed over".into()),
        ForwardReason::LeaseExpired => NotHere::NotReady("the leader has not heard from a quorum lately".into()),
    }
}

fn changed(
    result: Result<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>,
    replica: &Replica,
) -> Result<Result<(), WriteError>, NotHere> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(RaftError::Fatal(fatal)) => Ok(Err(replica.fatal(&fatal).into())),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => Err(forwarded(&forward)),
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Ok(Err(Unknown::LeaderLost.into())),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => Ok(Err(match error {
            ChangeMembershipError::InProgress(_) => Rejected::LeaderNotReady(error.to_string()),
            _ => Rejected::Invalid(error.to_string()),
        }
        .into())),
        // Another change came between the two steps of this one: to be carried out on what that one leaves.
        Err(RaftError::APIError(ClientWriteError::PreconditionFailed(error))) => {
            Ok(Err(Rejected::LeaderNotReady(error.to_string()).into()))
        }
    }
}
