//! Clients that append under load, and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_nodes::server::proto::change_request::Change;
use quorate_nodes::server::{Client, ClientError};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PATIENCE};

const WRITERS: usize = 4;

/// What a writer knows of its appends: which were acknowledged, which may have happened.
#[derive(Default)]
struct Known {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
}

/// Appends 0, 1, 2... to a list until told to stop.
async fn write(client: Client, key: String, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let change = match number {
            0 => Change::Put("[0]".into()),
            _ => Change::Append(number.to_string()),
        };
        match client.change(&key, change, Duration::from_secs(10)).await {
            Ok(_) => known.acknowledged.push(number),
            Err(ClientError::Unknown(_)) => known.unknown.push(number),
            Err(ClientError::Rejected(_)) => {}
        }
        assert!(number > 0 || known.acknowledged == [0], "the list must be there");
    }
    known
}

/// Writers at work, each on a list of its own.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Known>>,
    observer: Client,
}

/// What writers were told.
pub(crate) struct Told(Vec<Known>);

impl Writers {
    pub(crate) fn start(cluster: &Cluster) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let write = |nth| tokio::spawn(write(cluster.client(), format!("list{nth}"), Arc::clone(&stop)));
        let tasks = (0..WRITERS).map(write).collect();
        Writers { stop, tasks, observer: cluster.client() }
    }

    async fn first_length(&self) -> usize {
        match self.observer.get("list0", None, PATIENCE).await.expect("an answer").value {
            Some(list) => serde_json::from_str::<Vec<u64>>(&list).expect("numbers").len(),
            None => 0,
        }
    }

    /// Waits until something more was written.
    pub(crate) async fn progress(&self) {
        let before = self.first_length().await;
        while self.first_length().await < before + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has them end.
    pub(crate) async fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.push(task.await.expect("a writer"));
        }
        Told(all)
    }
}

impl Told {
    /// Checks that what was acknowledged is there, that nothing is there twice, and that nothing refused is there.
    pub(crate) async fn check(&self, client: &Client) {
        for (nth, known) in self.0.iter().enumerate() {
            let reply = client.get(&format!("list{nth}"), None, PATIENCE).await.expect("an answer");
            let mut held: Vec<u64> = serde_json::from_str(&reply.value.expect("a list")).expect("numbers");
            assert!(held.is_sorted(), "one writer's appends are in their order");
            let count = held.len();
            held.dedup();
            assert_eq!(held.len(), count, "nothing is doubled");
            for number in &known.acknowledged {
                assert!(held.binary_search(number).is_ok(), "list{nth} has lost {number}, which was acknowledged");
            }
            for number in &held {
                let possible = known.acknowledged.contains(number) || known.unknown.contains(number);
                assert!(possible, "list{nth} has {number}, which was refused");
            }
        }
    }
}
