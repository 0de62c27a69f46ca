//! Runs a plan from its beginning to its end.

use std::time::{Duration, SystemTime};

use super::counts::Tally;
use super::outcome::{Outcome, Violation};
use super::panics;
use super::plan::Plan;
use super::scenario::Scenario;
use super::trace::Trace;
use super::world::Sim;
use crate::run::Run;

/// A run that takes longer, in virtual time, hangs.
const LENGTH_MAX: Duration = Duration::from_secs(1_800);

/// What is kept of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// The trace's hash.
    #[default]
    Hash,
    /// All that a report shows.
    Report,
    /// The trace's lines, too.
    Trace,
}

/// Runs the plan that follows from `seed`.
pub fn run_seed(scenario: &dyn Scenario, seed: u64) -> Outcome {
    run_plan(scenario, &Plan::draw(scenario, seed), Recording::Hash)
}

/// Runs `plan`.
///
/// # Panics
/// When no runtime can be made.
pub fn run_plan(scenario: &dyn Scenario, plan: &Plan, recording: Recording) -> Outcome {
    let started = SystemTime::now();
    let (outcome, panics) = panics::watch(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let (sim, mut outcome) = runtime.block_on(play(scenario, plan, recording));
        // Whatever still runs ends here, not in somebody else's runtime.
        drop(runtime);
        drop(sim);
        outcome.run.started = started;
        outcome
    });
    let mut outcome = outcome.unwrap_or_else(|| empty(plan));
    let at = outcome.simulated;
    let panicked = panics.into_iter().map(|reason| Violation { property: "nothing panics".into(), reason, at });
    outcome.violations.extend(panicked);
    outcome
}

async fn play(scenario: &dyn Scenario, plan: &Plan, recording: Recording) -> (Sim, Outcome) {
    let trace = Trace::new(recording == Recording::Trace);
    let tally = Tally::new(trace.clone(), recording != Recording::Hash);
    let sim = Sim::new(plan.clone(), trace.clone(), tally.clone());
    let observer = sim.observer().clone();
    let ended = async {
        tokio::select! {
            biased;
            () = observer.violated() => {}
            () = scenario.run(&sim) => {}
            () = any_panic() => {}
            () = tokio::time::sleep(LENGTH_MAX) => {
                sim.violate("a run ends", format!("it has not after {LENGTH_MAX:?}"));
            }
        }
    };
    ended.await;
    let simulated = trace.now();
    let violations = observer.take_violations();
    let trace_hash = trace.hash();
    sim.end();
    let kept = std::mem::take(&mut *tally.kept());
    let run = Run {
        workload: plan.scenario.clone(),
        started: SystemTime::UNIX_EPOCH,
        length: simulated,
        settings: serde_json::json!({ "seed": plan.seed, "plan": plan }),
        events: kept.events,
        faults: kept.faults,
        messages: kept.messages,
    };
    let counts = kept.counts;
    let outcome =
        Outcome { plan: plan.clone(), violations, trace_hash, trace: trace.take_lines(), simulated, counts, run };
    (sim, outcome)
}

/// Ends soon after something has panicked.
async fn any_panic() {
    while !panics::is_any() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Of a run whose scenario panicked there is only the panic.
fn empty(plan: &Plan) -> Outcome {
    let run = Run {
        workload: plan.scenario.clone(),
        started: SystemTime::UNIX_EPOCH,
        length: Duration::ZERO,
        settings: serde_json::Value::Null,
        events: Vec::new(),
        faults: Vec::new(),
        messages: Vec::new(),
    };
    Outcome {
        plan: plan.clone(),
        violations: Vec::new(),
        trace_hash: (0, 0),
        trace: Vec::new(),
        simulated: Duration::ZERO,
        counts: Default::default(),
        run,
    }
}
