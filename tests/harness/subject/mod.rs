//! Your own state machine under the harness: give a machine, a generator of operations and a model; get simulated clusters
//! with every fault, judged.
//!
//! ```no_run
//! # use quorate_harness::subject::{Subject, test};
//! # fn run<S: Subject>(subject: S) {
//! test(subject).seeds(0..200).run();
//! # }
//! ```
//!
//! Promises: a run that breaks something panics with a story as small as it could be made, and says how to have it again.
//! [`processes`] runs the same subject in real processes, over real files, and leaves a report.
//! Leaves out: in the simulation, machines that keep their state outside of memory.
//! `docs/testing/your-machine.md` goes through a complete example, `tests/harness/examples/counter.rs`.

mod processes;
mod scenario;

use std::fmt::{Debug, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate::StateMachine;
use rand::rngs::SmallRng;

use crate::checker::Model;
use crate::sim::command::keep;
use crate::sim::{Counts, Kind, Outcome, Plan, Recording, Shape, run_plan, shrink, story};
pub use processes::{processes, workload};
use scenario::SubjectScenario;

/// The machine's side of an operation.
#[derive(Clone, Debug)]
pub enum Operation<C, Q> {
    /// A command: written, by half of the clients in a session, and then retried until its fate is known.
    Command(C),
    /// A query: read, linearizably in each of the ways that there are.
    Query(Q),
}

/// What a machine answers to an operation.
#[derive(Clone, Debug)]
pub enum Returned<R, A> {
    /// To a command.
    Reply(R),
    /// To a query.
    Answer(A),
}

/// An operation of a subject.
pub type OperationOf<S> =
    Operation<<<S as Subject>::Machine as StateMachine>::Command, <<S as Subject>::Machine as StateMachine>::Query>;

/// What a subject answers.
pub type ReturnedOf<S> =
    Returned<<<S as Subject>::Machine as StateMachine>::Reply, <<S as Subject>::Machine as StateMachine>::Answer>;

/// A state machine under test.
pub trait Subject: Sized + Send + Sync + 'static {
    /// The machine. If it has a [`StateMachine::digest`], replicas are compared by it at the end of each run.
    type Machine: StateMachine<Command: Clone + Debug, Query: Clone + Debug, Reply: Debug, Answer: Debug>;

    /// What it should do: the machine as it would be on one node, one operation after the other.
    type Model: Model<State: Debug, Input: Clone + Debug + Sync, Output: Clone + Debug + Sync> + Sync;

    /// Its name, for stories and files: a word or two joined by hyphens.
    fn name(&self) -> &str;

    /// A fresh machine.
    fn machine(&self) -> Self::Machine;

    /// An operation that a client may call, of few enough that clients meet.
    fn generate(&self, random: &mut SmallRng) -> OperationOf<Self>;

    /// The model before any operation.
    fn model(&self) -> Self::Model;

    /// The operation as the model has it.
    fn input(&self, operation: &OperationOf<Self>) -> <Self::Model as Model>::Input;

    /// The answer as the model has it.
    fn output(&self, operation: &OperationOf<Self>, returned: ReturnedOf<Self>) -> <Self::Model as Model>::Output;
}

/// How a subject is tested.
#[derive(Debug)]
pub struct Test<S> {
    scenario: SubjectScenario<S>,
    seeds: Range<u64>,
    store: PathBuf,
    budget: usize,
}

/// Puts a machine under the harness.
pub fn test<S: Subject>(subject: S) -> Test<S> {
    let shape = Shape {
        nodes: 3,
        length: Duration::from_secs(4),
        clients: 4,
        operations: 30,
        faults: 6,
        suffers: scenario::usual_faults(),
    };
    let scenario = SubjectScenario { subject: Arc::new(subject), shape };
    Test { scenario, seeds: 0..100, store: std::env::temp_dir().join("quorate-stories"), budget: 100 }
}

/// What runs without a failure come to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// How long they took, in virtual time.
    pub simulated: Duration,
    /// How much happened in them.
    pub counts: Counts,
}

/// A run that broke something, made smaller.
#[derive(Debug)]
pub struct Failure {
    /// The smallest run that was found, with all that a report shows.
    pub outcome: Outcome,
    /// What happened in it, in words.
    pub story: String,
    /// The seed that failed first.
    pub seed: u64,
}

impl<S: Subject> Test<S> {
    /// The seeds to run; 0 to 99 unless this is called.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// How large the world is and what befalls it.
    pub fn shape(mut self, change: impl FnOnce(&mut Shape)) -> Self {
        change(&mut self.scenario.shape);
        self
    }

    /// Only these faults.
    pub fn faults(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.scenario.shape.suffers = kinds.into_iter().collect();
        self
    }

    /// Where plans of failing runs go; a temporary directory unless this is called.
    pub fn store(mut self, dir: impl Into<PathBuf>) -> Self {
        self.store = dir.into();
        self
    }

    /// How many smaller runs are tried to make a failure smaller; 100 unless this is called.
    pub fn budget(mut self, runs: usize) -> Self {
        self.budget = runs;
        self
    }

    /// Runs all seeds, or the one plan in the file that `QUORATE_REPLAY` names.
    ///
    /// # Panics
    /// When a run breaks something: with its story, as small as it could be made, and with what runs it again.
    pub fn run(&self) -> Summary {
        if let Some(file) = std::env::var_os("QUORATE_REPLAY") {
            let plan =
                std::fs::read(&file).map_err(serde_json::Error::io).and_then(|text| serde_json::from_slice(&text));
            let plan: Plan = plan.unwrap_or_else(|error| panic!("{}: {error}", PathBuf::from(&file).display()));
            if plan.scenario == self.scenario.subject.name() {
                let outcome = self.replay(&plan);
                assert!(outcome.is_ok(), "{}", story(&outcome));
                return Summary { seeds: 1, simulated: outcome.simulated, counts: outcome.counts };
            }
        }
        match self.check() {
            Ok(summary) => summary,
            Err(failure) => panic!("{}", self.told(&failure)),
        }
    }

    /// Runs all seeds; gives the first failure, made smaller.
    pub fn check(&self) -> Result<Summary, Box<Failure>> {
        let mut summary = Summary::default();
        for seed in self.seeds.clone() {
            let outcome = self.replay(&Plan::draw(&self.scenario, seed));
            summary.seeds += 1;
            summary.simulated += outcome.simulated;
            summary.counts.add(&outcome.counts);
            if !outcome.is_ok() {
                let outcome = shrink(&self.scenario, &outcome, self.budget).outcome;
                return Err(Box::new(Failure { story: story(&outcome), outcome, seed }));
            }
        }
        Ok(summary)
    }

    /// Runs one plan.
    pub fn replay(&self, plan: &Plan) -> Outcome {
        run_plan(&self.scenario, plan, Recording::Report)
    }

    fn told(&self, failure: &Failure) -> String {
        let mut text =
            format!("seed {} of {} fails:\n\n{}\n", failure.seed, self.scenario.subject.name(), failure.story);
        // Writing to a string cannot fail.
        let _ = match keep(&failure.outcome, &self.store) {
            Ok(file) => {
                let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "YOUR-CRATE".into());
                let thread = std::thread::current();
                let name = thread.name().unwrap_or_default();
                write!(text, "again: QUORATE_REPLAY={} cargo test -p {package} {name}", file.display())
            }
            Err(error) => write!(text, "its plan could not be kept: {error}"),
        };
        text
    }
}
