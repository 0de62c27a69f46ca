//! Clients that do random things to one key of each shard, and the judgement of what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_harness::checker::kv::{StringAnswer, StringOp, Strings};
use quorate_harness::checker::{Keyed, Limits, Verdict, check};
use quorate_harness::history::History;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::task::JoinHandle;

use super::{Client, Cluster, keys, text};

/// So many operations are worth a judgement.
const OPERATIONS: usize = 50;

/// How long to wait for them.
const PATIENCE: Duration = Duration::from_secs(120);

type Seen = History<Keyed<StringOp>, StringAnswer>;

/// Random clients at work.
pub(crate) struct RandomClients {
    stop: Arc<AtomicBool>,
    history: Seen,
    tasks: Vec<JoinHandle<()>>,
}

impl RandomClients {
    /// Starts so many: half of what they do is to append, a twentieth to put, the rest to get.
    pub(crate) fn start(cluster: &Cluster, count: u64) -> RandomClients {
        let (stop, history) = (Arc::<AtomicBool>::default(), History::new());
        let client = |process| {
            let (client, rng) = (cluster.client(), cluster.seed.rng(100 + process));
            tokio::spawn(run(client, rng, (process, history.clone()), Arc::clone(&stop)))
        };
        let tasks = (0..count).map(client).collect();
        RandomClients { stop, history, tasks }
    }

    /// Lets them go on until there is something to judge, and each finish what it is at. All of it together must be
    /// linearizable.
    pub(crate) async fn judge(self) {
        let begun = Instant::now();
        // A busy machine may have spent the time of the troubles on the troubles.
        while self.history.len() <= OPERATIONS + self.tasks.len() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client has failed");
        }
        let operations = self.history.operations();
        assert!(operations.len() > OPERATIONS, "only {} operations", operations.len());
        let verdict = check(&Strings, &operations, Limits::default());
        if let Verdict::NotLinearizable(counterexample) = &verdict {
            panic!("{}", counterexample.describe(&operations));
        }
        assert!(verdict.is_linearizable(), "{} operations: {verdict}", operations.len());
    }
}

async fn run(client: Client, mut rng: SmallRng, (process, history): (u64, Seen), stop: Arc<AtomicBool>) {
    let keys = keys();
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[rng.random_range(0..keys.len())];
        let value = text(&mut rng, 5);
        let op = match rng.random_range(0..100) {
            0..50 => StringOp::Append(value),
            50..55 => StringOp::Put(value),
            _ => StringOp::Get,
        };
        let call = history.invoke(process, Keyed::new(&**key, op.clone()));
        let answer = match op {
            StringOp::Get => StringAnswer::Value(client.get(key).await),
            StringOp::Put(value) => {
                client.put(key, &value).await;
                StringAnswer::Done
            }
            StringOp::Append(value) => {
                client.append(key, &value).await;
                StringAnswer::Done
            }
        };
        call.ok(answer);
    }
}
