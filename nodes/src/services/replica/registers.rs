//! The registers of a group, as its nodes answer for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate::env::Env;
use quorate::sessions::Stamp;
use quorate::{Consistency, Group, NodeId, ReadError, ReadReply, Rejected};
use quorate_statemachines::register::{JsonText, RegisterCommand, RegisterMachine, RegisterQuery, RegisterReply};
use serde_json::Value;

use super::request::Freshness;
use crate::services::data::{different, missing};
use crate::services::group_sessions::GroupSessions;
use crate::stdio::{ErrorReply, Key, Reply};

type Node = Group<RegisterMachine>;

/// A group whose nodes have names.
pub(super) struct Registers {
    names: BTreeMap<NodeId, String>,
    sessions: GroupSessions,
}

impl std::fmt::Debug for Registers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registers").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Registers {
    pub(super) fn new(names: BTreeMap<NodeId, String>, env: Arc<dyn Env>) -> Self {
        Registers { names, sessions: GroupSessions::new(env) }
    }

    /// A linearizable read.
    pub(super) async fn read(&self, node: &Node, key: &Key, timeout: Duration) -> Result<Reply, ErrorReply> {
        match self.get(node, key, Consistency::Linearizable, timeout).await?.answer {
            Some(value) => Ok(Reply::new().json_text("value", &value)),
            None => Err(missing(key)),
        }
    }

    /// A write or a compare-and-set.
    pub(super) async fn change(
        &self,
        node: &Node,
        key: &Key,
        change: RegisterCommand,
        session: Option<Stamp>,
        timeout: Duration,
    ) -> Result<Reply, ErrorReply> {
        match self.sessions.write(node, &change, session, timeout).await?.reply {
            RegisterReply::Done => Ok(Reply::new()),
            RegisterReply::Missing => Err(missing(key)),
            RegisterReply::Different { .. } => Err(different(key)),
        }
    }

    /// A read that says how fresh its answer is.
    pub(super) async fn follower_read(
        &self,
        node: &Node,
        key: &Key,
        freshness: Freshness,
        timeout: Duration,
    ) -> Result<Reply, ErrorReply> {
        let consistency = match freshness {
            Freshness::Leader => Consistency::Linearizable,
            Freshness::ReadIndex => Consistency::LinearizableHere,
            Freshness::Within(bound) => Consistency::Bounded(bound),
        };
        let ReadReply { answer, proof } = self.get(node, key, consistency, timeout).await.map_err(unmet)?;
        let age = proof.staleness.map(millis_rounded_up).filter(|_| freshness != Freshness::Leader);
        let reason = match freshness {
            Freshness::Leader => Some("redirected_to_leader"),
            Freshness::Within(_) if proof.served_by != node.node() => Some("staleness_bound_exceeded"),
            _ => None,
        };
        let served_by = self.names.get(&proof.served_by).cloned();
        let reply = match answer {
            Some(value) => Reply::new().json_text("value", &value),
            None => Reply::new().field("value", Value::Null),
        };
        Ok(reply
            .optional("actual_staleness_ms", age)
            .field("served_by", served_by)
            .field("linearizable", proof.linearizable)
            .optional("reason", reason))
    }

    async fn get(
        &self,
        node: &Node,
        key: &Key,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<ReadReply<Option<JsonText>>, ReadError> {
        node.read(consistency, &RegisterQuery::Get { key: key.name().into() }, timeout).await
    }
}

/// A bound that can be met neither here nor by a leader is refused, however that came about.
fn unmet(error: ReadError) -> ErrorReply {
    match error {
        ReadError::Deadline(_) => ErrorReply::from(Rejected::NoLeader),
        ReadError::Rejected(
            Rejected::NotLeader { .. }
            | Rejected::LeaderNotReady(_)
            | Rejected::Deadline(_)
            | Rejected::Consistency(_)
            | Rejected::NoSuchGroup(_),
        ) => ErrorReply::from(Rejected::NoLeader),
        other => other.into(),
    }
}

fn millis_rounded_up(age: Duration) -> u64 {
    u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_up() {
        let table = [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (25_400_000, 26)];
        for (nanos, ms) in table {
            assert_eq!(millis_rounded_up(Duration::from_nanos(nanos)), ms, "{nanos} ns");
        }
    }
}
