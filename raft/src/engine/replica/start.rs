//! From what a replica is made of to one that runs.
//!
//! Promises: none runs before the lease is over that it may have acknowledged in an earlier life.

use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use tokio::sync::Mutex;

use super::{Raft, Replica, ReplicaSpec};
use crate::engine::log::LogAdapter;
use crate::engine::machine::{MachineAdapter, Shared};
use crate::engine::network::Network;
use crate::engine::proposer::Proposer;
use crate::engine::runtime::scoped;
use crate::engine::{compaction, leadership};
use crate::error::Fatal;
use crate::planted::{self, Bug};

impl Replica {
    /// Starts a replica on what its stores hold.
    pub(crate) async fn start(spec: ReplicaSpec) -> Result<Arc<Replica>, Fatal> {
        let config = Arc::new(config(&spec)?);
        outwait_lease(&spec).await?;
        let shared = Arc::new(Shared::new(
            spec.state,
            Arc::clone(&spec.log),
            Arc::clone(&spec.snapshots),
            spec.options.snapshot_log_bytes,
            Arc::clone(&spec.metrics),
            Arc::clone(&spec.env),
        ));
        shared.load().await.map_err(|error| Fatal(format!("state of {}: {error}", spec.group)))?;
        // Soon enough that a lost one is sent again before its follower is missed.
        let append_timeout = spec.options.heartbeat.max(spec.options.election_timeout.0 / 2);
        let network = Network { group: spec.group, caller: spec.caller, append_timeout };
        let start = Raft::new(
            spec.node,
            config,
            network,
            LogAdapter::new(
                Arc::clone(&spec.log),
                spec.options.flush_before_send && !planted::is(Bug::SentBeforeFlush),
            ),
            MachineAdapter(Arc::clone(&shared)),
        );
        let raft = scoped(spec.env.as_ref(), start).await.map_err(|error| Fatal(error.to_string()))?;
        let leadership = leadership::watch(&raft, &shared, spec.env.as_ref(), spec.metrics.leader_changes.clone());
        compaction::start(&raft, &shared, Arc::clone(&spec.log), &spec.options, &spec.env);
        let proposer = Proposer::start(raft.clone(), Arc::clone(&spec.env), spec.metrics.writes_per_entry.clone());
        Ok(Arc::new(Replica {
            raft,
            proposer,
            group: spec.group,
            node: spec.node,
            shared,
            log: spec.log,
            snapshots: spec.snapshots,
            incoming: Mutex::new(None),
            leadership,
            heard: StdMutex::default(),
            simulated: spec.env.simulation().is_some(),
            env: spec.env,
            lease: spec.options.election_timeout.1.saturating_sub(spec.options.lease_margin),
        }))
    }
}

/// Waits as long as a leader's lease may still run that this replica acknowledged in an earlier life. openraft has forgotten
/// it, and could vote for another leader, or stand itself, while the old one still answers lease reads.
async fn outwait_lease(spec: &ReplicaSpec) -> Result<(), Fatal> {
    let fatal = |error| Fatal(format!("vote of {}: {error}", spec.group));
    if let Some(vote) = spec.log.vote().await.map_err(fatal)? {
        if spec.options.flush_before_send {
            // What an earlier life in this process appended may still wait for its flush, and nobody would know: a saved
            // vote has all that was queued before it flushed.
            spec.log.save_vote(vote).await.map_err(fatal)?;
        }
        let taken_over = spec.silent_since.is_some();
        if planted::is(Bug::LeaseNotOutwaited) || taken_over && planted::is(Bug::TakeOverTooSoon) {
            return Ok(());
        }
        let waited = spec.silent_since.map_or(Duration::ZERO, |since| spec.env.now().since(since));
        spec.env.sleep(spec.options.election_timeout.1.saturating_sub(waited)).await;
    }
    Ok(())
}

/// openraft's settings from ours.
fn config(spec: &ReplicaSpec) -> Result<Config, Fatal> {
    let options = &spec.options;
    if options.lease_margin >= options.election_timeout.1 {
        return Err(Fatal(format!("options of {}: the lease margin leaves nothing of the lease", spec.group)));
    }
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: spec.group.to_string(),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election_timeout.0),
        election_timeout_max: ms(options.election_timeout.1),
        // A restarted leader must not resume its lease: it may have slept through an election.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // By bytes of log, see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        // By `compaction` too.
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1024,
        install_snapshot_timeout: 10_000,
        backoff: "50ms".to_string(),
        // Bounds of channels, not of the log: the defaults cost 90 KiB a replica.
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        ..Config::default()
    };
    config.validate().map_err(|error| Fatal(format!("options of {}: {error}", spec.group)))
}
