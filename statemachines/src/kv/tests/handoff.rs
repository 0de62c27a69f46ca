//! A shard's way from one group to another, one claim at a time.

use std::time::Duration;

use quorate::sessions::{DEFAULT_TTL, Refusal};

use super::bench::{Bench, config, done, items, put};
use super::*;

/// Shard 0 goes from g1 to g2 in configuration 2; it holds a=1 and b=1 and a session of "c".
fn outgoing() -> (Bench, Bench) {
    let mut source = Bench::with("g1", &[0]);
    let mut destination = Bench::with("g2", &[]);
    source.open(0);
    source.put(0, "a", 1);
    source.put(0, "b", 1);
    source.configure(config(2, 1, &[]).to(0, "g2"));
    destination.configure(config(2, 1, &[0]).from(0, "g1", Some(2)));
    (source, destination)
}

fn pull_by(name: &str, taken_at: Option<u64>) -> Pull {
    Pull { puller: gid(name), taken_at: taken_at.map(ConfigNumber) }
}

fn delta_of(source: &Bench, from: Reached, max_bytes: u64) -> Pulled {
    let pull = pull_by("g2", Some(2));
    match source.machine.query(KvQuery::PullDelta { shard: ShardId(0), pull, from, max_bytes }) {
        KvAnswer::Pulled(pulled) => pulled,
        other => panic!("{other:?} to a pull"),
    }
}

#[test]
fn a_move_takes_everything_written_before_the_freeze_and_brings_nothing_deleted_back() {
    let (mut source, mut destination) = outgoing();
    assert_eq!(destination.pull(0, &source, 1), Step::Done);
    assert_eq!(destination.pull(0, &source, 1), Step::Done);
    source.delete(0, "a");
    source.put(0, "0", 2);
    assert_eq!(source.stamped(0, 1, put("b", 3)), done(Outcome::Put));
    destination.take(0, &mut source);
    assert_eq!(destination.scan(0), items(&[("0", "2"), ("b", "3")]));
    assert_eq!(destination.stamped(0, 1, put("b", 3)), KvReply::Done { outcome: Outcome::Put, replayed: true });
    assert!(destination.status().settled);
    assert!(!source.status().settled);
    assert_eq!(source.give_up(0, 2, &destination), Step::Done);
    assert!(source.status().settled);
    let hint = NotServed::WrongGroup { number: ConfigNumber(2), group: Some(gid("g2")) };
    assert_eq!(source.scan(0), Err(hint));
}

#[test]
fn a_copy_is_not_installed_before_the_freeze_is_in_it() {
    let (mut source, mut destination) = outgoing();
    assert_eq!(destination.install(0), Step::Incomplete);
    while !destination.pull_work(0).copied {
        destination.pull(0, &source, 1000);
    }
    destination.pull(0, &source, 1000);
    assert_eq!(destination.install(0), Step::Incomplete, "the source still serves");
    source.step(KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(2) });
    assert_eq!(destination.install(0), Step::Incomplete, "the copy does not know yet");
    destination.pull(0, &source, 1000);
    assert_eq!(destination.install(0), Step::Done);
    assert_eq!(destination.install(0), Step::Nothing);
}

#[test]
fn a_chunk_that_comes_twice_or_out_of_place_or_damaged_changes_nothing() {
    let (source, mut destination) = outgoing();
    let (shard, number) = (ShardId(0), ConfigNumber(2));
    let Pulled::Chunk(first) = source.chunk(0, pull_by("g2", Some(2)), None, 1) else { panic!("no chunk") };
    let Pulled::Chunk(second) = source.chunk(0, pull_by("g2", Some(2)), first.through.clone(), 1) else {
        panic!("no chunk")
    };
    let stage = |chunk: &Chunk| KvCommand::StageChunk { shard, number, chunk: chunk.clone() };
    assert_eq!(destination.step(stage(&second)), Step::Misfit);
    assert_eq!(destination.step(stage(&first)), Step::Done);
    assert_eq!(destination.step(stage(&first)), Step::Misfit);
    let damaged = Chunk { keys: vec![(key("a"), json(9))], ..second.clone() };
    assert_eq!(destination.step(stage(&damaged)), Step::Damaged);
    let late = KvCommand::StageChunk { shard, number: ConfigNumber(1), chunk: second.clone() };
    assert_eq!(destination.step(late), Step::Nothing);
    assert_eq!(destination.step(stage(&second)), Step::Done);
    assert_eq!(destination.pull_work(0).keys, 1);
}

#[test]
fn a_delta_that_comes_twice_or_out_of_place_or_damaged_changes_nothing() {
    let (mut source, mut destination) = outgoing();
    let (shard, number) = (ShardId(0), ConfigNumber(2));
    destination.pull(0, &source, 1000);
    let stage = |delta: &Delta| KvCommand::StageDelta { shard, number, delta: delta.clone() };
    let lagging = Bench { machine: restored(&source.machine, DEFAULT_TTL), ..Bench::new("g1") };
    source.put(0, "a", 2);
    source.put(0, "b", 2);
    source.put(0, "c", 2);
    let start = destination.pull_work(0).reached.unwrap();
    let Pulled::Delta(first) = delta_of(&source, start, 1) else { panic!("no delta") };
    let Pulled::Delta(second) = delta_of(&source, first.to, 1000) else { panic!("no delta") };
    assert_eq!((first.keys.len(), second.keys.len()), (1, 2), "the first is cut short");
    assert_eq!(delta_of(&lagging, first.to, 1000), Pulled::Behind);
    assert_eq!(destination.step(stage(&second)), Step::Misfit);
    let damaged = Delta { keys: vec![], ..first.clone() };
    assert_eq!(destination.step(stage(&damaged)), Step::Damaged);
    assert_eq!(destination.step(stage(&first)), Step::Done);
    assert_eq!(destination.step(stage(&second)), Step::Done);
    let before = bytes_of(&*destination.machine.snapshot());
    assert_eq!(destination.step(stage(&first)), Step::Misfit);
    assert_eq!(destination.step(stage(&second)), Step::Misfit);
    assert_eq!(destination.pull_work(0).reached, Some(second.to));
    assert_eq!(before.len(), bytes_of(&*destination.machine.snapshot()).len());
}

#[test]
fn a_replica_gives_nothing_away_before_it_has_lost_the_shard_nor_after_it_gave_it_up() {
    let mut source = Bench::with("g1", &[0]);
    assert_eq!(source.chunk(0, pull_by("g2", Some(2)), None, 9), Pulled::NotYet);
    assert_eq!(source.chunk(0, pull_by("g2", None), None, 9), Pulled::NotYet);
    source.configure(config(2, 1, &[]).to(0, "g2"));
    assert!(matches!(source.chunk(0, pull_by("g2", Some(2)), None, 9), Pulled::Chunk(_)));
    assert!(matches!(source.chunk(0, pull_by("g2", None), None, 9), Pulled::Chunk(_)));
    assert_eq!(source.chunk(0, pull_by("g3", None), None, 9), Pulled::NotYet);
    let destination = Bench::new("g2");
    assert_eq!(source.give_up(0, 2, &destination), Step::StillServed);
    source.step(KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(2) });
    assert_eq!(source.give_up(0, 2, &destination), Step::Done);
    assert_eq!(source.chunk(0, pull_by("g2", Some(2)), None, 9), Pulled::Done);
    assert_eq!(source.chunk(0, pull_by("g2", None), None, 9), Pulled::Done);
}

#[test]
fn a_shard_kept_for_nobody_is_whole_with_its_last_chunk_whoever_pulls_it() {
    let (mut source, mut destination) = (Bench::with("g1", &[0]), Bench::with("g2", &[]));
    source.put(0, "a", 1);
    source.configure(config(2, 1, &[]));
    destination.configure(config(2, 1, &[0]).from(0, "g1", None));
    assert_eq!(destination.pull(0, &source, 1000), Step::Done);
    assert!(destination.pull_work(0).whole);
    assert_eq!(destination.install(0), Step::Done);
    assert_eq!(source.give_up(0, 2, &destination), Step::Done);
    assert_eq!(destination.scan(0), items(&[("a", "1")]));
}

#[test]
fn a_late_delete_touches_nothing_that_was_gained_since() {
    let (mut source, mut destination) = outgoing();
    destination.take(0, &mut source);
    source.give_up(0, 2, &destination);
    destination.configure(config(3, 2, &[]).to(0, "g1"));
    source.configure(config(3, 2, &[0]).from(0, "g2", Some(3)));
    assert_eq!(source.give_up(0, 2, &destination), Step::Nothing);
    source.take(0, &mut destination);
    assert_eq!(source.give_up(0, 2, &destination), Step::Nothing);
    source.configure(config(4, 3, &[]).to(0, "g2"));
    assert_eq!(source.give_up(0, 2, &destination), Step::Nothing);
    assert_eq!(source.scan(0), items(&[("a", "1"), ("b", "1")]));
}

#[test]
fn remains_are_freed_a_little_at_a_time_and_never_mix_with_a_new_copy() {
    let (mut source, mut destination) = outgoing();
    destination.take(0, &mut source);
    source.give_up(0, 2, &destination);
    assert_eq!(source.state(0), Some(ShardState::Deleting));
    destination.delete(0, "a");
    destination.configure(config(3, 2, &[]).to(0, "g1"));
    source.configure(config(3, 2, &[0]).from(0, "g2", Some(3)));
    source.take(0, &mut destination);
    assert_eq!(source.scan(0), items(&[("b", "1")]));
    // A replica that was restored has nothing to free, and counts down all the same.
    let mut other = Bench { name: gid("g1"), machine: restored(&source.machine, DEFAULT_TTL), ..source };
    let sweep = || KvCommand::Sweep { shard: ShardId(0), max_keys: 1 };
    for left in [2, 1, 0] {
        assert_eq!(source.machine.apply(entry(90, 0), sweep()), KvReply::Step(Step::Swept { left }));
        assert_eq!(other.machine.apply(entry(90, 0), sweep()), KvReply::Step(Step::Swept { left }));
    }
    assert_eq!(other.step(sweep()), Step::Nothing);
    assert_eq!(other.scan(0), items(&[("b", "1")]));
}

#[test]
fn what_was_kept_is_given_to_its_puller_even_while_this_group_pulls_it_back() {
    let (mut first, mut second) = (Bench::with("g1", &[0]), Bench::with("g2", &[]));
    first.put(0, "a", 1);
    first.configure(config(2, 1, &[]));
    second.configure(config(2, 1, &[]));
    // In 3 the shard goes to g2, in 4 back to g1, which comes there first.
    first.configure(config(3, 2, &[]));
    first.configure(config(4, 3, &[0]).from(0, "g2", Some(4)));
    assert_eq!(second.chunk(0, pull_by("g1", Some(4)), None, 9), Pulled::NotYet);
    second.configure(config(3, 2, &[0]).from(0, "g1", Some(2)));
    assert_eq!(second.pull(0, &first, 1000), Step::Done);
    assert_eq!(second.install(0), Step::Done);
    second.put(0, "a", 2);
    assert_eq!(first.give_up(0, 2, &second), Step::Done);
    second.configure(config(4, 3, &[]).to(0, "g1"));
    first.take(0, &mut second);
    assert_eq!(first.scan(0), items(&[("a", "2")]));
}

#[test]
fn a_pull_that_nobody_pinned_to_a_loss_begins_anew_when_the_source_lost_the_shard_again() {
    let (mut source, mut destination) = (Bench::with("g1", &[0]), Bench::with("g2", &[]));
    source.put(0, "a", 1);
    source.put(0, "b", 1);
    source.configure(config(2, 1, &[]));
    destination.configure(config(2, 1, &[0]).from(0, "g1", None));
    assert_eq!(destination.pull(0, &source, 1), Step::Done);
    source.configure(config(3, 2, &[0]));
    source.delete(0, "a");
    source.configure(config(4, 3, &[]).to(0, "g2"));
    assert_eq!(destination.pull(0, &source, 1), Step::Misfit);
    destination.take(0, &mut source);
    assert_eq!(destination.scan(0), items(&[("b", "1")]));
}

#[test]
fn the_destination_says_what_it_has_installed_and_remembers_to_tell() {
    let (mut source, mut destination) = outgoing();
    let ask = |bench: &Bench, lost_at: u64| {
        let query = KvQuery::Installed { shard: ShardId(0), source: gid("g1"), lost_at: ConfigNumber(lost_at) };
        bench.machine.query(query) == KvAnswer::Installed(true)
    };
    assert!(!ask(&destination, 2));
    destination.take(0, &mut source);
    assert!(ask(&destination, 2));
    assert!(!ask(&destination, 3));
    assert_eq!(destination.work().acks, [AckWork { shard: ShardId(0), lost_at: ConfigNumber(2), source: gid("g1") }]);
    let told = KvCommand::Acknowledged { shard: ShardId(0), lost_at: ConfigNumber(2), source: gid("g1") };
    assert_eq!(destination.step(told.clone()), Step::Done);
    assert_eq!(destination.step(told), Step::Nothing);
    assert!(destination.work().acks.is_empty());
    let restored = Bench { machine: restored(&destination.machine, DEFAULT_TTL), ..destination };
    assert!(ask(&restored, 2), "it stays true, also after a restart");
}

#[test]
fn a_session_moves_with_its_age_whatever_the_groups_clocks_say() {
    let ttl = DEFAULT_TTL.as_millis() as u64;
    for (idle_there, idle_here, expired) in [(ttl / 2, ttl / 2, false), (ttl / 2, ttl / 2 + 1, true), (0, ttl, false)] {
        let (mut source, mut destination) = outgoing();
        destination.time = 77 * ttl;
        source.time += idle_there;
        source.put(0, "a", 2);
        destination.put(1, "wakes the clock", 0);
        destination.take(0, &mut source);
        destination.time += idle_here;
        let expected = if expired { KvReply::Session(Refusal::Expired) } else { done(Outcome::Put) };
        let ages = (Duration::from_millis(idle_there), Duration::from_millis(idle_here));
        assert_eq!(destination.stamped(0, 1, put("a", 3)), expected, "{ages:?}");
    }
}

#[test]
fn a_session_opened_anew_while_it_is_copied_knows_nothing_of_the_one_before() {
    let (mut source, mut destination) = outgoing();
    assert_eq!(source.stamped(0, 1, put("a", 2)), done(Outcome::Put));
    assert_eq!(source.stamped(0, 2, put("a", 2)), done(Outcome::Put));
    destination.pull(0, &source, 1000);
    source.time += DEFAULT_TTL.as_millis() as u64 + 1;
    assert_eq!(source.open(0), KvReply::SessionOpened { fresh: true });
    assert_eq!(source.stamped(0, 1, put("a", 3)), done(Outcome::Put));
    destination.take(0, &mut source);
    let replay = KvReply::Done { outcome: Outcome::Put, replayed: true };
    assert_eq!(destination.stamped(0, 1, put("a", 3)), replay);
    assert_eq!(destination.stamped(0, 2, put("a", 4)), done(Outcome::Put));
}
