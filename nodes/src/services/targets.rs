//! The targets of faults: `n1`, `g1`, `g1/0`, `g1/leader`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorate::{Fatal, StateMachine};

use crate::embedded::{EmbeddedGroup, ReplicaFault};
use crate::stdio::{ErrorReply, FaultAction};

/// How long to wait for a leader to be elected, so that it can be hit.
const ELECTION: Duration = Duration::from_millis(1500);

/// What a target names besides a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All replicas.
    Whole,
    /// One of them.
    Nth(usize),
    /// Whichever leads.
    Leader,
}

/// Splits a target into a group's name and which replicas of it are meant.
pub fn parse(target: &str) -> (&str, Which) {
    match target.rsplit_once('/') {
        Some((name, "leader")) => (name, Which::Leader),
        Some((name, nth)) if nth.bytes().all(|byte| byte.is_ascii_digit()) => match nth.parse() {
            Ok(nth) => (name, Which::Nth(nth)),
            Err(_) => (target, Which::Whole),
        },
        _ => (target, Which::Whole),
    }
}

/// Error 1: there is no such target.
pub fn unknown(target: &str) -> ErrorReply {
    ErrorReply::not_found(format!("no such target: {target:?}")).reason("unknown_target")
}

/// What becomes of a replica.
pub fn replica_fault(action: FaultAction) -> ReplicaFault {
    match action {
        FaultAction::Stop => ReplicaFault::Stop,
        FaultAction::Start => ReplicaFault::Start,
        FaultAction::Pause => ReplicaFault::Pause,
        FaultAction::Resume => ReplicaFault::Resume,
        FaultAction::Isolate => ReplicaFault::Isolate,
        FaultAction::Heal => ReplicaFault::Heal,
        FaultAction::Delay(delay) => ReplicaFault::Delay(delay),
    }
}

/// The reply to a fault that a replica could not carry out.
pub fn failed(cause: Fatal) -> ErrorReply {
    ErrorReply::crash(cause.to_string()).reason("fatal")
}

/// The leaders that were hit as such. Mending `g1/leader` means them: whoever leads by then is well.
#[derive(Debug, Default)]
pub struct LeadersHit(Mutex<BTreeMap<String, BTreeSet<usize>>>);

impl LeadersHit {
    /// The replicas of `group` that a fault is for. Error 1 when there is no such replica.
    pub async fn replicas<M: StateMachine>(
        &self,
        group: &EmbeddedGroup<M>,
        which: Which,
        target: &str,
        action: FaultAction,
    ) -> Result<Vec<usize>, ErrorReply> {
        match which {
            Which::Whole => Ok((0..group.replicas()).collect()),
            Which::Nth(nth) if nth < group.replicas() => Ok(vec![nth]),
            Which::Nth(_) => Err(unknown(target)),
            Which::Leader => {
                let mends = matches!(action, FaultAction::Start | FaultAction::Resume | FaultAction::Heal);
                if mends && let Some(hit) = self.hit().remove(target) {
                    return Ok(hit.into_iter().collect());
                }
                let none = || ErrorReply::unavailable("it has no leader at the moment").reason("no_leader");
                let leader = group.led(ELECTION).await.ok_or_else(none)?;
                if !mends {
                    self.hit().entry(target.to_owned()).or_default().insert(leader);
                }
                Ok(vec![leader])
            }
        }
    }

    fn hit(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_their_end() {
        let table = [
            ("g1", ("g1", Which::Whole)),
            ("g1/0", ("g1", Which::Nth(0))),
            ("g1/12", ("g1", Which::Nth(12))),
            ("g1/leader", ("g1", Which::Leader)),
            ("a/b/leader", ("a/b", Which::Leader)),
            ("a/b", ("a/b", Which::Whole)),
            ("g1/", ("g1/", Which::Whole)),
            ("g1/-1", ("g1/-1", Which::Whole)),
            ("g1/99999999999999999999999", ("g1/99999999999999999999999", Which::Whole)),
            ("", ("", Which::Whole)),
        ];
        for (target, expected) in table {
            assert_eq!(parse(target), expected, "{target:?}");
        }
    }
}
