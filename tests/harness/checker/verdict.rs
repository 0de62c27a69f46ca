//! What the checker says.

use std::fmt::{self, Debug, Write};
use std::time::{Duration, Instant};

use super::{Operation, Outcome};

/// How far to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long, for the whole history.
    pub time: Duration,
    /// How many configurations to remember for one key; each takes some 200 bytes.
    pub configurations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { time: Duration::from_secs(30), configurations: 4_000_000 }
    }
}

impl Limits {
    /// When the time is over. A limit beyond the clock's range is none.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.time)
    }
}

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is.
    Linearizable,
    /// It is not.
    NotLinearizable(Counterexample),
    /// The search ended before it could tell.
    Unknown(Exhausted),
}

/// Which limit ended a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// [`Limits::time`].
    Time,
    /// [`Limits::configurations`].
    Configurations,
}

/// How far the operations of one key could be put into an order. Numbers are places in the history that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The key.
    pub key: String,
    /// The longest order found.
    pub longest: Vec<usize>,
    /// The operation that had to come next, having returned, and could not.
    pub stuck: usize,
    /// Operations called before that one returned that are not in the order either.
    pub unplaced: Vec<usize>,
}

impl Verdict {
    /// Whether the history is known to be linearizable.
    pub fn is_linearizable(&self) -> bool {
        *self == Verdict::Linearizable
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable => f.write_str("linearizable"),
            Verdict::NotLinearizable(Counterexample { key, longest, stuck, .. }) => {
                write!(f, "not linearizable: key {key:?}, operation {stuck} after {} others", longest.len())
            }
            Verdict::Unknown(limit) => write!(f, "unknown: {limit}"),
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exhausted::Time => "out of time",
            Exhausted::Configurations => "out of configurations",
        })
    }
}

/// The operations shown before the one that does not fit.
const SHOWN: usize = 12;

impl Counterexample {
    /// The end of the longest order, the operation that does not fit, and those that overlap it, for a person to read.
    pub fn describe<I: Debug, O: Debug>(&self, history: &[Operation<I, O>]) -> String {
        let mut text = format!("key {:?}: the longest order has {} operations", self.key, self.longest.len());
        let skipped = self.longest.len().saturating_sub(SHOWN);
        for nth in &self.longest[skipped..] {
            line(&mut text, "then", &history[*nth]);
        }
        line(&mut text, "does not fit", &history[self.stuck]);
        for nth in &self.unplaced {
            line(&mut text, "not placed", &history[*nth]);
        }
        text
    }
}

fn line<I: Debug, O: Debug>(text: &mut String, what: &str, operation: &Operation<I, O>) {
    let Operation { process, input, called, outcome } = operation;
    let (until, answer) = match outcome {
        Outcome::Returned { output, at } => (at.0.to_string(), format!("{output:?}")),
        Outcome::Failed => (String::new(), "failed".to_owned()),
        Outcome::Open => (String::new(), "open".to_owned()),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "\n  {what:>12}  [{}..{until}] process {process}: {input:?} -> {answer}", called.0);
}
