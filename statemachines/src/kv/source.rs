//! The source's part in a shard's move: give pieces of it away, freeze it, and give it up when it is installed elsewhere.

use quorate::planted::{self, Bug};
use quorate::types::Index;

use super::command::Step;
use super::marks::{Item, Marks};
use super::query::{Pull, Pulled};
use super::state::{Absent, Holding, State};
use super::transfer::{Chunk, Delta, Reached};
use crate::names::{ConfigNumber, Gid, ShardId};

impl From<Absent> for Pulled {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::NotYetLost => Pulled::NotYet,
            Absent::GivenUp => Pulled::Done,
        }
    }
}

impl State {
    pub(super) fn pull_chunk(&self, shard: ShardId, pull: &Pull, after: Option<Item>, max_bytes: u64) -> Pulled {
        match self.lost_to(shard, pull) {
            Ok(lost) => Pulled::Chunk(Chunk::take(lost, after, max_bytes, self.applied)),
            Err(absent) => absent.into(),
        }
    }

    pub(super) fn pull_delta(&self, shard: ShardId, pull: &Pull, from: Reached, max_bytes: u64) -> Pulled {
        match self.lost_to(shard, pull) {
            Ok(_) if self.applied.index < from.index => Pulled::Behind,
            Ok(lost) => Pulled::Delta(Delta::take(lost, from, max_bytes, self.applied)),
            Err(absent) => absent.into(),
        }
    }

    pub(super) fn freeze(&mut self, shard: ShardId, lost_at: ConfigNumber) -> Step {
        let now = self.applied.index;
        match self.holdings.get_mut(&shard) {
            Some(Holding::Lost(lost)) if lost.lost_at == lost_at => {
                Step::Frozen { at: *lost.frozen_at.get_or_insert(now) }
            }
            _ => Step::Nothing,
        }
    }

    /// Gives up exactly the loss `lost_at`: what was gained or lost since is another matter.
    pub(super) fn delete(&mut self, shard: ShardId, lost_at: ConfigNumber, to: Gid) -> Step {
        if planted::is(Bug::LateDelete)
            && let Some(Holding::Serving(contents)) = self.holdings.get(&shard)
        {
            let contents = contents.clone();
            self.holdings.remove(&shard);
            self.given.insert(shard, to);
            self.give_up(shard, contents, Marks::default());
            return Step::Done;
        }
        let given_up = match self.holdings.get_mut(&shard) {
            Some(Holding::Lost(lost)) if lost.lost_at == lost_at && lost.frozen_at.is_none() => {
                return Step::StillServed;
            }
            Some(Holding::Lost(lost)) if lost.lost_at == lost_at => {
                let lost = lost.clone();
                self.holdings.remove(&shard);
                self.given.insert(shard, to);
                lost
            }
            Some(Holding::Pulling(pulling)) => match pulling.kept.take_if(|kept| kept.lost_at == lost_at) {
                Some(kept) => kept,
                None => return Step::Nothing,
            },
            _ => return Step::Nothing,
        };
        self.give_up(shard, given_up.contents, given_up.marks);
        Step::Done
    }

    pub(super) fn sweep(&mut self, shard: ShardId, max_keys: u32) -> Step {
        let range = (shard, Index(0))..=(shard, Index(u64::MAX));
        let Some(place) = self.remains.range::<_, (ShardId, Index)>(range).next().map(|(place, _)| *place) else {
            return Step::Nothing;
        };
        let swept_up = self.remains.get_mut(&place).is_some_and(|remains| {
            remains.sweep(u64::from(max_keys));
            remains.left() == 0
        });
        if swept_up {
            self.remains.remove(&place);
        }
        Step::Swept { left: self.remains_of(shard) }
    }

    pub(super) fn remains_of(&self, shard: ShardId) -> u64 {
        let range = (shard, Index(0))..=(shard, Index(u64::MAX));
        self.remains.range::<_, (ShardId, Index)>(range).map(|(_, remains)| remains.left()).sum()
    }
}
