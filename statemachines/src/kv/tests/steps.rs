//! Configurations and ownership, one claim at a time.

use std::collections::BTreeSet;

use quorate::machine::StateMachine;
use quorate::sessions::{DEFAULT_TTL, Refusal};
use quorate::types::ClientId;

use super::bench::{Bench, config, done, items, put};
use super::*;

fn wrong_group(number: u64, group: Option<&str>) -> NotServed {
    NotServed::WrongGroup { number: ConfigNumber(number), group: group.map(gid) }
}

fn leaving(number: u64, to: &str) -> NotServed {
    NotServed::Migrating { number: ConfigNumber(number), to: Some(gid(to)), from: None }
}

fn coming(number: u64, from: &str) -> NotServed {
    NotServed::Migrating { number: ConfigNumber(number), to: None, from: Some(gid(from)) }
}

#[test]
fn only_shards_that_a_configuration_gave_are_served() {
    let mut group = Bench::new("g1");
    assert_eq!(group.put(0, "a", 1), KvReply::NotServed(NotServed::NoConfig));
    assert_eq!(group.configure(config(1, 0, &[0])), Configured::Applied);
    assert_eq!(group.put(0, "a", 1), done(Outcome::Put));
    assert_eq!(group.put(1, "a", 1), KvReply::NotServed(wrong_group(1, None)));
    assert_eq!(group.get(0, "a"), KvAnswer::Value(Some(json(1))));
    assert_eq!(group.get(1, "a"), KvAnswer::NotServed(wrong_group(1, None)));
}

#[test]
fn configurations_are_taken_in_order_each_once() {
    let mut group = Bench::with("g1", &[0, 1]);
    let second = config(4, 1, &[1]).to(0, "g2");
    assert_eq!(group.configure(config(5, 4, &[1])), Configured::Gap { current: ConfigNumber(1) });
    assert_eq!(group.configure(second.clone()), Configured::Applied);
    assert_eq!(group.configure(second), Configured::SameAgain);
    assert_eq!(group.configure(config(4, 1, &[0, 1])), Configured::Different);
    assert_eq!(group.configure(config(1, 0, &[0, 1])), Configured::Older { current: ConfigNumber(4) });
    assert_eq!(group.configure(config(6, 5, &[])), Configured::Gap { current: ConfigNumber(4) });
    assert_eq!(group.configure(config(5, 4, &[])), Configured::Migrating);
    assert_eq!(group.state(0), Some(ShardState::Outgoing));
}

#[test]
fn an_answer_to_a_configuration_names_the_shards_on_their_way() {
    let mut group = Bench::with("g1", &[0, 1, 2]);
    let second = config(2, 1, &[2, 3, 4]).to(0, "g2").from(3, "g2", None);
    let in_transfer = BTreeSet::from([0, 3].map(ShardId));
    for outcome in [Configured::Applied, Configured::SameAgain] {
        let reply = group.apply(KvCommand::Configure(second.clone()));
        assert_eq!(reply, KvReply::Configured { outcome, in_transfer: in_transfer.clone() });
    }
    let early = group.apply(KvCommand::Configure(config(3, 2, &[2])));
    assert_eq!(early, KvReply::Configured { outcome: Configured::Migrating, in_transfer });
}

#[test]
fn who_repeats_a_configuration_need_not_know_what_it_follows() {
    let mut group = Bench::with("g1", &[0, 1]);
    assert_eq!(group.configure(config(4, 1, &[1])), Configured::Applied);
    assert_eq!(group.configure(config(4, 3, &[1])), Configured::SameAgain);
}

#[test]
fn a_shard_lost_to_nobody_is_kept_and_resumes_and_holds_nothing_back() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    assert_eq!(group.configure(config(2, 1, &[])), Configured::Applied);
    assert_eq!(group.put(0, "a", 2), KvReply::NotServed(wrong_group(2, None)));
    assert_eq!(group.state(0), Some(ShardState::Frozen));
    assert!(group.status().settled);
    assert_eq!(group.configure(config(3, 2, &[])), Configured::Applied);
    assert_eq!(group.configure(config(4, 3, &[0])), Configured::Applied);
    assert_eq!(group.scan(0), items(&[("a", "1")]));
}

#[test]
fn a_shard_is_served_until_it_is_frozen_and_then_names_its_target() {
    let mut group = Bench::with("g1", &[0]);
    group.configure(config(2, 1, &[]).to(0, "g2"));
    assert_eq!(group.put(0, "a", 1), done(Outcome::Put));
    assert_eq!(group.get(0, "a"), KvAnswer::Value(Some(json(1))));
    let freeze = KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(2) };
    let wrong = KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(1) };
    assert_eq!(group.step(wrong), Step::Nothing);
    let frozen = group.step(freeze.clone());
    assert_eq!(group.step(freeze), frozen, "freezing again changes nothing");
    assert_eq!(group.put(0, "a", 2), KvReply::NotServed(leaving(2, "g2")));
    assert_eq!(group.get(0, "a"), KvAnswer::NotServed(leaving(2, "g2")));
    assert_eq!(group.scan(0), Err(leaving(2, "g2")));
}

#[test]
fn a_refusal_for_ownership_leaves_no_trace_in_the_session() {
    let mut source = Bench::with("g1", &[0]);
    let mut destination = Bench::with("g2", &[]);
    source.open(0);
    source.configure(config(2, 1, &[]).to(0, "g2"));
    destination.configure(config(2, 1, &[0]).from(0, "g1", Some(2)));
    assert_eq!(destination.stamped(0, 1, put("a", 1)), KvReply::NotServed(coming(2, "g1")));
    destination.take(0, &mut source);
    assert_eq!(source.stamped(0, 1, put("a", 1)), KvReply::NotServed(leaving(2, "g2")));
    assert_eq!(destination.stamped(0, 1, put("a", 1)), done(Outcome::Put));
}

#[test]
fn without_a_session_of_its_own_an_operation_is_refused_and_opening_twice_is_once() {
    let mut group = Bench::with("g1", &[0]);
    assert_eq!(group.stamped(0, 1, put("a", 1)), KvReply::Session(Refusal::Expired));
    assert_eq!(group.open(0), KvReply::SessionOpened { fresh: true });
    assert_eq!(group.stamped(0, 1, put("a", 1)), done(Outcome::Put));
    assert_eq!(group.open(0), KvReply::SessionOpened { fresh: false });
    let replay = KvReply::Done { outcome: Outcome::Put, replayed: true };
    assert_eq!(group.stamped(0, 1, put("a", 1)), replay);
    assert_eq!(group.stamped(0, 1, put("a", 2)), KvReply::Session(Refusal::Reused));
    assert_eq!(group.status().shards[&ShardId(0)].sessions, 1);
}

#[test]
fn an_abandoned_pull_serves_what_is_kept_here_else_nothing_and_the_source_is_told() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    group.configure(config(2, 1, &[]));
    group.configure(config(3, 2, &[0, 1]).from(0, "g2", Some(3)).from(1, "g2", Some(3)));
    for shard in [0, 1] {
        let abandon = KvCommand::Abandon { shard: ShardId(shard), number: ConfigNumber(3) };
        assert_eq!(group.step(abandon.clone()), Step::Done);
        assert_eq!(group.step(abandon), Step::Nothing);
    }
    assert_eq!(group.scan(0), items(&[("a", "1")]));
    assert_eq!(group.scan(1), items(&[]));
    assert!(group.status().settled);
    assert_eq!(group.work().acks.len(), 2);
}

#[test]
fn a_scan_gives_the_keys_in_range_and_says_whether_there_are_more() {
    let mut group = Bench::with("g1", &[0]);
    for name in ["a", "b1", "b2", "b3", "c"] {
        group.put(0, name, 0);
    }
    let scan = |from: Option<&str>, to: Option<&str>, prefix: Option<&str>, limit: Option<u64>| {
        let scan = Scan { shard: ShardId(0), from: from.map(key), to: to.map(key), prefix: prefix.map(key), limit };
        match group.machine.query(KvQuery::Scan(scan)) {
            KvAnswer::Items { items, more } => (items.iter().map(|(k, _)| k.to_string()).collect::<Vec<_>>(), more),
            other => panic!("{other:?}"),
        }
    };
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(scan(None, None, None, None), (names(&["a", "b1", "b2", "b3", "c"]), false));
    assert_eq!(scan(Some("b1"), Some("b3"), None, None), (names(&["b1", "b2"]), false));
    assert_eq!(scan(Some("b1\0"), None, Some("b"), None), (names(&["b2", "b3"]), false));
    assert_eq!(scan(None, None, Some("b"), Some(2)), (names(&["b1", "b2"]), true));
    assert_eq!(scan(None, None, Some("b"), Some(3)), (names(&["b1", "b2", "b3"]), false));
    assert_eq!(scan(Some("x"), Some("b"), None, None), (names(&[]), false));
}

#[test]
fn a_snapshot_cut_at_any_byte_is_an_error() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    group.open(0);
    group.stamped(0, 1, put("b", 1));
    group.configure(config(2, 1, &[]).to(0, "g2"));
    group.delete(0, "a");
    let whole = bytes_of(&*group.machine.snapshot());
    for cut in 0..whole.len() {
        let result = KvMachine::default().restore(&mut Pieces(whole[..cut].to_vec()));
        assert!(result.is_err(), "cut at {cut} of {}", whole.len());
    }
    assert_eq!(bytes_of(&*restored(&group.machine, DEFAULT_TTL).snapshot()), whole);
}

#[test]
fn a_snapshot_does_not_see_what_is_applied_while_it_is_read() {
    let mut group = Bench::with("g1", &[0]);
    group.put(0, "a", 1);
    let view = group.machine.snapshot();
    let before = bytes_of(&*view);
    group.put(0, "a", 2);
    group.apply(KvCommand::OpenSession { shard: ShardId(0), client: ClientId::new("d") });
    assert_eq!(bytes_of(&*view), before);
}
