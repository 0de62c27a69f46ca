//! The operator's last resort: a group whose quorum is lost for good goes on with what one replica has.

use std::io;

use super::GroupSpec;
use crate::engine::{Found, State, Stores, look, stand_alone};
use crate::machine::{StateMachine, Typed};
use crate::types::{GroupId, LogId, Membership, NodeId, Term};

/// What the stores of one replica hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The replica's node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// The highest term that the replica has heard of.
    pub term: Term,
    /// The last entry that it has.
    pub last: Option<LogId>,
    /// What it knew to be committed, at least: this is remembered now and then only.
    pub committed: Option<LogId>,
    /// What its newest snapshot, or what its durable machine has persisted, stands for.
    pub kept: Option<LogId>,
    /// The newest membership that it has heard of, committed or not.
    pub membership: Membership,
}

impl Remains {
    /// Whether nothing was ever written to these stores.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Whether the replica is its group's only voter.
    pub fn is_alone(&self) -> bool {
        let Membership { voters, learners } = &self.membership;
        learners.is_empty() && *voters == [[self.node].into()]
    }

    /// Entries that the replica has and does not know to be committed. Some may have been, and count as written; of others
    /// nobody was ever told.
    pub fn uncertain(&self) -> u64 {
        let count = |id: Option<LogId>| id.map_or(0, |id| id.index.0 + 1);
        count(self.last).saturating_sub(count(self.committed))
    }
}

/// A replica that does not run, on a node whose group has lost its quorum for good.
///
/// As long as a majority of the voters can be brought back with their stores, this is not for you: bring them back.
/// [`Recovery::go_alone`] makes this replica the only voter. The group then goes on with exactly what this replica has:
///
/// - what others acknowledged and this replica has not received is lost, and nobody can say how much that is;
/// - what this replica has received and nobody acknowledged ([`Remains::uncertain`]) becomes part of the history;
/// - a bounded read, or a state machine outside of this group, may have seen what is lost now.
///
/// It is safe only if none of the other voters ever runs again with what it holds: two of three that come back are a quorum
/// of the group as they know it, and it would go on twice. Take them out for good, and add new nodes with ids that were
/// never used. To choose among several replicas that are left, take the one with the highest `last`, by term first.
pub struct Recovery {
    remains: Remains,
    stores: Stores,
    found: Found,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("remains", &self.remains).finish_non_exhaustive()
    }
}

impl Recovery {
    /// Looks at the stores of `node`'s replica, which must not run meanwhile, in no process. Nothing is changed.
    ///
    /// # Errors
    /// When the stores cannot be read, or do not belong together.
    pub async fn open<M: StateMachine>(node: NodeId, spec: GroupSpec<M>) -> io::Result<Recovery> {
        let state = State::new(Box::new(Typed(spec.machine)), spec.options.session_ttl);
        let mut stores = Stores { state, log: spec.log, snapshots: spec.snapshots };
        let found = look(&mut stores).await?;
        let Found { term, last, committed, kept, membership } = found.clone();
        let remains = Remains { node, group: spec.id, term, last, committed, kept, membership };
        Ok(Recovery { remains, stores, found })
    }

    /// What there is.
    pub fn remains(&self) -> &Remains {
        &self.remains
    }

    /// Makes this replica the only voter of its group, which may lose what others have: see the type. Cut off half-way, it has
    /// changed nothing but perhaps the term, and can be repeated. When it returns, it is on disk, and the replica leads its
    /// group whenever it is started.
    ///
    /// # Errors
    /// When there is nothing to go on with, or the log cannot be written.
    pub async fn go_alone(self) -> io::Result<()> {
        if self.remains.is_empty() {
            return Err(io::Error::other("this replica has nothing to go on with"));
        }
        if self.remains.is_alone() {
            return Ok(());
        }
        stand_alone(self.remains.node, &self.stores, &self.found).await
    }
}
