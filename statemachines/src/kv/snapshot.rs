//! A shard group's snapshot: its state as a sequence of records, read from clones that share the state's structure.
//!
//! An *outline* of a state that is on a disk holds all the rest, and names the copies.
//!
//! Promises: a state read back behaves like the one written, in every command and answer; a stream cut short is an error,
//! even when it is cut between two records.

use std::hash::Hasher;
use std::io;
use std::iter::once;
use std::sync::Arc;

use bytes::Bytes;
use quorate::machine::{StateDigest, encode};
use quorate::planted::{self, Bug};
use quorate::sessions::SessionRecord;
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::types::{Index, LogTime};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::contents::Contents;
use super::lost::Lost;
use super::marks::{Item, Marks};
use super::remains::Remains;
use super::staged::Staged;
use super::state::{Duty, Holding, Pulling, State};
use super::store::{Blank, CopyId, DiskKeys, Fault};
use super::transfer::{Applied, Reached};
use super::value::Json;
use crate::names::{ConfigNumber, Gid, ShardId};

/// The version of the records below. A reader refuses any other.
const VERSION: u32 = 1;

/// One record. `Serving`, `Lost`, `Pulling` and `Kept` begin a shard's data; the keys, sessions and marks that follow
/// belong to it. `Kept` belongs to the `Pulling` of the same shard before it.
#[derive(Serialize, Deserialize)]
pub(super) enum Record {
    Head(Head),
    Given(ShardId, Gid),
    Duty(ShardId, ConfigNumber, Gid),
    Installed(ShardId, Gid, ConfigNumber),
    Remains {
        shard: ShardId,
        at: Index,
        keys: u64,
        sessions: u64,
        bytes: u64,
    },
    Serving(ShardId),
    Lost(ShardId, Loss),
    Pulling(ShardId, Pull),
    Kept(Loss),
    Session(SessionRecord),
    Key(Arc<str>, Json),
    Mark(Index, Item),
    End,
    /// As `Stored`, by programs that knew no digests.
    Copy {
        id: u64,
        keys: u64,
        bytes: u64,
    },
    /// In an outline, in the place of a copy's keys, sessions and marks: where they are stored.
    Stored {
        id: u64,
        keys: u64,
        bytes: u64,
        digest: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    version: u32,
    applied: Index,
    time: LogTime,
    number: ConfigNumber,
    digest: u64,
    shard_count: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Loss {
    lost_at: ConfigNumber,
    to: Option<Gid>,
    since: Index,
    frozen_at: Option<Index>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Pull {
    number: ConfigNumber,
    source: Gid,
    taken_at: Option<ConfigNumber>,
    lost_at: Option<ConfigNumber>,
    after: Option<Item>,
    copied: bool,
    reached: Option<Reached>,
    frozen_at: Option<Index>,
}

type BoxedRecords = Box<dyn Iterator<Item = Record> + Send>;

/// Whether a copy's data follows it, or is elsewhere, or only its digest counts.
#[derive(Clone, Copy)]
enum Form {
    Whole,
    Outline,
    Digest,
}

pub(super) fn view(state: State) -> Box<dyn SnapshotView> {
    let fault = state.blank.space.as_ref().map(|space| space.fault.clone());
    let view = Records::view(move || records(state.clone(), Form::Whole));
    match fault {
        None => view,
        Some(fault) => Box::new(Checked { view, fault }),
    }
}

/// All but the keys, sessions and marks, which are stored.
pub(super) fn outline(state: &State) -> Vec<Record> {
    records(state.clone(), Form::Outline).collect()
}

/// A digest of a state, of which the keys were counted one by one as they changed. The same in memory and on a disk, and
/// whatever way the state came. Programs of different ages compare each other by it: it may not change.
pub(super) fn digest(state: State) -> StateDigest {
    Box::new(move || {
        let mut hasher = XxHash3_64::new();
        records(state, Form::Digest).for_each(|record| hasher.write(&encode(&record)));
        Some(hasher.finish())
    })
}

/// A view of what is on a disk: it fails if the disk does.
struct Checked {
    view: Box<dyn SnapshotView>,
    fault: Fault,
}

struct CheckedReader(Box<dyn SnapshotReader>, Fault);

impl SnapshotView for Checked {
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(CheckedReader(self.view.open(), self.fault.clone()))
    }
}

impl SnapshotReader for CheckedReader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.0.next()?;
        // Asked afterwards: what cannot be read is missing in the piece.
        self.1.check().map(|()| piece)
    }
}

fn records(state: State, form: Form) -> BoxedRecords {
    let head = Record::Head(Head {
        version: VERSION,
        applied: state.applied.index,
        time: state.applied.time,
        number: state.number,
        digest: state.digest,
        shard_count: state.shard_count,
    });
    let given = state.given.into_iter().map(|(shard, gid)| Record::Given(shard, gid));
    let duties = state.duties.into_iter().map(|duty| Record::Duty(duty.shard, duty.lost_at, duty.source));
    let installed = state.installed.into_iter().map(|((shard, gid), at)| Record::Installed(shard, gid, at));
    let remains = state.remains.into_iter().map(|((shard, at), remains)| {
        let Remains { keys, sessions, bytes, .. } = remains;
        Record::Remains { shard, at, keys, sessions, bytes }
    });
    let holdings = state.holdings.into_iter().flat_map(move |(shard, holding)| holding_records(shard, holding, form));
    Box::new(
        once(head).chain(given).chain(duties).chain(installed).chain(remains).chain(holdings).chain(once(Record::End)),
    )
}

fn holding_records(shard: ShardId, holding: Holding, form: Form) -> BoxedRecords {
    match holding {
        Holding::Serving(contents) => Box::new(once(Record::Serving(shard)).chain(contents_records(contents, form))),
        Holding::Lost(lost) => lost_records(lost, form, |loss| Record::Lost(shard, loss)),
        Holding::Pulling(pulling) => {
            let Pulling { number, source, taken_at, staged, kept } = *pulling;
            let Staged { lost_at, after, copied, reached, frozen_at, contents } = staged;
            let pull = Pull { number, source, taken_at, lost_at, after, copied, reached, frozen_at };
            let kept = kept.into_iter().flat_map(move |kept| lost_records(kept, form, Record::Kept));
            Box::new(once(Record::Pulling(shard, pull)).chain(contents_records(contents, form)).chain(kept))
        }
    }
}

fn lost_records(lost: Lost, form: Form, record: impl FnOnce(Loss) -> Record) -> BoxedRecords {
    let Lost { lost_at, to, since, frozen_at, contents, marks } = lost;
    let all = once(record(Loss { lost_at, to, since, frozen_at })).chain(contents_records(contents, form));
    match form {
        Form::Whole if planted::is(Bug::MarksNotInSnapshot) => Box::new(all),
        Form::Outline => Box::new(all),
        Form::Whole | Form::Digest => {
            Box::new(all.chain(marks.into_pairs().map(|(index, item)| Record::Mark(index, item))))
        }
    }
}

fn contents_records(contents: Contents, form: Form) -> BoxedRecords {
    let stored = |id| {
        let (keys, bytes, digest) = (contents.len() as u64, contents.bytes(), contents.digest());
        Record::Stored { id, keys, bytes, digest }
    };
    if let (Form::Outline, Some(disk)) = (form, contents.disk()) {
        return Box::new(once(stored(disk.copy.0)));
    }
    if let Form::Digest = form {
        // Where it is stored is each replica's own.
        return Box::new(once(stored(0)).chain(contents.sessions.records().map(Record::Session)));
    }
    let sessions = contents.sessions.records().map(Record::Session);
    Box::new(sessions.chain(contents.into_keys().map(|(key, value)| Record::Key(key, value))))
}

/// Reads a snapshot into a state of the kind that `blank` makes. What goes to a disk is spilled there on the way, in batches
/// of bounded size.
pub(super) fn read(reader: &mut dyn SnapshotReader, blank: Blank) -> io::Result<State> {
    let mut builder = Builder::new(blank, None);
    for record in read_records::<Record>(reader) {
        builder.add(record?)?;
    }
    builder.finish()
}

/// Reads an [`outline`], and what belongs to it from where it is stored.
pub(super) fn recall(outline: Vec<Record>, blank: Blank, stored: &dyn StoredCopies) -> io::Result<State> {
    let mut builder = Builder::new(blank, Some(stored));
    outline.into_iter().try_for_each(|record| builder.add(record))?;
    builder.finish()
}

/// Where the data of copies is.
pub(super) trait StoredCopies {
    /// A copy of so many keys and bytes, and its marks.
    fn load(&self, copy: CopyId, keys: u64, bytes: u64, digest: Option<u64>) -> io::Result<(Contents, Marks)>;
}

/// How much a copy collects in memory before it is spilled.
const SPILL_BYTES: usize = 4 << 20;

/// A state being put together.
struct Builder<'a> {
    state: State,
    stored: Option<&'a dyn StoredCopies>,
    filling: Option<(ShardId, Holding)>,
    /// The last key of the copy that is being filled.
    last: Option<Arc<str>>,
    headed: bool,
    ended: bool,
}

impl<'a> Builder<'a> {
    fn new(blank: Blank, stored: Option<&'a dyn StoredCopies>) -> Self {
        Builder { state: State::new(blank), stored, filling: None, last: None, headed: false, ended: false }
    }

    fn add(&mut self, record: Record) -> io::Result<()> {
        if self.ended || self.headed == matches!(record, Record::Head(_)) {
            return Err(damaged("a record out of its place"));
        }
        let blank = &self.state.blank;
        match record {
            Record::Head(head) => self.head(head)?,
            Record::Given(shard, gid) => _ = self.state.given.insert(shard, gid),
            Record::Duty(shard, lost_at, source) => _ = self.state.duties.insert(Duty { shard, lost_at, source }),
            Record::Installed(shard, gid, at) => _ = self.state.installed.insert((shard, gid), at),
            Record::Remains { shard, at, keys, sessions, bytes } => {
                self.state.remains.insert((shard, at), Remains::counted(keys, sessions, bytes));
            }
            Record::Serving(shard) => self.begin(shard, Holding::Serving(blank.contents()))?,
            Record::Lost(shard, loss) => self.begin(shard, Holding::Lost(loss.empty(blank)))?,
            Record::Pulling(shard, pull) => self.begin(shard, pull.empty(blank))?,
            Record::Kept(loss) => match &mut self.filling {
                Some((_, Holding::Pulling(pulling))) if pulling.kept.is_none() => {
                    pulling.kept = Some(loss.empty(blank));
                    self.last = None;
                }
                _ => return Err(damaged("a kept copy without its pull")),
            },
            Record::Session(session) => self.contents()?.sessions.restore(session),
            Record::Key(key, value) => self.key(key, value)?,
            Record::Mark(index, item) => self.marks()?.mark(item, index),
            Record::Copy { id, keys, bytes } => self.load(CopyId(id), keys, bytes, None)?,
            Record::Stored { id, keys, bytes, digest } => self.load(CopyId(id), keys, bytes, Some(digest))?,
            Record::End => {
                self.flush()?;
                self.ended = true;
            }
        }
        Ok(())
    }

    fn load(&mut self, copy: CopyId, keys: u64, bytes: u64, digest: Option<u64>) -> io::Result<()> {
        let stored = self.stored.ok_or_else(|| damaged("a copy that is stored elsewhere"))?;
        let (contents, marks) = stored.load(copy, keys, bytes, digest)?;
        *self.contents()? = contents;
        if marks.len() > 0 {
            *self.marks()? = marks;
        }
        Ok(())
    }

    fn key(&mut self, key: Arc<str>, value: Json) -> io::Result<()> {
        let follows = self.last.as_ref().is_none_or(|last| *last < key);
        self.last = Some(Arc::clone(&key));
        let contents = self.contents()?;
        if !follows {
            return Err(damaged("a key out of its order"));
        }
        contents.append(key, value);
        match contents.disk_mut() {
            Some(disk) if disk.recent_bytes() >= SPILL_BYTES => disk.spill(),
            _ => Ok(()),
        }
    }

    fn head(&mut self, head: Head) -> io::Result<()> {
        if head.version != VERSION {
            return Err(damaged(&format!("version {} of a shard group's snapshot", head.version)));
        }
        self.headed = true;
        self.state.applied = Applied { index: head.applied, time: head.time };
        self.state.number = head.number;
        self.state.digest = head.digest;
        self.state.shard_count = head.shard_count;
        Ok(())
    }

    fn begin(&mut self, shard: ShardId, holding: Holding) -> io::Result<()> {
        self.flush()?;
        self.last = None;
        self.filling = Some((shard, holding));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some((shard, mut holding)) = self.filling.take() else { return Ok(()) };
        for contents in holding.each_contents() {
            contents.disk_mut().map_or(Ok(()), DiskKeys::spill)?;
        }
        self.state.holdings.insert(shard, holding);
        Ok(())
    }

    fn contents(&mut self) -> io::Result<&mut Contents> {
        match &mut self.filling {
            Some((_, Holding::Serving(contents))) => Ok(contents),
            Some((_, Holding::Lost(lost))) => Ok(&mut lost.contents),
            Some((_, Holding::Pulling(pulling))) => Ok(match &mut pulling.kept {
                Some(kept) => &mut kept.contents,
                None => &mut pulling.staged.contents,
            }),
            None => Err(damaged("data of no shard")),
        }
    }

    fn marks(&mut self) -> io::Result<&mut Marks> {
        match &mut self.filling {
            Some((_, Holding::Lost(lost))) => Ok(&mut lost.marks),
            _ => Err(damaged("a mark without a lost shard")),
        }
    }

    fn finish(self) -> io::Result<State> {
        if self.ended { Ok(self.state) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no end record")) }
    }
}

impl Loss {
    fn empty(self, blank: &Blank) -> Lost {
        let Loss { lost_at, to, since, frozen_at } = self;
        Lost { lost_at, to, since, frozen_at, contents: blank.contents(), marks: Marks::default() }
    }
}

impl Pull {
    fn empty(self, blank: &Blank) -> Holding {
        let Pull { number, source, taken_at, lost_at, after, copied, reached, frozen_at } = self;
        let staged = Staged { lost_at, after, copied, reached, frozen_at, contents: blank.contents() };
        Holding::Pulling(Box::new(Pulling { number, source, taken_at, staged, kept: None }))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("shard group snapshot: {what}"))
}
