//! How one group runs: timeouts, bounds, when it takes snapshots.

use std::time::Duration;

/// A group's settings. All replicas of a group should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// The pace of the leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random time between these two asks for pre-votes (thesis §3.4, §9.6). The
    /// upper one is also the leader's lease. Keep the lower one at 3 fsyncs (99th percentile) or more.
    pub election_timeout: (Duration, Duration),
    /// What a lease read takes off the lease for clocks that drift: it is linearizable as long as no clock gains more
    /// than this on another within one lease.
    pub lease_margin: Duration,
    /// A snapshot is taken when the log holds more than so many bytes of entries.
    pub snapshot_log_bytes: u64,
    /// So many entries are kept behind a snapshot, for followers that are a little late.
    pub snapshot_keep_entries: u64,
    /// Bytes of commands that may be in flight in this group from this node; more are `Rejected(Overloaded)`.
    pub inflight_bytes_max: u64,
    /// A session that was not used for so long, by the log's time, expires.
    pub session_ttl: Duration,
    /// Whether a leader sends an entry to others only once it has flushed it itself. Costs a write the time of one more
    /// flush; asked for by [`crate::Host::take_over`].
    pub flush_before_send: bool,
    /// A group that nobody has asked for anything for so long falls quiet: its replicas cost nothing but a ping of one node
    /// to another, see `docs/idle-groups.md`. The first call after that takes one round of messages more. `None` keeps the
    /// group awake, as does `flush_before_send`, whose rule watches heartbeats.
    pub quiesce_after: Option<Duration>,
    /// How often a call may be handed on from node to node before it is refused.
    pub hops_max: u8,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            heartbeat: Duration::from_millis(30),
            election_timeout: (Duration::from_millis(75), Duration::from_millis(150)),
            lease_margin: Duration::from_millis(15),
            snapshot_log_bytes: 16 << 20,
            snapshot_keep_entries: 256,
            inflight_bytes_max: 64 << 20,
            session_ttl: Duration::from_secs(3600),
            flush_before_send: false,
            quiesce_after: Some(Duration::from_secs(5)),
            hops_max: 3,
        }
    }
}

impl GroupOptions {
    /// When the group falls quiet, if it may at all.
    pub(crate) fn quiesces_after(&self) -> Option<Duration> {
        self.quiesce_after.filter(|after| !self.flush_before_send && !after.is_zero())
    }
}
