//! A service behind its protocol, in this process or as processes, and any number of clients of it at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate_harness::stdio::trial::Trial;
use quorate_nodes::stdio::{ServeOptions, Service, serve};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Whom clients talk to. Clones talk to the same ones.
#[derive(Clone)]
pub(crate) enum Cluster {
    /// A service that is all nodes.
    Served(Arc<Served>),
    /// Each node is a process.
    Processes(Arc<Trial>),
}

pub(crate) struct Served {
    input: tokio::sync::Mutex<Option<DuplexStream>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Map<String, Value>>>>,
    next: AtomicU64,
    serving: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

impl Served {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Map<String, Value>>>> {
        self.waiting.lock().expect("nobody panicked")
    }
}

impl Cluster {
    pub(crate) fn serve<S: Service>(service: S, request_timeout: Duration) -> Cluster {
        let options = ServeOptions { request_timeout, allow_faults: true, ..ServeOptions::default() };
        let (input, their_input) = duplex(64 * 1024);
        let (their_output, output) = duplex(64 * 1024);
        let serving = tokio::spawn(serve(service, their_input, their_output, options));
        let served = Arc::new(Served {
            input: tokio::sync::Mutex::new(Some(input)),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            serving: Mutex::new(Some(serving)),
        });
        let shared = Arc::downgrade(&served);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut message: Value = serde_json::from_str(&line).expect("a message");
                let answered = message["body"]["in_reply_to"].as_u64().expect("an answer");
                let waiter = shared.upgrade().and_then(|shared| shared.waiting().remove(&answered));
                if let (Some(waiter), Value::Object(body)) = (waiter, message["body"].take()) {
                    let _ = waiter.send(body);
                }
            }
        });
        Cluster::Served(served)
    }

    /// Sends a request and waits for its answer, which always comes.
    pub(crate) async fn ask(&self, src: &str, dest: &str, kind: &str, fields: Value) -> Map<String, Value> {
        let served = match self {
            Cluster::Served(served) => served,
            Cluster::Processes(trial) => return trial.ask(src, dest, kind, fields).await,
        };
        let msg_id = served.next.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({ "type": kind, "msg_id": msg_id });
        if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), fields) {
            body.extend(fields);
        }
        let (sender, answer) = oneshot::channel();
        served.waiting().insert(msg_id, sender);
        let line = format!("{}\n", json!({ "src": src, "dest": dest, "body": body }));
        let mut input = served.input.lock().await;
        input.as_mut().expect("the input is open").write_all(line.as_bytes()).await.expect("the service reads");
        drop(input);
        answer.await.expect("every request is answered")
    }

    /// Asks until the answer is a good one.
    pub(crate) async fn insist(&self, src: &str, dest: &str, kind: &str, fields: Value) -> Map<String, Value> {
        loop {
            let answer = self.ask(src, dest, kind, fields.clone()).await;
            if code(&answer).is_none() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn fault(&self, action: &str, target: &str) {
        self.insist("nemesis", "n1", "fault", json!({ "action": action, "target": target })).await;
    }

    /// Ends the input; the service must end well, and have told nobody what it was not asked.
    pub(crate) async fn end(self) {
        let served = match self {
            Cluster::Served(served) => served,
            Cluster::Processes(trial) => return assert!(trial.end().await.is_empty()),
        };
        served.input.lock().await.take();
        let serving = served.serving.lock().expect("nobody panicked").take().expect("it is ended once");
        serving.await.expect("it does not panic").expect("it writes its answers");
    }
}

/// The code of an answer that is an error.
pub(crate) fn code(answer: &Map<String, Value>) -> Option<u64> {
    (answer["type"] == "error").then(|| answer["code"].as_u64().expect("an error has a code"))
}
