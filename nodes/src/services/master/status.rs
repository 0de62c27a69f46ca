//! How far the shadows are behind, as measured when it is asked.

use std::time::Duration;

use futures::future::join_all;
use quorate::Consistency;
use quorate::types::Index;
use quorate_statemachines::master::MasterQuery;
use serde_json::json;

use super::masters::{Masters, Node};
use crate::embedded::Power;
use crate::stdio::{ErrorReply, Reply};

/// A proof of freshness that is older is not taken for a measurement: a new one is asked for.
const FRESH: Duration = Duration::from_millis(20);

/// How long a shadow may take to prove how fresh it is.
const MEASURE: Duration = Duration::from_millis(400);

/// Longer than any age.
const ANY_AGE: Duration = Duration::from_secs(1 << 32);

/// One shadow.
struct Shadow {
    nth: usize,
    alive: bool,
    entries: Option<u64>,
    ms: Option<u64>,
}

impl Masters {
    /// The lags of all shadows.
    pub(super) async fn shadow_status(&self) -> Result<Reply, ErrorReply> {
        let primary = match self.primary() {
            Some((nth, _)) => Some(nth),
            None => self.newest_office().await.and_then(|office| self.nth(&office.primary?)),
        };
        let others = (0..self.names.len()).filter(|nth| Some(*nth) != primary);
        let shadows = join_all(others.map(|nth| self.measure(nth, primary))).await;
        let behind = |shadow: &&Shadow| {
            let unknown_last = |lag: Option<u64>| lag.map_or((1, 0), |lag| (0, lag));
            (unknown_last(shadow.entries), unknown_last(shadow.ms), shadow.nth)
        };
        let best = shadows.iter().filter(|shadow| shadow.alive).min_by_key(behind);
        let listed: Vec<_> = shadows
            .iter()
            .map(|shadow| {
                json!({
                    "node": &*self.name(shadow.nth),
                    "wal_lag_entries": shadow.entries,
                    "wal_lag_ms": shadow.ms,
                    "alive": shadow.alive,
                })
            })
            .collect();
        let name = |nth| self.name(nth).to_string();
        Ok(Reply::new()
            .field("primary", primary.map(name))
            .field("shadow", best.map(|shadow| name(shadow.nth)))
            .field("wal_lag_entries", best.and_then(|shadow| shadow.entries))
            .field("wal_lag_ms", best.and_then(|shadow| shadow.ms))
            .field("shadows", listed))
    }

    async fn measure(&self, nth: usize, primary: Option<usize>) -> Shadow {
        let node = self.group.running(nth).filter(|_| self.group.power(nth) == Some(Power::Running));
        let Some(node) = node else { return Shadow { nth, alive: false, entries: None, ms: None } };
        // The primary's log first: what it gets meanwhile is no lag of before.
        let last = self.last_index(primary);
        let has = |index: Option<Index>| index.map_or(0, |index| index.0 + 1);
        let entries = has(last).saturating_sub(has(node.applied()));
        Shadow { nth, alive: true, entries: Some(entries), ms: staleness(&node).await }
    }

    /// The last entry of the primary's log; while it is dead, of the longest log that is there.
    fn last_index(&self, primary: Option<usize>) -> Option<Index> {
        let alive = |nth: usize| {
            let running = self.group.power(nth) == Some(Power::Running);
            self.group.running(nth).filter(|_| running).map(|node| node.status().last)
        };
        let of_primary = primary.and_then(alive);
        of_primary.unwrap_or_else(|| (0..self.names.len()).filter_map(alive).max().flatten())
    }
}

/// An upper bound of the age of a shadow's state in milliseconds, rounded up; `None` if it cannot prove any.
async fn staleness(node: &Node) -> Option<u64> {
    // The first has the shadow ask the primary, unless it has just done so; the second takes what it has proven.
    let _ = node.read(Consistency::Bounded(FRESH), &MasterQuery::Office, MEASURE).await;
    let proven = node.read(Consistency::Bounded(ANY_AGE), &MasterQuery::Office, MEASURE).await.ok()?;
    let age = proven.proof.staleness.filter(|_| proven.proof.served_by == node.node())?;
    Some(u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
