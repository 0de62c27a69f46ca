//! The simulation itself: that a seed decides everything, that wrong systems are caught, and that the right one is not.

use std::process::Command;

use super::scenarios::all;
use super::*;

/// How many seeds of each scenario are run here; `quorate-sim` runs more.
const SEEDS: u64 = 6;

fn scenario(name: &str) -> &'static dyn Scenario {
    all().into_iter().find(|scenario| scenario.name() == name).expect("there is one of this name")
}

/// The first lines in which two traces differ.
fn difference(a: &[String], b: &[String]) -> String {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let show = |trace: &[String]| trace[at.saturating_sub(3)..(at + 2).min(trace.len())].join("\n");
    format!("at line {at}:\n{}\n--- and ---\n{}", show(a), show(b))
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_by_byte() {
    for scenario in all() {
        let plan = Plan::draw(scenario, 3);
        let [a, b] = [(); 2].map(|()| run_plan(scenario, &plan, Recording::Trace));
        assert!(a.trace.len() > 1_000, "{} has a trace of {} lines", scenario.name(), a.trace.len());
        assert!(a.trace == b.trace, "{}: {}", scenario.name(), difference(&a.trace, &b.trace));
        assert_eq!(a.trace_hash, b.trace_hash);
        let quiet = Plan { faults: Vec::new(), ..plan };
        assert_ne!(a.trace_hash, run_plan(scenario, &quiet, Recording::Hash).trace_hash, "another plan, another run");
    }
}

/// The hashes of one seed of every scenario.
fn hashes() -> String {
    all().iter().map(|scenario| format!("{} {:x?}\n", scenario.name(), run_seed(*scenario, 7).trace_hash)).collect()
}

#[test]
#[ignore = "is run by the_same_seed_gives_the_same_trace_in_another_process"]
fn print_hashes() {
    println!("hashes:\n{}", hashes());
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let myself = std::env::current_exe().expect("this test is a program");
    let arguments = ["--exact", "sim::tests::print_hashes", "--ignored", "--nocapture", "--test-threads=1"];
    let child = Command::new(myself).args(arguments).output().expect("it can be started again");
    let printed = String::from_utf8_lossy(&child.stdout).into_owned();
    let own = hashes();
    assert!(printed.contains(&own), "{own}\n--- and ---\n{printed}");
}

/// Runs seeds of one scenario; tells the first failure as a story.
fn passes(name: &str, seeds: impl IntoIterator<Item = u64>) -> Counts {
    let scenario = scenario(name);
    let mut counts = Counts::default();
    for seed in seeds {
        let outcome = run_seed(scenario, seed);
        if !outcome.is_ok() {
            let smaller = shrink(scenario, &outcome, 60).outcome;
            let again = format!("again: quorate-sim --scenario {name} --seed {seed}");
            panic!("{:?}\n{}\n{again}\n{:?}", outcome.violations, story(&smaller), smaller.plan);
        }
        counts.add(&outcome.counts);
    }
    assert!(counts.ok > 20 * counts.faults.len() as u64, "hardly anything was done: {counts:?}");
    counts
}

macro_rules! slice {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test] fn $test() { passes($name, 0..SEEDS); })*
    };
}

slice! {
    registers_are_linearizable: "registers",
    commands_of_sessions_happen_once: "sessions",
    acknowledged_writes_happened_once: "writes",
    bounded_reads_are_never_older_than_they_say: "bounded",
    members_come_and_go_and_registers_stay_linearizable: "membership",
    groups_that_sleep_are_linearizable_and_wake: "quiet-groups",
    machines_that_persist_themselves_lose_nothing: "durable",
    full_disks_refuse_and_stop_nothing: "full-disks",
}

#[test]
fn runs_that_once_failed_pass() {
    for regressions::Regression { scenario: name, run, broke } in regressions::ALL {
        let scenario = scenario(name);
        let outcome = match run {
            regressions::Run::Seed(seed) => run_seed(scenario, *seed),
            regressions::Run::Plan(text) => {
                let plan = serde_json::from_str(text).expect("a plan that was kept can be read");
                run_plan(scenario, &plan, Recording::Hash)
            }
        };
        assert!(outcome.is_ok(), "{name} {run:?}: {broke}: again {:?}", outcome.violations);
    }
}

/// `QUORATE_SCENARIO=registers QUORATE_SEEDS=0..1000`, to be run where the binary is not built.
#[test]
#[ignore = "runs for long"]
fn soak() {
    let seeds = std::env::var("QUORATE_SEEDS").unwrap_or_else(|_| "0..100".into());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let options = command::Options {
        scenario: std::env::var("QUORATE_SCENARIO").unwrap_or_else(|_| "all".into()),
        seed: Some(from),
        seeds: Some(to - from),
        minutes: std::env::var("QUORATE_MINUTES").ok().map(|minutes| minutes.parse().expect("a number")),
        jobs: std::env::var("QUORATE_JOBS").map_or(1, |jobs| jobs.parse().expect("a number")),
        trace: std::env::var_os("QUORATE_TRACE").map(Into::into),
        replay: std::env::var_os("QUORATE_REPLAY").map(Into::into),
        list: false,
        store: std::env::temp_dir().join("quorate-simulation"),
    };
    let options = if to == from { command::Options { seeds: None, ..options } } else { options };
    assert_eq!(command::run(&all(), &options), std::process::ExitCode::SUCCESS);
}

mod wrong {
    //! Wrong systems, which the invariants and the checkers have to notice.

    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::future::join;
    use quorate::env::Env;
    use quorate::snapshot::{SnapshotReader, SnapshotView};
    use quorate::{EntryContext, StateMachine};

    use super::*;

    /// Registers of which one node's are not like the others.
    struct Clocked(scenarios::Registers, Arc<dyn Env>);

    impl StateMachine for Clocked {
        type Command = scenarios::Command;
        type Reply = scenarios::Reply;
        type Query = scenarios::Query;
        type Answer = scenarios::Answer;

        fn apply(&mut self, entry: EntryContext, command: scenarios::Command) -> scenarios::Reply {
            let now = self.1.wall().0;
            match command {
                // What no machine may do: the clock of the node decides.
                scenarios::Command::Write { key, .. } => {
                    self.0.apply(entry, scenarios::Command::Write { key, value: now })
                }
                command => self.0.apply(entry, command),
            }
        }

        fn query(&self, query: scenarios::Query) -> scenarios::Answer {
            self.0.query(query)
        }

        fn digest(&self) -> Option<quorate::machine::StateDigest> {
            self.0.digest()
        }

        fn snapshot(&self) -> Box<dyn SnapshotView> {
            self.0.snapshot()
        }

        fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
            self.0.restore(reader)
        }
    }

    struct ClockScenario;

    #[async_trait::async_trait(?Send)]
    impl Scenario for ClockScenario {
        fn name(&self) -> &str {
            "wrong-clock"
        }

        fn about(&self) -> &str {
            "a machine looks at its node's clock"
        }

        fn shape(&self) -> Shape {
            let suffers = vec![Kind::ClockAhead, Kind::Pause];
            Shape { nodes: 3, length: Duration::from_secs(1), clients: 1, operations: 20, faults: 3, suffers }
        }

        async fn run(&self, sim: &Sim) {
            let make = |life: &Life, _| Clocked(scenarios::Registers::default(), life.env());
            Replicas::new(Settings::small(), make).start(sim, 3).await;
            let writes = async {
                for value in 0..20 {
                    let Some(running) = sim.process::<Process<Clocked>>(quorate::NodeId(1)) else { return };
                    let Some(group) = running.process.groups.values().next() else { return };
                    let command = scenarios::Command::Write { key: 1, value };
                    let _ = running.ask(Duration::from_secs(1), group.write(&command, Default::default())).await;
                    sim.sleep(Duration::from_millis(20)).await;
                }
            };
            join(writes, sim.disturb()).await;
            heal::<Clocked>(sim, 1, true).await;
        }
    }

    #[test]
    fn a_machine_that_looks_at_the_clock_is_caught() {
        let caught = (0..10).find_map(|seed| run_seed(&ClockScenario, seed).violation().cloned());
        let violation = caught.expect("it is caught within ten seeds");
        assert!(violation.property.contains("hold the same") || violation.property.contains("stop"), "{violation}");
    }

    #[test]
    fn a_disk_that_forgets_what_it_had_synced_is_caught() {
        // The world does what no plan does: it takes the whole disk away.
        struct Forgetful;

        #[async_trait::async_trait(?Send)]
        impl Scenario for Forgetful {
            fn name(&self) -> &str {
                "wrong-disk"
            }

            fn about(&self) -> &str {
                "a node's files vanish"
            }

            fn shape(&self) -> Shape {
                let length = Duration::from_secs(1);
                Shape { nodes: 3, length, clients: 0, operations: 0, faults: 0, suffers: Vec::new() }
            }

            async fn run(&self, sim: &Sim) {
                Replicas::new(Settings::small(), |_, _| scenarios::Registers::default()).start(sim, 3).await;
                sim.sleep(Duration::from_millis(500)).await;
                let node = quorate::NodeId(2);
                if let Some(life) = sim.life(node) {
                    let log = Path::new("/log");
                    for name in life.fs().list(log).unwrap_or_default() {
                        let _ = life.fs().remove(&log.join(name));
                    }
                    let _ = life.fs().sync_dir(log);
                }
                sim.kill(node);
                sim.boot(node).await;
                sim.sleep(Duration::from_millis(500)).await;
            }
        }

        let outcome = run_seed(&Forgetful, 1);
        let violation = outcome.violation().expect("it is caught");
        assert!(violation.property.contains("§3.8"), "{violation}");
    }

    #[test]
    fn a_failing_plan_is_made_smaller_and_fails_in_the_same_way() {
        let outcome = (0..10).map(|seed| run_seed(&ClockScenario, seed)).find(|outcome| !outcome.is_ok());
        let outcome = outcome.expect("one of ten seeds fails");
        let smaller = shrink(&ClockScenario, &outcome, 50).outcome;
        let property = |outcome: &Outcome| outcome.violation().map(|violation| violation.property.clone());
        assert_eq!(property(&smaller), property(&outcome));
        assert!(smaller.plan.faults.len() <= outcome.plan.faults.len());
        let text = serde_json::to_string(&smaller.plan).expect("a plan is JSON");
        let again: Plan = serde_json::from_str(&text).expect("and can be read again");
        assert_eq!(run_plan(&ClockScenario, &again, Recording::Hash).trace_hash, smaller.trace_hash);
    }
}
