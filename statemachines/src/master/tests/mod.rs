//! Tests of the master's machine.

mod epochs;
mod heartbeats;
mod model;
mod namespace;
mod properties;
mod snapshots;

use quorate::machine::{EntryContext, StateMachine};
use quorate::types::{Index, LogTime, Term};

use super::*;

/// A machine and the log that feeds it.
#[derive(Clone, Default)]
struct Log {
    machine: MasterMachine,
    index: u64,
    term: u64,
}

impl Log {
    /// A machine whose primary is `n1`, at epoch 1, with these chunk servers.
    fn with_servers(servers: &[(&str, u64)]) -> Log {
        let mut log = Log { term: 1, ..Log::default() };
        log.begin("n1");
        for (server, capacity) in servers {
            assert_eq!(log.op(register(server, *capacity)), MasterReply::Done(Done::Plainly));
        }
        log
    }

    fn apply(&mut self, command: MasterCommand) -> MasterReply {
        self.index += 1;
        let entry =
            EntryContext { index: Index(self.index), place: 0, term: Term(self.term), time: LogTime(self.index) };
        self.machine.apply(entry, command)
    }

    fn begin(&mut self, primary: &str) -> MasterReply {
        self.apply(MasterCommand::BeginEpoch { primary: primary.into(), term: Term(self.term) })
    }

    /// An operation under the epoch in force.
    fn op(&mut self, op: MasterOp) -> MasterReply {
        let epoch = self.machine.office().epoch;
        self.apply(MasterCommand::Op { epoch, claimed: None, session: None, op })
    }

    fn create(&mut self, text: &str) -> MasterReply {
        self.op(MasterOp::Create { path: path(text) })
    }

    fn allocate(&mut self, text: &str, replicas: u32) -> Result<Placed, Refusal> {
        match self.op(MasterOp::AllocateChunk { path: path(text), replicas }) {
            MasterReply::Done(Done::Allocated { placed, .. }) => Ok(placed),
            MasterReply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// What a heartbeat means, and what is ordered once the machine has been told the news.
    fn heartbeat(&mut self, server: &str, chunks: &[(u64, u64)]) -> Heard {
        let heard = self.hear(server, chunks);
        if heard.is_news() {
            let Heard { has, lacks, .. } = heard;
            self.op(MasterOp::Report { server: server.into(), has, lacks });
        }
        let heard = self.hear(server, chunks);
        assert!(!heard.is_news(), "{heard:?}");
        heard
    }

    fn hear(&self, server: &str, chunks: &[(u64, u64)]) -> Heard {
        let chunks = chunks.iter().map(|(id, version)| (ChunkId(*id), Version(*version))).collect();
        match self.machine.query(MasterQuery::Heartbeat { server: server.into(), chunks }).found {
            Found::Heard(Some(heard)) => heard,
            other => panic!("{other:?}"),
        }
    }

    fn list(&self) -> Vec<String> {
        self.list_from("", None, LIST_MAX).0
    }

    fn list_from(&self, prefix: &str, from: Option<&str>, limit: u64) -> (Vec<String>, bool) {
        let query = MasterQuery::List { prefix: prefix.into(), from: from.map(Into::into), limit };
        match self.machine.query(query).found {
            Found::Paths(Listing { paths, more }) => (paths.iter().map(|path| path.to_string()).collect(), more),
            other => panic!("{other:?}"),
        }
    }

    fn stat(&self, text: &str) -> Option<Vec<ChunkId>> {
        match self.machine.query(MasterQuery::Stat { path: path(text) }).found {
            Found::Chunks(chunks) => chunks,
            other => panic!("{other:?}"),
        }
    }

    fn locate(&self, text: &str, index: u64) -> Option<Placed> {
        match self.machine.query(MasterQuery::Locate { path: path(text), index }).found {
            Found::Placed(placed) => placed,
            other => panic!("{other:?}"),
        }
    }
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn register(server: &str, capacity: u64) -> MasterOp {
    MasterOp::Register { server: server.into(), capacity }
}

fn names(servers: &[Name]) -> Vec<&str> {
    servers.iter().map(|name| &**name).collect()
}
