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
pub const ALL: &[Regression] = &[
    Regression {
        scenario: "membership",
        run: Run::Seed(0),
        broke: "the harness: a node that belonged to no group was expected to know its leader",
    },
    Regression {
        scenario: "membership",
        // By hand: what was wrong in seed 18, when logs were longer.
        run: Run::Plan(
            r#"{ "scenario": "membership", "seed": 18, "faults": [
                { "at": 500, "lasts": 1, "kind": { "act": "member removed" }, "target": "leader", "amount": 0 },
                { "at": 510, "lasts": 1, "kind": { "act": "member added" }, "target": { "node": 4 }, "amount": 1 },
                { "at": 520, "lasts": 1, "kind": { "act": "member added" }, "target": { "node": 5 }, "amount": 1 },
                { "at": 530, "lasts": 1, "kind": { "act": "member added" }, "target": { "node": 4 }, "amount": 0 },
                { "at": 560, "lasts": 1, "kind": { "act": "member added" }, "target": { "node": 5 }, "amount": 0 }
            ] }"#,
        ),
        broke: "a leader that had removed itself proposed another change of members, and its replica stopped",
    },
];
