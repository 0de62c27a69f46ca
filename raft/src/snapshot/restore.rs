//! A group made from a copy of another one, by giving each of its replicas what the copy holds before it first runs.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::{SnapshotMeta, SnapshotStore, SnapshotView};
use crate::log::LogStore;
use crate::machine::StateMachine;
use crate::types::{LogId, Membership, NodeId, Vote};

/// Makes the stores of a replica that never ran those of one that holds a copy ([`crate::Group::copy`]): with the same copy,
/// `last` and `voters` on the stores of every voter, they are a group, which goes on after the entry `last`. It needs no
/// [`crate::Group::initialize`]. Sessions come with the copy: a command that is repeated to the new group takes effect once.
///
/// The group that was copied must not go on under the same cluster and group id: to its nodes these would be its own.
///
/// # Errors
/// When the stores hold something already, or fail, or `view` cannot be read. What is half done has to be thrown away.
pub async fn restore(
    log: &dyn LogStore,
    snapshots: &dyn SnapshotStore,
    node: NodeId,
    voters: BTreeSet<NodeId>,
    last: LogId,
    view: Arc<dyn SnapshotView>,
) -> io::Result<()> {
    let held = log.state().await?;
    if held.last.is_some() || held.purged.is_some() || log.vote().await?.is_some() {
        return Err(io::Error::other("the log of this replica is not empty"));
    }
    if snapshots.latest().await?.is_some() {
        return Err(io::Error::other("this replica has a snapshot already"));
    }
    let membership = Membership { voters: vec![voters], learners: BTreeSet::new() };
    // The next leader's term is to be higher than any in the copy.
    log.save_vote(Vote { term: last.term, node, committed: false }).await?;
    snapshots.save(SnapshotMeta { last: Some(last), membership, membership_at: Some(last) }, view).await?;
    log.purge(last).await
}

/// The same content but for what `edit` does to the machine in it: for what must not be as it was where the copy was made.
/// `machine` is to be as it is before any entry. All of its state is in memory meanwhile.
///
/// # Errors
/// When the content cannot be read as that machine's, or `edit` fails.
pub fn edited<M: StateMachine>(
    content: &dyn SnapshotView,
    machine: M,
    edit: impl FnOnce(&mut M) -> io::Result<()>,
) -> io::Result<Arc<dyn SnapshotView>> {
    crate::engine::edited(content, machine, edit)
}
