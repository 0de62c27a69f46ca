//! When a replica takes a snapshot, and what its log drops behind it.
//!
//! Promises: a snapshot is asked for once the log holds more than its bound, and openraft then purges all but the newest
//! entries; if even those are more than the bound, they go too. While something holds the purge up (a follower is being
//! sent the entries), snapshots do not follow each other faster than the log grows.
//! Leaves out: snapshots that a user asks for.

use std::sync::Arc;

use futures::future::{Either, select};
use openraft::errors::Fatal as RaftFatal;
use tokio::sync::Notify;

use super::replica::Raft;
use super::types::{RaftLogId, TypeConfig};
use crate::env::Env;
use crate::group::GroupOptions;
use crate::log::LogStore;

/// Watches one replica's log.
struct Compaction {
    raft: Raft,
    log: Arc<dyn LogStore>,
    bound: u64,
    keep_entries: u64,
    /// The least that the log has been seen to hold since the last snapshot.
    floor: u64,
}

/// Takes snapshots until the replica stops; `wanted` says when the log may have passed its bound.
pub(super) fn start(raft: &Raft, wanted: Arc<Notify>, log: Arc<dyn LogStore>, options: &GroupOptions, env: &dyn Env) {
    let mut compaction = Compaction {
        raft: raft.clone(),
        log,
        bound: options.snapshot_log_bytes,
        keep_entries: options.snapshot_keep_entries,
        floor: 0,
    };
    let mut servers = raft.server_metrics();
    env.spawn(Box::pin(async move {
        loop {
            let wanted = std::pin::pin!(wanted.notified());
            let stopped = std::pin::pin!(async { while servers.changed().await.is_ok() {} });
            match select(wanted, stopped).await {
                Either::Left(_) if compaction.is_due() => {
                    if compaction.run().await.is_err() {
                        return;
                    }
                }
                Either::Left(_) => {}
                Either::Right(_) => return,
            }
        }
    }));
}

/// The index after it; 0 before any.
fn next(id: Option<RaftLogId>) -> u64 {
    id.map_or(0, |id| id.index() + 1)
}

impl Compaction {
    /// Whether the log is past its bound, and has grown enough since the last snapshot for another to be worth it.
    fn is_due(&mut self) -> bool {
        let bytes = self.log.bytes();
        self.floor = self.floor.min(bytes);
        bytes > self.bound && bytes >= self.floor + self.bound / 4
    }

    async fn run(&mut self) -> Result<(), RaftFatal<TypeConfig>> {
        let mut metrics = self.raft.metrics();
        let before = metrics.borrow().snapshot;
        self.raft.trigger().snapshot().await?;
        let covered = loop {
            let now = metrics.borrow_and_update().snapshot;
            if now > before {
                break next(now);
            }
            metrics.changed().await.map_err(|_| RaftFatal::Stopped)?;
        };
        self.floor = self.log.bytes();
        while self.log.bytes() > self.bound && self.log.bytes() < self.floor + self.bound / 4 {
            let purged = next(metrics.borrow_and_update().purged);
            if purged + self.keep_entries >= covered {
                self.raft.trigger().purge_log(covered.saturating_sub(1)).await?;
                break;
            }
            metrics.changed().await.map_err(|_| RaftFatal::Stopped)?;
        }
        Ok(())
    }
}
