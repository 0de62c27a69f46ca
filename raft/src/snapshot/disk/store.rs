//! Where the newest snapshot of one group is kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::content::{Content, View, Writer};
use super::workers;
use crate::env::Env;
use crate::fs::{Damaged, Fs, create_dir_durably};
use crate::snapshot::{Snapshot, SnapshotMeta, SnapshotSink, SnapshotStore, SnapshotView};
use crate::types::GroupId;

/// The names of what is no snapshot yet.
const UNFINISHED: &str = ".tmp";

/// The names of snapshots end so. They begin with what the snapshot stands for, so that of two the newer one counts,
/// whoever wrote the other.
const FINISHED: &str = ".snapshot";

/// A [`SnapshotStore`] on disk.
pub struct DiskSnapshots(Arc<Store>);

struct Store {
    fs: Arc<dyn Fs>,
    env: Arc<dyn Env>,
    /// In a simulation nothing blocks, and there are no threads.
    simulated: bool,
    dir: PathBuf,
    group: GroupId,
    newest: Mutex<Newest>,
    /// Held while a snapshot takes the place of another.
    replacing: Mutex<()>,
    /// What was received, by its address, so that saving it need not copy it.
    received: Mutex<Vec<(usize, Weak<View>)>>,
}

#[derive(Default)]
struct Newest {
    path: Option<PathBuf>,
    snapshot: Option<Snapshot>,
}

impl fmt::Debug for DiskSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSnapshots").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

impl DiskSnapshots {
    /// Opens the store of a group, in a directory of its own under `dir`.
    ///
    /// # Errors
    /// When the file system fails, or the newest snapshot is damaged (its content is checked when it is read).
    pub fn open(fs: Arc<dyn Fs>, env: Arc<dyn Env>, dir: &Path, group: GroupId) -> io::Result<DiskSnapshots> {
        let dir = dir.join(group.0.to_string());
        create_dir_durably(&*fs, &dir)?;
        let names = fs.list(&dir)?;
        for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
            fs.remove(&dir.join(name))?;
        }
        let mut snapshots: Vec<&String> = names.iter().filter(|name| name.ends_with(FINISHED)).collect();
        let mut newest = Newest::default();
        // Names are listed in their order.
        if let Some(name) = snapshots.pop() {
            let path = dir.join(name);
            let (trailer, content) = Content::open(Arc::clone(&fs), path.clone(), group)?;
            if path != path_of(&dir, &trailer.meta) {
                return Err(Damaged::new(&path, 0, "the file has the name of another snapshot").into());
            }
            let view = Arc::new(View(Arc::new(content)));
            newest = Newest { path: Some(path), snapshot: Some(Snapshot { meta: trailer.meta, view }) };
            // The newest one has its name for certain before an older one goes.
            fs.sync_dir(&dir)?;
        }
        for older in snapshots {
            fs.remove(&dir.join(older))?;
        }
        let simulated = env.simulation().is_some();
        Ok(DiskSnapshots(Arc::new(Store {
            fs,
            env,
            simulated,
            dir,
            group,
            newest: Mutex::new(newest),
            replacing: Mutex::default(),
            received: Mutex::default(),
        })))
    }
}

impl DiskSnapshots {
    /// Removes all snapshots of a group that does not run here any more. Its log is to be forgotten first: a log may need
    /// its snapshot, a snapshot does not need a log.
    ///
    /// # Errors
    /// When the file system fails; calling again goes on.
    pub fn forget(fs: &dyn Fs, dir: &Path, group: GroupId) -> io::Result<()> {
        let of_group = dir.join(group.0.to_string());
        if fs.metadata(&of_group)?.is_none() {
            return Ok(());
        }
        for name in fs.list(&of_group)? {
            fs.remove(&of_group.join(name))?;
        }
        fs.remove_dir(&of_group)?;
        fs.sync_dir(dir)
    }
}

fn path_of(dir: &Path, meta: &SnapshotMeta) -> PathBuf {
    let (term, end) = meta.last.map_or((0, 0), |last| (last.term.0, last.index.0.saturating_add(1)));
    dir.join(format!("{term:020}-{end:020}{FINISHED}"))
}

fn address(view: &Arc<dyn SnapshotView>) -> usize {
    Arc::as_ptr(view).cast::<()>() as usize
}

impl Store {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file for something that is no snapshot yet.
    fn begin(&self) -> io::Result<Writer> {
        // Random: an earlier store of this process may still have files, and remove them when they are dropped.
        let name = format!("{:016x}{UNFINISHED}", self.env.random());
        Writer::create(Arc::clone(&self.fs), self.dir.join(name), self.group, self.env.random())
    }

    /// The content of a view that this store has received, the first time that it is asked for.
    fn take_received(&self, view: &Arc<dyn SnapshotView>) -> Option<Arc<Content>> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.retain(|(_, held)| held.strong_count() > 0);
        let at = received.iter().position(|(at, _)| *at == address(view))?;
        let held = received.swap_remove(at).1.upgrade()?;
        Some(Arc::clone(&held.0))
    }

    fn copy(&self, view: &dyn SnapshotView) -> io::Result<Arc<Content>> {
        let mut writer = self.begin()?;
        let mut reader = view.open();
        while let Some(piece) = reader.next()? {
            writer.write(&piece)?;
        }
        writer.finish()
    }

    /// Makes it the newest snapshot, unless a newer one has come meanwhile.
    fn replace(&self, content: &Arc<Content>, snapshot: &Snapshot) -> io::Result<()> {
        let _alone = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_newer(&snapshot.meta) {
            return Ok(());
        }
        content.file().sync_all()?;
        let path = path_of(&self.dir, &snapshot.meta);
        content.rename(&path, &self.dir)?;
        let newest = Newest { path: Some(path.clone()), snapshot: Some(snapshot.clone()) };
        let replaced = std::mem::replace(&mut *self.newest(), newest);
        if let Some(before) = replaced.path.filter(|before| *before != path)
            && let Err(error) = self.fs.remove(&before)
        {
            // It takes space until the store is opened again, and does no other harm.
            tracing::warn!(%error, "an old snapshot could not be removed");
        }
        Ok(())
    }

    fn has_newer(&self, meta: &SnapshotMeta) -> bool {
        self.newest().snapshot.as_ref().is_some_and(|held| held.meta.last > meta.last)
    }

    /// Runs what may take long on a thread kept for that, so that nothing else waits for it.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if self.simulated {
            return job(self);
        }
        let (sender, receiver) = oneshot::channel();
        let store = Arc::clone(self);
        workers::run(Box::new(move || drop(sender.send(job(&store)))))?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the thread that saved a snapshot has failed")))
    }
}

#[async_trait::async_trait]
impl SnapshotStore for DiskSnapshots {
    async fn save(&self, meta: SnapshotMeta, view: Arc<dyn SnapshotView>) -> io::Result<Snapshot> {
        let store = &self.0;
        if store.has_newer(&meta) {
            return Ok(Snapshot { meta, view });
        }
        let received = store.take_received(&view);
        let trailer = meta.clone();
        let content = store
            .run(move |store| {
                let content = received.map_or_else(|| store.copy(&*view), Ok)?;
                content.complete(trailer)?;
                Ok(content)
            })
            .await?;
        let delay = content.file().sync_delay();
        if !delay.is_zero() {
            store.env.sleep(delay).await;
        }
        let snapshot = Snapshot { meta, view: Arc::new(View(Arc::clone(&content))) };
        let kept = snapshot.clone();
        store.run(move |store| store.replace(&content, &kept)).await?;
        Ok(snapshot)
    }

    async fn latest(&self) -> io::Result<Option<Snapshot>> {
        Ok(self.0.newest().snapshot.clone())
    }

    async fn receive(&self) -> io::Result<Box<dyn SnapshotSink>> {
        Ok(Box::new(Sink { writer: self.0.begin()?, store: Arc::clone(&self.0) }))
    }
}

/// A snapshot on its way in.
struct Sink {
    store: Arc<Store>,
    writer: Writer,
}

#[async_trait::async_trait]
impl SnapshotSink for Sink {
    async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        self.writer.write(&piece)
    }

    async fn finish(self: Box<Self>) -> io::Result<Arc<dyn SnapshotView>> {
        let Sink { store, writer } = *self;
        let view = Arc::new(View(writer.finish()?));
        let shared: Arc<dyn SnapshotView> = Arc::clone(&view) as Arc<dyn SnapshotView>;
        let mut received = store.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push((address(&shared), Arc::downgrade(&view)));
        Ok(shared)
    }
}
