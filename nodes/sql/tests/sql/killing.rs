//! The whole coordinator, while its shards' leaders are killed, paused and brought back in the middle of queries.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_nodes::stdio::ServeOptions;
use quorate_nodes::stdio::transcript::Conversation;
use quorate_sql::service::{Coordinator, CoordinatorOptions};
use quorate_statemachines::slot::shard_of;
use serde_json::{Value, json};

const ROWS: u32 = 60;
const SHARDS: u32 = 3;

struct Client {
    conversation: Conversation,
    next: u64,
    answers: BTreeMap<u64, Value>,
}

impl Client {
    async fn start() -> Self {
        let request_timeout = Duration::from_secs(60);
        let options = ServeOptions { request_timeout, allow_faults: true, ..ServeOptions::default() };
        let coordinator = Coordinator::new(CoordinatorOptions { request_timeout, ..CoordinatorOptions::default() });
        let conversation = Conversation::start(coordinator, options);
        let mut client = Client { conversation, next: 0, answers: BTreeMap::new() };
        client.ask(json!({ "type": "init", "shards": ["s1", "s2", "s3"] })).await;
        client.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
        let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, {})", id % 7)).collect();
        let inserted = client.sql(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
        assert_eq!(inserted["rows_affected"], ROWS, "{inserted}");
        client
    }

    async fn send(&mut self, mut body: Value) -> u64 {
        self.next += 1;
        body["msg_id"] = self.next.into();
        // Each from a client of its own: none waits for another.
        let line = json!({ "src": format!("c{}", self.next), "dest": "coord", "body": body });
        self.conversation.send(&line.to_string()).await.expect("it listens");
        self.next
    }

    async fn receive(&mut self, id: u64) -> Value {
        while !self.answers.contains_key(&id) {
            let answer = self.conversation.receive().await.expect("it answers").expect("it goes on");
            let body = answer["body"].clone();
            self.answers.insert(body["in_reply_to"].as_u64().expect("a reply"), body);
        }
        self.answers.remove(&id).expect("it is there")
    }

    async fn ask(&mut self, body: Value) -> Value {
        let id = self.send(body).await;
        self.receive(id).await
    }

    async fn sql(&mut self, sql: &str) -> Value {
        self.ask(json!({ "type": "scatter_query", "query": sql, "timeout_ms": 20_000 })).await
    }

    async fn fault(&mut self, action: &str, target: &str) {
        let done = self.ask(json!({ "type": "fault", "action": action, "target": target })).await;
        assert_eq!(done["type"], "fault_ok", "{done}");
    }
}

/// The count is that of the shards that are said to have a part in it.
fn check(answer: &Value) {
    assert_eq!(answer["type"], "scatter_query_ok", "{answer}");
    let failed: Vec<&str> =
        answer["failed"].as_array().into_iter().flatten().filter_map(|f| f["shard"].as_str()).collect();
    let counts = |id: &u32| !failed.contains(&format!("s{}", shard_of(&id.to_string(), SHARDS).0 + 1).as_str());
    let expected = (0..ROWS).filter(counts).count();
    assert_eq!(answer["results"][0]["n"], expected, "{answer}");
    assert_eq!(answer["shards_responded"], SHARDS as usize - failed.len(), "{answer}");
}

const COUNT: &str = "SELECT count(*) AS n FROM t";

fn count(timeout_ms: u64) -> Value {
    json!({ "type": "scatter_query", "query": COUNT, "timeout_ms": timeout_ms })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_count_rightly_while_leaders_are_killed() {
    let mut client = Client::start().await;
    for round in 0..9 {
        let target = format!("s{}/leader", round % 3 + 1);
        let before: Vec<u64> = [client.send(count(20_000)).await, client.send(count(20_000)).await].into();
        client.fault("stop", &target).await;
        let during = client.send(count(20_000)).await;
        for id in before {
            check(&client.receive(id).await);
        }
        // A shard with two of its three replicas has all of its rows.
        let during = client.receive(during).await;
        check(&during);
        assert_eq!(during["shards_responded"], 3, "{during}");
        client.fault("start", &target).await;
    }
    let rest = client.conversation.end().await.expect("it ends well");
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_are_paused_or_stopped_in_the_middle_of_a_query_are_whole_or_left_out() {
    let mut client = Client::start().await;
    for (round, (breaks, mends)) in
        [("pause", "resume"), ("stop", "start"), ("isolate", "heal")].into_iter().enumerate()
    {
        let target = format!("s{}", round + 1);
        let racing = client.send(count(4000)).await;
        client.fault(breaks, &target).await;
        check(&client.receive(racing).await);
        let without = client.ask(count(4000)).await;
        check(&without);
        // An isolated group has no quorum to prove that it is up to date.
        assert_eq!(without["shards_responded"], 2, "{breaks}: {without}");
        let waiting = client.send(count(20_000)).await;
        client.fault(mends, &target).await;
        check(&client.receive(waiting).await);
        let all = client.sql(COUNT).await;
        check(&all);
        assert_eq!(all["shards_responded"], 3, "{mends}: {all}");
    }
    client.conversation.end().await.expect("it ends well");
}
