//! An entry is committed only when a majority of the voters holds it durably (thesis §3.5, §3.8; §4.3 for joint voters).

use std::collections::{BTreeMap, BTreeSet};

use quorate::{LogId, NodeId};

use super::Broken;
use super::machine::CommittedLog;
use super::replica::{Replica, is_quorum};

pub(super) const PROPERTY: &str = "what is committed is durable on a majority (thesis §3.5, §3.8)";

/// `node` says that everything up to `last` is committed.
pub(super) fn check(
    replicas: &BTreeMap<NodeId, Replica>,
    node: NodeId,
    last: LogId,
    committed: &CommittedLog,
) -> Option<Broken> {
    // The first who says so is the leader; from then on entries may be dropped behind snapshots anywhere.
    if committed.knows(last) {
        return None;
    }
    let has: BTreeSet<NodeId> =
        replicas.iter().filter(|(_, replica)| replica.has_durably(last)).map(|(node, _)| *node).collect();
    // A leader acts on the newest membership of its log; what stands behind the entry may have come since.
    let (at, later) = replicas.get(&node)?.memberships_from(last.index.0);
    let memberships: Vec<_> = at.into_iter().chain(later).collect();
    // Where none is left in the log, a snapshot has it.
    if memberships.is_empty() || memberships.iter().any(|membership| is_quorum(membership, &has)) {
        return None;
    }
    Some((PROPERTY, format!("{last} is said to be committed; of {} only {has:?} have it", memberships[0])))
}
