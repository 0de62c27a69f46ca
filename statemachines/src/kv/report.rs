//! What a group tells about itself: its status for people, its work for the driver of shard moves.

use std::collections::BTreeMap;

use super::contents::Contents;
use super::query::{AckWork, HandOffWork, PullWork, ShardState, ShardStatus, Status, SweepWork, Work};
use super::state::{Holding, Pulling, State};
use crate::names::ShardId;

impl State {
    pub(super) fn status(&self) -> Status {
        let mut shards: BTreeMap<ShardId, ShardStatus> = BTreeMap::new();
        for ((shard, _), remains) in &self.remains {
            let status = shards.entry(*shard).or_insert_with(|| counted(ShardState::Deleting, 0, 0, 0));
            status.keys += remains.keys;
            status.bytes += remains.bytes;
            status.sessions += remains.sessions;
        }
        for (shard, holding) in &self.holdings {
            shards.insert(*shard, holding.status());
        }
        Status { number: self.number, settled: self.is_settled(), shard_count: self.shard_count, shards }
    }

    pub(super) fn work(&self) -> Work {
        let mut work = Work {
            number: self.number,
            settled: self.is_settled(),
            pulls: Vec::new(),
            hand_offs: Vec::new(),
            acks: Vec::new(),
            sweeps: Vec::new(),
        };
        for (shard, holding) in &self.holdings {
            match holding {
                Holding::Serving(_) => {}
                Holding::Pulling(pulling) => work.pulls.push(pulling.work(*shard)),
                Holding::Lost(lost) => {
                    work.hand_offs.extend(lost.to.clone().map(|to| HandOffWork {
                        shard: *shard,
                        lost_at: lost.lost_at,
                        to,
                        since: lost.since,
                        frozen_at: lost.frozen_at,
                    }));
                }
            }
        }
        for duty in &self.duties {
            work.acks.push(AckWork { shard: duty.shard, lost_at: duty.lost_at, source: duty.source.clone() });
        }
        for ((shard, _), _) in &self.remains {
            if work.sweeps.last().is_none_or(|last| last.shard != *shard) {
                work.sweeps.push(SweepWork { shard: *shard, left: self.remains_of(*shard) });
            }
        }
        work
    }
}

impl Holding {
    fn status(&self) -> ShardStatus {
        let (state, contents) = match self {
            Holding::Serving(contents) => (ShardState::Serving, contents),
            Holding::Lost(lost) if lost.frozen_at.is_none() => (ShardState::Outgoing, &lost.contents),
            Holding::Lost(lost) => (ShardState::Frozen, &lost.contents),
            Holding::Pulling(pulling) => (ShardState::Pulling, &pulling.staged.contents),
        };
        of(state, contents)
    }
}

impl Pulling {
    fn work(&self, shard: ShardId) -> PullWork {
        PullWork {
            shard,
            number: self.number,
            source: self.source.clone(),
            taken_at: self.taken_at,
            lost_at: self.staged.lost_at,
            after: self.staged.after.clone(),
            copied: self.staged.copied,
            reached: self.staged.reached,
            frozen_at: self.staged.frozen_at,
            whole: self.staged.is_whole(),
            keys: self.staged.contents.len() as u64,
            bytes: self.staged.contents.bytes(),
        }
    }
}

fn of(state: ShardState, contents: &Contents) -> ShardStatus {
    counted(state, contents.len() as u64, contents.bytes(), contents.sessions.len() as u64)
}

fn counted(state: ShardState, keys: u64, bytes: u64, sessions: u64) -> ShardStatus {
    ShardStatus { state, keys, bytes, sessions }
}
