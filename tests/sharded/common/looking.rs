//! What a test sees of a running store: configurations reached, shards held, logs kept short.

use quorate::Consistency;
use quorate_nodes::embedded::EmbeddedGroup;
use quorate_nodes::kv::Reach;
use quorate_statemachines::kv::{KvAnswer, KvMachine, KvQuery, Status, Work};

use super::{Cluster, PATIENCE, eventually};

/// A log shorter than this is not worth a bound: a single entry may carry a piece of a shard.
const LOG_BYTES_MIN: u64 = 4096;

/// What a group's leader says of it; `None` while there is none.
pub(crate) async fn status(group: &EmbeddedGroup<KvMachine>) -> Option<Status> {
    match group.read(Consistency::Linearizable, &KvQuery::Status, PATIENCE / 60, 0).await.ok()?.answer {
        KvAnswer::Status(status) => Some(status),
        other => panic!("not a status: {other:?}"),
    }
}

/// What a group's leader has to do for moves; `None` while there is none.
pub(crate) async fn work(group: &EmbeddedGroup<KvMachine>) -> Option<Work> {
    match group.read(Consistency::Linearizable, &KvQuery::Work, PATIENCE / 60, 0).await.ok()?.answer {
        KvAnswer::Work(work) => Some(work),
        other => panic!("not the work: {other:?}"),
    }
}

/// A group with nothing left to do: no shard on its way, nobody to be told, nothing to be freed.
pub(super) fn is_quiet(work: &Work) -> bool {
    work.settled && work.acks.is_empty() && work.sweeps.is_empty()
}

impl Cluster {
    /// Waits until these groups are at the newest configuration and all that follows from it is done.
    pub(crate) async fn quiet(&self, groups: impl IntoIterator<Item = usize>) {
        let newest = self.config().await.number;
        for nth in groups {
            let group = self.group(nth);
            let is_done = |work: Option<Work>| work.is_some_and(|work| work.number >= newest && is_quiet(&work));
            let what = format!("group {nth} is done with configuration {newest}");
            eventually(&what, || async { is_done(work(&group).await) }).await;
        }
    }

    /// Waits until a group is at the newest configuration, its moves done or not.
    pub(crate) async fn reached_newest(&self, nth: usize) {
        let (group, newest) = (self.group(nth), self.config().await.number);
        let what = format!("group {nth} is at configuration {newest}");
        eventually(&what, || async { status(&group).await.is_some_and(|status| status.number >= newest) }).await;
    }

    /// Logs are short and snapshots exist if they were asked for; otherwise there is none.
    pub(crate) async fn check_logs(&self, groups: impl IntoIterator<Item = usize>) {
        for nth in groups {
            let group = self.group(nth);
            for replica in (0..group.replicas()).filter_map(|replica| group.running(replica)) {
                match self.log_bytes {
                    None => assert_eq!(replica.status().snapshot, None, "a snapshot of group {nth} nobody wants"),
                    Some(bound) => {
                        let most = 8 * bound.max(LOG_BYTES_MIN);
                        let what = format!("a log of group {nth} has {most} bytes at most");
                        eventually(&what, || std::future::ready(replica.status().log_bytes <= most)).await;
                    }
                }
            }
        }
    }

    /// Every running replica of these groups has a snapshot.
    pub(crate) async fn check_snapshots(&self, groups: impl IntoIterator<Item = usize>) {
        for nth in groups {
            let group = self.group(nth);
            for replica in (0..group.replicas()).filter_map(|replica| group.running(replica)) {
                let what = format!("{} of group {nth} has a snapshot", replica.node());
                eventually(&what, || std::future::ready(replica.status().snapshot.is_some())).await;
            }
        }
    }

    /// The bytes of all replicas of these groups: logs and stored keys, what is yet to be freed included.
    pub(crate) async fn bytes(&self, groups: impl IntoIterator<Item = usize>) -> u64 {
        let mut sum = 0;
        for nth in groups {
            let group = self.group(nth);
            for replica in (0..group.replicas()).filter_map(|replica| group.running(replica)) {
                let reply = replica.read(Consistency::Local, &KvQuery::Status, PATIENCE).await.expect("a local read");
                let KvAnswer::Status(status) = reply.answer else { panic!("not a status") };
                let stored: u64 = status.shards.values().map(|shard| shard.bytes).sum();
                sum += replica.status().log_bytes + stored;
            }
        }
        sum
    }
}
