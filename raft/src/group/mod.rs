//! The handle of a group: any node accepts any call, and hands it on to the leader where it must be.
//!
//! Promises: every call ends by its deadline; a write's error says whether it can have happened; a transfer has
//! arrived when it says so.
//! Leaves out: which replica a client should ask first.

mod change;
mod compare;
mod core;
mod options;
mod route;
mod status;
mod versions;
mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::env::Moment;
use crate::error::{AdminError, ReadError, Rejected, Unknown, WriteError};
use crate::log::{Action, Write};
use crate::machine::{CommandVersion, Machine, StateMachine, decode, encode};
use crate::reads::{Consistency, ReadReply};
use crate::sessions::Stamp;
use crate::snapshot::Snapshot;
use crate::transport::{Change, WriteOutcome};
use crate::types::{ClientId, GroupId, Index, LogId, NodeId};
use crate::watch;

pub(crate) use self::core::GroupCore;
pub(crate) use self::route::{Route, Target};
pub use options::GroupOptions;
pub use status::{Described, Leadership, Role, Status};

/// How a write is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The session and number that make it happen once, however often it is retried.
    pub session: Option<Stamp>,
    /// When to give up.
    pub timeout: Duration,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { session: None, timeout: Duration::from_secs(5) }
    }
}

/// A write that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<R> {
    /// Its entry; when `replayed`, the entry that asked again.
    pub at: LogId,
    /// What the machine answered.
    pub reply: R,
    /// Whether it had been carried out before, and this is its first reply again.
    pub replayed: bool,
}

/// One group, seen from one of its nodes. Cheap to clone.
pub struct Group<M> {
    core: Arc<GroupCore>,
    _machine: PhantomData<fn() -> M>,
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Group { core: Arc::clone(&self.core), _machine: PhantomData }
    }
}

impl<M> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.core.id).field("node", &self.core.node).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Group<M> {
    pub(crate) fn new(core: Arc<GroupCore>) -> Self {
        Group { core, _machine: PhantomData }
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.core.id
    }

    /// The node that this handle speaks through.
    pub fn node(&self) -> NodeId {
        self.core.node
    }

    /// Makes `voters` a new group. To be called once, on one node of it, when all logs are empty; that node leads first
    /// if it can reach a majority. Several nodes may be the one, if all of them name the same voters.
    ///
    /// # Errors
    /// [`Rejected`] when the log is not empty, or this node is not among the voters.
    pub async fn initialize(&self, voters: BTreeSet<NodeId>) -> Result<(), Rejected> {
        self.core.replica.initialize(voters).await
    }

    /// Has `command` committed and applied, and gives the machine's reply.
    ///
    /// With a session, an attempt of unknown outcome is retried until the deadline.
    ///
    /// # Errors
    /// `Rejected`: it did not happen. `Unknown`: it may have, or may still. `Fatal`: it may have, and the node that
    /// carried it has stopped.
    pub async fn write(&self, command: &M::Command, options: WriteOptions) -> Result<Written<M::Reply>, WriteError> {
        let action = Action::Apply(encode(command));
        read_outcome(self.core.write(Write { session: options.session, action }, options.timeout).await?)
    }

    /// As [`Group::write`], but proposed by this node's replica or not at all: what is proposed stands in the log at a term
    /// that this node leads. Nothing is retried once it was proposed, session or not.
    ///
    /// # Errors
    /// As [`Group::write`]; `Rejected(NotLeader)` where this node does not lead.
    pub async fn write_as_leader(
        &self,
        command: &M::Command,
        options: WriteOptions,
    ) -> Result<Written<M::Reply>, WriteError> {
        let write = Write { session: options.session, action: Action::Apply(encode(command)) };
        read_outcome(self.core.write_as_leader(write, options.timeout).await?)
    }

    /// Proposes commands in one go: appended in order, each with an outcome of its own.
    ///
    /// # Errors
    /// For the whole when none was proposed, or when all their outcomes are unknown; else one by one.
    pub async fn write_many(
        &self,
        commands: impl IntoIterator<Item = (Option<Stamp>, M::Command)>,
        timeout: Duration,
    ) -> Result<Vec<Result<Written<M::Reply>, WriteError>>, WriteError> {
        let writes = commands
            .into_iter()
            .map(|(session, command)| Write { session, action: Action::Apply(encode(&command)) })
            .collect();
        let outcomes = self.core.write_many(writes, timeout).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.and_then(read_outcome)).collect())
    }

    /// Opens the session of `client`; nothing changes if it is open. Safe to retry.
    ///
    /// # Errors
    /// As [`Group::write`].
    pub async fn open_session(&self, client: ClientId, timeout: Duration) -> Result<(), WriteError> {
        self.core.write(Write { session: None, action: Action::OpenSession(client) }, timeout).await.map(drop)
    }

    /// Answers `query` as freshly as `consistency` asks, and says what the answer proves.
    ///
    /// # Errors
    /// [`ReadError`] when the consistency could not be met by the deadline.
    pub async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        let reply = self.core.read(consistency, encode(query), timeout).await?;
        let answer =
            decode(&reply.answer).map_err(|error| Rejected::Invalid(format!("another machine's answer: {error}")))?;
        Ok(ReadReply { answer, proof: reply.proof })
    }

    /// Runs `look` on the machine of *this node's* replica, as fresh as `consistency` asks; the reply carries the same
    /// proof as [`Group::read`]'s. Nothing is handed on: `Linearizable` and `Lease` succeed only where this node leads,
    /// and a bound that this replica cannot prove, with a new probe if need be, is refused. A bound of zero is met by a
    /// read index, as `LinearizableHere`.
    ///
    /// Applies wait for `look`: it must be quick, and must not ask the group anything. Clone what is shared, work on it later.
    ///
    /// # Errors
    /// [`ReadError`] when the consistency could not be met here by the deadline.
    pub async fn with_state<T: Send>(
        &self,
        consistency: Consistency,
        timeout: Duration,
        look: impl FnOnce(&M) -> T + Send,
    ) -> Result<ReadReply<T>, ReadError> {
        let typed = |machine: &dyn Machine| machine.as_any().downcast_ref().map(look);
        let ReadReply { answer, proof } = self.core.with_machine(consistency, timeout, typed).await?;
        let answer = answer.ok_or_else(|| Rejected::Invalid("the group runs another machine".into()))?;
        Ok(ReadReply { answer, proof })
    }

    /// What this node's replica knows of the group.
    pub fn status(&self) -> Status {
        self.core.replica.status()
    }

    /// Leader, term, role and membership as they change.
    pub fn watch(&self) -> watch::Receiver<Leadership> {
        self.core.replica.leadership()
    }

    /// The last leader whose message this node's replica accepted in this life, and when the message came, by this node's
    /// clock ([`crate::env::Env::now`]). A leader does not hear itself, and a quiet one is not heard.
    pub fn leader_heard(&self) -> Option<(NodeId, Moment)> {
        self.core.replica.leader_heard()
    }

    /// Whether this node's replica sleeps, see [`GroupOptions::quiesce_after`].
    pub fn is_quiet(&self) -> bool {
        !self.core.rest.is_awake()
    }

    /// What this node's replica has applied.
    pub fn applied(&self) -> Option<Index> {
        self.core.replica.applied()
    }

    /// Waits until this node's replica has applied `index`; false when the deadline came first.
    pub async fn wait_applied(&self, index: Index, timeout: Duration) -> bool {
        let deadline = self.core.env.now() + timeout;
        self.core.until(deadline, pin!(self.core.replica.reach(Some(index)))).await.is_some()
    }

    /// Lets `node` receive the log without a vote. Its replica must be running there.
    ///
    /// # Errors
    /// [`AdminError`]; repeating the call is safe.
    pub async fn add_learner(&self, node: NodeId, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::AddLearner(node), timeout).await
    }

    /// Adds `node` as a learner if need be, waits until it has caught up, and gives it a vote.
    ///
    /// # Errors
    /// [`AdminError`]; repeating the call is safe.
    pub async fn add_voter(&self, node: NodeId, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::AddVoter(node), timeout).await
    }

    /// Takes `node`, voter or learner, out of the group. A leader may remove itself.
    ///
    /// # Errors
    /// [`AdminError`]; repeating the call is safe.
    pub async fn remove(&self, node: NodeId, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::Remove(node), timeout).await
    }

    /// Puts `new`, caught up, in the place of `old`, which may be dead.
    ///
    /// # Errors
    /// [`AdminError`]; repeating the call is safe.
    pub async fn replace(&self, old: NodeId, new: NodeId, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::Replace(old, new), timeout).await
    }

    /// Hands leadership to the voter `to`, and returns when `to` itself says that it leads.
    ///
    /// # Errors
    /// `Rejected` when `to` cannot take over now (not a voter, silent, far behind), or another node came to lead in its
    /// place. `Unknown` when it did not arrive by the deadline.
    pub async fn transfer_leadership(&self, to: NodeId, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::Transfer(to), timeout).await
    }

    /// Puts `version` of the machine's commands in force, if every replica's program can apply it; nothing changes if it, or a
    /// later one, is in force. There is no way back: a program that does not know it stops, and one cannot be started.
    ///
    /// # Errors
    /// `Rejected` when a replica does not answer, or cannot apply it. Repeating the call is safe.
    pub async fn raise_version(&self, version: CommandVersion, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::RaiseVersion(version), timeout).await
    }

    /// The version of the machine's commands that is in force, as far as this node's replica has applied.
    pub fn version_in_force(&self) -> CommandVersion {
        self.core.replica.version_in_force()
    }

    /// Has all replicas compare their states at one entry, by [`StateMachine::digest`]; applies go on meanwhile. A replica that
    /// holds something else than the majority stops; without a majority all stop, since nobody knows who is right. One that is
    /// late judges itself when it comes so far.
    ///
    /// # Errors
    /// `Fatal` names the replicas that differ. `Rejected` when the machine has no digest, or too few replicas gave theirs in half
    /// of the time. Repeating the call is safe.
    pub async fn compare_states(&self, timeout: Duration) -> Result<(), AdminError> {
        self.core.change(Change::CompareStates, timeout).await
    }

    /// Takes a snapshot on this node and returns when it is kept.
    ///
    /// # Errors
    /// `Unknown` when it was not there by the deadline.
    pub async fn snapshot(&self, timeout: Duration) -> Result<(), AdminError> {
        let applied = self.core.replica.applied();
        let deadline = self.core.env.now() + timeout;
        loop {
            // Asked for again: the one that is being taken may have begun too early.
            self.core.replica.start_snapshot().await?;
            self.core.env.sleep(Duration::from_millis(2)).await;
            if self.status().snapshot.map(|id| id.index) >= applied {
                self.core.replica.purge_behind_snapshot(self.core.options.snapshot_keep_entries).await?;
                return Ok(());
            }
            if self.core.env.now() >= deadline {
                return Err(Unknown::Deadline(timeout).into());
            }
        }
    }

    /// A copy of the state, sessions included, with every write in it that was acknowledged before the call. It is a view:
    /// writes go on, and it does not see them. [`crate::snapshot::restore`] makes a group of it.
    ///
    /// # Errors
    /// [`ReadError`] when this replica could not prove in time that it has caught up.
    pub async fn copy(&self, timeout: Duration) -> Result<Snapshot, ReadError> {
        self.core.catch_up_to_read_index(timeout).await?;
        Ok(self.core.replica.copy())
    }

    /// Stops this node's replica. What its stores hold stays.
    pub async fn shutdown(&self) {
        self.core.shutdown().await;
    }
}

pub(crate) fn read_outcome<R: serde::de::DeserializeOwned>(outcome: WriteOutcome) -> Result<Written<R>, WriteError> {
    match decode(&outcome.reply) {
        Ok(reply) => Ok(Written { at: outcome.at, reply, replayed: outcome.replayed }),
        // It was carried out, but by a machine of another version.
        Err(error) => Err(Unknown::AnswerLost(error.to_string()).into()),
    }
}
