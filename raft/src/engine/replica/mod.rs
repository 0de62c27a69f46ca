//! One replica of one group: openraft, started and spoken to in the library's own words.
//!
//! - [`Replica`]: what runs; its part in consensus, what it knows of its group, its end. `start`: how it comes to run.
//! - `writes`: proposing. `reads`: read indexes, and answers from what is applied. `members`: who belongs to the group.
//!
//! Promises: no openraft type leaves this module; an error says whether the operation can have happened.
//! Leaves out: forwarding, deadlines and retries, which are the [`crate::group`]'s.

mod members;
mod reads;
mod start;
mod writes;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use openraft::errors::{Fatal as RaftFatal, ForwardReason, ForwardToLeader};
use tokio::sync::Mutex;

use super::compaction;
use super::inbound::{self, Incoming};
use super::machine::{MachineAdapter, Shared};
use super::proposer::Proposer;
use super::runtime::ago;
use super::state::State;
use super::types::{TypeConfig, log_id_from};
use crate::env::{Env, Moment};
use crate::error::{Fatal, Rejected};
use crate::group::{GroupOptions, Leadership, Status};
use crate::host::Caller;
use crate::log::{Entry, LogStore};
use crate::metrics::HostMetrics;
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::transport::{Append, Appended, Reply, Request};
use crate::types::{GroupId, Index, NodeId};
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
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.proposer.stop(Fatal(format!("{} on {}: dropped", self.group, self.node)));
    }
}

pub(super) fn forwarded(forward: &ForwardToLeader<TypeConfig>) -> NotHere {
    match forward.reason {
        ForwardReason::NotLeader => NotHere::Leader(forward.leader_id),
        ForwardReason::LeadershipTransfer => NotHere::NotReady("leadership is being handed over".into()),
        ForwardReason::LeaseExpired => NotHere::NotReady("the leader has not heard from a quorum lately".into()),
    }
}
