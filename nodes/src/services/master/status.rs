//! How far the shadows are behind, as measured when it is asked.

use std::time::Duration;

use futures::future::join_all;
use quorate::types::Index;
use quorate::{Consistency, Described, NodeId, Proof, RemoteGroup};
use quorate_statemachines::master::{MasterMachine, MasterQuery};
use serde_json::json;

use super::masters::{Masters, Node};
use super::seats::{Apart, Seats};
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
        let (primary, shadows) = match &self.group {
            Seats::Together(_) => self.measure_all().await,
            Seats::Apart(apart) => self.measure_all_apart(apart).await,
        };
        Ok(self.shown(primary, &shadows))
    }

    async fn measure_all(&self) -> (Option<usize>, Vec<Shadow>) {
        let primary = match self.primary() {
            Some((nth, _)) => Some(nth),
            None => self.newest_office().await.and_then(|office| self.nth(&office.primary?)),
        };
        let others = (0..self.names.len()).filter(|nth| Some(*nth) != primary);
        (primary, join_all(others.map(|nth| self.measure(nth, primary))).await)
    }

    /// The same where every master is a process: each is asked.
    async fn measure_all_apart(&self, apart: &Apart) -> (Option<usize>, Vec<Shadow>) {
        let (called, office) = futures::join!(apart.roll_call(MEASURE), self.office_apart(apart, MEASURE));
        let primary = office.primary.and_then(|primary| self.nth(&primary));
        let has = |index: Option<Index>| index.map_or(0, |index| index.0 + 1);
        let of_primary = primary.and_then(|nth| called.get(nth)?.as_ref()).map(|known| known.last);
        let last = of_primary.unwrap_or_else(|| called.iter().flatten().filter_map(|known| known.last).max());
        let others = called.iter().enumerate().filter(|(nth, _)| Some(*nth) != primary);
        let measure = async |(nth, known): (usize, &Option<Described>)| {
            let Some(known) = known else { return Shadow { nth, alive: false, entries: None, ms: None } };
            let entries = Some(has(last).saturating_sub(has(known.applied)));
            let ms = match apart.way(nth) {
                _ if nth == apart.own() => staleness(&apart.replica()).await,
                Some(way) => staleness_apart(way, known.node).await,
                None => None,
            };
            Shadow { nth, alive: true, entries, ms }
        };
        (primary, join_all(others.map(measure)).await)
    }

    fn shown(&self, primary: Option<usize>, shadows: &[Shadow]) -> Reply {
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
        Reply::new()
            .field("primary", primary.map(name))
            .field("shadow", best.map(|shadow| name(shadow.nth)))
            .field("wal_lag_entries", best.and_then(|shadow| shadow.entries))
            .field("wal_lag_ms", best.and_then(|shadow| shadow.ms))
            .field("shadows", listed)
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
    proven_age(&proven.proof, node.node())
}

/// The same of a shadow in another process, by its own clock. What its answer takes to arrive is not counted.
async fn staleness_apart(way: &RemoteGroup<MasterMachine>, node: NodeId) -> Option<u64> {
    let _ = way.read(Consistency::Bounded(FRESH), &MasterQuery::Office, MEASURE, None).await;
    let proven = way.read(Consistency::Bounded(ANY_AGE), &MasterQuery::Office, MEASURE, None).await.ok()?;
    proven_age(&proven.proof, node)
}

fn proven_age(proof: &Proof, by: NodeId) -> Option<u64> {
    let age = proof.staleness.filter(|_| proof.served_by == by)?;
    Some(u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
