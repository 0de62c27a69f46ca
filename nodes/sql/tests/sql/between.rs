//! A coordinator and a shard with somebody between them, who has one life of the shard carry out what another one refuses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_harness::seed::Seed;
use quorate_harness::stdio::message::{Body, Message};
use quorate_harness::stdio::network::{Network, Standing};
use quorate_harness::stdio::trial::Trial;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::apart::{coordinator, query, run, shards};

/// In a network of its own each: the coordinator `q`, the shard `s1`, and a later life of `s1`, which knows of nothing that the
/// first one was asked.
struct Lives {
    coordinator: Trial,
    shard: Trial,
    later: Trial,
    /// Missing as long as everything passes; then the numbers of the changes that the later life is to answer.
    refused: Arc<Mutex<Option<BTreeSet<u64>>>>,
    _carrying: JoinSet<()>,
}

impl Lives {
    async fn start(seed: &Seed) -> Lives {
        let new = || Trial::new(seed.number());
        let coordinator = coordinator(new(), &["s1"]);
        let (shard, later) = (shards(new(), &["s1"], &[]), shards(new(), &["s1"], &[]));
        for (trial, process, other) in [(&coordinator, "q", "s1"), (&shard, "s1", "q"), (&later, "s1", "q")] {
            trial.network().add_node(other, "nobody");
            trial.network().set_standing(other, Standing::Up);
            trial.start(&[process]).await;
        }
        let refused = Arc::default();
        let carrying = carry([&coordinator, &shard, &later].map(|trial| trial.network().clone()), &refused);
        Lives { coordinator, shard, later, refused, _carrying: carrying }
    }

    /// From now on changes are carried out and then refused, or not any more. Says how many were.
    fn refuse(&self, does: bool) -> usize {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *refused, does.then(BTreeSet::new));
        before.map_or(0, |refused| refused.len())
    }

    async fn end(&self) {
        for trial in [&self.coordinator, &self.shard, &self.later] {
            trial.end().await;
        }
    }
}

/// Carries messages from one network to the other.
fn carry([coordinator, shard, later]: [Network; 3], refused: &Arc<Mutex<Option<BTreeSet<u64>>>>) -> JoinSet<()> {
    let ask = |body: &Body| body["ask"].as_u64().expect("a number");
    let mut carrying = JoinSet::new();
    let (questions, first, changes) = (coordinator.clone(), shard.clone(), Arc::clone(refused));
    carrying.spawn(async move {
        while let Some(message) = questions.receive("s1").await {
            let body = message.fields();
            if let Some(refused) = changes.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
                && body.get("about").is_some_and(|about| about == "write")
            {
                refused.insert(ask(&body));
            }
            first.send(message).expect("both are there");
        }
    });
    let (next, answers, changes) = (later.clone(), coordinator.clone(), Arc::clone(refused));
    carrying.spawn(async move {
        while let Some(message) = shard.receive("q").await {
            let mut body = message.fields();
            let refused = changes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let carried = if refused.is_some_and(|refused| refused.contains(&ask(&body))) {
                // What a life has not been asked it has no answer to.
                body.retain(|name, _| name == "life" || name == "ask");
                body.extend([("type".to_owned(), json!("scatter_want")), ("pages".to_owned(), json!([0]))]);
                next.send(Message::from_body("q", "s1", &body))
            } else {
                answers.send(message)
            };
            carried.expect("both are there");
        }
    });
    carrying.spawn(async move {
        while let Some(message) = later.receive("q").await {
            coordinator.send(message).expect("both are there");
        }
    });
    carrying
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_shard_refuses_whose_earlier_life_may_have_had_it_is_unknown() {
    let seed = Seed::of_package("quorate-sql", "sql");
    let lives = Lives::start(&seed).await;
    run(&lives.coordinator, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    run(&lives.coordinator, "INSERT INTO t VALUES (1)").await;
    lives.refuse(true);
    let refused = query(&lives.coordinator, "INSERT INTO t VALUES (2)", 4000).await;
    assert_ne!(lives.refuse(false), 0, "{refused}");
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!(0)), "{refused}");
    let rows: Value = run(&lives.coordinator, "SELECT count(*) AS n FROM t").await["results"].take();
    assert_eq!(rows, json!([{ "n": 2 }]), "and it was carried out");
    lives.end().await;
}
