//! What operators and their tools look at: `/health`, `/ready`, `/metrics`, `/status` and a page for people at `/`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Json};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use quorate::Host;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::api::Api;
use super::proto;

/// How long the configuration log may take to answer a node that is ready.
const READY: Duration = Duration::from_secs(2);

/// One recorder a process, since the facade has room for one.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Has this process count. To be called before the first host is made; what is counted is shown at `/metrics`.
pub(super) fn count() {
    RECORDER.get_or_init(|| match PrometheusBuilder::new().install_recorder() {
        Ok(handle) => {
            quorate::metrics::describe();
            metrics::describe_gauge!("quorate_master_primary", "1 while this node's master is the primary, else 0");
            metrics::describe_gauge!(
                "quorate_master_epoch",
                "the epoch under which this node's master serves; 0 for a shadow"
            );
            Some(handle)
        }
        Err(error) => {
            tracing::warn!(%error, "somebody else records this process's metrics");
            None
        }
    });
}

#[derive(Clone)]
struct Shown {
    host: Arc<Host>,
    api: Api,
}

/// Where operators are answered.
pub(super) struct Http {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Http {
    pub(super) async fn start(address: SocketAddr, host: Arc<Host>, api: Api) -> anyhow::Result<Http> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen for operators at {address}"))?;
        let routes = Router::new()
            .route("/", get(page))
            .route("/health", get(async || "alive\n"))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .with_state(Shown { host, api });
        let (stop, mut stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            let stopped = async move {
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "operators are not answered any more");
            }
        });
        Ok(Http { stop, task })
    }

    pub(super) async fn shutdown(self) {
        self.stop.send_replace(true);
        // Nobody's connection is worth waiting for.
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.api.is_ready(READY).await {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the configuration log does not answer\n"),
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    shown.host.sample_metrics();
    shown.api.sample_metrics();
    match RECORDER.get().and_then(Option::as_ref) {
        Some(handle) => {
            handle.run_upkeep();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "nothing is counted\n").into_response(),
    }
}

async fn status(State(shown): State<Shown>) -> Json<Value> {
    Json(as_json(&shown.api.status()))
}

/// A node's status for programs.
pub(crate) fn as_json(status: &proto::StatusReply) -> Value {
    let replicas = status.replicas.iter().map(|replica| {
        json!({
            "group": replica.group, "id": replica.id, "role": replica.role, "term": replica.term,
            "leader": replica.leader, "voters": replica.voters, "learners": replica.learners, "last": replica.last,
            "applied": replica.applied, "lag": lag(replica), "snapshot": replica.snapshot, "log_bytes": replica.log_bytes,
        })
    });
    let peers = status
        .peers
        .iter()
        .map(|peer| json!({ "node": peer.node, "address": peer.address, "connected": peer.connected }));
    json!({
        "node": status.node, "cluster": status.cluster, "replicas": replicas.collect::<Vec<_>>(),
        "peers": peers.collect::<Vec<_>>(),
        "master": status.master.as_ref().map(|master| {
            json!({ "name": master.name, "epoch": master.epoch, "primary": master.primary })
        }),
    })
}

/// Entries in a replica's log that it has not applied.
fn lag(replica: &proto::Replica) -> u64 {
    let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
    count(replica.last).saturating_sub(count(replica.applied))
}

async fn page(State(shown): State<Shown>) -> Html<String> {
    Html(render(&shown.api.status()))
}

fn render(status: &proto::StatusReply) -> String {
    let mut rows = String::new();
    for replica in &status.replicas {
        let leader = replica.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        let class = if replica.leader.is_none() { " class=bad" } else { "" };
        let number = |index: Option<u64>| index.map_or_else(|| "-".to_owned(), |index| index.to_string());
        // Writing to a text cannot fail.
        let _ = writeln!(
            rows,
            "<tr{class}><td>{}<td>{}<td>{leader}<td>{}<td>{:?}<td>{}<td>{}<td>{}<td>{}",
            escape(&replica.group),
            replica.role,
            replica.term,
            replica.voters,
            number(replica.applied),
            lag(replica),
            number(replica.snapshot),
            replica.log_bytes
        );
    }
    let mut peers = String::new();
    for peer in &status.peers {
        let (class, state) = if peer.connected { ("", "connected") } else { (" class=bad", "not connected") };
        let _ = writeln!(peers, "<tr{class}><td>{}<td>{}<td>{state}", peer.node, escape(&peer.address));
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2><title>node {node}</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem}}table{{border-collapse:collapse;margin:1rem 0}}\
         td,th{{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}}.bad{{background:#fdd}}</style>\
         <h1>Node {node} of cluster {cluster}</h1>\
         <table><tr><th>group<th>role<th>leader<th>term<th>voters<th>applied<th>lag<th>snapshot<th>log bytes\n{rows}</table>\
         {master}<table><tr><th>peer<th>address<th>state\n{peers}</table>\
         <p>For programs: <a href=/status>/status</a>, <a href=/metrics>/metrics</a>, <a href=/ready>/ready</a>.</html>\n",
        node = status.node,
        cluster = status.cluster,
        master = status.master.as_ref().map(master).unwrap_or_default(),
    )
}

fn master(master: &proto::MasterStanding) -> String {
    let proto::MasterStanding { name, epoch, primary } = master;
    let standing = match (epoch, primary) {
        (Some(epoch), _) => format!("is the primary of epoch {epoch}"),
        (None, Some(primary)) => format!("is a shadow of {}", escape(primary)),
        (None, None) => "knows no primary".to_owned(),
    };
    format!("<p>Master {} {standing}.\n", escape(name))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_leader_stands_out_and_names_cannot_break_the_page() {
        let replica = proto::Replica { group: "<g1>".into(), last: Some(9), applied: Some(4), ..Default::default() };
        let status = proto::StatusReply { node: 1, replicas: vec![replica], ..Default::default() };
        let page = render(&status);
        assert!(page.contains("<tr class=bad><td>&lt;g1&gt;"), "{page}");
        assert_eq!(as_json(&status)["replicas"][0]["lag"], 5);
    }

    #[test]
    fn a_master_says_what_it_is() {
        let page = |epoch, primary: Option<&str>| {
            let standing = proto::MasterStanding { name: "n1".into(), epoch, primary: primary.map(Into::into) };
            render(&proto::StatusReply { master: Some(standing), ..Default::default() })
        };
        assert!(page(Some(3), Some("n1")).contains("Master n1 is the primary of epoch 3"));
        assert!(page(None, Some("n2")).contains("Master n1 is a shadow of n2"));
        assert!(page(None, None).contains("Master n1 knows no primary"));
    }
}
