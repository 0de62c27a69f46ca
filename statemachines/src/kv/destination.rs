//! The destination's part in a shard's move: stage a copy, install it once it is whole, and see to it that the source
//! hears of it.

use std::mem;

use super::command::Step;
use super::marks::Marks;
use super::staged::Staged;
use super::state::{Duty, Holding, Pulling, State};
use super::transfer::{Chunk, Delta};
use crate::names::{ConfigNumber, Gid, ShardId};

impl State {
    pub(super) fn stage_chunk(&mut self, shard: ShardId, number: ConfigNumber, chunk: Chunk) -> Step {
        if !chunk.is_intact() {
            return Step::Damaged;
        }
        if let Err(step) = self.follow_loss(shard, number, chunk.lost_at) {
            return step;
        }
        let at = self.applied;
        let fits = self.pulling_mut(shard, number).is_some_and(|pulling| pulling.staged.take_chunk(chunk, at));
        if fits { Step::Done } else { Step::Misfit }
    }

    pub(super) fn stage_delta(&mut self, shard: ShardId, number: ConfigNumber, delta: Delta) -> Step {
        if !delta.is_intact() {
            return Step::Damaged;
        }
        if let Err(step) = self.follow_loss(shard, number, delta.lost_at) {
            return step;
        }
        let at = self.applied;
        let fits = self.pulling_mut(shard, number).is_some_and(|pulling| pulling.staged.take_delta(delta, at));
        if fits { Step::Done } else { Step::Misfit }
    }

    /// Checks that what came is of the loss that is being copied. A source that nobody pinned to one loss may have taken
    /// the shard back and lost it again: then the copy begins anew.
    fn follow_loss(&mut self, shard: ShardId, number: ConfigNumber, lost_at: ConfigNumber) -> Result<(), Step> {
        let blank = self.blank.clone();
        let pulling = self.pulling_mut(shard, number).ok_or(Step::Nothing)?;
        let known = pulling.taken_at.or(pulling.staged.lost_at);
        match known {
            Some(known) if lost_at < known => Err(Step::Misfit),
            Some(known) if lost_at > known && pulling.taken_at.is_some() => Err(Step::Misfit),
            Some(known) if lost_at > known => {
                let outdated = mem::replace(&mut pulling.staged, Staged::new(blank.contents()));
                self.give_up(shard, outdated.contents, Marks::default());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn install(&mut self, shard: ShardId, number: ConfigNumber, delta: Option<Delta>) -> Step {
        if let Some(delta) = delta {
            let step = self.stage_delta(shard, number, delta);
            // One that does not fit may have been staged before: the copy decides, not the delta.
            if !matches!(step, Step::Done | Step::Misfit) {
                return step;
            }
        }
        let Some(pulling) = self.pulling_mut(shard, number) else { return Step::Nothing };
        let (true, Some(lost_at)) = (pulling.staged.is_whole(), pulling.staged.lost_at) else {
            return Step::Incomplete;
        };
        let Pulling { source, staged, kept, .. } = pulling.clone();
        self.owe(Duty { shard, lost_at, source });
        self.serve(shard, staged.contents, kept.map(|kept| kept.contents));
        Step::Done
    }

    pub(super) fn abandon(&mut self, shard: ShardId, number: ConfigNumber) -> Step {
        let Some(pulling) = self.pulling_mut(shard, number) else { return Step::Nothing };
        let Pulling { source, taken_at, staged, kept, .. } = pulling.clone();
        // Should the source come back after all, it must not serve the shard beside this group.
        if let Some(lost_at) = staged.lost_at.or(taken_at) {
            self.owe(Duty { shard, lost_at, source });
        }
        let contents = kept.map_or_else(|| self.blank.contents(), |kept| kept.contents);
        self.serve(shard, contents, Some(staged.contents));
        Step::Done
    }

    fn owe(&mut self, duty: Duty) {
        self.installed.insert((duty.shard, duty.source.clone()), duty.lost_at);
        self.duties.insert(duty);
    }

    pub(super) fn acknowledged(&mut self, duty: &Duty) -> Step {
        if self.duties.remove(duty).is_some() { Step::Done } else { Step::Nothing }
    }

    /// Whether the source may give up what it lost then: this group has it, or had it.
    pub(super) fn has_installed(&self, shard: ShardId, source: &Gid, lost_at: ConfigNumber) -> bool {
        let installed = self.installed.get(&(shard, source.clone()));
        let pulling_it =
            matches!(self.holdings.get(&shard), Some(Holding::Pulling(pulling)) if pulling.source == *source);
        !pulling_it && installed.is_some_and(|newest| *newest >= lost_at)
    }
}
