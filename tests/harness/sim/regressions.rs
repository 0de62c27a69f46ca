//! Runs that once failed, kept so that they never do so again. A plan is kept where it had to be made smaller or by hand; else the
//! seed is all that it takes, as long as what a scenario draws from it stays the same.

/// A run that once failed.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// The scenario.
    pub scenario: &'static str,
    /// The seed, or a plan as JSON.
    pub run: Run,
    /// What it broke, and what was wrong.
    pub broke: &'static str,
}

/// How a run is kept.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// By its seed.
    Seed(u64),
    /// By its plan, as JSON.
    Plan(&'static str),
}

/// All of them, oldest first.
pub const ALL: &[Regression] = &[Regression {
    scenario: "membership",
    run: Run::Seed(0),
    broke: "the harness: a node that belonged to no group was expected to know its leader",
}];
