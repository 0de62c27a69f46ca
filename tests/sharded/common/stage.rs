//! A store whose groups speak to each other through the test: it sees each call that a move makes from group to group,
//! and may hold it up, lose it, or stop somebody just before or just after it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use quorate::types::Index;
use quorate::{Consistency, ReadError, ReadReply, Rejected, Unknown, WriteError, Written};
use quorate_nodes::embedded::{EmbeddedGroup, ReplicaFault, World};
use quorate_nodes::kv::{Directory, Driver, DriverOptions, KvClient, Reach};
use quorate_statemachines::configlog::{Command, Config, ConfigLog};
use quorate_statemachines::kv::{KvAnswer, KvCommand, KvMachine, KvQuery, KvReply, Pulled};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use tokio::sync::watch;

use super::cluster::{change, latest};
use super::{Client, SHARDS, Seed, Setup, eventually, gid, looking};

/// A call from one group to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The destination asks for a piece of the shard.
    Chunk,
    /// The destination asks for changes.
    Delta,
    /// The destination has got the changes up to the freeze; the install is next.
    LastDelta,
    /// The destination has the source freeze the shard.
    Freeze,
    /// The destination has installed the shard, and tells the source to delete it.
    Delete,
    /// The source asks whether the shard is installed.
    Installed,
}

/// When the test is asked about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It is about to be made.
    Before,
    /// It was carried out, and the caller has not heard of it yet. Also when it failed, but for a piece that did not come.
    After,
}

/// What the test makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Pass,
    /// It is lost: not made, or its answer not heard.
    Lose,
    /// The caller is no more: it never hears anything again.
    Never,
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) call: Call,
    pub(crate) when: When,
    pub(crate) caller: Gid,
    pub(crate) to: Gid,
}

/// Decides about calls.
pub(crate) type Judge = Arc<dyn Fn(Passage) -> BoxFuture<'static, Fate> + Send + Sync>;

#[derive(Default)]
struct Shared {
    groups: RwLock<BTreeMap<Gid, Arc<EmbeddedGroup<KvMachine>>>>,
    judge: RwLock<Option<Judge>>,
}

impl Shared {
    fn group(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(gid).cloned()
    }

    async fn judge(&self, passage: Passage) -> Fate {
        let judge = self.judge.read().unwrap_or_else(PoisonError::into_inner).clone();
        match judge {
            Some(judge) => judge(passage).await,
            None => Fate::Pass,
        }
    }
}

/// The groups as one caller reaches them; clients are not watched.
struct Way {
    shared: Arc<Shared>,
    caller: Option<Gid>,
}

impl Directory for Way {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        let group = self.shared.group(gid)?;
        match &self.caller {
            None => Some(group),
            Some(caller) => {
                let (shared, caller, to) = (Arc::clone(&self.shared), caller.clone(), gid.clone());
                Some(Arc::new(Watched { shared, caller, to, group }))
            }
        }
    }
}

struct Watched {
    shared: Arc<Shared>,
    caller: Gid,
    to: Gid,
    group: Arc<EmbeddedGroup<KvMachine>>,
}

impl Watched {
    /// Says whether the call goes on.
    async fn passes(&self, call: Option<Call>, when: When) -> bool {
        let Some(call) = call else { return true };
        let passage = Passage { call, when, caller: self.caller.clone(), to: self.to.clone() };
        match self.shared.judge(passage).await {
            Fate::Pass => true,
            Fate::Lose => false,
            Fate::Never => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Reach<KvMachine> for Watched {
    async fn write(
        &self,
        command: &KvCommand,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<KvReply>, WriteError> {
        let call = match command {
            KvCommand::Freeze { .. } => Some(Call::Freeze),
            KvCommand::Delete { .. } => Some(Call::Delete),
            _ => None,
        };
        if !self.passes(call, When::Before).await {
            return Err(Rejected::NoLeader.into());
        }
        let result = self.group.write(command, timeout, attempt).await;
        if !self.passes(call, When::After).await {
            return Err(Unknown::AnswerLost("by the test".into()).into());
        }
        result
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &KvQuery,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<KvAnswer>, ReadError> {
        let mut call = match query {
            KvQuery::PullChunk { .. } => Some(Call::Chunk),
            KvQuery::PullDelta { .. } => Some(Call::Delta),
            KvQuery::Installed { .. } => Some(Call::Installed),
            _ => None,
        };
        if !self.passes(call, When::Before).await {
            return Err(Rejected::NoLeader.into());
        }
        let result = self.group.read(consistency, query, timeout, attempt).await;
        match &result {
            Ok(ReadReply { answer: KvAnswer::Pulled(Pulled::Delta(delta)), .. }) if delta.is_last() => {
                call = Some(Call::LastDelta);
            }
            Ok(ReadReply { answer: KvAnswer::Pulled(Pulled::Chunk(_)), .. }) => {}
            // A replica that has nothing to give yet; another one is asked.
            _ if call == Some(Call::Chunk) => call = None,
            _ => {}
        }
        if !self.passes(call, When::After).await {
            return Err(ReadError::Deadline(timeout));
        }
        result
    }

    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        self.group.changed(past, timeout).await
    }
}

/// A running store whose moves are watched.
pub(crate) struct Stage {
    pub(crate) seed: Seed,
    pub(crate) kv: Arc<KvClient>,
    pub(crate) controller: Arc<EmbeddedGroup<ConfigLog>>,
    world: World,
    driver: DriverOptions,
    shared: Arc<Shared>,
}

impl Stage {
    /// Starts a store with its groups joined, in the order of their numbers.
    pub(crate) async fn start(setup: Setup) -> Arc<Stage> {
        let seed = Seed::of("sharded");
        let world = setup.world(&seed);
        let controller = EmbeddedGroup::start(&world, setup.store.replicas, ConfigLog::new).await;
        let controller = controller.expect("the controller starts");
        let shared = Arc::<Shared>::default();
        let directory = Arc::new(Way { shared: Arc::clone(&shared), caller: None });
        let configs: Arc<dyn Reach<ConfigLog>> = Arc::<EmbeddedGroup<ConfigLog>>::clone(&controller);
        let kv = Arc::new(KvClient::new(Arc::clone(world.env()), configs, directory));
        let stage = Arc::new(Stage { seed, kv, controller, world, driver: setup.store.driver, shared });
        for nth in 0..setup.groups {
            let ttl = setup.store.session_ttl;
            let group = EmbeddedGroup::start(&stage.world, setup.store.replicas, move || KvMachine::new(ttl)).await;
            let group = group.expect("a group starts");
            stage.shared.groups.write().unwrap_or_else(PoisonError::into_inner).insert(gid(nth), Arc::clone(&group));
            (0..group.replicas()).for_each(|replica| stage.drive(&gid(nth), replica));
            let groups = [(gid(nth), Vec::new())].into();
            stage.change(Command::Join { groups, shard_count: SHARDS }).await;
        }
        stage
    }

    fn drive(&self, gid: &Gid, replica: usize) {
        if let Some(own) = self.group(gid).running(replica) {
            let configs: Arc<dyn Reach<ConfigLog>> = Arc::<EmbeddedGroup<ConfigLog>>::clone(&self.controller);
            let groups = Arc::new(Way { shared: Arc::clone(&self.shared), caller: Some(gid.clone()) });
            let env = Arc::clone(self.world.env());
            let driver = Driver::new(gid.clone(), own, Some(configs), groups, env, self.driver.clone());
            self.world.env().spawn(Box::pin(driver.run()));
        }
    }

    pub(crate) fn group(&self, gid: &Gid) -> Arc<EmbeddedGroup<KvMachine>> {
        self.shared.group(gid).expect("the group was started")
    }

    /// From now on this decides about calls between groups.
    pub(crate) fn watch<F>(&self, judge: impl Fn(Passage) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Fate> + Send + 'static,
    {
        let judge: Judge = Arc::new(move |passage| Box::pin(judge(passage)));
        *self.shared.judge.write().unwrap_or_else(PoisonError::into_inner) = Some(judge);
    }

    /// From now on all calls between groups pass.
    pub(crate) fn unwatch(&self) {
        *self.shared.judge.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) async fn stop(&self, gid: &Gid, replica: usize) {
        self.group(gid).fault(replica, ReplicaFault::Stop).await.expect("stopping is possible");
    }

    pub(crate) async fn start_again(&self, gid: &Gid, replica: usize) {
        self.group(gid).fault(replica, ReplicaFault::Start).await.expect("a replica starts again from its stores");
        self.drive(gid, replica);
    }

    pub(crate) async fn change(&self, command: Command) -> ConfigNumber {
        change(&self.kv, command, |_| true).await
    }

    pub(crate) async fn latest(&self) -> Arc<Config> {
        latest(&self.kv).await
    }

    /// Gives a shard to a group.
    pub(crate) async fn move_shard(&self, shard: u32, to: &Gid) -> ConfigNumber {
        self.change(Command::Move { shard: ShardId(shard), gid: to.clone() }).await
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.kv)
    }

    /// Waits until these groups have gone on to a configuration and all that follows from it is done.
    pub(crate) async fn quiet(&self, gids: &[Gid], number: ConfigNumber) {
        for gid in gids {
            let group = self.group(gid);
            eventually(&format!("group {gid} is done with configuration {number}"), || async {
                looking::work(&group).await.is_some_and(|work| work.number >= number && looking::is_quiet(&work))
            })
            .await;
        }
    }

    /// Whether a group holds anything of a shard; `None` while it has no leader.
    pub(crate) async fn holds(&self, gid: &Gid, shard: u32) -> Option<bool> {
        let status = looking::status(&self.group(gid)).await?;
        Some(status.shards.contains_key(&ShardId(shard)))
    }

    pub(crate) async fn end(&self) {
        let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner).clone();
        futures::future::join_all(groups.values().map(|group| group.shutdown())).await;
        self.controller.shutdown().await;
    }
}

/// Lets so many pieces through, and holds up the call for the next until the gate is opened.
pub(crate) fn gate(stage: &Stage, pieces: usize) -> watch::Sender<bool> {
    let (gate, opened) = watch::channel(false);
    let count = Arc::new(AtomicUsize::new(0));
    stage.watch(move |passage| {
        let (mut opened, count) = (opened.clone(), Arc::clone(&count));
        async move {
            match (passage.call, passage.when) {
                (Call::Chunk, When::After) => _ = count.fetch_add(1, Ordering::Relaxed),
                (Call::Chunk, When::Before) if count.load(Ordering::Relaxed) >= pieces => {
                    let _ = opened.wait_for(|opened| *opened).await;
                }
                _ => {}
            }
            Fate::Pass
        }
    });
    gate
}
