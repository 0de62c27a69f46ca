//! The counters of `docs/state-machine.md` under the harness, right and with a planted mistake.
//!
//! In simulated clusters, in processes, and what such a process runs:
//!
//!     cargo run -p quorate-harness --example counter-under-test -- simulation [--planted]
//!     cargo run -p quorate-harness --example counter-under-test -- processes [--planted] --nemesis partition,kill --rate 100
//!     cargo run -p quorate-harness --example counter-under-test -- node [--planted]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use imbl::OrdMap;
use quorate::machine::{StateDigest, snapshot_digest};
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::{EntryContext, StateMachine};
use quorate_harness::checker::Model;
use quorate_harness::cli::exit_code;
use quorate_harness::findings::Answer;
use quorate_harness::subject::{Operation, OperationOf, Returned, ReturnedOf, Subject, processes, test};
use quorate_nodes::services::machine;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// The machine: counters by name.
#[derive(Clone, Default)]
struct Counters {
    counters: OrdMap<String, i64>,
    /// The planted mistake: a snapshot is restored over what is there, not in place of it.
    planted: bool,
}

/// What changes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Command {
    /// Adds to a counter.
    Add { name: String, amount: i64 },
}

/// What one may ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Query {
    /// A counter's value.
    Value { name: String },
}

impl StateMachine for Counters {
    type Command = Command;
    type Reply = i64;
    type Query = Query;
    type Answer = Option<i64>;

    fn apply(&mut self, _entry: EntryContext, command: Command) -> i64 {
        let Command::Add { name, amount } = command;
        let value = self.counters.get(&name).copied().unwrap_or(0).wrapping_add(amount);
        self.counters.insert(name, value);
        value
    }

    fn query(&self, query: Query) -> Option<i64> {
        let Query::Value { name } = query;
        self.counters.get(&name).copied()
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot_digest(self.snapshot()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let counters = self.counters.clone();
        Records::view(move || counters.clone().into_iter())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        if !self.planted {
            self.counters.clear();
        }
        for record in read_records::<(String, i64)>(reader) {
            let (name, value) = record?;
            *self.counters.entry(name).or_insert(0) += value;
        }
        Ok(())
    }
}

/// What they should do: the same, on one node, one after the other.
struct Sequential;

impl Model for Sequential {
    type State = BTreeMap<String, i64>;
    type Input = Asked;
    type Output = Option<i64>;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, input: &Asked, output: Option<&Option<i64>>) -> Option<Self::State> {
        let mut next = state.clone();
        let answer = match input {
            Asked::Command(Command::Add { name, amount }) => {
                let value = next.entry(name.clone()).or_insert(0);
                *value += amount;
                Some(*value)
            }
            Asked::Query(Query::Value { name }) => state.get(name).copied(),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn is_read_only(&self, input: &Asked, _: Option<&Option<i64>>) -> bool {
        matches!(input, Asked::Query(_))
    }

    // One counter has nothing to do with another: each is judged by itself, which is much faster.
    fn key<'a>(&self, input: &'a Asked) -> std::borrow::Cow<'a, str> {
        match input {
            Asked::Command(Command::Add { name, .. }) | Asked::Query(Query::Value { name }) => name.as_str().into(),
        }
    }
}

/// An operation as the model has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Command(Command),
    Query(Query),
}

/// What puts the counters under the harness.
struct CounterSubject {
    planted: bool,
}

impl Subject for CounterSubject {
    type Machine = Counters;
    type Model = Sequential;

    fn name(&self) -> &str {
        if self.planted { "planted-counters" } else { "counters" }
    }

    fn machine(&self) -> Counters {
        Counters { planted: self.planted, ..Counters::default() }
    }

    fn generate(&self, random: &mut SmallRng) -> OperationOf<Self> {
        let name = ["red", "green", "blue"][random.random_range(0..3)].to_owned();
        if random.random_range(0..3) == 0 {
            Operation::Query(Query::Value { name })
        } else {
            Operation::Command(Command::Add { name, amount: random.random_range(1..100) })
        }
    }

    fn model(&self) -> Sequential {
        Sequential
    }

    fn input(&self, operation: &OperationOf<Self>) -> Asked {
        match operation {
            Operation::Command(command) => Asked::Command(command.clone()),
            Operation::Query(query) => Asked::Query(query.clone()),
        }
    }

    fn output(&self, _: &OperationOf<Self>, returned: ReturnedOf<Self>) -> Option<i64> {
        match returned {
            Returned::Reply(value) => Some(value),
            Returned::Answer(value) => value,
        }
    }
}

/// What a node is told: where it keeps its files, and to take snapshots often, so that some are restored.
const NODE: [&str; 7] =
    ["node", "--data-dir", "{data}", "--snapshot-log-bytes", "1000", "--snapshot-keep-entries", "4"];

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let planted = args.iter().position(|argument| argument == "--planted").map(|nth| args.remove(nth)).is_some();
    let task = if args.len() > 1 { args.remove(1) } else { "simulation".into() };
    match task.to_str() {
        Some("simulation") => {
            let summary = test(CounterSubject { planted }).seeds(0..100).run();
            let simulated = summary.simulated.as_secs();
            println!("{} seeds, {simulated} s simulated, {} operations", summary.seeds, summary.counts.operations());
            ExitCode::SUCCESS
        }
        Some("node") => machine::main("counters", args, move || Counters { planted, ..Counters::default() }),
        Some("processes") => exit_code("counter-under-test", in_processes(planted, &args[1..])),
        _ => {
            eprintln!("simulation, processes or node");
            ExitCode::from(64)
        }
    }
}

fn in_processes(planted: bool, flags: &[OsString]) -> anyhow::Result<Answer> {
    let node: Vec<&str> = NODE.into_iter().chain(planted.then_some("--planted")).collect();
    processes(CounterSubject { planted }, &std::env::current_exe()?, &node, flags)
}

#[cfg(test)]
use std::time::{Duration, SystemTime};

#[cfg(test)]
use quorate_harness::run::{Event, EventKind, Run};
#[cfg(test)]
use quorate_harness::subject;
#[cfg(test)]
use serde_json::{Value, json};

#[test]
fn counters_are_linearizable_under_every_fault() {
    let summary = test(CounterSubject { planted: false }).seeds(0..6).run();
    assert!(summary.counts.ok > 200, "hardly anything was done: {summary:?}");
}

#[test]
fn a_snapshot_restored_over_what_is_there_is_found_and_told_as_a_small_story() {
    let found = test(CounterSubject { planted: true }).seeds(0..100).budget(20).check();
    let failure = found.expect_err("the planted mistake is found");
    println!("{}", failure.story);
    assert!(failure.outcome.plan.faults.len() <= 4, "{:?}", failure.outcome.plan.faults);
}

#[test]
fn a_record_is_judged_by_the_model_as_the_simulation_judges() {
    let judged = |seen: i64| {
        let event = |kind, f: &str, value: Value| Event {
            process: 1,
            kind,
            f: f.to_owned(),
            key: "red".into(),
            value,
            time: Duration::ZERO,
            error: None,
            node: None,
        };
        let events = vec![
            event(EventKind::Invoke, "command", json!({ "Add": { "name": "red", "amount": 2 } })),
            event(EventKind::Ok, "command", json!(2)),
            event(EventKind::Invoke, "query", json!({ "Value": { "name": "red" } })),
            event(EventKind::Ok, "query", json!(seen)),
        ];
        let (workload, length, settings) = ("counters".to_owned(), Duration::ZERO, Value::Null);
        let (faults, messages) = (Vec::new(), Vec::new());
        let run = Run { workload, started: SystemTime::now(), length, settings, events, faults, messages };
        subject::workload(CounterSubject { planted: false }).judge(&run).remove(0)
    };
    assert_eq!(judged(2).answer, Answer::True);
    let wrong = judged(4);
    assert_eq!((wrong.answer, wrong.anomaly.map(|anomaly| anomaly.unplaced)), (Answer::False, Some(vec![2])));
}
