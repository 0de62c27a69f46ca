//! How a machine on a disk is persisted: what changed since the last time, the outline of the state and the engine's envelope
//! in one batch.
//!
//! Keys wait in the layers of their copy (see [`super::store`]); sessions and marks are in memory, and what changed in them
//! is found by comparing them with what was persisted last, whose structure they share. A snapshot that comes from another
//! node is written to copies of its own, which nothing refers to before the last batch.
//!
//! Promises: a batch is bounded by what changed since the last one; a crash leaves what was persisted last.
//! Leaves out: when it is persisted, which the engine decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate::GroupId;
use quorate::machine::{Backlog, Durable, Flush, Intake, decode, encode};
use quorate::sessions::{SessionRecord, Table};
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::Index;

use super::contents::Contents;
use super::machine::KvMachine;
use super::marks::{Item, Marks};
use super::snapshot::{self, Record, StoredCopies};
use super::state::State;
use super::store::{Batch, Blank, CopyId, DiskKeys, Image, Inner, Keys, Part, Space, failed};
use super::value::Json;

/// The version of the head and of the records beside it.
const VERSION: u32 = 1;

/// What a machine on a disk knows of its store.
pub(super) struct Stored {
    space: Arc<Space>,
    envelope: Option<Bytes>,
    /// What is persisted.
    last: State,
    /// What the last flush or intake has done, until the machine takes note of it.
    done: Slot,
}

type Slot = Arc<Mutex<Option<Done>>>;

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("space", &self.space).finish_non_exhaustive()
    }
}

impl Stored {
    /// Frees a state, and what is large of it elsewhere.
    pub(super) fn free(&self, mut state: State) {
        state.each_copy(|contents| {
            contents.disk_mut().into_iter().for_each(DiskKeys::strip);
            let none = Table::new(Duration::ZERO);
            self.space.database.free(mem::replace(&mut contents.sessions, none));
        });
        self.space.database.free(mem::take(&mut state.remains));
    }
}

/// A finished piece of work.
struct Done {
    envelope: Bytes,
    image: Image,
    /// What is persisted now.
    state: State,
    /// Whether the machine becomes that.
    replaces: bool,
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Done>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the machine of a group.
pub(super) fn open(database: &Arc<Inner>, group: GroupId, session_ttl: Duration) -> io::Result<KvMachine> {
    let space = Space::take(database, group)?;
    let blank = Blank { session_ttl, space: Some(Arc::clone(&space)) };
    let image = database.image();
    let (envelope, state) = match space.head(&image)? {
        None => (None, State::new(blank)),
        Some(head) => {
            let (envelope, outline) = read_head(&head)?;
            (Some(envelope), snapshot::recall(outline, blank.clone(), &Found { blank, space: &space, image: &image })?)
        }
    };
    space.sweep_leftovers(&live(&state));
    let stored = Stored { space, envelope, last: state.clone(), done: Slot::default() };
    Ok(KvMachine { state, stored: Some(stored) })
}

fn head(state: &State, envelope: &Bytes) -> Vec<u8> {
    encode(&(VERSION, envelope, snapshot::outline(state))).to_vec()
}

fn read_head(head: &[u8]) -> io::Result<(Bytes, Vec<Record>)> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    match postcard::take_from_bytes::<u32>(head) {
        Ok((VERSION, _)) => {}
        Ok((version, _)) => return Err(invalid(format!("a state of version {version}; this program reads {VERSION}"))),
        Err(error) => return Err(invalid(format!("head of the group: {error}"))),
    }
    let (_, envelope, outline): (u32, Bytes, Vec<Record>) =
        decode(head).map_err(|error| invalid(format!("head of the group: {error}")))?;
    Ok((envelope, outline))
}

/// The copies that a state refers to.
fn live(state: &State) -> BTreeSet<CopyId> {
    state.copies().filter_map(|(contents, _)| contents.disk().map(|disk| disk.copy)).collect()
}

/// Copies in the database.
struct Found<'a> {
    blank: Blank,
    space: &'a Arc<Space>,
    image: &'a Image,
}

impl Found<'_> {
    fn records<T: serde::de::DeserializeOwned>(&self, copy: CopyId, of: Part) -> impl Iterator<Item = io::Result<T>> {
        self.space.records(self.image, copy, of).map(move |record| {
            let (_, value) = record.into_inner().map_err(failed)?;
            decode(&value).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{of:?} of copy {}: {error}", copy.0))
            })
        })
    }
}

impl StoredCopies for Found<'_> {
    fn load(&self, copy: CopyId, keys: u64, bytes: u64, digest: Option<u64>) -> io::Result<(Contents, Marks)> {
        let long = self.records::<(Arc<str>, Json)>(copy, Part::LongKeys).collect::<io::Result<OrdMap<_, _>>>()?;
        let mut sessions = Table::new(self.blank.session_ttl);
        for session in self.records::<SessionRecord>(copy, Part::Sessions) {
            sessions.restore(session?);
        }
        let mut marks = Marks::default();
        for mark in self.records::<(Item, Index)>(copy, Part::Marks) {
            let (item, index) = mark?;
            marks.mark(item, index);
        }
        let keys = usize::try_from(keys).map_err(io::Error::other)?;
        let keys = Keys::Disk(DiskKeys::found(self.space, copy, keys, long, self.image));
        Ok((Contents::stored(keys, bytes, digest, sessions), marks))
    }
}

/// Writes what `state` has and `last`, which is stored, has not.
fn write_changes(batch: &mut Batch, state: &State, last: &State) {
    let mut earlier: BTreeMap<CopyId, (&Contents, Option<&Marks>)> = BTreeMap::new();
    earlier.extend(last.copies().filter_map(|copy| copy.0.disk().map(|disk| (disk.copy, copy))));
    let (no_sessions, no_marks, no_long) = (Table::new(state.blank.session_ttl), Marks::default(), OrdMap::new());
    for (contents, marks) in state.copies() {
        let Some(disk) = contents.disk() else { continue };
        let copy = disk.copy;
        for (key, value) in &disk.frozen().keys {
            batch.change(copy, Part::Keys, key.as_bytes(), value.as_ref().map(|value| value.text().as_bytes()));
        }
        let (before, marks_before) = earlier.get(&copy).copied().unzip();
        let long = before.and_then(Contents::disk).map_or(&no_long, |disk| &disk.long);
        for change in long.diff(&disk.long) {
            let (key, value) = match change {
                DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
                    (key, Some(encode(&(key, value))))
                }
                DiffItem::Remove(key, _) => (key, None),
            };
            batch.change(copy, Part::LongKeys, key.as_bytes(), value.as_deref());
        }
        for (client, session) in contents.sessions.changes_since(before.map_or(&no_sessions, |before| &before.sessions))
        {
            let session = session.map(|session| encode(&session));
            batch.change(copy, Part::Sessions, client.0.as_bytes(), session.as_deref());
        }
        let marks_before = marks_before.flatten().unwrap_or(&no_marks);
        for (item, index) in marks.unwrap_or(&no_marks).changes_since(marks_before) {
            let mark = index.map(|index| encode(&(item, index)));
            batch.change(copy, Part::Marks, &encode(item), mark.as_deref());
        }
    }
}

/// The changes of a state on their way to the disk.
struct KvFlush {
    space: Arc<Space>,
    state: State,
    last: State,
    done: Slot,
}

impl Flush for KvFlush {
    fn run(self: Box<Self>, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        let KvFlush { space, mut state, last, done } = *self;
        let head = head(&state, &envelope);
        let image = space.switch(head, &live(&state), |batch| write_changes(batch, &state, &last))?;
        state.each_copy(|contents| {
            if let Some(disk) = contents.disk_mut() {
                disk.settle(&image);
            }
        });
        let view = snapshot::view(state.clone());
        *lock(&done) = Some(Done { envelope, image, state, replaces: false });
        Ok(view)
    }
}

/// A snapshot on its way to the disk.
struct KvIntake {
    blank: Blank,
    space: Arc<Space>,
    done: Slot,
}

impl Intake for KvIntake {
    fn run(self: Box<Self>, reader: &mut dyn SnapshotReader, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        let KvIntake { blank, space, done } = *self;
        let mut state = snapshot::read(reader, blank.clone())?;
        let head = head(&state, &envelope);
        let image = space.switch(head, &live(&state), |batch| write_changes(batch, &state, &State::new(blank)))?;
        state.each_copy(|contents| {
            if let Some(disk) = contents.disk_mut() {
                disk.settle(&image);
            }
        });
        let view = snapshot::view(state.clone());
        *lock(&done) = Some(Done { envelope, image, state, replaces: true });
        Ok(view)
    }
}

/// Work that cannot be done.
struct Refused(&'static str);

impl Flush for Refused {
    fn run(self: Box<Self>, _: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        Err(io::Error::other(self.0))
    }
}

impl Intake for Refused {
    fn run(self: Box<Self>, _: &mut dyn SnapshotReader, _: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        Err(io::Error::other(self.0))
    }
}

const IN_MEMORY: Refused = Refused("this machine is in memory");

impl Durable for KvMachine {
    fn persisted(&self) -> Option<Bytes> {
        self.stored.as_ref()?.envelope.clone()
    }

    fn backlog(&self) -> Backlog {
        let Some(stored) = &self.stored else { return Backlog::Little };
        let (mut recent, mut all) = (0, 0);
        for disk in self.state.copies().filter_map(|(contents, _)| contents.disk()) {
            recent += disk.recent_bytes();
            all += disk.unpersisted_bytes();
        }
        let bound = stored.space.database.options.overlay_bytes.max(1);
        match (recent >= bound, all >= 2 * bound) {
            (_, true) => Backlog::TooMuch,
            (true, _) => Backlog::Much,
            _ => Backlog::Little,
        }
    }

    fn fault(&self) -> Option<String> {
        self.stored.as_ref()?.space.fault.get()
    }

    fn freeze(&mut self) -> Box<dyn Flush> {
        self.settle();
        let Some(stored) = &self.stored else { return Box::new(IN_MEMORY) };
        let under_way = |disk: &DiskKeys| !disk.frozen().keys.is_empty();
        if self.state.copies().filter_map(|(contents, _)| contents.disk()).any(under_way) {
            return Box::new(Refused("an earlier flush has failed, or has not ended"));
        }
        self.state.each_copy(|contents| {
            if let Some(disk) = contents.disk_mut() {
                disk.freeze();
            }
        });
        let (space, done) = (Arc::clone(&stored.space), Arc::clone(&stored.done));
        Box::new(KvFlush { space, state: self.state.clone(), last: stored.last.clone(), done })
    }

    fn intake(&mut self) -> Box<dyn Intake> {
        self.settle();
        let Some(stored) = &self.stored else { return Box::new(IN_MEMORY) };
        let (space, done) = (Arc::clone(&stored.space), Arc::clone(&stored.done));
        Box::new(KvIntake { blank: self.state.blank.clone(), space, done })
    }

    fn settle(&mut self) {
        let Some(stored) = &mut self.stored else { return };
        let Some(Done { envelope, image, state, replaces }) = lock(&stored.done).take() else { return };
        stored.envelope = Some(envelope);
        if replaces {
            let outdated = mem::replace(&mut self.state, state.clone());
            stored.free(outdated);
        } else {
            let persisted = live(&state);
            let mut outdated = Vec::new();
            self.state.each_copy(|contents| {
                // A copy that was made since has nothing to settle.
                if let Some(disk) = contents.disk_mut().filter(|disk| persisted.contains(&disk.copy)) {
                    outdated.push(disk.settle(&image));
                }
            });
            stored.space.database.free(outdated);
        }
        let outdated = mem::replace(&mut stored.last, state);
        stored.free(outdated);
    }
}
