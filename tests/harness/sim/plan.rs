//! What happens in one run: everything that can be left out of it, by name, so that a failing run can be made smaller and
//! kept in a file.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One run of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// What decides all that this plan leaves open: the operations, the network, elections.
    pub seed: u64,
    /// What goes wrong, by the time at which it begins.
    pub faults: Vec<Planned>,
    /// The operations that are called, as (client, number); all when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<BTreeSet<(u64, u64)>>,
    /// A wrong way of working that is switched on, for tests of the tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// When it begins, in milliseconds.
    pub at: u64,
    /// How long it lasts, in milliseconds; what happens at once and is over has no length.
    pub lasts: u64,
    /// What it is.
    pub kind: Kind,
    /// Whom it befalls.
    pub target: Target,
    /// What else it depends on; what it means is said with each kind.
    pub amount: u64,
}

/// Who is meant, decided when the time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// This node, whatever it is then.
    Node(u64),
    /// Who leads the first group then.
    Leader,
    /// One of those who do not lead it then.
    Follower(u64),
}

/// What can go wrong, or is done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The power fails: what was not synced is lost or torn, as `amount` decides. It comes back at the end.
    Crash,
    /// The power fails everywhere.
    CrashAll,
    /// The process is killed: nothing that was written is lost. It starts again at the end.
    Kill,
    /// The process stands still, as after SIGSTOP.
    Pause,
    /// Cut off from all others.
    Isolate,
    /// Nothing that it sends arrives.
    CutOut,
    /// Nothing arrives at it.
    CutIn,
    /// What it sends to one other, chosen by `amount`, does not arrive.
    CutOne,
    /// Two halves, as the bits of `amount` say, that do not reach each other.
    Halves,
    /// Each node reaches only two others.
    Ring,
    /// Two halves, as the bits of `amount` say, that only the target reaches both of.
    Bridge,
    /// All messages are lost, delayed, doubled and overtaken, about `amount` of a hundred of them.
    BadNetwork,
    /// All messages take up to `amount` milliseconds more.
    SlowNetwork,
    /// Each sync of its disk takes up to `amount` milliseconds more.
    SlowDisk,
    /// Its disk fails whatever is synced. At the end it has lost power, and is mended.
    FailDisk,
    /// Its disk is full.
    FullDisk,
    /// Its wall clock jumps forward by `amount` milliseconds, and back at the end.
    ClockAhead,
    /// Its wall clock jumps back by `amount` milliseconds, and forward again at the end.
    ClockBehind,
    /// Something that the scenario's program does, by name, see [`super::Program::act`].
    Act(String),
}

impl Kind {
    /// An action of the scenario's own.
    pub fn act(name: &str) -> Kind {
        Kind::Act(name.to_owned())
    }

    /// What any network does.
    pub fn network() -> Vec<Kind> {
        use Kind::{BadNetwork, Bridge, CutIn, CutOne, CutOut, Halves, Isolate, Ring, SlowNetwork};
        vec![Isolate, CutOut, CutIn, CutOne, Halves, Ring, Bridge, BadNetwork, SlowNetwork]
    }

    /// What any process suffers.
    pub fn process() -> Vec<Kind> {
        use Kind::{ClockAhead, ClockBehind, Crash, CrashAll, Kill, Pause};
        vec![Crash, Crash, CrashAll, Kill, Pause, Pause, ClockAhead, ClockBehind]
    }

    /// What any disk does, beside being full.
    pub fn disk() -> Vec<Kind> {
        vec![Kind::SlowDisk, Kind::FailDisk]
    }

    /// These, so many times as likely.
    pub fn times(times: usize, kinds: &[Kind]) -> Vec<Kind> {
        (0..times).flat_map(|_| kinds.iter().cloned()).collect()
    }

    /// All of these.
    pub fn all() -> Vec<Kind> {
        [Kind::network(), Kind::process(), Kind::disk()].concat()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Crash => "power lost",
            Kind::CrashAll => "power lost everywhere",
            Kind::Kill => "killed",
            Kind::Pause => "paused",
            Kind::Isolate => "isolated",
            Kind::CutOut => "cut, outwards",
            Kind::CutIn => "cut, inwards",
            Kind::CutOne => "one link cut, one way",
            Kind::Halves => "network in halves",
            Kind::Ring => "network in a ring",
            Kind::Bridge => "network with a bridge",
            Kind::BadNetwork => "bad network",
            Kind::SlowNetwork => "slow network",
            Kind::SlowDisk => "slow disk",
            Kind::FailDisk => "failing disk",
            Kind::FullDisk => "full disk",
            Kind::ClockAhead => "clock ahead",
            Kind::ClockBehind => "clock behind",
            Kind::Act(name) => name,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(number) => write!(f, "n{number}"),
            Target::Leader => f.write_str("the leader"),
            Target::Follower(_) => f.write_str("a follower"),
        }
    }
}

impl Plan {
    /// The plan without any fault.
    pub fn calm(scenario: &str, seed: u64) -> Plan {
        Plan { scenario: scenario.to_owned(), seed, faults: Vec::new(), operations: None, planted: None }
    }

    /// Whether this operation is to be called.
    pub fn keeps(&self, client: u64, number: u64) -> bool {
        self.operations.as_ref().is_none_or(|kept| kept.contains(&(client, number)))
    }
}
