//! The way of a client in this process to a group: through the replica that it picks, as to another process.

use std::time::Duration;

use async_trait::async_trait;
use quorate::env::until;
use quorate::types::Index;
use quorate::{
    Consistency, Group, ReadError, ReadReply, Rejected, StateMachine, Unknown, WriteError, WriteOptions, Written,
};

use super::group::{EmbeddedGroup, Power};
use crate::kv::Reach;

impl<M: StateMachine> EmbeddedGroup<M> {
    /// The replicas that a client would ask, the likeliest first: the leader, then the others that run.
    fn candidates(&self) -> Vec<(usize, Group<M>)> {
        let leader = self.leader();
        let mut replicas: Vec<_> = (0..self.replicas()).collect();
        replicas.sort_by_key(|replica| Some(*replica) != leader);
        let usable = |replica: &usize| self.power(*replica) == Some(Power::Running);
        replicas.into_iter().filter(usable).filter_map(|replica| Some((replica, self.running(replica)?))).collect()
    }

    /// What becomes of a call while no replica runs: stopped ones refuse it, paused ones leave it waiting.
    async fn nobody_runs(&self, timeout: Duration) -> Option<Rejected> {
        let mut life = self.watch_whole();
        if life.borrow().power == Power::Stopped {
            return Some(Rejected::Stopped);
        }
        let env = &self.world.env;
        let _ = until(env, env.now() + timeout, life.wait_for(|life| life.power != Power::Paused)).await;
        None
    }
}

#[async_trait]
impl<M: StateMachine> Reach<M> for EmbeddedGroup<M> {
    async fn write(
        &self,
        command: &M::Command,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<M::Reply>, WriteError> {
        let candidates = self.candidates();
        let Some((replica, group)) = pick(&candidates, attempt) else {
            return match self.nobody_runs(timeout).await {
                Some(refusal) => Err(refusal.into()),
                None => Err(Unknown::Deadline(timeout).into()),
            };
        };
        let lives = self.lives(*replica);
        let result = group.write(command, WriteOptions { session: None, timeout }).await;
        match result {
            // The replica was stopped under the call: only before it was proposed is "stopped" a refusal.
            Err(WriteError::Fatal(_)) if self.lives(*replica) != lives => {
                Err(Unknown::AnswerLost("the replica was stopped".into()).into())
            }
            result => result,
        }
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        let candidates = self.candidates();
        let Some((_, group)) = pick(&candidates, attempt) else {
            return match self.nobody_runs(timeout).await {
                Some(refusal) => Err(refusal.into()),
                None => Err(ReadError::Deadline(timeout)),
            };
        };
        group.read(consistency, query, timeout).await
    }

    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        let candidates = self.candidates();
        let Some((_, group)) = pick(&candidates, 1) else {
            self.world.env.sleep(timeout).await;
            return None;
        };
        let next = past.map_or(Index(0), Index::next);
        group.wait_applied(next, timeout).await;
        group.applied()
    }
}

fn pick<T>(candidates: &[T], attempt: usize) -> Option<&T> {
    candidates.get(attempt.checked_rem(candidates.len())?)
}
