//! What a new configuration does to the shards of a group.

use quorate::machine::encode;
use quorate::planted::{self, Bug};
use quorate::sessions::digest;

use super::command::{Configure, Configured, Source};
use super::contents::Contents;
use super::lost::Lost;
use super::marks::Marks;
use super::staged::Staged;
use super::state::{Holding, Pulling, State};
use crate::names::ShardId;

impl State {
    pub(super) fn configure(&mut self, config: Configure) -> Configured {
        // What it follows is no part of its content: who repeats it need not know.
        let content = (config.number, &config.shards, config.shard_count, &config.sources, &config.targets);
        let digest = digest(&encode(&content));
        let current = self.number;
        if config.number < current {
            return Configured::Older { current };
        }
        if config.number == current {
            return if digest == self.digest { Configured::SameAgain } else { Configured::Different };
        }
        if config.previous != current {
            return Configured::Gap { current };
        }
        if !self.is_settled() && !planted::is(Bug::ConfigWhileMoving) {
            return Configured::Migrating;
        }
        self.number = config.number;
        self.digest = digest;
        self.shard_count = config.shard_count;
        let held: Vec<ShardId> = self.holdings.keys().copied().collect();
        for shard in held {
            if !config.shards.contains(&shard) {
                self.lose(shard, &config);
            }
        }
        for shard in &config.shards {
            self.gain(*shard, &config);
        }
        Configured::Applied
    }

    /// A shard that is served here goes out, or is kept if nobody gets it. One that is kept already stays so: whoever
    /// gets it now pulls it as the loss that it was.
    fn lose(&mut self, shard: ShardId, config: &Configure) {
        match self.holdings.remove(&shard) {
            Some(Holding::Serving(contents)) => {
                let to = config.targets.get(&shard).cloned();
                let lost = Lost::new(contents, config.number, to, self.applied.index);
                self.holdings.insert(shard, Holding::Lost(lost));
            }
            Some(other) => _ = self.holdings.insert(shard, other),
            None => {}
        }
    }

    /// A shard that is served here stays; one that is kept here resumes unless another group is named as its source; any
    /// other is pulled from its source, or from whom it was given up to. Only one that was never here starts empty.
    fn gain(&mut self, shard: ShardId, config: &Configure) {
        let given = || self.given.get(&shard).map(|gid| Source { gid: gid.clone(), taken_at: None });
        let named = config.sources.get(&shard).cloned();
        let gained = match self.holdings.get(&shard) {
            Some(Holding::Serving(_) | Holding::Pulling(_)) => return,
            Some(Holding::Lost(kept)) => match named {
                None => Holding::Serving(kept.contents.clone()),
                Some(source) => self.pull(source, Some(kept.clone()), config),
            },
            None => match named.or_else(given) {
                None => Holding::Serving(self.blank.contents()),
                Some(source) => self.pull(source, None, config),
            },
        };
        self.holdings.insert(shard, gained);
    }

    fn pull(&self, source: Source, kept: Option<Lost>, config: &Configure) -> Holding {
        Holding::Pulling(Box::new(Pulling {
            number: config.number,
            source: source.gid,
            taken_at: source.taken_at,
            staged: Staged::new(self.blank.contents()),
            kept,
        }))
    }

    /// The shard is served here from now on, with `contents`; what was kept of it is given up.
    pub(super) fn serve(&mut self, shard: ShardId, contents: Contents, kept: Option<Contents>) {
        self.given.remove(&shard);
        self.holdings.insert(shard, Holding::Serving(contents));
        if let Some(kept) = kept {
            self.give_up(shard, kept, Marks::default());
        }
    }
}
