//! What a node counts and measures: names, units, meanings.
//!
//! Promises: nothing but a few atomic additions on the path of a write or a read; without a recorder of the `metrics`
//! facade not even those. Counters and histograms are the host's, over all of its groups; what is said of one group is a
//! gauge, set when somebody looks ([`crate::Host::sample_metrics`]), so that ten thousand groups cost nothing until then.
//! Leaves out: how they are shown, which is the recorder's business, and what a log or a transport counts of its own.

use std::time::Duration;

use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::error::{ReadError, WriteError};
use crate::group::{Role, Status};
use crate::machine::CommandVersion;
use crate::reads::{Consistency, ReadReply};

/// Writes that callers on this node made, by `outcome`: `ok`, `rejected`, `unknown`, `fatal`.
pub const WRITES: &str = "quorate_writes_total";
/// From the call to the acknowledgement of a write: proposal, flush, commit and apply, forwarding included.
pub const WRITE_SECONDS: &str = "quorate_write_seconds";
/// How many writes shared an entry of the log, on the leader.
pub const WRITES_PER_ENTRY: &str = "quorate_writes_per_entry";
/// Reads that callers on this node made, by `consistency` and by `outcome`: `here`, `elsewhere`, `failed`.
pub const READS: &str = "quorate_reads_total";
/// The age that answers of bounded reads proved, where a replica answered from its own state.
pub const STALENESS_SECONDS: &str = "quorate_read_staleness_seconds";
/// How often a replica of this node saw another leader or term.
pub const LEADER_CHANGES: &str = "quorate_leader_changes_total";
/// Entries that replicas of this node applied.
pub const APPLIED: &str = "quorate_applied_entries_total";
/// Snapshots that replicas of this node took.
pub const SNAPSHOTS_TAKEN: &str = "quorate_snapshots_taken_total";
/// Snapshots that replicas of this node received and installed.
pub const SNAPSHOTS_INSTALLED: &str = "quorate_snapshots_installed_total";
/// Replicas of this node that stopped because their state was not that of the others.
pub const DIVERGENCES: &str = "quorate_divergences_total";
/// How often replicas of this node fell quiet.
pub const QUIETED: &str = "quorate_replicas_quieted_total";
/// How often quiet replicas of this node woke.
pub const WOKEN: &str = "quorate_replicas_woken_total";
/// How often a node that leads quiet groups stopped answering this one's pings.
pub const SILENCES: &str = "quorate_peer_silences_total";
/// Bytes of commands that are in flight on this node, over all groups.
pub const INFLIGHT_BYTES: &str = "quorate_inflight_bytes";
/// By `group`: the version of the machine's commands that is in force.
pub const COMMAND_VERSION: &str = "quorate_group_command_version";
/// By `group`: 1 while this node's replica is quiet, else 0.
pub const QUIET: &str = "quorate_group_quiet";
/// By `group`: 1 where this node leads, else 0.
pub const LEADS: &str = "quorate_group_leads";
/// By `group`: the term.
pub const TERM: &str = "quorate_group_term";
/// By `group`: the last index that is applied here.
pub const APPLIED_INDEX: &str = "quorate_group_applied_index";
/// By `group`: entries in the log that are not applied yet.
pub const APPLY_LAG: &str = "quorate_group_apply_lag_entries";
/// By `group`: about how many bytes the log holds.
pub const LOG_BYTES: &str = "quorate_group_log_bytes";
/// By `group`: the sessions that are open.
pub const SESSIONS: &str = "quorate_group_sessions";

/// Tells the installed recorder what the names mean. Once, after it was installed.
pub fn describe() {
    crate::log::disk::metrics::describe();
    describe_counter!(WRITES, Unit::Count, "Writes that callers on this node made, by outcome.");
    describe_histogram!(WRITE_SECONDS, Unit::Seconds, "From the call to the acknowledgement of a write.");
    describe_histogram!(WRITES_PER_ENTRY, Unit::Count, "How many writes shared an entry of the log.");
    describe_counter!(READS, Unit::Count, "Reads that callers on this node made, by consistency and outcome.");
    describe_histogram!(STALENESS_SECONDS, Unit::Seconds, "The age that answers of bounded reads proved.");
    describe_counter!(LEADER_CHANGES, Unit::Count, "How often a replica saw another leader or term.");
    describe_counter!(APPLIED, Unit::Count, "Entries that replicas applied.");
    describe_counter!(SNAPSHOTS_TAKEN, Unit::Count, "Snapshots that replicas took.");
    describe_counter!(SNAPSHOTS_INSTALLED, Unit::Count, "Snapshots that replicas received and installed.");
    describe_counter!(DIVERGENCES, Unit::Count, "Replicas that stopped because they held another state.");
    describe_counter!(QUIETED, Unit::Count, "How often replicas fell quiet.");
    describe_counter!(WOKEN, Unit::Count, "How often quiet replicas woke.");
    describe_counter!(SILENCES, Unit::Count, "How often a leader's node stopped answering pings.");
    describe_gauge!(INFLIGHT_BYTES, Unit::Bytes, "Bytes of commands in flight on this node.");
    describe_gauge!(COMMAND_VERSION, Unit::Count, "The version of the machine's commands in force.");
    describe_gauge!(QUIET, Unit::Count, "1 while the replica is quiet, else 0.");
    describe_gauge!(LEADS, Unit::Count, "1 where this node leads the group, else 0.");
    describe_gauge!(TERM, Unit::Count, "The group's term.");
    describe_gauge!(APPLIED_INDEX, Unit::Count, "The last index of the group that is applied here.");
    describe_gauge!(APPLY_LAG, Unit::Count, "Entries in the group's log that are not applied yet.");
    describe_gauge!(LOG_BYTES, Unit::Bytes, "About how many bytes the group's log holds.");
    describe_gauge!(SESSIONS, Unit::Count, "The group's open sessions.");
}

/// A host's counters, looked up once.
pub(crate) struct HostMetrics {
    writes: [Counter; 4],
    write_seconds: Histogram,
    pub(crate) writes_per_entry: Histogram,
    /// By consistency, then by outcome.
    reads: [[Counter; 3]; 5],
    staleness: Histogram,
    pub(crate) leader_changes: Counter,
    pub(crate) applied: Counter,
    pub(crate) snapshots_taken: Counter,
    pub(crate) snapshots_installed: Counter,
    pub(crate) divergences: Counter,
    pub(crate) quieted: Counter,
    pub(crate) woken: Counter,
    pub(crate) silences: Counter,
}

const READ_KINDS: [&str; 5] = ["linearizable", "linearizable_here", "lease", "bounded", "local"];

impl HostMetrics {
    /// With the recorder that is installed now.
    pub(crate) fn new() -> Self {
        HostMetrics {
            writes: ["ok", "rejected", "unknown", "fatal"].map(|outcome| counter!(WRITES, "outcome" => outcome)),
            write_seconds: histogram!(WRITE_SECONDS),
            writes_per_entry: histogram!(WRITES_PER_ENTRY),
            reads: READ_KINDS.map(|kind| {
                ["here", "elsewhere", "failed"]
                    .map(|outcome| counter!(READS, "consistency" => kind, "outcome" => outcome))
            }),
            staleness: histogram!(STALENESS_SECONDS),
            leader_changes: counter!(LEADER_CHANGES),
            applied: counter!(APPLIED),
            snapshots_taken: counter!(SNAPSHOTS_TAKEN),
            snapshots_installed: counter!(SNAPSHOTS_INSTALLED),
            divergences: counter!(DIVERGENCES),
            quieted: counter!(QUIETED),
            woken: counter!(WOKEN),
            silences: counter!(SILENCES),
        }
    }

    /// One write has ended, after `took`.
    pub(crate) fn wrote<T>(&self, result: &Result<T, WriteError>, took: Duration) {
        let [ok, rejected, unknown, fatal] = &self.writes;
        match result {
            Ok(_) => {
                ok.increment(1);
                self.write_seconds.record(took);
            }
            Err(WriteError::Rejected(_)) => rejected.increment(1),
            Err(WriteError::Unknown(_)) => unknown.increment(1),
            Err(WriteError::Fatal(_)) => fatal.increment(1),
        }
    }

    /// One read has ended; `here` says whether this node answered it.
    pub(crate) fn read<T>(
        &self,
        consistency: Consistency,
        result: &Result<ReadReply<T>, ReadError>,
        here: impl FnOnce(&ReadReply<T>) -> bool,
    ) {
        let [linearizable, linearizable_here, lease, bounded, local] = &self.reads;
        let [answered_here, elsewhere, failed] = match consistency {
            Consistency::Linearizable => linearizable,
            Consistency::LinearizableHere => linearizable_here,
            Consistency::Lease => lease,
            Consistency::Bounded(_) => bounded,
            Consistency::Local => local,
        };
        match result {
            Ok(reply) if here(reply) => answered_here.increment(1),
            Ok(_) => elsewhere.increment(1),
            Err(_) => failed.increment(1),
        }
        if let (Consistency::Bounded(_), Ok(reply)) = (consistency, result)
            && let Some(staleness) = reply.proof.staleness.filter(|_| !reply.proof.linearizable)
        {
            self.staleness.record(staleness);
        }
    }
}

/// Sets the gauges of the whole node.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn sample_host(inflight_bytes: u64) {
    gauge!(INFLIGHT_BYTES).set(inflight_bytes as f64);
}

/// Sets the gauges of one group.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn sample(status: &Status, sessions: usize, quiet: bool, version: CommandVersion) {
    let group = status.group.to_string();
    let applied = status.applied.map_or(0, |id| id.index.0);
    let lag = status.last.map_or(0, |last| last.0 + 1)
        - status.applied.map_or(0, |id| id.index.0 + 1).min(status.last.map_or(0, |last| last.0 + 1));
    let set = |name: &'static str, value: f64| gauge!(name, "group" => group.clone()).set(value);
    set(LEADS, if status.leadership.role == Role::Leader { 1.0 } else { 0.0 });
    set(TERM, status.leadership.term.0 as f64);
    set(APPLIED_INDEX, applied as f64);
    set(APPLY_LAG, lag as f64);
    set(LOG_BYTES, status.log_bytes as f64);
    set(SESSIONS, sessions as f64);
    set(COMMAND_VERSION, f64::from(version.0));
    set(QUIET, f64::from(u8::from(quiet)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 22] = [
        WRITES,
        WRITE_SECONDS,
        WRITES_PER_ENTRY,
        READS,
        STALENESS_SECONDS,
        LEADER_CHANGES,
        APPLIED,
        SNAPSHOTS_TAKEN,
        SNAPSHOTS_INSTALLED,
        DIVERGENCES,
        QUIETED,
        WOKEN,
        SILENCES,
        QUIET,
        COMMAND_VERSION,
        INFLIGHT_BYTES,
        LEADS,
        TERM,
        APPLIED_INDEX,
        APPLY_LAG,
        LOG_BYTES,
        SESSIONS,
    ];

    #[test]
    fn every_metric_is_described_to_operators() {
        let guide = include_str!("../../docs/operations.md");
        for name in ALL {
            assert!(guide.contains(&format!("| `{name}` |")), "docs/operations.md does not explain {name}");
        }
        // The first table; what programs add has others.
        let is_named = |line: &&str| line.starts_with("| `quorate_");
        let named = guide.lines().skip_while(|line| !is_named(line)).take_while(is_named).count();
        assert_eq!(named, ALL.len());
    }
}
