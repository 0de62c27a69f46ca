//! What came of a run.

use std::fmt;
use std::time::Duration;

use super::counts::Counts;
use super::plan::Plan;
use crate::run::Run;

/// Something that must never happen, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was broken, in a few fixed words.
    pub property: String,
    /// How it shows.
    pub reason: String,
    /// When.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.3} s: {}: {}", self.at.as_secs_f64(), self.property, self.reason)
    }
}

/// What came of one run of one plan.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// What was wrong; the first one ended the run.
    pub violations: Vec<Violation>,
    /// The hash of the trace, and how many lines it has.
    pub trace_hash: (u64, u64),
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
    /// How long it took, in virtual time.
    pub simulated: Duration,
    /// How much happened.
    pub counts: Counts,
    /// Calls, returns, faults and messages, for reports.
    pub run: Run,
}

impl Outcome {
    /// The first thing that was wrong.
    pub fn violation(&self) -> Option<&Violation> {
        self.violations.first()
    }

    /// Whether nothing was wrong.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }
}
