//! Several groups without Raft: each a log and two replicas, one of which may lag, and may be on a disk; a bag of messages
//! that are lost, repeated and reordered; and a driver that knows nothing but what the machines say.

use super::disk::{Place, position, position_of, take_in};
use super::model::Model;
use super::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SHARDS: u32 = 3;
const NAMES: [&str; 3] = ["g1", "g2", "g3"];
/// The groups' clocks run alike and have nothing else to do with each other.
const CLOCKS: [u64; 3] = [9_000_000, 0, 77_000];

pub(super) struct World {
    groups: Vec<Group>,
    configs: Vec<Config>,
    bag: Vec<(usize, KvCommand)>,
    session_ttl: Duration,
    pub(super) model: Model,
}

/// A configuration of the whole cluster, with the last holder of each shard and what took it away from it.
#[derive(Clone, Debug, Default)]
struct Config {
    number: u64,
    shards: BTreeMap<ShardId, usize>,
    holders: BTreeMap<ShardId, (usize, ConfigNumber)>,
}

struct Group {
    log: Vec<(EntryContext, KvCommand, KvReply)>,
    /// The first has applied the whole log.
    replicas: [KvMachine; 2],
    lagging_at: usize,
    time: u64,
    /// Whether a replica has said something that depends on how far it is: not before it has applied all of an entry.
    told: Cell<bool>,
    /// Where the lagging replica is, unless in memory.
    disk: Option<Place>,
}

impl Group {
    /// Where the next command stands: often in the same entry as the one before it.
    fn next_context(&self) -> EntryContext {
        let next = entry(self.log.last().map_or(1, |(last, ..)| last.index.0 + 1), self.time);
        match self.log.last() {
            Some((last, ..)) if !self.told.take() && last.time == next.time && !self.log.len().is_multiple_of(5) => {
                EntryContext { place: last.place + 1, ..*last }
            }
            _ => next,
        }
    }

    fn commit(&mut self, command: KvCommand) -> KvReply {
        let context = self.next_context();
        let reply = self.replicas[0].apply(context, command.clone());
        self.log.push((context, command, reply.clone()));
        reply
    }

    /// Applies about `count` commands to the lagging replica, and all of the last one's entry.
    fn catch_up(&mut self, count: usize) {
        let end = self.lagging_at.saturating_add(count).min(self.log.len());
        let last = end.checked_sub(1).map(|last| self.log[last].0.index);
        let rest = self.log[end..].iter().take_while(|(context, ..)| Some(context.index) == last).count();
        // What is applied anywhere is a whole entry.
        self.told.set(true);
        for (context, command, reply) in &self.log[self.lagging_at..end + rest] {
            assert_eq!(self.replicas[1].apply(*context, command.clone()), *reply, "replicas answer {command:?} alike");
            self.lagging_at += 1;
        }
        if self.lagging_at == self.log.len() {
            let [first, second] = &self.replicas;
            assert_eq!(bytes_of(&*first.snapshot()), bytes_of(&*second.snapshot()), "replicas are in the same state");
            assert_eq!(digest_of(first), digest_of(second), "and have the same digest");
        }
    }

    /// Replaces the replica by its own snapshot, or the lagging one by a snapshot of the other.
    fn restore(&mut self, replica: usize, from: usize, session_ttl: Duration) {
        self.told.set(true);
        if (replica, from) == (1, 0) {
            self.lagging_at = self.log.len();
        }
        let from = if replica == 0 { 0 } else { from };
        match (replica, &self.disk) {
            (1, Some(_)) => {
                let view = self.replicas[from].snapshot();
                take_in(&mut self.replicas[1], &*view, position(self.lagging_at));
            }
            _ => self.replicas[replica] = restored(&self.replicas[from], session_ttl),
        }
    }

    /// Persists the lagging replica, which goes on while it is written.
    fn persist(&mut self, meanwhile: usize) {
        if self.disk.is_none() {
            return;
        }
        let frozen_at = position(self.lagging_at);
        let expected = bytes_of(&*self.replicas[1].snapshot());
        let flush = self.replicas[1].freeze();
        self.catch_up(meanwhile);
        let view = flush.run(frozen_at).unwrap();
        self.catch_up(meanwhile / 2);
        self.replicas[1].settle();
        assert_eq!(bytes_of(&*view), expected, "what is persisted is what was set aside");
    }

    /// The lagging replica loses what is not persisted, and starts again.
    fn crash(&mut self, session_ttl: Duration) {
        if let Some(place) = &self.disk {
            self.replicas[1] = place.open(session_ttl);
            self.lagging_at = self.replicas[1].persisted().map_or(0, |envelope| position_of(&envelope));
        }
    }

    fn work(&self, replica: usize) -> Work {
        let KvAnswer::Work(work) = self.replicas[replica].query(KvQuery::Work) else { panic!("no work") };
        work
    }

    fn status(&self) -> Status {
        let KvAnswer::Status(status) = self.replicas[0].query(KvQuery::Status) else { panic!("no status") };
        status
    }

    fn scan(&self, shard: ShardId) -> KvAnswer {
        self.replicas[0].query(KvQuery::Scan(Scan { shard, ..Default::default() }))
    }
}

fn index_of(gid: &Gid) -> usize {
    NAMES.iter().position(|name| **name == *gid.0).unwrap()
}

impl World {
    /// With a `database`, one replica of each group is there, and the other in memory.
    pub(super) fn new(session_ttl_ms: u64, database: Option<&KvDatabase>) -> Self {
        let session_ttl = Duration::from_millis(session_ttl_ms);
        let group = |time| {
            let disk = database.map(Place::new);
            let lagging = disk.as_ref().map_or_else(|| KvMachine::new(session_ttl), |place| place.open(session_ttl));
            Group {
                log: Vec::new(),
                replicas: [KvMachine::new(session_ttl), lagging],
                lagging_at: 0,
                time,
                told: Cell::new(false),
                disk,
            }
        };
        World {
            groups: CLOCKS.map(group).into(),
            configs: vec![Config::default()],
            bag: Vec::new(),
            session_ttl,
            model: Model::new(session_ttl_ms),
        }
    }

    /// Decides on the next configuration: a shard that is not named keeps its place.
    pub(super) fn assign(&mut self, changes: &BTreeMap<ShardId, Option<usize>>) {
        let before = self.configs.last().unwrap();
        let mut next = Config { number: before.number + 1, ..before.clone() };
        for (shard, to) in changes {
            let from = next.shards.remove(shard);
            next.shards.extend(to.map(|to| (*shard, to)));
            if let Some(from) = from
                && *to != Some(from)
            {
                next.holders.insert(*shard, (from, ConfigNumber(next.number)));
            }
        }
        self.configs.push(next);
    }

    /// The configuration after the one that a group is at, as that group sees it.
    fn next_config(&self, group: usize, at: ConfigNumber) -> Option<Configure> {
        let next = self.configs.get(at.0 as usize + 1)?;
        let before = &self.configs[at.0 as usize];
        let gained =
            next.shards.iter().filter(|(shard, to)| **to == group && before.shards.get(*shard) != Some(&group));
        let lost = before.shards.iter().filter(|(_, from)| **from == group);
        Some(Configure {
            number: ConfigNumber(next.number),
            previous: at,
            shards: next.shards.iter().filter(|(_, to)| **to == group).map(|(shard, _)| *shard).collect(),
            shard_count: SHARDS,
            sources: gained
                .filter_map(|(shard, _)| next.holders.get(shard).map(|(holder, taken_at)| (*shard, *holder, *taken_at)))
                .filter(|(_, holder, _)| *holder != group)
                .map(|(shard, holder, at)| (shard, Source { gid: gid(NAMES[holder]), taken_at: Some(at) }))
                .collect(),
            targets: lost
                .filter_map(|(shard, _)| next.shards.get(shard).map(|to| (*shard, *to)))
                .filter(|(_, to)| *to != group)
                .map(|(shard, to)| (shard, gid(NAMES[to])))
                .collect(),
        })
    }

    /// Everything that the driver of `group` would do, seen from one of its replicas, as messages.
    pub(super) fn jobs(
        &self,
        group: usize,
        replica: usize,
        source_replica: usize,
        bytes: u64,
    ) -> Vec<(usize, KvCommand)> {
        let work = self.groups[group].work(replica);
        let me = gid(NAMES[group]);
        let mut jobs = Vec::new();
        if work.settled {
            jobs.extend(self.next_config(group, work.number).map(|config| (group, KvCommand::Configure(config))));
        }
        for pull in work.pulls {
            jobs.extend(self.pull(group, pull, source_replica, bytes));
        }
        for ack in work.acks {
            jobs.push((
                index_of(&ack.source),
                KvCommand::Delete { shard: ack.shard, lost_at: ack.lost_at, to: me.clone() },
            ));
        }
        for hand_off in work.hand_offs {
            let HandOffWork { shard, lost_at, to, .. } = hand_off;
            let query = KvQuery::Installed { shard, source: me.clone(), lost_at };
            let destination = &self.groups[index_of(&to)].replicas[source_replica];
            if destination.query(query) == KvAnswer::Installed(true) {
                jobs.push((group, KvCommand::Delete { shard, lost_at, to }));
            }
        }
        for sweep in work.sweeps {
            jobs.push((group, KvCommand::Sweep { shard: sweep.shard, max_keys: (bytes % 5) as u32 }));
        }
        jobs
    }

    fn pull(&self, group: usize, work: PullWork, source_replica: usize, max_bytes: u64) -> Vec<(usize, KvCommand)> {
        let PullWork { shard, number, .. } = work;
        let source = index_of(&work.source);
        let pull = Pull { puller: gid(NAMES[group]), taken_at: work.taken_at };
        if work.whole {
            return vec![(group, KvCommand::Install { shard, number, delta: None })];
        }
        let query = match work.reached {
            Some(from) if work.copied => KvQuery::PullDelta { shard, pull, from, max_bytes },
            _ => KvQuery::PullChunk { shard, pull, after: work.after, max_bytes },
        };
        let mut jobs = Vec::new();
        self.groups[source].told.set(true);
        match self.groups[source].replicas[source_replica].query(query) {
            KvAnswer::Pulled(Pulled::Chunk(chunk)) => {
                jobs.push((group, KvCommand::StageChunk { shard, number, chunk }))
            }
            KvAnswer::Pulled(Pulled::Delta(delta)) if delta.is_last() => {
                jobs.push((group, KvCommand::Install { shard, number, delta: Some(delta) }));
            }
            KvAnswer::Pulled(Pulled::Delta(delta)) => {
                jobs.push((group, KvCommand::StageDelta { shard, number, delta }))
            }
            KvAnswer::Pulled(_) => {}
            other => panic!("{other:?} to a pull"),
        }
        if let (true, None, Some(lost_at)) = (work.copied, work.frozen_at, work.lost_at) {
            jobs.push((source, KvCommand::Freeze { shard, lost_at }));
        }
        jobs
    }

    /// The group that serves a shard, if there is one now.
    pub(super) fn server_of(&self, shard: ShardId) -> Option<usize> {
        self.groups.iter().position(|group| !matches!(group.scan(shard), KvAnswer::NotServed(_)))
    }

    pub(super) fn send(&mut self, message: (usize, KvCommand)) {
        self.bag.push(message);
    }

    /// Takes one message out of the bag, or leaves a copy in it, to be carried out again later.
    pub(super) fn deliver(&mut self, pick: usize, again: bool) {
        if self.bag.is_empty() {
            return;
        }
        let pick = pick % self.bag.len();
        let (to, command) = if again { self.bag[pick].clone() } else { self.bag.swap_remove(pick) };
        self.commit(to, command);
    }

    pub(super) fn lose(&mut self, pick: usize) {
        if !self.bag.is_empty() {
            self.bag.swap_remove(pick % self.bag.len());
        }
    }

    /// Commits a command in a group, checks the reply, and sends what the driver would send upon it.
    pub(super) fn commit(&mut self, group: usize, command: KvCommand) -> KvReply {
        let reply = self.groups[group].commit(command.clone());
        match (&command, &reply) {
            (_, KvReply::NotServed(_)) => {}
            (KvCommand::Op { shard, session, op }, reply) => {
                assert_eq!(
                    *reply,
                    self.model.operate(*shard, session.as_ref(), op, reply),
                    "{} answers {command:?}",
                    NAMES[group]
                );
            }
            (KvCommand::Batch { shard, session, batch }, reply) => {
                let expected = self.model.batch(*shard, session.as_ref(), batch, reply);
                assert_eq!(*reply, expected, "{} answers {command:?}", NAMES[group]);
            }
            (KvCommand::OpenSession { shard, client }, KvReply::SessionOpened { fresh }) => {
                self.model.open(*shard, client, *fresh);
            }
            (KvCommand::Delete { shard, lost_at, to }, KvReply::Step(step)) => {
                let next = match step {
                    Step::StillServed => (group, KvCommand::Freeze { shard: *shard, lost_at: *lost_at }),
                    _ => {
                        let source = gid(NAMES[group]);
                        (index_of(to), KvCommand::Acknowledged { shard: *shard, lost_at: *lost_at, source })
                    }
                };
                self.send(next);
            }
            _ => {}
        }
        self.check();
        reply
    }

    /// At most one group serves a shard, and it serves what the model holds.
    fn check(&self) {
        for shard in (0..SHARDS).map(ShardId) {
            let served: Vec<_> = self.groups.iter().map(|group| group.scan(shard)).collect();
            let served: Vec<_> = served.iter().filter(|answer| !matches!(answer, KvAnswer::NotServed(_))).collect();
            assert!(served.len() <= 1, "shard {shard} is served twice");
            for answer in served {
                assert_eq!(*answer, KvAnswer::Items { items: self.model.shard(shard), more: false }, "shard {shard}");
            }
        }
    }

    pub(super) fn catch_up(&mut self, group: usize, count: usize) {
        self.groups[group].catch_up(count);
    }

    pub(super) fn restore(&mut self, group: usize, replica: usize, from: usize) {
        self.groups[group].restore(replica, from, self.session_ttl);
    }

    pub(super) fn persist(&mut self, group: usize, meanwhile: usize) {
        self.groups[group].persist(meanwhile);
    }

    pub(super) fn crash(&mut self, group: usize) {
        self.groups[group].crash(self.session_ttl);
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.model.now += ms;
        self.groups.iter_mut().for_each(|group| group.time += ms);
    }

    pub(super) fn last_config(&self) -> BTreeMap<ShardId, usize> {
        self.configs.last().unwrap().shards.clone()
    }

    /// Lets every group go on, in turn, until none has anything left to do; old messages come all the while.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "no end: {:?}", self.groups.iter().map(|g| g.work(0)).collect::<Vec<_>>());
            let mut idle = true;
            self.groups.iter_mut().for_each(|group| group.catch_up(usize::MAX));
            for group in 0..self.groups.len() {
                for (to, command) in self.jobs(group, round % 2, round % 2, 64) {
                    idle = false;
                    self.commit(to, command);
                }
            }
            while !self.bag.is_empty() {
                self.deliver(0, false);
            }
            if idle {
                return;
            }
        }
    }

    /// Each shard is where the last configuration says, with exactly what the model holds, and nowhere else.
    pub(super) fn check_settled(&mut self) {
        let shards = self.last_config();
        for (group, status) in self.groups.iter().map(Group::status).enumerate() {
            assert!(status.settled);
            assert_eq!(status.number.0, self.configs.last().unwrap().number);
            let held: BTreeSet<_> = status.shards.keys().copied().collect();
            let mine: BTreeSet<_> = shards.iter().filter(|(_, to)| **to == group).map(|(shard, _)| *shard).collect();
            assert_eq!(held, mine, "what {} holds: {status:?}", NAMES[group]);
        }
        for (shard, group) in &shards {
            let held = self.groups[*group].scan(*shard);
            assert_eq!(held, KvAnswer::Items { items: self.model.shard(*shard), more: false });
        }
        let done: Vec<_> = self.model.done.iter().map(|(id, carried)| (id.clone(), carried.clone())).collect();
        for ((shard, client, seq), carried) in done {
            let stamp = quorate::sessions::Stamp { client, seq, acked: None };
            let reply = self.commit(shards[&shard], carried.again(shard, stamp));
            let replayed = matches!(
                reply,
                KvReply::Done { replayed: true, .. } | KvReply::Batch { replayed: true, .. } | KvReply::Session(_)
            );
            assert!(replayed, "a retry after the moves: {reply:?}");
        }
    }
}
