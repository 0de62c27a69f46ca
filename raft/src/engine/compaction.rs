//! When a replica takes a snapshot, and what its log drops behind it.
//!
//! Promises: a snapshot is asked for once the log holds more than its bound, and all but the newest entries are purged
//! behind it; if even those are more than the bound, they go too. A durable machine that has much to persist is given a
//! snapshot's occasion for it. While something holds the purge up (a follower is being
//! sent the entries), snapshots do not follow each other faster than the log grows.
//! Leaves out: snapshots that a user asks for.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use openraft::RaftMetrics;
use openraft::errors::Fatal as RaftFatal;
use openraft::type_config::alias::WatchReceiverOf;

use super::machine::Shared;
use super::replica::Raft;
use super::types::{RaftLogId, TypeConfig};
use crate::env::Env;
use crate::group::GroupOptions;
use crate::log::LogStore;
use crate::machine::Backlog;

/// How long to wait before a snapshot is asked for again that openraft may have refused, because it was at another one.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// For so many heartbeats a replica whose state has parted goes on replicating before it stops.
const PARTING: u32 = 8;

type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Watches one replica's log.
struct Compaction {
    raft: Raft,
    shared: Arc<Shared>,
    log: Arc<dyn LogStore>,
    env: Arc<dyn Env>,
    bound: u64,
    keep_entries: u64,
    heartbeat: Duration,
    /// The least that the log has been seen to hold since the last snapshot.
    floor: u64,
}

/// Takes snapshots until the replica stops.
pub(super) fn start(
    raft: &Raft,
    shared: &Arc<Shared>,
    log: Arc<dyn LogStore>,
    options: &GroupOptions,
    env: &Arc<dyn Env>,
) {
    let wanted = Arc::clone(&shared.snapshot_wanted);
    let mut compaction = Compaction {
        raft: raft.clone(),
        shared: Arc::clone(shared),
        log,
        env: Arc::clone(env),
        bound: options.snapshot_log_bytes,
        keep_entries: options.snapshot_keep_entries,
        heartbeat: options.heartbeat,
        floor: 0,
    };
    let mut servers = raft.server_metrics();
    env.spawn(Box::pin(async move {
        loop {
            let wanted = pin!(wanted.notified());
            let stopped = pin!(async { while servers.changed().await.is_ok() {} });
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

/// Has the log drop the entries before `end`, as soon as nobody is being sent them.
///
/// Only by this way: openraft's own policy would schedule a lesser purge over one that is still held up, and fail.
pub(super) async fn purge(raft: &Raft, end: u64) -> Result<(), RaftFatal<TypeConfig>> {
    match end.checked_sub(1) {
        Some(last) => raft.trigger().purge_log(last).await,
        None => Ok(()),
    }
}

/// The index after it; 0 before any.
pub(super) fn next(id: Option<RaftLogId>) -> u64 {
    id.map_or(0, |id| id.index() + 1)
}

impl Compaction {
    /// Whether the log is past its bound, and has grown enough since the last snapshot for another to be worth it; or the
    /// machine wants to be persisted, or is to be stopped, which a snapshot does either way.
    fn is_due(&mut self) -> bool {
        if self.shared.backlog() > Backlog::Little || self.shared.is_faulty() {
            return true;
        }
        let bytes = self.log.bytes();
        self.floor = self.floor.min(bytes);
        bytes > self.bound && bytes >= self.floor + self.step()
    }

    /// By how much the log grows before another snapshot is worth it.
    fn step(&self) -> u64 {
        (self.bound / 4).max(1)
    }

    async fn run(&mut self) -> Result<(), RaftFatal<TypeConfig>> {
        if self.shared.is_faulty() {
            return self.stop().await;
        }
        let mut metrics = self.raft.metrics();
        let covered = self.cover(&mut metrics).await?;
        self.floor = self.log.bytes();
        purge(&self.raft, covered.saturating_sub(self.keep_entries)).await?;
        while self.log.bytes() > self.bound && self.log.bytes() < self.floor + self.step() {
            let purged = next(metrics.borrow_and_update().purged);
            if purged + self.keep_entries >= covered {
                purge(&self.raft, covered).await?;
                break;
            }
            let changed = pin!(metrics.changed());
            if let Either::Left((Err(_), _)) = select(changed, self.env.sleep(ASK_AGAIN)).await {
                return Err(RaftFatal::Stopped);
            }
            if self.shared.is_faulty() {
                return self.stop().await;
            }
        }
        Ok(())
    }

    /// Stops the replica: a snapshot of what is wrong fails. Asked for until it does, since openraft passes over one that is asked
    /// for while it takes another.
    ///
    /// One whose state has parted answers nothing by now, but if it leads, the others have yet to hear that the verdict is
    /// committed: where all are to stop, nobody could tell them after it.
    async fn stop(&self) -> Result<(), RaftFatal<TypeConfig>> {
        if self.shared.has_parted() {
            self.env.sleep(self.heartbeat * PARTING).await;
        }
        loop {
            self.raft.trigger().snapshot().await?;
            self.env.sleep(ASK_AGAIN).await;
        }
    }

    /// Has all that is applied now covered by a snapshot, unless it is already, and says up to where the newest goes.
    ///
    /// What grew the log may not be applied yet: then no newer snapshot can be made, and none must be waited for.
    async fn cover(&self, metrics: &mut Metrics) -> Result<u64, RaftFatal<TypeConfig>> {
        let applied = self.shared.applied.get().map_or(0, |last| last.0 + 1);
        loop {
            let covered = next(metrics.borrow_and_update().snapshot);
            if covered >= applied {
                return Ok(covered);
            }
            self.raft.trigger().snapshot().await?;
            let newer = async {
                while next(metrics.borrow_and_update().snapshot) == covered {
                    metrics.changed().await.map_err(|_| RaftFatal::Stopped)?;
                }
                Ok(())
            };
            if let Either::Left((Err(stopped), _)) = select(pin!(newer), self.env.sleep(ASK_AGAIN)).await {
                return Err(stopped);
            }
        }
    }
}
