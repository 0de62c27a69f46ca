//! Tables on servers: what a coordinator in another process answers while servers end, and after all of them were started again.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use quorate_nodes::query::Queries;
use quorate_nodes::server::{
    ClientTls, ClientsTls, GroupConfig, NodeAddress, RemoteQueries, Server, ServerConfig, Start, TABLES, make_certs,
    tables,
};
use quorate_sql::query::role;
use quorate_sql::scatter::EngineOptions;
use quorate_sql::service::{Coordinator, CoordinatorOptions, OnServers};
use quorate_statemachines::slot::shard_of;
use serde_json::{Value, json};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shard may take that is expected to answer.
const PATIENT_MS: u64 = 60_000;

/// Servers in this process, each with a directory.
struct Servers {
    dir: tempfile::TempDir,
    config: ServerConfig,
    running: Vec<Option<Server>>,
    /// The first so many have a coordinator.
    coordinators: usize,
    /// What clients trust servers by, and show them.
    tls: ClientTls,
}

impl Servers {
    /// Three servers, and for each list of nodes a group of shards: s1, s2 and so on.
    async fn start(groups: &[&[u64]]) -> Servers {
        Servers::start_with(groups, 0).await
    }

    async fn start_with(groups: &[&[u64]], coordinators: usize) -> Servers {
        let mut servers = Servers::described(groups, coordinators);
        servers.run_all().await;
        servers
    }

    /// As [`Servers::start_with`], and no server speaks to anybody who shows no certificate of one authority.
    async fn start_with_tls(groups: &[&[u64]], coordinators: usize) -> Servers {
        let mut servers = Servers::described(groups, coordinators);
        let dir = servers.dir.path().to_owned();
        make_certs(&dir, &[1, 2, 3]).expect("certificates");
        let [ca, cert, key] = ["ca.pem", "node-1.pem", "node-1-key.pem"].map(|name| Some(dir.join(name)));
        servers.tls = ClientTls { ca, cert, key };
        servers.run_all().await;
        servers
    }

    fn described(groups: &[&[u64]], coordinators: usize) -> Servers {
        let listeners: Vec<_> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let free: Vec<SocketAddr> = listeners.iter().map(|one| one.local_addr().expect("an address")).collect();
        drop(listeners);
        let group = |(nth, nodes): (usize, &&[u64])| GroupConfig {
            name: format!("s{}", nth + 1),
            machine: TABLES.into(),
            nodes: nodes.to_vec(),
        };
        let node = |(at, id): (&[SocketAddr], u64)| NodeAddress { id, peer: at[0], client: at[1], http: None };
        let config = ServerConfig {
            cluster: 1,
            groups: groups.iter().enumerate().map(group).collect(),
            nodes: free.chunks(2).zip(1..).map(node).collect(),
            ..ServerConfig::default()
        };
        let dir = tempfile::tempdir().expect("a directory");
        Servers { dir, config, running: vec![None, None, None], coordinators, tls: ClientTls::default() }
    }

    async fn run_all(&mut self) {
        for nth in 0..3 {
            self.run(nth, Start::New).await;
        }
    }

    async fn run(&mut self, nth: usize, start: Start) {
        let data_dir = Some(self.dir.path().join(format!("n{}", nth + 1)));
        let id = nth + 1;
        let clients_tls = self.tls.ca.clone().map(|ca| {
            let file = |what| self.dir.path().join(format!("node-{id}{what}.pem")).to_string_lossy().into_owned();
            ClientsTls { cert: file(""), key: file("-key"), ca: Some(ca) }
        });
        let config = ServerConfig { node: Some(id as u64), data_dir, clients_tls, ..self.config.clone() };
        let mut server = Server::builder(&config);
        if nth < self.coordinators {
            let tls = self.tls.clone();
            server = server.queries(move |config| role(config, tls, EngineOptions::default()));
        }
        let server = server.start(start).await.unwrap_or_else(|error| panic!("server {id}: {error:#}"));
        self.running[nth] = Some(server);
    }

    async fn end(&mut self, nth: usize) {
        self.running[nth].take().expect("it runs").shutdown().await;
    }

    fn addresses(&self) -> Vec<String> {
        self.config.nodes.iter().map(|node| node.client.to_string()).collect()
    }

    fn coordinator(&self, groups: &[&str]) -> Coordinator {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let servers = Some(OnServers { addresses: self.addresses(), tls: self.tls.clone() });
        let options = CoordinatorOptions { request_timeout: PATIENCE, servers, ..CoordinatorOptions::default() };
        Coordinator::of_groups(&groups, options).expect("a coordinator")
    }

    /// What `quorate-sql` says of it.
    async fn program(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sql"));
        command.arg("--servers").arg(self.addresses().join(",")).args(arguments).stdin(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || command.output());
        ran.await.expect("it is waited for").expect("it runs")
    }
}

async fn ask(coordinator: &Coordinator, mut body: Value) -> Value {
    body["type"] = "scatter_query".into();
    if body["timeout_ms"].is_null() {
        body["timeout_ms"] = PATIENT_MS.into();
    }
    serde_json::from_str(&coordinator.ask(&body.to_string()).await).expect("a body")
}

/// A statement that must be carried out, by all shards.
async fn sql(coordinator: &Coordinator, statement: &str) -> Value {
    let answer = ask(coordinator, json!({ "query": statement })).await;
    assert_eq!(answer["type"], "scatter_query_ok", "{statement}: {answer}");
    assert_eq!(answer["shards_total"], answer["shards_responded"], "{statement}: {answer}");
    answer
}

async fn rows(coordinator: &Coordinator, statement: &str) -> Value {
    sql(coordinator, statement).await["results"].clone()
}

const BY_CITY: &str = "SELECT u.city, count(*) AS n, sum(o.amount) AS amount FROM users u JOIN orders o ON o.user_id = u.id \
                       GROUP BY u.city ORDER BY u.city";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_on_servers_are_there_while_a_server_is_gone_and_after_all_were_started_again() {
    let mut servers = Servers::start(&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]).await;
    let named = tables(servers.addresses(), &ClientTls::default(), PATIENCE).await.expect("an answer");
    assert_eq!(named, ["s1", "s2", "s3"]);
    let first = servers.coordinator(&["s1", "s2", "s3"]);
    sql(&first, "CREATE TABLE users (id INT PRIMARY KEY, city TEXT)").await;
    sql(&first, "CREATE TABLE orders (id INT PRIMARY KEY, user_id INT, amount INT)").await;
    let users = "INSERT INTO users VALUES (1,'Oslo'),(2,'Bern'),(3,'Oslo'),(4,'Rome'),(5,'Bern'),(6,'Oslo')";
    assert_eq!(sql(&first, users).await["rows_affected"], 6);
    let orders: Vec<String> = (0..60).map(|id| format!("({id}, {}, {id})", id % 6 + 1)).collect();
    sql(&first, &format!("INSERT INTO orders VALUES {}", orders.join(", "))).await;
    // The same number is carried out once.
    let numbered =
        json!({ "query": "INSERT INTO users VALUES (7,'Rome'),(8,'Rome'),(9,'Rome')", "client": "c", "seq": 1 });
    for _ in 0..2 {
        assert_eq!(ask(&first, numbered.clone()).await["rows_affected"], 3);
    }
    let cities = json!([{ "city": "Bern", "n": 20, "amount": 590 }, { "city": "Oslo", "n": 30, "amount": 880 },
                        { "city": "Rome", "n": 10, "amount": 300 }]);
    // What was asked before is followed; what was not is fetched.
    let second = servers.coordinator(&["s1", "s2", "s3"]);
    for coordinator in [&first, &second] {
        assert_eq!(rows(coordinator, BY_CITY).await, cities);
    }

    servers.end(0).await;
    assert_eq!(rows(&first, BY_CITY).await, cities);
    assert_eq!(sql(&first, "UPDATE users SET city = 'Bern' WHERE id = 3").await["rows_affected"], 1);
    assert_eq!(sql(&second, "DELETE FROM users WHERE city = 'Rome'").await["rows_affected"], 4);
    let left = json!([{ "city": "Bern", "n": 3 }, { "city": "Oslo", "n": 2 }]);
    let count = "SELECT city, count(*) AS n FROM users GROUP BY city ORDER BY city";
    for coordinator in [&first, &second, &servers.coordinator(&["s1", "s2", "s3"])] {
        assert_eq!(rows(coordinator, count).await, left);
    }

    servers.end(1).await;
    servers.end(2).await;
    for nth in 0..3 {
        servers.run(nth, Start::Again).await;
    }
    for coordinator in [&second, &servers.coordinator(&["s1", "s2", "s3"])] {
        assert_eq!(rows(coordinator, count).await, left);
        assert_eq!(rows(coordinator, "SELECT count(*) AS n FROM orders").await, json!([{ "n": 60 }]));
    }
    // The session is the servers': a new coordinator knows of the number too.
    let again = ask(&servers.coordinator(&["s1", "s2", "s3"]), numbered).await;
    assert_eq!((&again["type"], &again["rows_affected"]), (&json!("scatter_query_ok"), &json!(3)), "{again}");
    assert_eq!(rows(&second, count).await, left);
}

const ROWS: u32 = 60;

/// The count is that of the shards that are said to have a part in it.
fn check(answer: &Value) {
    assert_eq!(answer["type"], "scatter_query_ok", "{answer}");
    let failed: Vec<&str> =
        answer["failed"].as_array().into_iter().flatten().filter_map(|failed| failed["shard"].as_str()).collect();
    let counts = |id: &u32| !failed.contains(&format!("s{}", shard_of(&id.to_string(), 3).0 + 1).as_str());
    assert_eq!(answer["results"][0]["n"], (0..ROWS).filter(counts).count(), "{answer}");
    assert_eq!(answer["shards_responded"], 3 - failed.len(), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_its_quorum_is_left_out_in_time_and_said_so() {
    let mut servers = Servers::start(&[&[1], &[2, 3], &[1, 2, 3]]).await;
    let coordinator = servers.coordinator(&["s1", "s2", "s3"]);
    sql(&coordinator, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let values: Vec<String> = (0..ROWS).map(|id| format!("({id})")).collect();
    sql(&coordinator, &format!("INSERT INTO t VALUES {}", values.join(", "))).await;
    let count = "SELECT count(*) AS n FROM t";
    check(&sql(&coordinator, count).await);

    // Of s2 one replica is left, which has all rows, and cannot know that it has.
    servers.end(1).await;
    let begun = Instant::now();
    let partial = loop {
        let answer = ask(&coordinator, json!({ "query": count, "timeout_ms": 3000 })).await;
        check(&answer);
        // The others may be late on a busy machine.
        if answer["shards_responded"] == 2 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
    };
    assert_eq!(partial["failed"][0]["shard"], "s2", "{partial}");
    let refused = ask(&coordinator, json!({ "query": count, "timeout_ms": 3000, "require_all": true })).await;
    assert_eq!((&refused["type"], &refused["reason"]), (&json!("error"), &json!("incomplete")), "{refused}");
    // A row of s2 is not taken; nobody is told that it was.
    let lost = (ROWS..).find(|id| shard_of(&id.to_string(), 3).0 == 1).expect("one of them");
    let insert = json!({ "query": format!("INSERT INTO t VALUES ({lost})"), "timeout_ms": 2000 });
    assert_eq!(ask(&coordinator, insert).await["type"], "error");

    let shown = servers.program(&["query", "--timeout", "3000", count]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success() && text.contains("left out: s2 ("),
        "{text}{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    let strict = servers.program(&["query", "--timeout", "3000", "--require-all", count]).await;
    assert!(!strict.status.success() && String::from_utf8_lossy(&strict.stderr).contains("not every shard"));

    servers.run(1, Start::Again).await;
    check(&sql(&coordinator, count).await);
    let shown = servers.program(&["query", "--json", "--timeout", "60000", count, "SELECT min(id) AS id FROM t"]).await;
    let lines: Vec<Value> = String::from_utf8_lossy(&shown.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a body of the protocol"))
        .collect();
    check(&lines[0]);
    assert_eq!(lines[1]["results"], json!([{ "id": 0 }]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_servers_is_refused_and_changes_nothing() {
    let servers = Servers::start(&[&[1], &[1, 2, 3]]).await;
    let coordinator = servers.coordinator(&["s1", "s2"]);
    sql(&coordinator, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;
    sql(&coordinator, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;

    // Other shards than those that the groups hold would show every row in a wrong place, or none.
    for groups in [&["s2", "s1"][..], &["s1"][..], &["s1", "s2", "s1"][..]] {
        let answer = ask(&servers.coordinator(groups), json!({ "query": "SELECT count(*) FROM t" })).await;
        let wrong = answer["failed"][0]["text"].as_str().unwrap_or_default();
        assert!(wrong.contains("name the same groups in the same order"), "{groups:?}: {answer}");
        assert_eq!((&answer["reason"], &answer["failed"][0]["reason"]), (&json!("no_shard_answered"), &json!("error")));
    }
    let nowhere = ask(&servers.coordinator(&["s9"]), json!({ "query": "SELECT * FROM t", "timeout_ms": 500 })).await;
    assert_eq!(nowhere["reason"], "no_shard_answered", "{nowhere}");

    // A row that no message takes; the other row of the statement is not kept either.
    let long = "INSERT INTO t VALUES (4, repeat('x', 4194304)), (5, 'e'), (6, 'f'), (7, 'g')";
    let refused = ask(&coordinator, json!({ "query": long })).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(12), &json!("sql")), "{refused}");
    // One that only just fits comes back in a piece of its own.
    sql(&coordinator, "INSERT INTO t VALUES (8, repeat('x', 3145728))").await;
    let fresh = servers.coordinator(&["s1", "s2"]);
    let lengths = "SELECT id, character_length(name) AS n FROM t ORDER BY id";
    let expected = json!([{ "id": 1, "n": 1 }, { "id": 2, "n": 1 }, { "id": 3, "n": 1 }, { "id": 8, "n": 3 << 20 }]);
    for coordinator in [&coordinator, &fresh] {
        assert_eq!(rows(coordinator, lengths).await, expected);
    }
    let stale = json!({ "query": lengths, "consistency": { "max_staleness_ms": 60_000 } });
    assert_eq!(ask(&servers.coordinator(&["s1", "s2"]), stale).await["results"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_coordinator_carries_out_what_any_client_asks_and_others_say_that_they_have_none() {
    let mut servers = Servers::start_with(&[&[1, 2, 3], &[1, 2, 3]], 2).await;
    let addresses = servers.addresses();
    let through = |order: &[usize]| {
        let named: Vec<&String> = order.iter().map(|nth| &addresses[*nth]).collect();
        RemoteQueries::new(named, &ClientTls::default()).expect("a client")
    };
    let ask = async |queries: &RemoteQueries, statement: &str| {
        let body = json!({ "type": "scatter_query", "query": statement, "timeout_ms": PATIENT_MS });
        let answer = queries.answer(&body.to_string()).await?;
        anyhow::Ok(serde_json::from_str::<Value>(&answer).expect("JSON"))
    };
    // The third has none, and another one is asked.
    let all = through(&[2, 0, 1]);
    ask(&all, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await.expect("an answer");
    let inserted = ask(&all, "INSERT INTO t VALUES (1,1),(2,2),(3,3),(4,4),(5,5),(6,6)").await.expect("an answer");
    assert_eq!(inserted["rows_affected"], 6, "{inserted}");
    let third = ask(&through(&[2]), "SELECT 1").await.expect_err("it has no coordinator");
    assert!(third.to_string().contains("no server carries statements out"), "{third}");
    // Longer than gRPC takes in one message.
    let long = ask(&all, "SELECT id, repeat('x', 1000000) AS text FROM t ORDER BY id").await.expect("an answer");
    let lengths: Vec<usize> =
        long["results"].as_array().expect("rows").iter().map(|row| row["text"].as_str().map_or(0, str::len)).collect();
    assert_eq!(lengths, [1_000_000; 6]);
    // What is wrong with a statement is an answer.
    assert_eq!(ask(&all, "SELEC 1").await.expect("an answer")["reason"], "sql");
    servers.end(0).await;
    let sum = ask(&all, "SELECT sum(n) AS n FROM t").await.expect("the second answers");
    assert_eq!(sum["results"], json!([{ "n": 21 }]), "{sum}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_no_certificate_gets_no_rows_and_servers_show_theirs_to_each_other() {
    let servers = Servers::start_with_tls(&[&[1, 2, 3], &[1, 2, 3]], 1).await;
    let body = |statement: &str, timeout_ms: u64| {
        json!({ "type": "scatter_query", "query": statement, "timeout_ms": timeout_ms }).to_string()
    };
    let queries = |tls: &ClientTls| RemoteQueries::new(servers.addresses(), tls).expect("a client");
    let known = queries(&servers.tls);
    let create = known.answer(&body("CREATE TABLE t (id INT PRIMARY KEY)", PATIENT_MS)).await.expect("an answer");
    assert!(create.contains("scatter_query_ok"), "{create}");
    let outside = servers.coordinator(&["s1", "s2"]);
    sql(&outside, "INSERT INTO t VALUES (1),(2),(3)").await;
    let count = known.answer(&body("SELECT count(*) AS n FROM t", PATIENT_MS)).await.expect("an answer");
    assert_eq!(serde_json::from_str::<Value>(&count).expect("JSON")["results"], json!([{ "n": 3 }]));
    let anonymous = ClientTls { cert: None, key: None, ..servers.tls.clone() };
    for (who, tls) in [("in the clear", ClientTls::default()), ("anonymous", anonymous)] {
        let answer = queries(&tls).answer(&body("SELECT count(*) AS n FROM t", 500)).await;
        assert!(answer.is_err(), "a client {who} was answered: {answer:?}");
        assert!(tables(servers.addresses(), &tls, Duration::from_millis(500)).await.is_err(), "a client {who}");
    }
}
