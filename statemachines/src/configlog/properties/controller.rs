//! The log's commands, one by one.

use std::io;

use bytes::Bytes;
use proptest::prelude::*;
use quorate::machine::{Machine, Typed, decode, encode};
use quorate::snapshot::SnapshotReader;

use super::*;
use crate::configlog::{Query, Refusal, SHARDS_MAX};

#[test]
fn groups_join_and_leave_and_their_servers_are_known() {
    let mut log = ConfigLog::new();
    assert_eq!(*log.latest(), Config::none());
    assert_eq!(apply(&mut log, join(&["1"])), done(1));
    assert_eq!(apply(&mut log, join(&["2"])), done(2));
    let config = log.latest();
    assert_eq!(config.groups, [gid(1), gid(2)].map(|gid| (gid.clone(), servers(&gid))).into());
    assert_balanced(&config);
    assert_eq!(apply(&mut log, leave(&["1"])), done(3));
    assert_eq!(log.latest().groups, [(gid(2), servers(&gid(2)))].into());
    assert_eq!(owners(&log.latest()), ["2"; 10]);
    assert_eq!(apply(&mut log, leave(&["2"])), done(4));
    assert!(log.latest().groups.is_empty());
    assert_eq!(owners(&log.latest()), ["-"; 10]);
}

#[test]
fn several_groups_join_and_leave_at_once() {
    let mut log = ConfigLog::new();
    apply(&mut log, join(&["1", "2"]));
    apply(&mut log, join(&["3"]));
    assert_balanced(&log.latest());
    apply(&mut log, leave(&["1", "3"]));
    assert_eq!(owners(&log.latest()), ["2"; 10]);
    assert_eq!(log.latest().groups[&gid(2)], servers(&gid(2)));
    apply(&mut log, leave(&["2"]));
    assert_eq!(owners(&log.latest()), ["-"; 10]);
}

#[test]
fn every_configuration_can_be_asked_for_later() {
    let mut log = ConfigLog::new();
    let mut seen = vec![log.latest()];
    let commands =
        [join(&["a"]), join(&["b", "c"]), give(0, "c"), set(9, &["b"; 10]), leave(&["a"]), leave(&["b", "c"])];
    for command in commands {
        assert!(matches!(apply(&mut log, command), Reply::Done { .. }));
        seen.push(log.latest());
    }
    assert_eq!(seen.iter().map(|config| config.number.0).collect::<Vec<_>>(), [0, 1, 2, 3, 9, 10, 11]);
    for (nth, config) in seen.iter().enumerate() {
        assert_eq!(log.query(Query::At(config.number)).config().as_ref(), Some(config));
        assert_eq!(log.query(Query::After(config.number)).config().as_ref(), seen.get(nth + 1));
    }
    assert_eq!(log.query(Query::At(ConfigNumber(6))).config().as_ref(), Some(&seen[3]), "a number in a hole");
    assert_eq!(log.query(Query::After(ConfigNumber(6))).config().as_ref(), Some(&seen[4]), "a number in a hole");
    assert_eq!(log.query(Query::At(ConfigNumber(u64::MAX))).config().as_ref(), seen.last());
    assert_eq!(log.query(Query::Latest).config().as_ref(), seen.last());
}

#[test]
fn moves_assign_exactly_as_told_and_the_next_join_balances_again() {
    let mut log = ConfigLog::new();
    apply(&mut log, join(&["503"]));
    apply(&mut log, join(&["504"]));
    for shard in 0..10 {
        let before = log.latest().number;
        apply(&mut log, give(shard, if shard < 5 { "503" } else { "504" }));
        assert!(log.latest().number > before);
    }
    assert_eq!(owners(&log.latest()), [["503"; 5], ["504"; 5]].concat());
    for shard in 0..10 {
        apply(&mut log, give(shard, "504"));
    }
    apply(&mut log, join(&["505"]));
    assert_balanced(&log.latest());
}

#[test]
fn three_groups_then_five_then_three_move_no_shard_between_those_that_stay() {
    for together in [false, true] {
        let mut log = ConfigLog::new();
        apply(&mut log, join(&["a", "b", "c"]));
        let three = log.latest();
        let change = |log: &mut ConfigLog, make: fn(&[&str]) -> Command| match together {
            true => drop(apply(log, make(&["d", "e"]))),
            false => ["d", "e"].iter().for_each(|name| drop(apply(log, make(&[*name])))),
        };
        change(&mut log, join);
        let five = log.latest();
        assert_balanced(&five);
        let stays = |from: &str, to: &str| from == to || to == "d" || to == "e";
        assert!(owners(&three).iter().zip(owners(&five)).all(|(from, to)| stays(from, to)), "together: {together}");
        assert_eq!(owners(&three).iter().zip(owners(&five)).filter(|(from, to)| *from != to).count(), 4);

        change(&mut log, leave);
        let again = log.latest();
        assert_balanced(&again);
        assert!(owners(&five).iter().zip(owners(&again)).all(|(from, to)| stays(to, from)), "together: {together}");
    }
}

#[test]
fn ten_groups_for_ten_shards_serve_one_each_and_further_ones_move_nothing() {
    let mut log = ConfigLog::new();
    for nth in 0..10 {
        apply(&mut log, join(&[&format!("{}", 100 + 10 * nth), &format!("{}", 1100 + 10 * nth)]));
        apply(&mut log, leave(&[&format!("{}", 1100 + 10 * nth)]));
    }
    let ten = log.latest();
    assert_eq!(sizes(&ten).into_values().collect::<Vec<_>>(), [1; 10]);
    for name in ["11", "12", "13", "14", "15"] {
        apply(&mut log, join(&[name]));
        assert_eq!(log.latest().shards, ten.shards);
    }
    for name in ["11", "12", "13", "14", "15"] {
        apply(&mut log, leave(&[name]));
        assert_eq!(log.latest().shards, ten.shards);
    }
}

#[test]
fn data_of_groups_that_left_stays_with_them_when_they_come_back() {
    let mut log = ConfigLog::new();
    apply(&mut log, join(&["a", "b", "c"]));
    let before = log.latest();
    apply(&mut log, leave(&["a", "b", "c"]));
    apply(&mut log, join(&["c", "b", "a"]));
    assert_eq!(log.latest().shards, before.shards);
}

#[test]
fn an_external_configuration_keeps_its_number_and_names_groups() {
    let mut log = ConfigLog::new();
    assert_eq!(apply(&mut log, set(7, &["g1", "g1", "g2", ""])), done(7));
    assert_eq!(owners(&log.latest()), ["g1", "g1", "g2", "-"], "the empty name is nobody");
    assert_eq!(log.latest().previous, ConfigNumber(0));
    let not_applied = Reply::NotApplied { current: ConfigNumber(7) };
    assert_eq!(apply(&mut log, set(7, &["g1", "g1", "g1", "g1"])), not_applied);
    assert_eq!(apply(&mut log, set(3, &["g1", "g1", "g1", "g1"])), not_applied);
    assert_eq!(apply(&mut log, join(&["g2"])), Reply::Refused(Refusal::KnownGroup(gid("g2"))));
    assert_eq!(apply(&mut log, give(3, "g2")), done(8));
    assert_eq!(apply(&mut log, join(&["g3"])), done(9));
    assert_balanced(&log.latest());
    assert_eq!(log.latest().shard_count(), 4, "the first configuration fixed it");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let refusals = [
        (join(&["b"]), Refusal::KnownGroup(gid("b"))),
        (join(&["d", "a"]), Refusal::KnownGroup(gid("a"))),
        (join(&[]), Refusal::NoGroup),
        (join(&["d", ""]), Refusal::Nameless),
        (leave(&["b", "z"]), Refusal::UnknownGroup(gid("z"))),
        (leave(&[]), Refusal::NoGroup),
        (give(0, "z"), Refusal::UnknownGroup(gid("z"))),
        (give(0, ""), Refusal::UnknownGroup(gid(""))),
        (give(10, "a"), Refusal::UnknownShard(ShardId(10))),
        (set(9, &["a"; 9]), Refusal::BadShards { expected: Some(10) }),
        (set(9, &["a"; 11]), Refusal::BadShards { expected: Some(10) }),
        (set(1, &["a"; 11]), Refusal::BadShards { expected: Some(10) }),
    ];
    let mut log = ConfigLog::new();
    apply(&mut log, join(&["a", "b"]));
    let before = log.clone();
    for (command, refusal) in refusals {
        assert_eq!(apply(&mut log, command.clone()), Reply::Refused(refusal), "{command:?}");
        assert_eq!(log, before, "{command:?}");
    }
}

#[test]
fn the_first_configuration_needs_a_sound_number_of_shards() {
    let bad = Reply::Refused(Refusal::BadShards { expected: None });
    let mut log = ConfigLog::new();
    for shard_count in [0, SHARDS_MAX + 1, u32::MAX] {
        let groups = [(gid("a"), Vec::new())].into();
        assert_eq!(apply(&mut log, Command::Join { groups, shard_count }), bad);
    }
    let hole = [(ShardId(0), Some(gid("a"))), (ShardId(2), None)].into();
    assert_eq!(apply(&mut log, Command::Set { number: ConfigNumber(1), shards: hole }), bad);
    assert_eq!(apply(&mut log, set(1, &[])), bad);
    assert_eq!(apply(&mut log, give(0, "a")), Reply::Refused(Refusal::UnknownGroup(gid("a"))));
    assert_eq!(log, ConfigLog::new());
}

#[test]
fn after_the_largest_number_nothing_can_change() {
    let mut log = ConfigLog::new();
    assert_eq!(apply(&mut log, set(u64::MAX, &["a", "b"])), done(u64::MAX));
    for command in [join(&["c"]), leave(&["a"]), give(0, "b")] {
        assert_eq!(apply(&mut log, command), Reply::Refused(Refusal::NumbersExhausted));
    }
}

/// A snapshot's bytes as a stream.
pub(super) struct Stream(pub(super) Vec<Bytes>);

impl SnapshotReader for Stream {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

pub(super) fn pieces(log: &ConfigLog) -> Vec<Bytes> {
    let mut reader = log.snapshot().open();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

#[test]
fn a_stream_that_breaks_an_invariant_is_not_restored() {
    let mut log = ConfigLog::new();
    apply(&mut log, join(&["a"]));
    let whole = pieces(&log);
    let twice = [whole.clone(), whole].concat();
    let mut other = ConfigLog::new();
    apply(&mut other, join(&["b"]));
    let before = other.clone();
    assert_eq!(other.restore(&mut Stream(twice)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(other, before, "a failed restore leaves no half state");
}

proptest! {
    #[test]
    fn numbers_grow_sizes_stay_balanced_and_two_replicas_agree(commands in prop::collection::vec(commands(6), 1..40)) {
        let (mut log, mut replica) = (ConfigLog::new(), Typed(ConfigLog::new()));
        let entry = EntryContext { index: Index(1), place: 0, term: Term(1), time: LogTime(0) };
        for command in commands {
            let before = log.latest();
            let balances = matches!(command, Command::Join { .. } | Command::Leave { .. });
            // The replica gets the command as the log carries it, as bytes.
            let encoded = replica.apply(entry, &encode(&command)).unwrap();
            let reply = apply(&mut log, command);
            prop_assert_eq!(decode::<Reply>(&encoded).unwrap(), reply.clone());
            let after = log.latest();
            match reply {
                Reply::Done { number } if number == before.number => prop_assert_eq!(&after, &before),
                Reply::Done { number } => {
                    prop_assert!(number > before.number && after.number == number && after.previous == before.number);
                    if balances { assert_balanced(&after) }
                }
                _ => prop_assert_eq!(&after, &before),
            }
        }
        prop_assert_eq!(&log, &replica.0);
        let mut restored = ConfigLog::new();
        restored.restore(&mut Stream(pieces(&log))).unwrap();
        prop_assert_eq!(restored, log);
    }

    #[test]
    fn a_snapshot_does_not_see_what_is_applied_later(commands in prop::collection::vec(commands(3), 1..20)) {
        let mut log = ConfigLog::new();
        let view = log.snapshot();
        let mut reader = view.open();
        for command in commands {
            apply(&mut log, command);
        }
        prop_assert!(reader.next().unwrap().is_none());
    }
}
