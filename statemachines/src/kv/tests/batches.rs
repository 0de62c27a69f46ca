//! Operations on several keys, one claim at a time.

use quorate::machine::StateMachine;
use quorate::sessions::{Refusal, Stamp};
use quorate::types::ClientId;

use super::bench::{Bench, config, done, items, put};
use super::*;

fn put_if(name: &str, expect: Expect, value: i64) -> Change {
    Change { key: key(name), expect, value: Some(json(value)) }
}

fn seen(value: i64) -> Expect {
    Expect::Seen(json(value).digest())
}

fn batch(statement: u64, changes: Vec<Change>) -> Batch {
    let rows = changes.len() as u64;
    Batch { statement, checks: Vec::new(), changes, rows }
}

fn applied(rows: u64, replayed: bool) -> KvReply {
    KvReply::Batch { outcome: BatchOutcome::Applied { rows }, replayed }
}

fn conflict(name: &str) -> KvReply {
    KvReply::Batch { outcome: BatchOutcome::Conflict { key: key(name) }, replayed: false }
}

impl Bench {
    fn batch(&mut self, batch: Batch) -> KvReply {
        self.apply(KvCommand::Batch { shard: ShardId(0), session: None, batch })
    }

    fn batch_as(&mut self, seq: u64, batch: Batch) -> KvReply {
        let session = Some(Stamp { client: ClientId::new("c"), seq, acked: None });
        self.apply(KvCommand::Batch { shard: ShardId(0), session, batch })
    }
}

#[test]
fn all_changes_of_a_batch_are_made_or_none() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    let remove = Change { key: key("a"), expect: seen(1), value: None };
    assert_eq!(group.batch(batch(0, vec![put_if("b", Expect::Absent, 2), remove.clone()])), applied(2, false));
    assert_eq!(group.scan(0), items(&[("b", "2")]));

    assert_eq!(group.batch(batch(0, vec![put_if("c", Expect::Absent, 3), remove])), conflict("a"));
    let exists = KvReply::Batch { outcome: BatchOutcome::Exists { key: key("b") }, replayed: false };
    let twice = vec![put_if("c", Expect::Absent, 3), put_if("b", Expect::Absent, 3)];
    assert_eq!(group.batch(batch(0, twice)), exists);
    assert_eq!(group.scan(0), items(&[("b", "2")]));
    assert_eq!(group.status().shards[&ShardId(0)].bytes, 2);
}

#[test]
fn a_batch_rests_on_keys_that_it_does_not_change() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "catalogue", 1);
    let resting = |value| Batch {
        checks: vec![Check { key: key("catalogue"), expect: seen(value) }],
        ..batch(0, vec![put_if("row", Expect::Anything, 7)])
    };
    assert_eq!(group.batch(resting(1)), applied(1, false));
    assert_eq!(group.batch(resting(2)), conflict("catalogue"));
    group.delete(0, "catalogue");
    assert_eq!(group.batch(resting(1)), conflict("catalogue"));
}

#[test]
fn a_conflict_counts_more_than_a_key_that_exists() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    group.put(0, "b", 1);
    let changes = vec![put_if("a", Expect::Absent, 2), put_if("b", seen(2), 2)];
    assert_eq!(group.batch(batch(0, changes)), conflict("b"));
}

#[test]
fn a_statement_worked_out_anew_under_its_number_takes_effect_once() {
    let mut group = Bench::with("g1", &[0]);
    group.open(0);
    group.put(0, "n", 1);
    let first = batch(77, vec![put_if("n", seen(0), 1)]);
    let second = batch(77, vec![put_if("n", seen(1), 2)]);
    assert_eq!(group.batch_as(1, first.clone()), conflict("n"));
    assert_eq!(group.batch_as(1, second), applied(1, false));
    // A late copy of the first version, and a third one, find the number used.
    group.put(0, "n", 0);
    assert_eq!(group.batch_as(1, first), applied(1, true));
    assert_eq!(group.batch_as(1, batch(77, Vec::new())), applied(1, true));
    assert_eq!(group.scan(0), items(&[("n", "0")]));

    let reused = KvReply::Session(Refusal::Reused);
    assert_eq!(group.batch_as(1, batch(78, Vec::new())), reused);
    assert_eq!(group.stamped(0, 1, put("n", 9)), reused);
    assert_eq!(group.batch_as(2, batch(79, Vec::new())), applied(0, false));
}

#[test]
fn a_key_that_existed_is_remembered_as_the_statements_end() {
    let mut group = Bench::with("g1", &[0]);
    group.open(0);
    group.put(0, "a", 1);
    let insert = batch(1, vec![put_if("a", Expect::Absent, 2)]);
    let exists = |replayed| KvReply::Batch { outcome: BatchOutcome::Exists { key: key("a") }, replayed };
    assert_eq!(group.batch_as(1, insert.clone()), exists(false));
    group.delete(0, "a");
    assert_eq!(group.batch_as(1, insert), exists(true));
    assert_eq!(group.scan(0), items(&[]));
}

#[test]
fn a_batch_moves_with_its_shard_and_so_does_its_reply() {
    let mut source = Bench::with("g1", &[0]);
    let mut destination = Bench::with("g2", &[]);
    source.open(0);
    source.put(0, "a", 1);
    source.put(0, "b", 1);
    source.configure(config(2, 1, &[]).to(0, "g2"));
    destination.configure(config(2, 1, &[0]).from(0, "g1", Some(2)));
    assert_eq!(destination.pull(0, &source, 1000), Step::Done);
    let remove = Change { key: key("a"), expect: seen(1), value: None };
    let changes = batch(5, vec![remove, put_if("b", seen(1), 2), put_if("c", Expect::Absent, 3)]);
    assert_eq!(source.batch_as(1, changes.clone()), applied(3, false));
    destination.take(0, &mut source);
    assert_eq!(destination.scan(0), items(&[("b", "2"), ("c", "3")]));
    assert_eq!(destination.batch_as(1, changes.clone()), applied(3, true));
    assert!(matches!(source.batch_as(1, changes), KvReply::NotServed(NotServed::Migrating { .. })));
}

#[test]
fn a_look_at_the_keys_sees_no_later_change() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    let keys = group.machine.keys(ShardId(0)).unwrap();
    assert_eq!(group.put(0, "a", 2), done(Outcome::Put));
    assert_eq!(keys.get("a"), Some(&json(1)));
    assert!(group.machine.keys(ShardId(1)).is_err());
    let copy = restored(&group.machine, Duration::from_secs(1));
    assert_eq!(copy.keys(ShardId(0)).unwrap().get("a"), Some(&json(2)));
    assert!(matches!(copy.query(KvQuery::Status), KvAnswer::Status(_)));
}
