//! What a direct client does with sessions and with shards on their way, on a group of one machine without consensus.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quorate::env::{Env, VirtualEnv};
use quorate::machine::EntryContext;
use quorate::sessions::Stamp;
use quorate::types::{ClientId, Index, LogId, LogTime, NodeId, Term};
use quorate::{Consistency, Proof, ReadError, ReadReply, StateMachine, Unknown, WriteError, Written};
use quorate_statemachines::kv::{
    Configure, Configured, Json, KvAnswer, KvCommand, KvMachine, KvOp, KvQuery, KvReply, Outcome, Source,
};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::{DirectClient, KvError, Reach, Target};

const TTL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(1);

/// A machine whose every command is committed at once.
pub(super) struct Alone(Mutex<State>);

struct State {
    machine: KvMachine,
    index: u64,
    time: LogTime,
    /// The answers to so many commands to come are lost, after they were carried out.
    lost: usize,
}

impl Alone {
    /// Of a group with the shard 0 of 1.
    pub(super) fn serving() -> Self {
        let state = State { machine: KvMachine::new(TTL), index: 0, time: LogTime(1), lost: 0 };
        let group = Alone(Mutex::new(state));
        group.configure(1, &[0], &[]);
        group
    }

    pub(super) fn lose(&self, answers: usize) {
        self.0.lock().unwrap().lost = answers;
    }

    pub(super) fn value(&self, key: &str) -> Option<Json> {
        self.0.lock().unwrap().machine.keys(ShardId(0)).unwrap().get(key).cloned()
    }

    fn configure(&self, number: u64, shards: &[u32], sources: &[u32]) {
        let source = |shard: &u32| (ShardId(*shard), Source { gid: Gid::new("g2"), taken_at: None });
        let config = Configure {
            number: ConfigNumber(number),
            previous: ConfigNumber(number - 1),
            shards: shards.iter().map(|shard| ShardId(*shard)).collect::<BTreeSet<_>>(),
            shard_count: 1,
            sources: sources.iter().map(source).collect(),
            targets: Default::default(),
        };
        let reply = self.apply(KvCommand::Configure(config)).1;
        assert!(matches!(reply, KvReply::Configured { outcome: Configured::Applied, .. }), "{reply:?}");
    }

    pub(super) fn apply(&self, command: KvCommand) -> (u64, KvReply) {
        let mut state = self.0.lock().unwrap();
        state.index += 1;
        let (index, time) = (state.index, state.time);
        let entry = EntryContext { index: Index(index), place: 0, term: Term(1), time };
        (index, state.machine.apply(entry, command))
    }

    fn commands(&self) -> u64 {
        self.0.lock().unwrap().index
    }
}

#[async_trait]
impl Reach<KvMachine> for Alone {
    async fn write(&self, command: &KvCommand, _: Duration, _: usize) -> Result<Written<KvReply>, WriteError> {
        let (index, reply) = self.apply(command.clone());
        let mut state = self.0.lock().unwrap();
        if state.lost > 0 {
            state.lost -= 1;
            return Err(Unknown::LeaderLost.into());
        }
        Ok(Written { at: LogId { term: Term(1), index: Index(index) }, reply, replayed: false })
    }

    async fn read(
        &self,
        _: Consistency,
        query: &KvQuery,
        _: Duration,
        _: usize,
    ) -> Result<ReadReply<KvAnswer>, ReadError> {
        let answer = self.0.lock().unwrap().machine.query(query.clone());
        let proof =
            Proof { served_by: NodeId(1), applied: None, linearizable: true, staleness: None, redirected: false };
        Ok(ReadReply { answer, proof })
    }

    async fn changed(&self, _: Option<Index>, _: Duration) -> Option<Index> {
        None
    }
}

struct Bench {
    client: DirectClient,
    group: Alone,
    gid: Gid,
}

impl Bench {
    /// A group with the shard 0 of 1.
    fn new() -> Self {
        let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(1));
        Bench { client: DirectClient::new(env), group: Alone::serving(), gid: Gid::new("g1") }
    }

    fn configure(&self, number: u64, shards: &[u32], sources: &[u32]) {
        self.group.configure(number, shards, sources);
    }

    fn target(&self) -> Target<'_> {
        Target { gid: &self.gid, group: &self.group }
    }

    async fn append(&self, value: &str, seq: u64) -> Result<Outcome, KvError> {
        let op = KvOp::Append { key: "k".into(), value: Json::from(&value.into()) };
        let session = Stamp { client: ClientId::new("alice"), seq, acked: None };
        self.client.execute(self.target(), op, Some(session), TIMEOUT).await
    }

    async fn value(&self) -> String {
        let value = self.client.get(self.target(), &"k".into(), TIMEOUT).await.unwrap();
        value.map(|value| value.text().trim_matches('"').to_owned()).unwrap_or_default()
    }

    fn let_sessions_expire(&self) {
        self.group.0.lock().unwrap().time.0 += 2 * TTL.as_millis() as u64;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_asked_for_again_and_the_operation_is_carried_out_once() {
    let bench = Bench::new();
    assert_eq!(bench.append("a", 1).await, Ok(Outcome::Appended));
    bench.group.0.lock().unwrap().lost = 3;
    assert_eq!(bench.append("b", 2).await, Ok(Outcome::Appended));
    assert_eq!(bench.value().await, "ab");
    // Also when the caller names no session.
    bench.group.0.lock().unwrap().lost = 2;
    let op = KvOp::Append { key: "k".into(), value: Json::from(&"c".into()) };
    assert_eq!(bench.client.execute(bench.target(), op, None, TIMEOUT).await, Ok(Outcome::Appended));
    assert_eq!(bench.value().await, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_an_expired_session_is_not_carried_out_again() {
    let bench = Bench::new();
    bench.append("a", 1).await.unwrap();
    bench.append("b", 2).await.unwrap();
    bench.let_sessions_expire();
    assert_eq!(bench.append("b", 2).await, Err(KvError::SessionExpired), "it may be the retry that it is");
    for _ in 0..3 {
        assert_eq!(bench.append("b", 2).await, Err(KvError::SessionWindow), "and so may the next one");
    }
    assert_eq!(bench.append("c", 3).await, Ok(Outcome::Appended), "a new number opens the session again");
    for (value, seq) in [("a", 1), ("b", 2)] {
        assert_eq!(bench.append(value, seq).await, Err(KvError::SessionWindow), "what was below it is not taken");
    }
    assert_eq!(bench.append("c", 3).await, Ok(Outcome::Appended));
    assert_eq!(bench.value().await, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_does_not_come_is_waited_for_without_filling_the_log() {
    let bench = Bench::new();
    bench.append("a", 1).await.unwrap();
    bench.configure(2, &[], &[]);
    bench.configure(3, &[0], &[0]);
    let before = bench.group.commands();
    let outcome = bench.append("b", 2).await;
    assert!(matches!(outcome, Err(KvError::NotServed(_))), "{outcome:?}");
    assert!(bench.group.commands() - before <= 2, "{} commands", bench.group.commands() - before);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_when_there_is_no_time() {
    let bench = Bench::new();
    let op = KvOp::Delete { key: "k".into() };
    let outcome = bench.client.execute(bench.target(), op, None, Duration::ZERO).await;
    assert!(outcome.is_err_and(|error| error.is_definite()));
}
