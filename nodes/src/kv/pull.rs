//! Pulling a shard: chunks while the source serves it, deltas that follow its changes, the freeze, the install.

use std::sync::Arc;
use std::time::Duration;

use quorate::Consistency;
use quorate::planted::{self, Bug};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{
    Delta, KvAnswer, KvCommand, KvMachine, KvQuery, KvReply, Pull, PullWork, Pulled, Reached, Step,
};

use super::driver::Driver;
use super::reach::Reach;

/// How long to wait when the source has not come so far yet, or does not answer.
const NOT_YET: Duration = Duration::from_millis(5);

/// What one step of a pull came to.
enum Progress {
    /// Go on.
    On,
    /// Nothing new: wait a little.
    Wait,
}

impl Driver {
    /// Pulls a shard until it is installed, or this replica no longer leads.
    pub(super) async fn pull(&self, shard: ShardId) {
        let mut deltas = 0;
        while self.leads() {
            let Some(work) = self.work().await else { return };
            let Some(pull) = work.pulls.into_iter().find(|pull| pull.shard == shard) else { return };
            let Some(source) = self.groups.find(&pull.source) else {
                tracing::debug!(%shard, source = %pull.source, "the source of a shard is not known here yet");
                self.env.sleep(NOT_YET).await;
                continue;
            };
            let progress = if pull.whole {
                self.install(&pull, None).await
            } else if pull.copied {
                deltas += 1;
                self.pull_delta(&pull, source, deltas).await
            } else {
                self.pull_chunk(&pull, source).await
            };
            if let Progress::Wait = progress {
                self.env.sleep(NOT_YET).await;
            }
        }
    }

    async fn pull_chunk(&self, pull: &PullWork, source: Arc<dyn Reach<KvMachine>>) -> Progress {
        let query = KvQuery::PullChunk {
            shard: pull.shard,
            pull: self.puller(pull),
            after: pull.after.clone(),
            max_bytes: self.options.chunk_bytes,
        };
        let Some(Pulled::Chunk(chunk)) = self.ask_replicas(pull, &source, &query).await else { return Progress::Wait };
        let bytes = chunk.size() as u64;
        let command = KvCommand::StageChunk { shard: pull.shard, number: pull.number, chunk };
        let progress = self.step(command).await;
        self.throttle(bytes).await;
        progress
    }

    async fn pull_delta(&self, pull: &PullWork, source: Arc<dyn Reach<KvMachine>>, deltas: u32) -> Progress {
        let Some(from) = pull.reached else { return Progress::Wait };
        let query = self.delta_query(pull, from);
        let Some(Pulled::Delta(delta)) = self.ask_replicas(pull, &source, &query).await else { return Progress::Wait };
        if delta.is_last() {
            return self.install(pull, Some(delta)).await;
        }
        let little_is_left = delta.size() as u64 <= self.options.freeze_bytes;
        let (to, lost_at) = (delta.to, delta.lost_at);
        let command = KvCommand::StageDelta { shard: pull.shard, number: pull.number, delta };
        let progress = self.step(command).await;
        if planted::is(Bug::NoFreeze) {
            return progress;
        }
        if !matches!(progress, Progress::On) || !(little_is_left || deltas >= self.options.freeze_deltas_max) {
            return progress;
        }
        // From here until the install nobody serves the shard.
        let freeze = KvCommand::Freeze { shard: pull.shard, lost_at };
        if let Err(error) = source.write(&freeze, self.options.call_timeout, 0).await {
            tracing::debug!(shard = %pull.shard, %error, "a shard could not be frozen");
            return Progress::Wait;
        }
        // The leader has applied the freeze that it answered for.
        match self.ask_source(pull, &source, &self.delta_query(pull, to), 0).await {
            Some(Pulled::Delta(delta)) if delta.is_last() => self.install(pull, Some(delta)).await,
            // More than one piece is left: it is staged piece by piece.
            Some(Pulled::Delta(delta)) => {
                self.step(KvCommand::StageDelta { shard: pull.shard, number: pull.number, delta }).await
            }
            _ => Progress::On,
        }
    }

    fn delta_query(&self, pull: &PullWork, from: Reached) -> KvQuery {
        let max_bytes = self.options.chunk_bytes;
        KvQuery::PullDelta { shard: pull.shard, pull: self.puller(pull), from, max_bytes }
    }

    /// Asks a follower, to spare the leader; the leader if that brings nothing, since the follower may be cut off from
    /// it for as long as it likes.
    async fn ask_replicas(
        &self,
        pull: &PullWork,
        source: &Arc<dyn Reach<KvMachine>>,
        query: &KvQuery,
    ) -> Option<Pulled> {
        match self.ask_source(pull, source, query, 1).await {
            Some(Pulled::Chunk(chunk)) => Some(Pulled::Chunk(chunk)),
            Some(Pulled::Delta(delta)) if delta.to.index > delta.from.index => Some(Pulled::Delta(delta)),
            _ => self.ask_source(pull, source, query, 0).await,
        }
    }

    async fn install(&self, pull: &PullWork, delta: Option<Delta>) -> Progress {
        self.step(KvCommand::Install { shard: pull.shard, number: pull.number, delta }).await
    }

    /// Takes a step here. What does not fit is no failure: somebody else was quicker, and the work is looked at again.
    async fn step(&self, command: KvCommand) -> Progress {
        match self.write_own(command).await {
            Ok(KvReply::Step(Step::Done | Step::Nothing)) => Progress::On,
            Ok(reply) => {
                tracing::debug!(?reply, "a step of a shard's move did not fit");
                Progress::Wait
            }
            Err(error) => {
                tracing::debug!(%error, "a step of a shard's move could not be taken");
                Progress::Wait
            }
        }
    }

    async fn ask_source(
        &self,
        pull: &PullWork,
        source: &Arc<dyn Reach<KvMachine>>,
        query: &KvQuery,
        replica: usize,
    ) -> Option<Pulled> {
        // With the number of the loss any replica's answer fits or says "not yet"; without it, one that lags could give
        // an older loss of the shard.
        let consistency = if pull.taken_at.is_some() { Consistency::Local } else { Consistency::Linearizable };
        match source.read(consistency, query, self.options.call_timeout, replica).await {
            Ok(reply) => match reply.answer {
                KvAnswer::Pulled(pulled) => Some(pulled),
                _ => None,
            },
            Err(error) => {
                tracing::debug!(shard = %pull.shard, %error, "a source does not answer");
                None
            }
        }
    }

    fn puller(&self, pull: &PullWork) -> Pull {
        Pull { puller: self.me.clone(), taken_at: pull.taken_at }
    }

    /// Waits so that the copy keeps to its rate.
    async fn throttle(&self, bytes: u64) {
        if let Some(rate) = self.options.bytes_per_second_max {
            self.env.sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)).await;
        }
    }
}
