//! The master's machine: the epoch first, then the session, then the operation.

use std::io;
use std::time::Duration;

use imbl::OrdSet;
use quorate::machine::{EntryContext, StateDigest, StateMachine, decode, encode, snapshot_digest};
use quorate::planted::{self, Bug};
use quorate::sessions::{Begin, Refusal as SessionRefusal, Stamp, Table, digest};
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::{LogTime, Term};

use super::chunks::Chunks;
use super::command::{
    Done, Epoch, Found, MasterAnswer, MasterCommand, MasterOp, MasterQuery, MasterReply, Name, Office, Refusal,
};
use super::heartbeat::heard;
use super::namespace::Namespace;
use super::servers::Servers;
use super::snapshot;

/// How long a session lives without being used, in the log's time.
const SESSION_TTL: Duration = Duration::from_secs(3600);

/// The metadata. A clone is O(1) and shares its structure.
#[derive(Clone, Debug)]
pub struct MasterMachine {
    pub(super) office: Office,
    /// The newest log time that was seen.
    pub(super) time: LogTime,
    pub(super) namespace: Namespace,
    pub(super) chunks: Chunks,
    pub(super) servers: Servers,
    pub(super) subscribers: OrdSet<Name>,
    pub(super) sessions: Table,
}

impl Default for MasterMachine {
    fn default() -> Self {
        MasterMachine {
            office: Office::default(),
            time: LogTime::default(),
            namespace: Namespace::default(),
            chunks: Chunks::default(),
            servers: Servers::default(),
            subscribers: OrdSet::new(),
            sessions: Table::new(SESSION_TTL),
        }
    }
}

impl MasterMachine {
    /// No path, no server, no primary yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who is the primary.
    pub fn office(&self) -> &Office {
        &self.office
    }

    fn begin_epoch(&mut self, entry: Term, primary: Name, term: Term) -> MasterReply {
        // A command of an earlier leader, handed on to this one.
        if entry != term {
            return MasterReply::TermOver;
        }
        let begins = self.office.primary.is_none() || self.office.term < term;
        if begins {
            let is_raised = self.office.primary.is_none() || !planted::is(Bug::EpochNotRaised);
            let epoch = Epoch(self.office.epoch.0 + u64::from(is_raised));
            self.office = Office { epoch, primary: Some(primary), term };
        } else if self.office.primary.as_ref() != Some(&primary) {
            return MasterReply::TermOver;
        }
        let servers: OrdSet<Name> = self.servers.by_name.keys().cloned().collect();
        let mut audience: Vec<Name> = servers.union(self.subscribers.clone()).into_iter().collect();
        if planted::is(Bug::NotificationNotRepeated) && !begins {
            audience.clear();
        }
        MasterReply::Began { office: self.office.clone(), audience }
    }

    fn operate(
        &mut self,
        entry: EntryContext,
        epoch: Epoch,
        claimed: Option<Epoch>,
        session: Option<Stamp>,
        op: MasterOp,
    ) -> MasterReply {
        // Neither of these is recorded: the same number may come again at the next primary.
        if epoch != self.office.epoch && !planted::is(Bug::EpochUnchecked) {
            return MasterReply::Deposed(self.office.clone());
        }
        let mut begun = None;
        if let Some(stamp) = session {
            let digest = digest(&encode(&op));
            match self.sessions.begin(&stamp, digest, entry.time) {
                Begin::Fresh => begun = Some((stamp, digest)),
                Begin::Refused(refusal) => return MasterReply::Session(refusal),
                Begin::Replay(reply) => return replayed(&reply),
            }
        }
        if claimed.is_some_and(|claimed| claimed != epoch) {
            return MasterReply::WrongEpoch(self.office.clone());
        }
        let reply = match self.carry_out(op) {
            Ok(done) => MasterReply::Done(done),
            Err(refusal) => MasterReply::Refused(refusal),
        };
        if let Some((stamp, digest)) = begun {
            self.sessions.record(&stamp, digest, encode(&reply), entry.index);
        }
        reply
    }

    fn carry_out(&mut self, op: MasterOp) -> Result<Done, Refusal> {
        let MasterMachine { namespace, chunks, servers, .. } = self;
        match op {
            MasterOp::Create { path } => namespace.create(&path)?,
            MasterOp::Delete { path } => {
                for chunk in namespace.delete(&path)? {
                    chunks.remove(servers, chunk);
                }
            }
            MasterOp::Rename { from, to } => namespace.rename(&from, &to)?,
            MasterOp::AllocateChunk { path, replicas } => {
                namespace.get(&path).ok_or(Refusal::NoSuchPath)?;
                let placed = chunks.allocate(servers, replicas)?;
                namespace.append(&path, placed.chunk);
                return Ok(Done::Allocated { placed, epoch: self.office.epoch });
            }
            MasterOp::Register { server, capacity } => {
                servers.change(&server, |server| (server.capacity, server.lost) = (capacity, false));
            }
            MasterOp::Subscribe { who } => _ = self.subscribers.insert(who),
            MasterOp::Report { server, has, lacks } => {
                servers.get(&server).ok_or(Refusal::NotRegistered)?;
                servers.change(&server, |server| server.lost = false);
                has.into_iter().for_each(|(chunk, version)| chunks.reported(servers, &server, chunk, version));
                lacks.into_iter().for_each(|chunk| chunks.dropped(servers, &server, chunk));
            }
            MasterOp::Lose { server } => {
                servers.get(&server).ok_or(Refusal::NotRegistered)?;
                servers.change(&server, |server| server.lost = true);
            }
            MasterOp::Forget { server, chunks_max } => {
                let held = servers.get(&server).ok_or(Refusal::NotRegistered)?;
                // One that is back keeps what it has.
                let count = if held.lost { chunks_max as usize } else { 0 };
                let some: Vec<_> = held.chunks.iter().take(count).copied().collect();
                some.into_iter().for_each(|chunk| chunks.dropped(servers, &server, chunk));
                let left = servers.get(&server).filter(|server| server.lost).map_or(0, |server| server.chunks.len());
                return Ok(Done::Forgotten { left: left as u64 });
            }
        }
        Ok(Done::Plainly)
    }

    /// The reply that an operation got in its session.
    fn outcome(&self, stamp: &Stamp, op: &MasterOp) -> Option<MasterReply> {
        // A copy is asked, which costs nothing and may be changed.
        match self.sessions.clone().begin(stamp, digest(&encode(op)), self.time) {
            Begin::Fresh => None,
            Begin::Replay(reply) => Some(replayed(&reply)),
            Begin::Refused(refusal) => Some(MasterReply::Session(refusal)),
        }
    }
}

fn replayed(reply: &[u8]) -> MasterReply {
    // Recorded by a version that this one does not know: it was carried out, and how it went cannot be told.
    decode(reply).unwrap_or(MasterReply::Session(SessionRefusal::BelowWindow))
}

impl StateMachine for MasterMachine {
    type Command = MasterCommand;
    type Reply = MasterReply;
    type Query = MasterQuery;
    type Answer = MasterAnswer;

    fn apply(&mut self, entry: EntryContext, command: MasterCommand) -> MasterReply {
        self.time = self.time.max(entry.time);
        self.sessions.expire(entry.time);
        match command {
            MasterCommand::BeginEpoch { primary, term } => self.begin_epoch(entry.term, primary, term),
            MasterCommand::OpenSession { client } => {
                self.sessions.open(&client, entry.time, entry.index);
                MasterReply::SessionOpened
            }
            MasterCommand::Op { epoch, claimed, session, op } => self.operate(entry, epoch, claimed, session, op),
        }
    }

    fn query(&self, query: MasterQuery) -> MasterAnswer {
        let found = match query {
            MasterQuery::Office => Found::Office,
            MasterQuery::List { prefix, from, limit } => Found::Paths(self.namespace.list(prefix, from, limit)),
            MasterQuery::Stat { path } => {
                Found::Chunks(self.namespace.get(&path).map(|chunks| chunks.iter().copied().collect()))
            }
            MasterQuery::Locate { path, index } => {
                let nth = usize::try_from(index).ok();
                let chunk = self.namespace.get(&path).and_then(|chunks| chunks.get(nth?));
                Found::Placed(chunk.and_then(|chunk| self.chunks.placed(&self.servers, *chunk)))
            }
            MasterQuery::Heartbeat { server, chunks } => {
                Found::Heard(heard(&self.chunks, &self.servers, &server, chunks))
            }
            MasterQuery::Outcome { stamp, op } => Found::Outcome(self.outcome(&stamp, &op)),
            MasterQuery::Servers => {
                let servers = self.servers.by_name.iter();
                Found::Servers(servers.map(|(name, server)| (name.clone(), server.state())).collect())
            }
        };
        MasterAnswer { office: self.office.clone(), found }
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot_digest(self.snapshot()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        snapshot::view(self.clone())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        *self = snapshot::read(reader)?;
        Ok(())
    }
}
