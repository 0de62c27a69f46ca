//! One machine on the bench, and the moves of a driver who makes no mistake.

use quorate::sessions::Stamp;
use quorate::types::ClientId;

use super::*;

/// A group with a log of its own.
pub(super) struct Bench {
    pub(super) name: Gid,
    pub(super) machine: KvMachine,
    pub(super) index: u64,
    pub(super) time: u64,
}

impl Bench {
    /// A group at configuration 1 with these shards.
    pub(super) fn with(name: &str, shards: &[u32]) -> Self {
        let mut bench = Bench::new(name);
        assert_eq!(bench.configure(config(1, 0, shards)), Configured::Applied);
        bench
    }

    pub(super) fn new(name: &str) -> Self {
        Bench { name: gid(name), machine: KvMachine::default(), index: 0, time: 0 }
    }

    pub(super) fn apply(&mut self, command: KvCommand) -> KvReply {
        self.index += 1;
        self.machine.apply(entry(self.index, self.time), command)
    }

    pub(super) fn step(&mut self, command: KvCommand) -> Step {
        match self.apply(command) {
            KvReply::Step(step) => step,
            other => panic!("{other:?} to a step"),
        }
    }

    pub(super) fn configure(&mut self, config: Configure) -> Configured {
        match self.apply(KvCommand::Configure(config)) {
            KvReply::Configured { outcome, .. } => outcome,
            other => panic!("{other:?} to a configuration"),
        }
    }

    pub(super) fn put(&mut self, shard: u32, name: &str, value: i64) -> KvReply {
        self.apply(KvCommand::Op { shard: ShardId(shard), session: None, op: put(name, value) })
    }

    pub(super) fn delete(&mut self, shard: u32, name: &str) -> KvReply {
        self.apply(KvCommand::Op { shard: ShardId(shard), session: None, op: KvOp::Delete { key: key(name) } })
    }

    /// An operation of the session of "c".
    pub(super) fn stamped(&mut self, shard: u32, seq: u64, op: KvOp) -> KvReply {
        let session = Some(Stamp { client: ClientId::new("c"), seq, acked: None });
        self.apply(KvCommand::Op { shard: ShardId(shard), session, op })
    }

    pub(super) fn open(&mut self, shard: u32) -> KvReply {
        self.apply(KvCommand::OpenSession { shard: ShardId(shard), client: ClientId::new("c") })
    }

    pub(super) fn get(&self, shard: u32, name: &str) -> KvAnswer {
        self.machine.query(KvQuery::Get { shard: ShardId(shard), key: key(name) })
    }

    /// The shard's content, or why there is none.
    pub(super) fn scan(&self, shard: u32) -> Result<Vec<(String, String)>, NotServed> {
        match self.machine.query(KvQuery::Scan(Scan { shard: ShardId(shard), ..Default::default() })) {
            KvAnswer::Items { items, .. } => Ok(items.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
            KvAnswer::NotServed(refusal) => Err(refusal),
            other => panic!("{other:?} to a scan"),
        }
    }

    pub(super) fn status(&self) -> Status {
        let KvAnswer::Status(status) = self.machine.query(KvQuery::Status) else { panic!("no status") };
        status
    }

    pub(super) fn state(&self, shard: u32) -> Option<ShardState> {
        self.status().shards.get(&ShardId(shard)).map(|status| status.state)
    }

    pub(super) fn work(&self) -> Work {
        let KvAnswer::Work(work) = self.machine.query(KvQuery::Work) else { panic!("no work") };
        work
    }

    pub(super) fn chunk(&self, shard: u32, pull: Pull, after: Option<Item>, max_bytes: u64) -> Pulled {
        match self.machine.query(KvQuery::PullChunk { shard: ShardId(shard), pull, after, max_bytes }) {
            KvAnswer::Pulled(pulled) => pulled,
            other => panic!("{other:?} to a pull"),
        }
    }

    /// What the shard's pull wants next of `source`, staged; says whether there was anything.
    pub(super) fn pull(&mut self, shard: u32, source: &Bench, max_bytes: u64) -> Step {
        let work = self.work().pulls.into_iter().find(|pull| pull.shard.0 == shard).expect("a pull");
        let PullWork { shard, number, .. } = work;
        let pull = Pull { puller: self.name.clone(), taken_at: work.taken_at };
        let query = match work.reached {
            Some(from) if work.copied => KvQuery::PullDelta { shard, pull, from, max_bytes },
            _ => KvQuery::PullChunk { shard, pull, after: work.after, max_bytes },
        };
        match source.machine.query(query) {
            KvAnswer::Pulled(Pulled::Chunk(chunk)) => self.step(KvCommand::StageChunk { shard, number, chunk }),
            KvAnswer::Pulled(Pulled::Delta(delta)) => self.step(KvCommand::StageDelta { shard, number, delta }),
            other => panic!("{other:?} to a pull"),
        }
    }

    /// Pulls, freezes, pulls the rest, and installs.
    pub(super) fn take(&mut self, shard: u32, source: &mut Bench) {
        while !self.pull_work(shard).copied {
            assert_eq!(self.pull(shard, source, 20), Step::Done);
        }
        let lost_at = self.pull_work(shard).lost_at.unwrap();
        assert!(matches!(source.step(KvCommand::Freeze { shard: ShardId(shard), lost_at }), Step::Frozen { .. }));
        while !self.pull_work(shard).whole {
            assert_eq!(self.pull(shard, source, 20), Step::Done);
        }
        assert_eq!(self.install(shard), Step::Done);
    }

    pub(super) fn pull_work(&self, shard: u32) -> PullWork {
        self.work().pulls.into_iter().find(|pull| pull.shard.0 == shard).expect("a pull")
    }

    pub(super) fn install(&mut self, shard: u32) -> Step {
        let number = self.status().number;
        self.step(KvCommand::Install { shard: ShardId(shard), number, delta: None })
    }

    pub(super) fn give_up(&mut self, shard: u32, lost_at: u64, to: &Bench) -> Step {
        let (shard, lost_at) = (ShardId(shard), ConfigNumber(lost_at));
        self.step(KvCommand::Delete { shard, lost_at, to: to.name.clone() })
    }
}

pub(super) fn put(name: &str, value: i64) -> KvOp {
    KvOp::Put { key: key(name), value: json(value) }
}

pub(super) fn done(outcome: Outcome) -> KvReply {
    KvReply::Done { outcome, replayed: false }
}

/// A configuration without sources and targets.
pub(super) fn config(number: u64, previous: u64, shards: &[u32]) -> Configure {
    Configure {
        number: ConfigNumber(number),
        previous: ConfigNumber(previous),
        shards: shards.iter().copied().map(ShardId).collect(),
        shard_count: 10,
        sources: Default::default(),
        targets: Default::default(),
    }
}

impl Configure {
    pub(super) fn from(mut self, shard: u32, name: &str, taken_at: Option<u64>) -> Self {
        let source = Source { gid: gid(name), taken_at: taken_at.map(ConfigNumber) };
        self.sources.insert(ShardId(shard), source);
        self
    }

    pub(super) fn to(mut self, shard: u32, name: &str) -> Self {
        self.targets.insert(ShardId(shard), gid(name));
        self
    }
}

pub(super) fn items(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, NotServed> {
    Ok(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
}
