//! The whole replicated state of a shard group, and what can be said about it in one look.

use std::iter;

use imbl::{OrdMap, OrdSet};
use quorate::planted::{self, Bug};
use quorate::types::Index;

use super::command::NotServed;
use super::contents::Contents;
use super::lost::Lost;
use super::marks::Marks;
use super::query::Pull;
use super::remains::Remains;
use super::staged::Staged;
use super::store::Blank;
use super::transfer::Applied;
use crate::names::{ConfigNumber, Gid, ShardId};

/// A shard of which the data is here, or comes here.
#[derive(Clone, Debug)]
pub(super) enum Holding {
    /// It is this group's.
    Serving(Contents),
    /// A configuration took it away.
    Lost(Lost),
    /// A configuration gave it to this group, and another one has its data.
    Pulling(Box<Pulling>),
}

impl Holding {
    /// Its copies of the shard.
    pub(super) fn each_contents(&mut self) -> impl Iterator<Item = &mut Contents> {
        let (one, another) = match self {
            Holding::Serving(contents) => (contents, None),
            Holding::Lost(lost) => (&mut lost.contents, None),
            Holding::Pulling(pulling) => (&mut pulling.staged.contents, pulling.kept.as_mut()),
        };
        iter::once(one).chain(another.map(|kept| &mut kept.contents))
    }
}

/// A shard on its way here.
#[derive(Clone, Debug)]
pub(super) struct Pulling {
    /// The configuration that gave it to this group: it names this gain.
    pub(super) number: ConfigNumber,
    pub(super) source: Gid,
    pub(super) taken_at: Option<ConfigNumber>,
    pub(super) staged: Staged,
    /// An earlier state of the shard, lost to nobody in its time, which a group that gained it since may still be copying.
    pub(super) kept: Option<Lost>,
}

/// That a source is to be told that its shard is installed here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Duty {
    pub(super) shard: ShardId,
    pub(super) lost_at: ConfigNumber,
    pub(super) source: Gid,
}

/// Why there is nothing to copy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    NotYetLost,
    GivenUp,
}

/// All that a snapshot holds. A clone is O(1) in the data.
///
/// Invariants: a shard is in `holdings` at most once; `remains` are never looked into; what is on its way (a `Pulling`, or
/// a `Lost` to somebody) belongs to the configuration `number`, since the next one waits for it.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The last entry applied, and its time.
    pub(super) applied: Applied,
    pub(super) number: ConfigNumber,
    /// Tells a repeated configuration from another one of the same number.
    pub(super) digest: u64,
    pub(super) shard_count: u32,
    pub(super) holdings: OrdMap<ShardId, Holding>,
    /// The groups that shards were given up to: where they are looked for when a configuration names no source.
    pub(super) given: OrdMap<ShardId, Gid>,
    pub(super) duties: OrdSet<Duty>,
    /// For each shard and source the newest loss that was installed here.
    pub(super) installed: OrdMap<(ShardId, Gid), ConfigNumber>,
    /// By shard and the entry that gave it up.
    pub(super) remains: OrdMap<(ShardId, Index), Remains>,
    /// Not part of the state.
    pub(super) blank: Blank,
}

impl State {
    pub(super) fn new(blank: Blank) -> Self {
        State {
            applied: Applied { index: Index(0), time: Default::default() },
            number: ConfigNumber(0),
            digest: 0,
            shard_count: 0,
            holdings: OrdMap::new(),
            given: OrdMap::new(),
            duties: OrdSet::new(),
            installed: OrdMap::new(),
            remains: OrdMap::new(),
            blank,
        }
    }

    /// Whether the next configuration may follow. A shard that is kept for nobody, an acknowledgement not yet delivered
    /// and remains not yet freed do not hold it back.
    pub(super) fn is_settled(&self) -> bool {
        self.in_transfer().next().is_none()
    }

    /// The shards on their way, here or to another group.
    pub(super) fn in_transfer(&self) -> impl Iterator<Item = ShardId> {
        self.holdings.iter().filter_map(|(shard, holding)| match holding {
            Holding::Serving(_) => None,
            Holding::Lost(lost) => lost.is_in_transfer().then_some(*shard),
            Holding::Pulling(_) => Some(*shard),
        })
    }

    /// The contents of a shard that is served here.
    pub(super) fn served(&self, shard: ShardId) -> Result<&Contents, NotServed> {
        match self.holdings.get(&shard) {
            Some(Holding::Serving(contents)) => Ok(contents),
            Some(Holding::Lost(lost)) if lost.frozen_at.is_none() || planted::is(Bug::ServedFrozen) => {
                Ok(&lost.contents)
            }
            _ => Err(self.not_served(shard)),
        }
    }

    /// The contents of a shard that is served here, and the marks to keep of its changes if it is being copied.
    pub(super) fn served_mut(&mut self, shard: ShardId) -> Result<(&mut Contents, Option<&mut Marks>), NotServed> {
        // The look before the borrow: `get_mut` copies what a snapshot shares, which a refusal need not cost.
        self.served(shard)?;
        match self.holdings.get_mut(&shard) {
            Some(Holding::Serving(contents)) => Ok((contents, None)),
            Some(Holding::Lost(lost)) => {
                let marks = (!planted::is(Bug::ChangesNotMarked)).then_some(&mut lost.marks);
                Ok((&mut lost.contents, marks))
            }
            _ => unreachable!("the shard is served"),
        }
    }

    fn not_served(&self, shard: ShardId) -> NotServed {
        let number = self.number;
        match self.holdings.get(&shard) {
            _ if number == ConfigNumber(0) => NotServed::NoConfig,
            Some(Holding::Lost(lost)) if lost.is_in_transfer() => {
                NotServed::Migrating { number, to: lost.to.clone(), from: None }
            }
            Some(Holding::Pulling(pulling)) => {
                NotServed::Migrating { number, to: None, from: Some(pulling.source.clone()) }
            }
            _ => NotServed::WrongGroup { number, group: self.given.get(&shard).cloned() },
        }
    }

    /// The pull of `shard` that was begun by the configuration `number`.
    pub(super) fn pulling_mut(&mut self, shard: ShardId, number: ConfigNumber) -> Option<&mut Pulling> {
        match self.holdings.get_mut(&shard) {
            Some(Holding::Pulling(pulling)) if pulling.number == number => Some(pulling),
            _ => None,
        }
    }

    /// What another group may copy, or why it can not.
    pub(super) fn lost_to(&self, shard: ShardId, pull: &Pull) -> Result<&Lost, Absent> {
        let lost = match self.holdings.get(&shard) {
            Some(Holding::Lost(lost)) => Some(lost),
            Some(Holding::Pulling(pulling)) => pulling.kept.as_ref(),
            _ => None,
        };
        let asked_for = |lost: &&Lost| match pull.taken_at {
            Some(taken_at) => lost.lost_at == taken_at,
            None => lost.to.as_ref().is_none_or(|to| *to == pull.puller),
        };
        let given_up = match pull.taken_at {
            Some(taken_at) => self.number >= taken_at,
            None => !self.holdings.contains_key(&shard) && self.given.contains_key(&shard),
        };
        lost.filter(asked_for).ok_or(if given_up { Absent::GivenUp } else { Absent::NotYetLost })
    }

    /// All copies of shards that can still be asked for, each with the marks of its changes.
    pub(super) fn copies(&self) -> impl Iterator<Item = (&Contents, Option<&Marks>)> {
        self.holdings
            .values()
            .flat_map(|holding| match holding {
                Holding::Serving(contents) => [Some((contents, None)), None],
                Holding::Lost(lost) => [Some((&lost.contents, Some(&lost.marks))), None],
                Holding::Pulling(pulling) => {
                    let kept = pulling.kept.as_ref().map(|kept| (&kept.contents, Some(&kept.marks)));
                    [Some((&pulling.staged.contents, None)), kept]
                }
            })
            .flatten()
    }

    /// The same copies, to be changed.
    pub(super) fn each_copy(&mut self, mut change: impl FnMut(&mut Contents)) {
        let shards: Vec<ShardId> = self.holdings.keys().copied().collect();
        for shard in shards {
            self.holdings.get_mut(&shard).into_iter().flat_map(Holding::each_contents).for_each(&mut change);
        }
    }

    /// Sets data aside to be freed, a little at each [`super::KvCommand::Sweep`].
    pub(super) fn give_up(&mut self, shard: ShardId, contents: Contents, marks: Marks) {
        let remains = Remains::new(contents, marks);
        if remains.left() > 0 {
            let earlier = self.remains.insert((shard, self.applied.index), remains);
            assert!(earlier.is_none(), "two sets of data of shard {shard} given up by one entry");
        }
    }
}
