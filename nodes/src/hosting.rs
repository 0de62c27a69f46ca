//! One node's replicas: each started on what its stores hold, and watched for an end that nobody asked for.
//!
//! Promises: a replica that stops by itself (its disk has failed, say) is told of, once.
//! Leaves out: which groups a node is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::env::Env;
use quorate::{
    Evidence, Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, NodeId, StateMachine, TakeOver, TakeOverRefusal,
};

use crate::disk::Stores;
use crate::stdio::Failure;

/// A node's replicas.
pub(crate) struct Hosting {
    host: Arc<Host>,
    env: Arc<dyn Env>,
    stores: Stores,
    options: GroupOptions,
    failure: Failure,
    lives: Arc<Lives>,
}

/// Which life of each replica is to go on. A replica that ends in another one was meant to.
#[derive(Default)]
struct Lives(Mutex<BTreeMap<GroupId, u64>>);

impl Lives {
    fn held(&self) -> MutexGuard<'_, BTreeMap<GroupId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica's life so far may end; gives the number of the next one.
    fn next(&self, id: GroupId) -> u64 {
        let mut held = self.held();
        let life = held.entry(id).or_default();
        *life += 1;
        *life
    }
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosting").field("node", &self.host.node()).finish_non_exhaustive()
    }
}

impl Hosting {
    /// Replicas on `host`; a failure of one is told.
    pub(crate) fn new(
        host: Arc<Host>,
        env: Arc<dyn Env>,
        stores: Stores,
        options: GroupOptions,
        failure: Failure,
    ) -> Hosting {
        Hosting { host, env, stores, options, failure, lives: Arc::default() }
    }

    /// The node.
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// How its groups run.
    pub(crate) fn options(&self) -> &GroupOptions {
        &self.options
    }

    /// Clocks, randomness, tasks.
    pub(crate) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Starts a replica on what the stores hold. Every node of a new group makes it, with the same voters, which comes to one
    /// group: so it serves as soon as a majority is there, whoever is missing.
    ///
    /// # Errors
    /// [`Fatal`] when the stores cannot be read.
    pub(crate) async fn start<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        voters: BTreeSet<NodeId>,
    ) -> Result<Group<M>, Fatal> {
        let group = self.host.create_group(self.spec(id, machine)?).await?;
        self.watch(&group);
        // Refused when the log is not empty: then the group was made before.
        if let Err(refusal) = group.initialize(voters).await {
            tracing::debug!(%id, %refusal, "the group is not new");
        }
        Ok(group)
    }

    /// As [`Host::take_over`], with the replica's own stores.
    ///
    /// # Errors
    /// [`Fatal`] when they cannot be read or written; the replica does not run then.
    pub(crate) async fn take_over<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        judge: impl Fn(&Evidence<'_, M>) -> bool + Send + Sync,
    ) -> Result<(Group<M>, Result<(), TakeOverRefusal>), Fatal> {
        let spec = self.spec(id, machine)?;
        self.lives.next(id);
        let outcome = self.host.take_over(spec, judge).await.inspect_err(|fatal| self.failure.tell(&fatal.0))?;
        self.watch(outcome.group());
        Ok(match outcome {
            TakeOver::Alone(group) => (group, Ok(())),
            TakeOver::Refused { cause, group } => (group, Err(cause)),
        })
    }

    fn spec<M: StateMachine>(&self, id: GroupId, machine: M) -> Result<GroupSpec<M>, Fatal> {
        let (log, snapshots) = self.stores.of(id)?;
        Ok(GroupSpec { id, machine, log, snapshots, options: self.options.clone() })
    }

    /// Tells of a replica's end, unless it was asked for.
    fn watch<M: StateMachine>(&self, group: &Group<M>) {
        let (id, life) = (group.id(), self.lives.next(group.id()));
        let (lives, failure, mut leadership) = (Arc::clone(&self.lives), self.failure.clone(), group.watch());
        self.env.spawn(Box::pin(async move {
            let why = match leadership.wait_for(|now| now.stopped.is_some()).await {
                Ok(now) => now.stopped,
                Err(_closed) => None,
            };
            if lives.held().get(&id) == Some(&life) {
                let why = why.map_or_else(|| "it has stopped".to_owned(), |fatal| fatal.0);
                tracing::error!(%id, why, "a replica cannot go on");
                failure.tell(format!("the replica of {id} cannot go on: {why}"));
            }
        }));
    }

    /// From now on replicas may end.
    pub(crate) fn let_go(&self) {
        self.lives.held().clear();
    }

    /// Stops all replicas, and writes what is queued.
    pub(crate) async fn shutdown(&self) {
        self.let_go();
        self.host.shutdown().await;
        self.stores.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate::HostConfig;
    use quorate::env::RealEnv;
    use quorate::transport::MemoryNetwork;
    use quorate::types::ClusterId;
    use quorate_statemachines::register::RegisterMachine;

    use super::*;

    const ID: GroupId = GroupId(1);

    async fn start(failure: &Failure) -> Hosting {
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let (node, network) = (NodeId(1), MemoryNetwork::new(Arc::clone(&env), 1));
        let host = Host::new(HostConfig { node, cluster: ClusterId(1) }, Arc::clone(&env), network.transport(node));
        let hosting = Hosting::new(host, env, Stores::in_memory(), GroupOptions::default(), failure.clone());
        hosting.start(ID, RegisterMachine::new(), BTreeSet::from([node])).await.expect("a replica");
        hosting
    }

    #[tokio::test]
    async fn a_replica_that_ends_unasked_is_told_of_and_one_that_is_shut_down_is_not() {
        let failure = Failure::default();
        let hosting = start(&failure).await;
        hosting.host().stop_group(ID).await;
        failure.told().await;
        assert!(failure.error().expect("a reason").to_string().contains("cannot go on"));

        let failure = Failure::default();
        let hosting = start(&failure).await;
        hosting.shutdown().await;
        assert!(tokio::time::timeout(Duration::from_millis(50), failure.told()).await.is_err());
    }
}
