//! The systems under simulation: a few seeds of each scenario, the seeds that once found something, and that a seed decides
//! everything.

use quorate_harness::sim::{Outcome, Plan, Recording, Scenario, run_plan, run_seed};

/// Runs a seed; fails with what was wrong and how to see it again.
fn must_hold(scenario: &dyn Scenario, seed: u64) -> Outcome {
    let outcome = run_seed(scenario, seed);
    if let Some(violation) = outcome.violation() {
        let name = scenario.name();
        panic!(
            "{name}, seed {seed}: {violation}\nagain: cargo run -p quorate-tests --bin quorate-sim -- --scenario {name} --seed {seed}"
        );
    }
    outcome
}

/// The first difference between two traces.
fn difference(one: &[String], other: &[String]) -> String {
    let place = one.iter().zip(other).position(|(one, other)| one != other).unwrap_or(one.len().min(other.len()));
    let around = |lines: &[String]| lines[place.saturating_sub(5)..(place + 3).min(lines.len())].join("\n");
    format!("line {place}:\n{}\n---\n{}", around(one), around(other))
}

fn decides_everything(scenario: &dyn Scenario, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let plan = Plan::draw(scenario, seed);
        let one = run_plan(scenario, &plan, Recording::Trace);
        let other = run_plan(scenario, &plan, Recording::Trace);
        let name = scenario.name();
        assert_eq!(one.trace_hash, other.trace_hash, "{name}, seed {seed}: {}", difference(&one.trace, &other.trace));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for scenario in super::ALL {
        decides_everything(*scenario, 0..1);
    }
}

#[test]
#[ignore = "takes minutes"]
fn the_same_seed_gives_the_same_trace_fifty_times() {
    for scenario in super::ALL {
        decides_everything(*scenario, 0..50);
    }
}

#[test]
fn a_few_seeds_of_each_scenario_hold() {
    for scenario in super::ALL {
        let acknowledged: u64 = (100..103).map(|seed| must_hold(*scenario, seed).counts.ok).sum();
        assert!(acknowledged > 50, "{}: hardly anything was acknowledged", scenario.name());
    }
}

/// The numbers in the trace's lines that contain this.
fn numbers(trace: &[String], what: &str) -> Vec<u64> {
    let lines = trace.iter().filter(|line| line.contains(what));
    lines.filter_map(|line| line.split(what).next()?.split_whitespace().next_back()?.parse().ok()).collect()
}

#[test]
fn shards_move_and_the_logs_of_their_groups_are_judged() {
    let (mut tenures, mut judged) = (0, 0);
    for seed in 200..203 {
        let scenario = super::ALL[0];
        let outcome = run_plan(scenario, &Plan::draw(scenario, seed), Recording::Trace);
        assert!(outcome.is_ok(), "seed {seed}: {:?}", outcome.violation());
        let of_run = numbers(&outcome.trace, " tenures");
        judged += of_run.len();
        tenures += of_run.iter().sum::<u64>();
    }
    assert!(judged >= 2, "the logs were there as a whole in {judged} of 3 runs");
    assert!(tenures >= 20, "shards had only {tenures} owners");
}

#[test]
fn seeds_that_once_found_something_hold() {
    for (name, seed) in super::FOUND {
        let scenario = super::ALL.iter().find(|scenario| scenario.name() == *name).expect("it is there");
        must_hold(*scenario, *seed);
    }
}

/// Runs many seeds: `QUORATE_SCENARIO`, all if it is not set; `QUORATE_SEEDS`, as `from..to`.
#[test]
#[ignore = "as long as it is told"]
fn many_seeds() {
    let only = std::env::var("QUORATE_SCENARIO").ok();
    let range = std::env::var("QUORATE_SEEDS").unwrap_or_else(|_| "1000..1100".into());
    let (from, to) = range.split_once("..").expect("from..to");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    for scenario in super::ALL {
        if only.as_deref().is_some_and(|only| only != scenario.name()) {
            continue;
        }
        let mut simulated = std::time::Duration::ZERO;
        let mut counts = quorate_harness::sim::Counts::default();
        let mut failed = Vec::new();
        let begun = std::time::Instant::now();
        for seed in from..to {
            let outcome = run_seed(*scenario, seed);
            simulated += outcome.simulated;
            counts.add(&outcome.counts);
            if let Some(violation) = outcome.violation() {
                println!("{} seed {seed}: {violation}", scenario.name());
                failed.push(seed);
            }
        }
        let took = begun.elapsed();
        println!("{}: {} seeds in {took:?}, {simulated:?} simulated, {counts:?}", scenario.name(), to - from);
        println!("{}: failed {failed:?}", scenario.name());
    }
}
