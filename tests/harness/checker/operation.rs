//! Operations as a client sees them.

/// A place in the order in which calls and returns were seen. No two events of a history share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// The client that called it.
    pub process: u64,
    /// What it was asked.
    pub input: I,
    /// When it was called.
    pub called: Position,
    /// What became of it.
    pub outcome: Outcome<O>,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// It returned: it took effect between its call and this moment.
    Returned {
        /// What it answered.
        output: O,
        /// When.
        at: Position,
    },
    /// It is known never to take effect. It asserts nothing. A refusal that does assert something ("the value was
    /// another") is an output.
    Failed,
    /// Nobody knows: it may take effect at any moment after its call, or never.
    Open,
}
