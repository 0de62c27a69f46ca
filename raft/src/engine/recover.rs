//! A replica whose group has lost its quorum: what its stores hold, and how they are made those of the group's only voter.
//!
//! Promises: looking changes nothing; cut off at any point, the stores are those of a replica that can run on, and nothing but
//! a term has changed before the membership entry, which is the last step.
//! Leaves out: whether it may be done, which nobody can tell from one replica's stores.

use std::io;
use std::sync::Arc;

use super::alone::{CHUNK, append_membership, fence};
use super::state::State;
use crate::log::{LogStore, Payload};
use crate::snapshot::{SnapshotMeta, SnapshotStore};
use crate::types::{Index, LogId, Membership, NodeId, Term};

/// The stores of a replica that does not run.
pub(crate) struct Stores {
    /// Fresh: what its machine has persisted is found by it.
    pub(crate) state: State,
    pub(crate) log: Arc<dyn LogStore>,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
}

/// What they hold.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) term: Term,
    pub(crate) last: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// What the snapshot, or what the machine has persisted, stands for.
    pub(crate) kept: Option<LogId>,
    /// The newest membership, committed or not.
    pub(crate) membership: Membership,
}

/// Finds out what the stores hold.
pub(crate) async fn look(stores: &mut Stores) -> io::Result<Found> {
    let Stores { state, log, snapshots } = stores;
    let persisted = state.resume()?.map(|snapshot| snapshot.meta);
    let received = snapshots.latest().await?.map(|snapshot| snapshot.meta);
    // The older one of both is passed over, as it is at a start.
    let kept = [persisted, received].into_iter().flatten().max_by_key(|meta| meta.last).unwrap_or_default();
    let held = log.state().await?;
    if held.purged.map(|id| id.index) > kept.last.map(|id| id.index) {
        return Err(io::Error::other("the log does not go back to where the snapshot ends"));
    }
    if let Some(kept) = kept.last
        && let Some(entry) = log.read(kept.index, kept.index.next()).await?.first()
        && entry.id != kept
    {
        return Err(io::Error::other(format!("the log holds {} where the snapshot ends at {kept}", entry.id)));
    }
    let membership = newest_membership(log.as_ref(), &kept, held.last).await?;
    let vote = log.vote().await?.map_or(Term(0), |vote| vote.term);
    let last = held.last.max(kept.last);
    Ok(Found {
        term: vote.max(last.map_or(Term(0), |last| last.term)),
        last,
        // A snapshot is of committed entries only.
        committed: log.committed().await?.max(kept.last),
        kept: kept.last,
        membership,
    })
}

/// The membership of the newest entry that has one.
async fn newest_membership(log: &dyn LogStore, kept: &SnapshotMeta, last: Option<LogId>) -> io::Result<Membership> {
    let mut membership = kept.membership.clone();
    let end = last.map_or(Index(0), |last| last.index.next());
    let mut from = kept.last.map_or(Index(0), |last| last.index.next());
    while from < end {
        let entries = log.read(from, Index(end.0.min(from.0 + CHUNK))).await?;
        if entries.first().is_none_or(|first| first.id.index != from) {
            return Err(io::Error::other(format!("neither the log nor the snapshot holds entry {from}")));
        }
        for entry in entries {
            from = entry.id.index.next();
            if let Payload::Membership(newer) = entry.payload {
                membership = *newer;
            }
        }
    }
    Ok(membership)
}

/// Makes `node`, whose stores hold what was `found`, the only voter. All that is in its log will be committed.
pub(crate) async fn stand_alone(node: NodeId, stores: &Stores, found: &Found) -> io::Result<()> {
    let log = stores.log.as_ref();
    let vote = fence(log, node).await?;
    let alone = Membership { voters: vec![[node].into()], learners: Default::default() };
    append_membership(log, found.last, alone, vote.term).await.map(drop)
}
