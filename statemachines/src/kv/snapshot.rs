//! A shard group's snapshot: its state as a sequence of records, read from clones that share the state's structure.
//!
//! Promises: a state read back behaves like the one written, in every command and answer; a stream cut short is an error,
//! even when it is cut between two records.

use std::io;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::SessionRecord;
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::types::{Index, LogTime};
use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::lost::Lost;
use super::marks::{Item, Marks};
use super::remains::Remains;
use super::staged::Staged;
use super::state::{Duty, Holding, Pulling, State};
use super::transfer::{Applied, Reached};
use super::value::Json;
use crate::names::{ConfigNumber, Gid, ShardId};

/// The version of the records below. A reader refuses any other.
const VERSION: u32 = 1;

/// One record. `Serving`, `Lost`, `Pulling` and `Kept` begin a shard's data; the keys, sessions and marks that follow
/// belong to it. `Kept` belongs to the `Pulling` of the same shard before it.
#[derive(Serialize, Deserialize)]
enum Record {
    Head(Head),
    Given(ShardId, Gid),
    Duty(ShardId, ConfigNumber, Gid),
    Installed(ShardId, Gid, ConfigNumber),
    Remains { shard: ShardId, at: Index, keys: u64, sessions: u64, bytes: u64 },
    Serving(ShardId),
    Lost(ShardId, Loss),
    Pulling(ShardId, Pull),
    Kept(Loss),
    Session(SessionRecord),
    Key(Arc<str>, Json),
    Mark(Index, Item),
    End,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    applied: Index,
    time: LogTime,
    number: ConfigNumber,
    digest: u64,
    shard_count: u32,
}

#[derive(Serialize, Deserialize)]
struct Loss {
    lost_at: ConfigNumber,
    to: Option<Gid>,
    since: Index,
    frozen_at: Option<Index>,
}

#[derive(Serialize, Deserialize)]
struct Pull {
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

pub(super) fn view(state: State) -> Box<dyn SnapshotView> {
    Records::view(move || records(state.clone()))
}

fn records(state: State) -> BoxedRecords {
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
    let holdings = state.holdings.into_iter().flat_map(|(shard, holding)| holding_records(shard, holding));
    Box::new(
        once(head).chain(given).chain(duties).chain(installed).chain(remains).chain(holdings).chain(once(Record::End)),
    )
}

fn holding_records(shard: ShardId, holding: Holding) -> BoxedRecords {
    match holding {
        Holding::Serving(contents) => Box::new(once(Record::Serving(shard)).chain(contents_records(contents))),
        Holding::Lost(lost) => lost_records(lost, |loss| Record::Lost(shard, loss)),
        Holding::Pulling(pulling) => {
            let Pulling { number, source, taken_at, staged, kept } = *pulling;
            let Staged { lost_at, after, copied, reached, frozen_at, contents } = staged;
            let pull = Pull { number, source, taken_at, lost_at, after, copied, reached, frozen_at };
            let kept = kept.into_iter().flat_map(|kept| lost_records(kept, Record::Kept));
            Box::new(once(Record::Pulling(shard, pull)).chain(contents_records(contents)).chain(kept))
        }
    }
}

fn lost_records(lost: Lost, record: impl FnOnce(Loss) -> Record) -> BoxedRecords {
    let Lost { lost_at, to, since, frozen_at, contents, marks } = lost;
    let marks = marks.into_pairs().map(|(index, item)| Record::Mark(index, item));
    Box::new(once(record(Loss { lost_at, to, since, frozen_at })).chain(contents_records(contents)).chain(marks))
}

fn contents_records(contents: Contents) -> impl Iterator<Item = Record> + Send + 'static {
    let sessions = contents.sessions.records().map(Record::Session);
    sessions.chain(contents.into_keys().map(|(key, value)| Record::Key(key, value)))
}

pub(super) fn read(reader: &mut dyn SnapshotReader, session_ttl: Duration) -> io::Result<State> {
    let mut builder = Builder { state: State::new(session_ttl), filling: None, headed: false, ended: false };
    for record in read_records::<Record>(reader) {
        builder.add(record?)?;
    }
    builder.finish()
}

/// A state being put together.
struct Builder {
    state: State,
    filling: Option<(ShardId, Holding)>,
    headed: bool,
    ended: bool,
}

impl Builder {
    fn add(&mut self, record: Record) -> io::Result<()> {
        if self.ended || self.headed == matches!(record, Record::Head(_)) {
            return Err(damaged("a record out of its place"));
        }
        let session_ttl = self.state.session_ttl;
        match record {
            Record::Head(head) => self.head(head)?,
            Record::Given(shard, gid) => _ = self.state.given.insert(shard, gid),
            Record::Duty(shard, lost_at, source) => _ = self.state.duties.insert(Duty { shard, lost_at, source }),
            Record::Installed(shard, gid, at) => _ = self.state.installed.insert((shard, gid), at),
            Record::Remains { shard, at, keys, sessions, bytes } => {
                self.state.remains.insert((shard, at), Remains::counted(keys, sessions, bytes));
            }
            Record::Serving(shard) => self.begin(shard, Holding::Serving(Contents::new(session_ttl))),
            Record::Lost(shard, loss) => self.begin(shard, Holding::Lost(loss.empty(session_ttl))),
            Record::Pulling(shard, pull) => self.begin(shard, pull.empty(session_ttl)),
            Record::Kept(loss) => match &mut self.filling {
                Some((_, Holding::Pulling(pulling))) if pulling.kept.is_none() => {
                    pulling.kept = Some(loss.empty(session_ttl));
                }
                _ => return Err(damaged("a kept copy without its pull")),
            },
            Record::Session(session) => self.contents()?.sessions.restore(session),
            Record::Key(key, value) => self.contents()?.put(key, value),
            Record::Mark(index, item) => self.marks()?.mark(item, index),
            Record::End => {
                self.flush();
                self.ended = true;
            }
        }
        Ok(())
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

    fn begin(&mut self, shard: ShardId, holding: Holding) {
        self.flush();
        self.filling = Some((shard, holding));
    }

    fn flush(&mut self) {
        if let Some((shard, holding)) = self.filling.take() {
            self.state.holdings.insert(shard, holding);
        }
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
    fn empty(self, session_ttl: Duration) -> Lost {
        let Loss { lost_at, to, since, frozen_at } = self;
        Lost { lost_at, to, since, frozen_at, contents: Contents::new(session_ttl), marks: Marks::default() }
    }
}

impl Pull {
    fn empty(self, session_ttl: Duration) -> Holding {
        let Pull { number, source, taken_at, lost_at, after, copied, reached, frozen_at } = self;
        let staged = Staged { lost_at, after, copied, reached, frozen_at, contents: Contents::new(session_ttl) };
        Holding::Pulling(Box::new(Pulling { number, source, taken_at, staged, kept: None }))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("shard group snapshot: {what}"))
}
