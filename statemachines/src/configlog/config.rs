//! One configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{ConfigNumber, Gid, ShardId};
use crate::slot::shard_of;

/// Who serves what from one point of the configuration log to the next.
///
/// Invariants: `previous` is below `number` (both are 0 in configuration 0 alone); `shards` and `holders` have one
/// element for each shard; who serves a shard is known in `groups` and is its holder; only of such a shard is the
/// holder's `taken_at` empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its number.
    pub number: ConfigNumber,
    /// The number of the configuration before it in the log.
    pub previous: ConfigNumber,
    /// For each shard, the group that serves it.
    pub shards: Vec<Option<Gid>>,
    /// The known groups and their servers; none are known of a group named only by an external configuration.
    pub groups: BTreeMap<Gid, Vec<String>>,
    /// For each shard, the last group that was told to hold its data; `None` if none ever was.
    pub holders: Vec<Option<Holder>>,
}

/// The last group that was given a shard: whoever gets the shard next gets the data from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The group. It may have left since; its servers are those of the newest configuration below `taken_at`.
    pub gid: Gid,
    /// The configuration that took the shard away from it; `None` while it serves it.
    pub taken_at: Option<ConfigNumber>,
}

impl Config {
    /// Configuration 0: no shards, no groups, before the first change.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether this is a configuration that some change made, not configuration 0.
    pub fn exists(&self) -> bool {
        self.number > ConfigNumber(0)
    }

    /// The number of shards.
    pub fn shard_count(&self) -> u32 {
        // The log admits at most SHARDS_MAX of them.
        self.shards.len() as u32
    }

    /// Who serves this shard; `None` also when there is no such shard.
    pub fn owner(&self, shard: ShardId) -> Option<&Gid> {
        self.shards.get(shard.0 as usize)?.as_ref()
    }

    /// The last group that was given this shard.
    pub fn holder(&self, shard: ShardId) -> Option<&Holder> {
        self.holders.get(shard.0 as usize)?.as_ref()
    }

    /// The shard of a key; `None` while there are no shards.
    pub fn shard_of(&self, key: &str) -> Option<ShardId> {
        (!self.shards.is_empty()).then(|| shard_of(key, self.shard_count()))
    }

    /// All shards, in order.
    pub fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shard_count()).map(ShardId)
    }

    /// The shards that this group serves.
    pub fn shards_of(&self, gid: &Gid) -> BTreeSet<ShardId> {
        self.shard_ids().filter(|shard| self.owner(*shard) == Some(gid)).collect()
    }

    /// The configuration that follows this one with the given assignment.
    pub(super) fn successor(
        &self,
        number: ConfigNumber,
        shards: Vec<Option<Gid>>,
        groups: BTreeMap<Gid, Vec<String>>,
    ) -> Config {
        let holder = |(shard, owner): (usize, &Option<Gid>)| {
            let before = self.holders.get(shard).cloned().flatten();
            match owner {
                Some(gid) => Some(Holder { gid: gid.clone(), taken_at: None }),
                None => before.map(|Holder { gid, taken_at }| Holder { gid, taken_at: taken_at.or(Some(number)) }),
            }
        };
        let holders = shards.iter().enumerate().map(holder).collect();
        let next = Config { number, previous: self.number, shards, groups, holders };
        if let Err(broken) = next.validate() {
            panic!("configuration {number} breaks an invariant: {broken}");
        }
        next
    }

    /// Checks the type's invariants.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if self.previous >= self.number {
            return Err("it does not exceed the one before it");
        }
        if self.shards.is_empty() || self.shards.len() != self.holders.len() {
            return Err("shards and holders differ in length, or there are none");
        }
        for (owner, holder) in self.shards.iter().zip(&self.holders) {
            match (owner, holder) {
                (Some(owner), _) if !self.groups.contains_key(owner) => return Err("an unknown group serves a shard"),
                (Some(owner), Some(Holder { gid, taken_at: None })) if owner == gid => {}
                (None, Some(Holder { taken_at: Some(at), .. })) if *at <= self.number => {}
                (None, None) => {}
                _ => return Err("a shard's holder does not fit the group that serves it"),
            }
        }
        Ok(())
    }
}
