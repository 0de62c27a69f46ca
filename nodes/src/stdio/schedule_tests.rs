//! The order rules as tables, and random inputs against a model that compares every pair.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::lanes::Ticket;
use super::schedule::{Schedule, Turn};
use super::service::{Access, Footprint};
use super::window::Route;

fn route(src: &str) -> Route {
    (src.into(), "n1".into())
}

fn put(key: &str) -> Turn {
    Turn::Data(Footprint::write(key))
}

fn get(key: &str) -> Turn {
    Turn::Data(Footprint::read(key))
}

fn scan() -> Turn {
    Turn::Data(Footprint::read_everything())
}

/// Adds everything, one client each, and says which numbers start at once.
fn add_all(schedule: &mut Schedule, turns: &[Turn]) -> Vec<u64> {
    for (number, turn) in turns.iter().enumerate() {
        schedule.add(route(&format!("c{number}")), turn.clone());
    }
    drain(schedule)
}

fn drain(schedule: &mut Schedule) -> Vec<u64> {
    std::iter::from_fn(|| schedule.next()).map(|ticket| ticket.0).collect()
}

fn answer(schedule: &mut Schedule, number: u64) -> Vec<u64> {
    schedule.answered(Ticket(number));
    drain(schedule)
}

#[test]
fn requests_on_other_keys_run_at_the_same_time() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), put("b"), get("c"), get("a")]), [0, 1, 2]);
    assert_eq!(answer(&mut schedule, 0), [3]);
}

#[test]
fn a_client_has_one_request_at_a_time_at_each_node() {
    let mut schedule = Schedule::new();
    schedule.add(route("c1"), put("a"));
    schedule.add(route("c1"), get("b"));
    schedule.add(("c1".into(), "n2".into()), get("c"));
    assert_eq!(drain(&mut schedule), [0, 2]);
    assert_eq!(answer(&mut schedule, 0), [1]);
}

#[test]
fn a_scan_waits_for_every_write_above_it_and_holds_back_those_below() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), put("b"), scan(), get("c"), put("d"), scan()]), [0, 1, 3]);
    assert_eq!(answer(&mut schedule, 0), [] as [u64; 0]);
    assert_eq!(answer(&mut schedule, 1), [2]);
    assert_eq!(answer(&mut schedule, 2), [4]);
    assert_eq!(answer(&mut schedule, 4), [5]);
}

#[test]
fn a_read_that_accepts_staleness_waits_for_its_own_client_only() {
    let mut schedule = Schedule::new();
    schedule.add(route("c1"), put("a"));
    schedule.add(route("c2"), Turn::Data(Footprint::default()));
    schedule.add(route("c1"), Turn::Data(Footprint::default()));
    assert_eq!(drain(&mut schedule), [0, 1]);
    assert_eq!(answer(&mut schedule, 0), [2]);
}

#[test]
fn a_barrier_waits_for_everything_above_and_holds_back_everything_below() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), put("b"), Turn::Barrier, get("c"), Turn::Barrier]), [0, 1]);
    assert_eq!(answer(&mut schedule, 1), [] as [u64; 0]);
    assert_eq!(answer(&mut schedule, 0), [2]);
    assert_eq!(answer(&mut schedule, 2), [3]);
    assert_eq!(answer(&mut schedule, 3), [4]);
}

#[test]
fn a_waiting_barrier_does_not_hold_back_a_fault() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), Turn::Barrier, Turn::Fault, get("b")]), [0, 2]);
    assert_eq!(answer(&mut schedule, 2), [] as [u64; 0], "the barrier still holds back what follows");
    assert_eq!(answer(&mut schedule, 0), [1]);
    assert_eq!(answer(&mut schedule, 1), [3]);
}

#[test]
fn a_fault_waits_until_the_data_above_it_has_started() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), get("a"), Turn::Fault]), [0]);
    assert_eq!(answer(&mut schedule, 0), [1, 2]);
}

#[test]
fn a_fault_below_a_started_barrier_acts_at_once_but_not_below_an_init() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[Turn::Init, Turn::Fault]), [0]);
    assert_eq!(answer(&mut schedule, 0), [1]);
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[Turn::Barrier, Turn::Fault]), [0, 1]);
}

#[test]
fn data_between_a_barrier_and_a_fault_starts_before_the_fault() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[Turn::Barrier, put("a"), Turn::Fault]), [0]);
    assert_eq!(answer(&mut schedule, 0), [1, 2]);
}

#[test]
fn what_follows_a_fault_waits_for_its_answer() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[Turn::Fault, Turn::Fault, put("a"), Turn::Barrier]), [0]);
    assert_eq!(answer(&mut schedule, 0), [1]);
    assert_eq!(answer(&mut schedule, 1), [2]);
    assert_eq!(answer(&mut schedule, 2), [3]);
}

#[test]
fn those_behind_a_request_that_was_given_up_go_on() {
    let mut schedule = Schedule::new();
    assert_eq!(add_all(&mut schedule, &[put("a"), put("a"), Turn::Fault, Turn::Fault, get("a")]), [0]);
    assert_eq!(answer(&mut schedule, 2), [] as [u64; 0], "the first fault is given up; the second one waits on");
    assert_eq!(answer(&mut schedule, 1), [3]);
    assert_eq!(answer(&mut schedule, 3), [] as [u64; 0]);
    assert_eq!(answer(&mut schedule, 0), [4]);
}

/// The same rules without lanes: every pair is compared.
#[derive(Default)]
struct Model {
    unanswered: BTreeMap<u64, (Route, Turn)>,
    started: BTreeSet<u64>,
}

impl Model {
    fn startable(&self) -> BTreeSet<u64> {
        self.unanswered
            .keys()
            .copied()
            .filter(|number| !self.started.contains(number))
            .filter(|n| self.may(*n))
            .collect()
    }

    fn may(&self, number: u64) -> bool {
        let (route, turn) = &self.unanswered[&number];
        self.unanswered.range(..number).all(|(above, (other_route, other))| {
            let started = self.started.contains(above);
            match (other, turn) {
                (Turn::Fault, _) => false,
                (Turn::Init, _) => false,
                (Turn::Barrier, Turn::Fault) => true,
                (Turn::Barrier, _) | (Turn::Data(_), Turn::Init | Turn::Barrier) => false,
                (Turn::Data(_), Turn::Fault) => started,
                (Turn::Data(a), Turn::Data(b)) => other_route != route && !conflict(a, b),
            }
        })
    }
}

fn conflict(a: &Footprint, b: &Footprint) -> bool {
    let reads = |f: &Footprint| f.everything.is_some() || !f.reads.is_empty() || !f.writes.is_empty();
    let writes = |f: &Footprint| !f.writes.is_empty() || f.everything == Some(Access::Write);
    // Something that reads everything and writes a key is taken to write everything.
    let all = |f: &Footprint| f.everything.map(|access| access == Access::Write || !f.writes.is_empty());
    match (all(a), all(b)) {
        (None, None) => {
            a.writes.iter().any(|key| b.writes.contains(key) || b.reads.contains(key))
                || b.writes.iter().any(|key| a.reads.contains(key))
        }
        (Some(true), _) => reads(b),
        (_, Some(true)) => reads(a),
        (Some(false), _) => writes(b),
        (_, Some(false)) => writes(a),
    }
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let key = prop::sample::select(vec!["a", "b", "c"]);
    let footprint = (
        prop::collection::btree_set(key.clone(), 0..2),
        prop::collection::btree_set(key, 0..2),
        prop::option::weighted(0.1, prop::sample::select(vec![Access::Read, Access::Write])),
    )
        .prop_map(|(reads, writes, everything)| Footprint {
            reads: reads.into_iter().map(Into::into).collect(),
            writes: writes.into_iter().map(Into::into).collect(),
            everything,
        });
    prop_oneof![
        12 => footprint.prop_map(Turn::Data),
        2 => Just(Turn::Barrier),
        1 => Just(Turn::Init),
        2 => Just(Turn::Fault),
    ]
}

proptest! {
    #[test]
    fn lanes_allow_exactly_what_comparing_every_pair_allows(
        steps in prop::collection::vec((any_turn(), 0..4usize, 0..3usize, any::<prop::sample::Index>()), 1..60)
    ) {
        let mut schedule = Schedule::new();
        let mut model = Model::default();
        let check = |schedule: &mut Schedule, model: &mut Model| {
            loop {
                let startable = model.startable();
                if startable.is_empty() {
                    break;
                }
                model.started.extend(startable);
            }
            for ticket in std::iter::from_fn(|| schedule.next()) {
                assert!(model.started.contains(&ticket.0), "{ticket:?} starts too early");
            }
            for number in model.unanswered.keys() {
                assert_eq!(schedule.has_started(Ticket(*number)), model.started.contains(number), "{number}");
            }
        };
        for (turn, client, answers, pick) in steps {
            let client = route(&format!("c{client}"));
            let ticket = schedule.add(client.clone(), turn.clone());
            model.unanswered.insert(ticket.0, (client, turn));
            check(&mut schedule, &mut model);
            for _ in 0..answers {
                if model.unanswered.is_empty() {
                    break;
                }
                let numbers: Vec<u64> = model.unanswered.keys().copied().collect();
                let number = *pick.get(&numbers);
                model.unanswered.remove(&number);
                schedule.answered(Ticket(number));
                check(&mut schedule, &mut model);
            }
        }
    }
}
