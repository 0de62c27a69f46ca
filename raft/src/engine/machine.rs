//! openraft's state machine over [`State`]: one concrete adapter for every machine.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::Notify;

use super::applied::AppliedIndex;
use super::state::State;
use super::types::{
    RaftLogId, RaftSnapshotMeta, StoredMembership, TypeConfig, log_id_from, log_id_into, membership_from,
    membership_into,
};
use crate::log::LogStore;
use crate::metrics::HostMetrics;
use crate::snapshot::{SnapshotMeta, SnapshotStore, SnapshotView};

type RaftSnapshot = openraft::Snapshot<crate::types::Term, crate::types::NodeId, (), Arc<dyn SnapshotView>>;

/// Entries applied under one lock, at most.
const BATCH: usize = 1024;

/// A replica's state machine as openraft sees it; clones share the state.
#[derive(Clone)]
pub(crate) struct MachineAdapter(pub(crate) Arc<Shared>);

/// What the adapter shares with the replica's readers.
pub(crate) struct Shared {
    state: RwLock<State>,
    pub(crate) applied: AppliedIndex,
    snapshots: Arc<dyn SnapshotStore>,
    log: Arc<dyn LogStore>,
    /// Asks for a snapshot when the log has grown by so many bytes.
    snapshot_bytes: u64,
    pub(crate) snapshot_wanted: Arc<Notify>,
    metrics: Arc<HostMetrics>,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        log: Arc<dyn LogStore>,
        snapshots: Arc<dyn SnapshotStore>,
        snapshot_bytes: u64,
        metrics: Arc<HostMetrics>,
    ) -> Self {
        let applied = AppliedIndex::default();
        state.last.into_iter().for_each(|last| applied.advance(last.index));
        Shared {
            state: RwLock::new(state),
            applied,
            snapshots,
            log,
            snapshot_bytes,
            snapshot_wanted: Arc::default(),
            metrics,
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Restores the newest snapshot of the store, if there is one that is newer than the state.
    pub(crate) async fn load(&self) -> io::Result<()> {
        if let Some(snapshot) = self.snapshots.latest().await?
            && snapshot.meta.last > self.read().last
        {
            self.install(&snapshot.meta, snapshot.view.as_ref())?;
        }
        Ok(())
    }

    /// Takes the state away from a replica that has stopped, for its next life.
    pub(crate) fn give_up(&self, fresh: State) -> State {
        self.write().give_up(fresh)
    }

    fn install(&self, meta: &SnapshotMeta, view: &dyn SnapshotView) -> io::Result<()> {
        self.write().install(meta, view)?;
        if let Some(last) = meta.last {
            self.applied.advance(last.index);
        }
        Ok(())
    }

    fn apply(
        &self,
        batch: impl ExactSizeIterator<Item = Result<EntryResponder<TypeConfig>, io::Error>>,
    ) -> io::Result<()> {
        let (mut last, mut count) = (None, 0);
        let mut failure = Ok(());
        let mut answers = Vec::with_capacity(batch.len());
        let mut state = self.write();
        if state.torn() {
            return Err(io::Error::other("this replica's state was given up"));
        }
        for item in batch {
            let (entry, responder) = match item {
                Ok(item) => item,
                Err(error) => {
                    failure = Err(error);
                    break;
                }
            };
            let outcome = state.apply_entry(&entry);
            last = Some(entry.id.index);
            count += 1;
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
        }
        drop(state);
        self.metrics.applied.increment(count);
        if let Some(last) = last {
            self.applied.advance(last);
        }
        // Answered after the lock is gone: an answer wakes its client at once, and its next read wants the lock.
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        failure
    }

    fn view(&self) -> (SnapshotMeta, Arc<dyn SnapshotView>) {
        let state = self.read();
        let meta = SnapshotMeta {
            last: state.last,
            membership: membership_from(state.membership.membership()),
            membership_at: state.membership.log_id().map(log_id_from),
        };
        (meta, state.view())
    }
}

pub(crate) fn meta_into(meta: &SnapshotMeta) -> RaftSnapshotMeta {
    RaftSnapshotMeta {
        last_log_id: meta.last.map(log_id_into),
        last_membership: StoredMembership::new(meta.membership_at.map(log_id_into), membership_into(&meta.membership)),
    }
}

pub(crate) fn meta_from(meta: &RaftSnapshotMeta) -> SnapshotMeta {
    SnapshotMeta {
        last: meta.last_log_id.map(log_id_from),
        membership: membership_from(meta.last_membership.membership()),
        membership_at: meta.last_membership.log_id().map(log_id_from),
    }
}

impl RaftSnapshotBuilder<TypeConfig> for MachineAdapter {
    type SnapshotData = Arc<dyn SnapshotView>;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let (meta, view) = self.0.view();
        match self.0.snapshots.save(meta, Arc::clone(&view)).await {
            Ok(kept) => {
                self.0.metrics.snapshots_taken.increment(1);
                Ok(RaftSnapshot { meta: meta_into(&kept.meta), snapshot: kept.view })
            }
            // Any error would stop the replica. A snapshot of nothing is older than the newest one, and passed over; who
            // wants one asks again.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(%error, "no snapshot: the disk is full");
                Ok(RaftSnapshot { meta: RaftSnapshotMeta::default(), snapshot: view })
            }
            Err(error) => Err(error),
        }
    }
}

impl RaftStateMachine<TypeConfig> for MachineAdapter {
    type SnapshotData = Arc<dyn SnapshotView>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let state = self.0.read();
        Ok((state.last.map(log_id_into), state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(first) = entries.next().await {
            batch.push(first);
            // What is there already is applied under the same lock.
            while batch.len() < BATCH
                && let Some(Some(next)) = entries.next().now_or_never()
            {
                batch.push(next);
            }
            self.0.apply(batch.drain(..))?;
        }
        if self.0.log.bytes() > self.0.snapshot_bytes {
            self.0.snapshot_wanted.notify_one();
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &RaftSnapshotMeta,
        view: Arc<dyn SnapshotView>,
    ) -> Result<(), io::Error> {
        let meta = meta_from(meta);
        self.0.install(&meta, view.as_ref())?;
        self.0.snapshots.save(meta, view).await?;
        self.0.metrics.snapshots_installed.increment(1);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let latest = self.0.snapshots.latest().await?;
        Ok(latest.map(|snapshot| RaftSnapshot { meta: meta_into(&snapshot.meta), snapshot: snapshot.view }))
    }
}
