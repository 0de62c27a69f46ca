//! What a writer of batches does when answers are lost, on a group of one machine without consensus.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, VirtualEnv};
use quorate::sessions::Stamp;
use quorate::types::ClientId;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{Batch, BatchOutcome, Change, Expect, Json, KvCommand, KvOp};

use super::batch::{BatchPart, BatchWriter, Decided, StatementNumber};
use super::direct_tests::Alone;
use super::error::KvError;

const TIMEOUT: Duration = Duration::from_secs(1);
const STATEMENT: u64 = 7;

fn writer() -> BatchWriter {
    let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(1));
    BatchWriter::new(env)
}

fn named(writer: &BatchWriter, seq: u64) -> StatementNumber {
    writer.number(Some(Stamp { client: ClientId::new("c"), seq, acked: None }))
}

fn part<'a>(writer: &'a BatchWriter, number: &'a StatementNumber, group: &'a Alone) -> BatchPart<'a> {
    writer.part(number, ShardId(0), group, STATEMENT, TIMEOUT)
}

/// Counts up from what it saw.
fn count(seen: Option<i64>) -> Batch {
    let number = |number: i64| Json::from(&number.into());
    let expect = seen.map_or(Expect::Absent, |seen| Expect::Seen(number(seen).digest()));
    let value = Some(number(seen.unwrap_or(0) + 1));
    let changes = vec![Change { key: "n".into(), expect, value }];
    Batch { statement: STATEMENT, checks: Vec::new(), changes, rows: 1 }
}

fn applied(replayed: bool) -> Result<Decided, KvError> {
    Ok(Decided { outcome: BatchOutcome::Applied { rows: 1 }, replayed })
}

fn set(group: &Alone, value: i64) {
    let op = KvOp::Put { key: "n".into(), value: Json::from(&value.into()) };
    group.apply(KvCommand::Op { shard: ShardId(0), session: None, op });
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_answer_is_lost_takes_effect_once() {
    let (writer, group) = (writer(), Alone::serving());
    let number = writer.number(None);
    let mut part = part(&writer, &number, &group);
    assert!(matches!(part.write(&count(Some(1))).await.unwrap().outcome, BatchOutcome::Conflict { .. }));
    assert!(!part.may_have_happened());
    group.lose(3);
    assert_eq!(part.write(&count(None)).await, applied(true));
    assert_eq!(group.value("n"), Some(Json::made("1")));
}

#[tokio::test(start_paused = true)]
async fn a_statement_worked_out_anew_after_a_lost_answer_finds_what_it_did() {
    let (writer, group) = (writer(), Alone::serving());
    let number = named(&writer, 1);
    let mut first = part(&writer, &number, &group);
    assert_eq!(first.write(&count(None)).await, applied(false));
    drop(first);
    // The client never heard of it, somebody else went on, and it comes again.
    set(&group, 5);
    let mut again = part(&writer, &number, &group);
    assert!(again.may_have_happened());
    assert_eq!(again.was_decided().await, Ok(Some(BatchOutcome::Applied { rows: 1 })));
    assert_eq!(again.write(&count(Some(5))).await, applied(true));
    assert_eq!(group.value("n"), Some(Json::made("5")));
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_only_asked_for_is_free() {
    let (writer, group) = (writer(), Alone::serving());
    let number = named(&writer, 1);
    let mut part = part(&writer, &number, &group);
    assert_eq!(part.was_decided().await, Ok(None));
    assert!(!part.may_have_happened());
    assert_eq!(part.write(&count(None)).await, applied(false));
}

#[tokio::test(start_paused = true)]
async fn while_an_attempt_is_open_a_failure_is_not_definite() {
    let (writer, group) = (writer(), Alone::serving());
    let number = named(&writer, 1);
    let mut first = part(&writer, &number, &group);
    assert_eq!(first.was_decided().await, Ok(None));
    group.lose(usize::MAX);
    let error = first.write(&count(None)).await.unwrap_err();
    assert!(matches!(error, KvError::Unknown(_)), "{error:?}");
    assert!(first.may_have_happened());
    group.lose(0);
    drop(first);
    assert!(part(&writer, &number, &group).may_have_happened(), "in the next run too");
    assert!(!part(&writer, &named(&writer, 2), &group).may_have_happened());
}

#[tokio::test(start_paused = true)]
async fn a_number_used_for_another_statement_is_refused() {
    let (writer, group) = (writer(), Alone::serving());
    let number = named(&writer, 1);
    assert_eq!(part(&writer, &number, &group).write(&count(None)).await, applied(false));
    let mut other = writer.part(&number, ShardId(0), &group, STATEMENT + 1, TIMEOUT);
    let batch = Batch { statement: STATEMENT + 1, ..count(Some(1)) };
    assert_eq!(other.write(&batch).await, Err(KvError::SeqReused));
}
