//! A group of whatever machine, as operators and programs speak of it: by its name, in bytes.

use std::any::Any;
use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use quorate::machine::{decode, encode};
use quorate::snapshot::Snapshot;
use quorate::transport::Change;
use quorate::{
    AdminError, ClientId, Consistency, Described, Group, NodeId, ReadError, ReadReply, Rejected, Role, StateMachine,
    WriteError, WriteOptions, Written,
};

use super::proto;
use crate::served::Served;

/// How long handing leadership over may take when the node ends.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A group, wherever its replicas are. What asks for the replica on this node gives `None` where there is none.
#[async_trait]
pub(super) trait Hosted: Send + Sync {
    /// What the replica on this node is.
    fn replica(&self, name: &str) -> Option<proto::Replica>;

    /// The nodes that are asked for it.
    fn nodes(&self) -> Vec<NodeId>;

    /// What the leader says of the group, or else who has heard most of `nodes` and this node.
    async fn described(&self, nodes: &BTreeSet<NodeId>, patience: Duration) -> Option<Described>;

    /// Has the replica on this node take a snapshot.
    async fn snapshot(&self, timeout: Duration) -> Option<Result<(), AdminError>>;

    /// A copy of the replica on this node, with everything acknowledged before.
    async fn copy(&self, timeout: Duration) -> Option<Result<Snapshot, ReadError>>;

    /// Gives leadership to another voter, if this node has it.
    async fn hand_over(&self);

    /// Changes who leads, and the like.
    async fn change(&self, change: Change, timeout: Duration) -> Result<(), AdminError>;

    /// Opens a session of the group's.
    async fn open_session(&self, client: ClientId, timeout: Duration) -> Result<(), WriteError>;

    /// Carries out a command in the machine's encoding.
    async fn write_bytes(&self, command: &[u8], options: WriteOptions) -> Result<Written<Bytes>, WriteError>;

    /// Answers a query in the machine's encoding.
    async fn read_bytes(
        &self,
        consistency: Consistency,
        query: &[u8],
        timeout: Duration,
    ) -> Result<ReadReply<Bytes>, ReadError>;

    /// The group as it is typed: a [`Served`].
    fn typed(&self) -> &dyn Any;
}

fn undecodable(error: impl ToString) -> Rejected {
    Rejected::Invalid(error.to_string())
}

#[async_trait]
impl<M: StateMachine> Hosted for Served<M> {
    fn replica(&self, name: &str) -> Option<proto::Replica> {
        Some(replica(name, &self.running()?))
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.remote().nodes()
    }

    async fn described(&self, nodes: &BTreeSet<NodeId>, patience: Duration) -> Option<Described> {
        let own = self.running().map(|group| Described::from(group.status()));
        let others = nodes.iter().map(|node| self.remote().describe(*node, patience));
        let others = join_all(others).await.into_iter().filter_map(Result::ok);
        own.into_iter().chain(others).max_by_key(|known| (known.role == Role::Leader, known.term, known.last))
    }

    async fn snapshot(&self, timeout: Duration) -> Option<Result<(), AdminError>> {
        Some(self.here()?.snapshot(timeout).await)
    }

    async fn copy(&self, timeout: Duration) -> Option<Result<Snapshot, ReadError>> {
        Some(self.here()?.copy(timeout).await)
    }

    async fn hand_over(&self) {
        if let Some(group) = self.running() {
            hand_over(group).await;
        }
    }

    async fn change(&self, change: Change, timeout: Duration) -> Result<(), AdminError> {
        self.remote().change(change, timeout).await
    }

    async fn open_session(&self, client: ClientId, timeout: Duration) -> Result<(), WriteError> {
        match self.here() {
            Some(group) => group.open_session(client, timeout).await,
            None => self.remote().open_session(client, timeout).await,
        }
    }

    async fn write_bytes(&self, command: &[u8], options: WriteOptions) -> Result<Written<Bytes>, WriteError> {
        let command = decode(command).map_err(undecodable)?;
        let Written { at, reply, replayed } = match self.here() {
            Some(group) => group.write(&command, options).await,
            None => self.remote().write(&command, options).await,
        }?;
        Ok(Written { at, reply: encode(&reply), replayed })
    }

    async fn read_bytes(
        &self,
        consistency: Consistency,
        query: &[u8],
        timeout: Duration,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let query = decode(query).map_err(undecodable)?;
        let ReadReply { answer, proof } = match self.here() {
            Some(group) => group.read(consistency, &query, timeout).await,
            None => self.remote().read(consistency, &query, timeout, None).await,
        }?;
        Ok(ReadReply { answer: encode(&answer), proof })
    }

    fn typed(&self) -> &dyn Any {
        self
    }
}

fn replica<M: StateMachine>(name: &str, group: &Group<M>) -> proto::Replica {
    let id = group.id();
    let known = Described::from(group.status());
    proto::Replica {
        group: name.to_owned(),
        id: id.0,
        role: format!("{:?}", known.role).to_lowercase(),
        term: known.term.0,
        leader: known.leader.map(|node| node.0),
        voters: known.membership.voter_ids().into_iter().map(|node| node.0).collect(),
        learners: known.membership.learners.into_iter().map(|node| node.0).collect(),
        last: known.last.map(|index| index.0),
        applied: known.applied.map(|index| index.0),
        snapshot: known.snapshot.map(|index| index.0),
        log_bytes: known.log_bytes,
    }
}

async fn hand_over<M: StateMachine>(group: Group<M>) {
    let status = group.status();
    if status.leadership.role != Role::Leader {
        return;
    }
    // The one whose log is furthest, of those with a vote.
    let voters = status.leadership.membership.voter_ids();
    let mut candidates = status.replication;
    candidates.retain(|(node, _)| *node != status.node && voters.contains(node));
    candidates.sort_by_key(|(_, matching)| std::cmp::Reverse(*matching));
    if let Some((to, _)) = candidates.first()
        && let Err(error) = group.transfer_leadership(*to, HAND_OVER).await
    {
        tracing::info!(group = %group.id(), %to, %error, "leadership was not handed over");
    }
}
