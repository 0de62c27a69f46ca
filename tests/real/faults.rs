//! What is done to nodes, and to which of them.

use std::fmt;

use clap::ValueEnum;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// Nodes die at once (SIGKILL), and come back.
    Kill,
    /// Nodes stand still (SIGSTOP), and go on as if nothing had been.
    Pause,
    /// Nodes and the others do not hear each other, or only one side the other.
    Cut,
    /// A node comes back with a wall clock that is wrong by up to an hour, and is given the lead.
    Clock,
    /// All nodes are ended in good order and started, one after the other.
    Roll,
    /// A node dies for good, its files with it, and a new one takes its place.
    Replace,
    /// A node's files can grow no more: its disk fails.
    Disk,
    /// Shards move to other groups; a kill, pause or cut, if asked for too, hits a leader that takes part while one moves.
    Moves,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Fault; 8] =
        [Fault::Kill, Fault::Pause, Fault::Cut, Fault::Clock, Fault::Roll, Fault::Replace, Fault::Disk, Fault::Moves];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name(self, f)
    }
}

/// Whom a kill, a pause or a cut befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Any one node.
    One,
    /// The node that leads a group.
    Leader,
    /// Half of the nodes, rounded up, but never all.
    Half,
    /// All of them.
    All,
}

impl Target {
    /// All of these.
    pub(crate) const ANY: [Target; 4] = [Target::One, Target::Leader, Target::Half, Target::All];
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name(self, f)
    }
}

/// As the command line has it.
fn name(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
}
