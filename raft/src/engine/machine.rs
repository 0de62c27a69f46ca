//! openraft's state machine over [`State`]: one concrete adapter for every machine.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::{Mutex, Notify};

use super::applied::AppliedIndex;
use super::digests::Digests;
use super::durable::{View, blocking};
use super::state::State;
use super::types::{
    RaftLogId, RaftSnapshotMeta, StoredMembership, TypeConfig, log_id_from, log_id_into, membership_from,
    membership_into,
};
use crate::env::Env;
use crate::log::LogStore;
use crate::machine::Backlog;
use crate::metrics::HostMetrics;
use crate::planted::{self, Bug};
use crate::snapshot::{Snapshot, SnapshotMeta, SnapshotStore, SnapshotView};

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
    env: Arc<dyn Env>,
    /// Whether the machine keeps its state itself; the store of snapshots is then asked at the start only.
    durable: bool,
    /// What a durable machine has persisted last.
    persisted: StdMutex<Option<Snapshot>>,
    /// Held by whoever persists the state or takes a snapshot in.
    turn: Mutex<()>,
    /// Whether work that blocks is done on the spot: in a simulation.
    pub(super) inline: bool,
    /// Whether the machine can apply the version of commands that is in force.
    fit: AtomicBool,
    pub(super) digests: Digests,
    /// Why this replica's state is not that of the others, once that is known.
    parted: OnceLock<String>,
    /// Why nothing more is applied. openraft may stop on what follows from it, and say only that.
    failure: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        log: Arc<dyn LogStore>,
        snapshots: Arc<dyn SnapshotStore>,
        snapshot_bytes: u64,
        metrics: Arc<HostMetrics>,
        env: Arc<dyn Env>,
    ) -> Self {
        Shared {
            applied: AppliedIndex::default(),
            snapshots,
            log,
            snapshot_bytes,
            snapshot_wanted: Arc::default(),
            metrics,
            durable: state.is_durable(),
            persisted: StdMutex::default(),
            turn: Mutex::default(),
            inline: env.simulation().is_some(),
            env,
            fit: AtomicBool::new(state.version().1),
            digests: Digests::new(),
            parted: OnceLock::new(),
            failure: OnceLock::new(),
            state: RwLock::new(state),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds what the machine has persisted, and restores the newest snapshot of the store if that is newer.
    pub(crate) async fn load(&self) -> io::Result<()> {
        if self.durable {
            let found = self.write().resume()?;
            self.keep(found);
        }
        if let Some(snapshot) = self.snapshots.latest().await?
            && snapshot.meta.last > self.read().last
        {
            self.install(snapshot.meta, snapshot.view).await?;
        }
        // What a replay for another purpose has left is not this life's.
        drop(self.write().take_tasks());
        self.note_version(&self.read());
        let last = self.read().last.map(|last| last.index);
        last.into_iter().for_each(|last| self.applied.advance(last));
        match self.log.state().await?.purged {
            // What lies between is nowhere: to go on would be to forget it.
            Some(purged) if last < Some(purged.index) => {
                let held = last.map_or("nothing".into(), |last| format!("entry {last}"));
                Err(io::Error::other(format!("the log is purged up to {purged}, but the state holds {held}")))
            }
            _ => Ok(()),
        }
    }

    fn note_version(&self, state: &State) {
        let fit = state.version().1;
        if self.fit.load(Ordering::Relaxed) != fit {
            self.fit.store(fit, Ordering::Relaxed);
        }
    }

    /// Whether commands may be proposed, as far as their version goes.
    pub(crate) fn is_fit(&self) -> bool {
        self.fit.load(Ordering::Relaxed)
    }

    /// Takes the state away from a replica that has stopped, for its next life.
    pub(crate) fn give_up(&self, fresh: State) -> State {
        self.write().give_up(fresh)
    }

    /// Becomes what a snapshot holds.
    async fn install(&self, meta: SnapshotMeta, view: View) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let last = meta.last;
        let incoming = self.write().intake();
        match incoming {
            None => self.write().install(&meta, view.as_ref())?,
            Some(incoming) => {
                let taken = blocking(self.inline, move || incoming.run(meta, view.as_ref())).await?;
                let persisted = self.write().become_taken(taken);
                self.keep(Some(persisted));
            }
        }
        if planted::is(Bug::AppliedTwice) {
            let purged = self.log.state().await?.purged;
            self.write().last = purged;
        }
        self.note_version(&self.read());
        last.into_iter().for_each(|last| self.applied.advance(last.index));
        Ok(())
    }

    /// Has a durable machine persist all that it has applied; applies go on meanwhile.
    async fn persist(&self) -> io::Result<Option<Snapshot>> {
        let _turn = self.turn.lock().await;
        let Some(frozen) = self.write().freeze() else { return Ok(None) };
        let persisted = blocking(self.inline, move || frozen.run()).await?;
        self.write().settle();
        self.keep(Some(persisted.clone()));
        Ok(Some(persisted))
    }

    fn keep(&self, persisted: Option<Snapshot>) {
        *self.persisted.lock().unwrap_or_else(PoisonError::into_inner) = persisted;
    }

    /// How much the machine has not persisted.
    pub(crate) fn backlog(&self) -> Backlog {
        if self.durable { self.read().backlog() } else { Backlog::Little }
    }

    /// Whether the machine's store has failed.
    pub(crate) fn is_faulty(&self) -> bool {
        self.has_parted() || self.durable && self.read().fault().is_some()
    }

    /// Stops the replica: its state is not what it should be.
    pub(super) fn part(&self, text: String) {
        tracing::error!(error = text, "this replica stops");
        if self.parted.set(text).is_ok() {
            self.metrics.divergences.increment(1);
        }
        self.write().tear();
        // The next snapshot fails, and is asked for.
        self.snapshot_wanted.notify_one();
    }

    /// Whether the replica is to stop because its state has parted from the others'.
    pub(crate) fn has_parted(&self) -> bool {
        self.parted.get().is_some()
    }

    fn fail(&self, error: &io::Error) {
        let _ = self.failure.set(error.to_string());
    }

    /// Why nothing more is applied, if that is so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.parted.get().or(self.failure.get()).map(String::as_str)
    }

    fn check_not_parted(&self) -> io::Result<()> {
        self.parted.get().map_or(Ok(()), |text| Err(io::Error::other(text.clone())))
    }

    /// Sees to it that the replica stops if a look at its state met a fault: the snapshot that is asked for will fail.
    pub(crate) fn stop_on_fault(&self, state: &State) {
        if self.durable && state.fault().is_some() {
            self.snapshot_wanted.notify_one();
        }
    }

    fn apply(
        self: &Arc<Self>,
        batch: impl ExactSizeIterator<Item = Result<EntryResponder<TypeConfig>, io::Error>>,
    ) -> io::Result<()> {
        let (mut last, mut count) = (None, 0);
        let mut failure = Ok(());
        let mut answers = Vec::with_capacity(batch.len());
        let mut state = self.write();
        if self.has_parted() {
            // Nothing is applied or answered any more. That is no failure yet: see `Compaction::stop`.
            return Ok(());
        }
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
            let entry = if planted::is(Bug::LocalClockApplied) { entry.stamped(self.env.wall()) } else { entry };
            if planted::is(Bug::LocalClockExpires) {
                state.expire_sessions(self.env.wall());
            }
            let outcome = match state.apply_entry(&entry) {
                Ok(outcome) => outcome,
                Err(error) => {
                    failure = Err(error);
                    break;
                }
            };
            last = Some(entry.id.index);
            count += 1;
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
        }
        if let Some(fault) = state.fault() {
            // Nobody is answered: what was applied may rest on what could not be read.
            return Err(io::Error::other(fault));
        }
        self.note_version(&state);
        let tasks = state.take_tasks();
        drop(state);
        self.do_tasks(tasks);
        if self.has_parted() {
            return Ok(());
        }
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

    /// The state as it is applied now.
    pub(crate) fn copy(&self) -> Snapshot {
        let (meta, view) = self.view();
        Snapshot { meta, view }
    }

    fn view(&self) -> (SnapshotMeta, View) {
        let state = self.read();
        (state.meta(), state.view())
    }
}

/// What a snapshot is stored with: all that it stands for, but for the bugs of these names.
fn as_stored(meta: SnapshotMeta) -> SnapshotMeta {
    if planted::is(Bug::SnapshotWithoutIndex) {
        return SnapshotMeta { last: None, ..meta };
    }
    if planted::is(Bug::SnapshotWithoutMembership) {
        return SnapshotMeta { last: meta.last, ..SnapshotMeta::default() };
    }
    meta
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
        self.0.check_not_parted()?;
        if let Some(kept) = self.0.persist().await? {
            self.0.metrics.snapshots_taken.increment(1);
            return Ok(RaftSnapshot { meta: meta_into(&kept.meta), snapshot: kept.view });
        }
        let (meta, view) = self.0.view();
        let taken = meta_into(&meta);
        match self.0.snapshots.save(as_stored(meta), Arc::clone(&view)).await {
            Ok(kept) => {
                self.0.metrics.snapshots_taken.increment(1);
                let is_told_otherwise =
                    planted::is(Bug::SnapshotWithoutIndex) || planted::is(Bug::SnapshotWithoutMembership);
                let meta = if is_told_otherwise { taken } else { meta_into(&kept.meta) };
                Ok(RaftSnapshot { meta, snapshot: kept.view })
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
            self.0.apply(batch.drain(..)).inspect_err(|error| self.0.fail(error))?;
            if self.0.backlog() == Backlog::TooMuch {
                self.0.persist().await?;
            }
        }
        if self.0.log.bytes() > self.0.snapshot_bytes || self.0.backlog() > Backlog::Little {
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
        self.0.install(meta.clone(), Arc::clone(&view)).await?;
        if !self.0.durable {
            self.0.snapshots.save(meta, view).await?;
        }
        self.0.metrics.snapshots_installed.increment(1);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let latest = match self.0.durable {
            true => self.0.persisted.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            false => self.0.snapshots.latest().await?,
        };
        Ok(latest.map(|snapshot| RaftSnapshot { meta: meta_into(&snapshot.meta), snapshot: snapshot.view }))
    }
}
