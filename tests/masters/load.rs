//! Clients at work: each creates one path after the other, and remembers what was acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate::ClientId;
use quorate::sessions::Stamp;
use quorate_statemachines::master::MasterOp;
use tokio::task::JoinHandle;

use super::cluster::{Cluster, change, eventually, path};

/// How long a client waits for an answer before it goes on to its next path.
const ANSWER: Duration = Duration::from_millis(400);

/// Clients at work, until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    count: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn new() -> Load {
        Load { stop: Arc::default(), acknowledged: Arc::default(), count: Arc::default(), clients: Vec::new() }
    }

    /// Clients that ask whoever is the primary, and ask again with the same number until they are answered.
    pub(crate) fn insisting(cluster: &Arc<Cluster>, clients: usize) -> Load {
        let mut load = Load::new();
        for client in 0..clients {
            let (cluster, stop) = (Arc::clone(cluster), Arc::clone(&load.stop));
            let (acknowledged, count) = (Arc::clone(&load.acknowledged), Arc::clone(&load.count));
            load.clients.push(tokio::spawn(async move {
                let who = format!("c{client}");
                for seq in 1u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("/{who}/{seq}");
                    let stamp = Stamp { client: ClientId::new(who.as_str()), seq, acked: Some(seq - 1) };
                    let create = change(MasterOp::Create { path: path(&name) }, Some(stamp));
                    // It is carried out once, so that even a retry never finds its own path there.
                    cluster.insist(&who, create).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                    note(&acknowledged, &count, name);
                }
            }));
        }
        load
    }

    /// Clients that ask one master only, each path once.
    pub(crate) fn faithful(cluster: &Arc<Cluster>, clients: usize) -> Load {
        let mut load = Load::new();
        for (nth, master) in cluster.names.clone().into_iter().enumerate() {
            for client in 0..clients {
                let (cluster, stop, master) = (Arc::clone(cluster), Arc::clone(&load.stop), master.clone());
                let (acknowledged, count) = (Arc::clone(&load.acknowledged), Arc::clone(&load.count));
                load.clients.push(tokio::spawn(async move {
                    let who = format!("f{nth}-{client}");
                    for number in 1u64.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("/{who}/{number}");
                        let create = change(MasterOp::Create { path: path(&name) }, None);
                        match cluster.ask(&master, &who, create, ANSWER).await {
                            Ok(_) => note(&acknowledged, &count, name),
                            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                        }
                    }
                }));
            }
        }
        load
    }

    /// Waits until so many more paths are acknowledged.
    pub(crate) async fn goes_on(&self, paths: u64) {
        let until = self.count.load(Ordering::Relaxed) + paths;
        eventually("clients are answered", || async { self.count.load(Ordering::Relaxed) >= until }).await;
    }

    /// Stops the clients and says what was acknowledged.
    pub(crate) async fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(acknowledged: &Mutex<BTreeSet<String>>, count: &AtomicU64, name: String) {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    count.fetch_add(1, Ordering::Relaxed);
}
