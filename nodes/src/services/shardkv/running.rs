//! A running store: its proxies, its controller, and its groups, started as configurations name them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use quorate::{Consistency, Fatal};
use quorate_statemachines::configlog::Query;
use quorate_statemachines::{ConfigNumber, Gid};

use super::proxy::Proxy;
use crate::embedded::World;
use crate::kv::{DirectClient, Reach, ShardedStore, StoreOptions};
use crate::services::FIRST_LEADER;
use crate::services::targets::{self, LeadersHit};
use crate::stdio::{ErrorReply, Fault};

/// How long to wait for the controller, and how often to look whether it knows more.
const LOOK: Duration = Duration::from_millis(500);

/// The name under which the controller is a target of faults.
const CONTROLLER: &str = "controller";

#[derive(Debug)]
pub(super) struct Running {
    pub(super) store: Arc<ShardedStore>,
    pub(super) proxies: BTreeMap<String, Proxy>,
    pub(super) direct: DirectClient,
    leaders_hit: LeadersHit,
    /// The newest configuration whose groups have been started.
    started: tokio::sync::Mutex<ConfigNumber>,
}

impl Running {
    pub(super) async fn start(world: World, replicas: usize, proxies: Vec<String>) -> Result<Arc<Self>, Fatal> {
        let store = ShardedStore::start(world, StoreOptions { replicas, ..StoreOptions::default() }).await?;
        store.controller().led(FIRST_LEADER).await;
        let running = Arc::new(Running {
            proxies: proxies.into_iter().map(|name| (name, Proxy::default())).collect(),
            direct: DirectClient::new(Arc::clone(store.world().env())),
            leaders_hit: LeadersHit::default(),
            started: tokio::sync::Mutex::default(),
            store,
        });
        // A change whose answer was lost may have named groups too.
        let weak = Arc::downgrade(&running);
        tokio::spawn(async move {
            let mut seen = None;
            while let Some(running) = weak.upgrade() {
                Arc::clone(&running).start_groups().await;
                seen = running.store.controller().changed(seen, LOOK).await;
            }
        });
        Ok(running)
    }

    /// Starts the groups of all configurations so far, none skipped: a group that has left again has shards to hand on.
    pub(super) async fn start_groups(self: Arc<Self>) {
        let mut started = self.started.lock().await;
        loop {
            let query = Query::After(*started);
            let next = self.store.controller().read(Consistency::Linearizable, &query, LOOK, 0).await;
            let Ok(Some(config)) = next.map(|reply| reply.answer.config()) else { return };
            if let Err(error) = self.store.ensure_groups(config.groups.keys().cloned()).await {
                tracing::error!(%error, "a group cannot be started");
                return;
            }
            *started = config.number;
        }
    }

    pub(super) async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let Fault { action, target } = fault;
        if let Some(proxy) = self.proxies.get(&target) {
            proxy.fault(action);
            return Ok(());
        }
        let (name, which) = targets::parse(&target);
        let fault = targets::replica_fault(action);
        if name == CONTROLLER {
            let controller = self.store.controller();
            let hit = self.leaders_hit.replicas(controller, which, &target, action).await?;
            try_join_all(hit.into_iter().map(|nth| controller.fault(nth, fault))).await.map_err(targets::failed)?;
            return Ok(());
        }
        let gid = Gid::new(name);
        let group = self.store.group(&gid).ok_or_else(|| targets::unknown(&target))?;
        let hit = self.leaders_hit.replicas(&group, which, &target, action).await?;
        let faults = hit.into_iter().map(|nth| self.store.fault(&gid, nth, fault));
        try_join_all(faults).await.map_err(targets::failed)?;
        Ok(())
    }

    pub(super) async fn shutdown(&self) {
        self.store.shutdown().await;
    }
}
