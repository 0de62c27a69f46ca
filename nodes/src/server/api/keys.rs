//! A key's value, its changes, and keys in their order.

use std::sync::Arc;
use std::time::Duration;

use quorate::Consistency;
use quorate_statemachines::kv::{Json, KvOp, Outcome};
use tonic::Status;

use super::{Api, stamp};
use crate::kv::ScanRange;
use crate::server::outcome::{json, rejected, status_of, timeout};
use crate::server::proto::change_request::Change;
use crate::server::proto::{self, change_reply};

pub(super) async fn get(api: &Api, request: proto::GetRequest) -> Result<proto::GetReply, Status> {
    let proto::GetRequest { key, max_staleness_ms, timeout_ms } = request;
    let (key, timeout): (Arc<str>, _) = (key.into(), timeout(timeout_ms));
    let (value, proof) = match max_staleness_ms {
        None => {
            let reply = api.0.client.get(&key, Consistency::Linearizable, timeout).await;
            reply.map(|reply| (reply.answer, reply.proof))
        }
        Some(bound) => api.0.client.get_bounded(&key, Duration::from_millis(bound), timeout).await,
    }
    .map_err(|error| status_of(&error))?;
    Ok(proto::GetReply {
        value: value.map(|value| value.text().to_owned()),
        linearizable: proof.linearizable,
        staleness_ms: proof.staleness.map(|age| age.as_secs_f64() * 1000.0),
        served_by: proof.served_by.0,
    })
}

pub(super) async fn change(api: &Api, request: proto::ChangeRequest) -> Result<proto::ChangeReply, Status> {
    let proto::ChangeRequest { key, change, session, timeout_ms } = request;
    let key: Arc<str> = key.into();
    let op = match change.ok_or_else(|| rejected(Status::invalid_argument("a change of nothing")))? {
        Change::Put(value) => KvOp::Put { key, value: json(&value)? },
        Change::Append(value) => KvOp::Append { key, value: json(&value)? },
        Change::Delete(proto::Delete {}) => KvOp::Delete { key },
        Change::Cas(proto::Cas { from, to, create_if_not_exists }) => {
            KvOp::Cas { key, from: json(&from)?, to: json(&to)?, create_if_not_exists }
        }
    };
    let outcome = api.0.client.execute(op, stamp(session), timeout(timeout_ms)).await;
    let outcome = match outcome.map_err(|error| status_of(&error))? {
        Outcome::Put | Outcome::Appended | Outcome::Swapped | Outcome::Deleted { existed: true } => {
            change_reply::Outcome::Done
        }
        Outcome::Deleted { existed: false } => change_reply::Outcome::Absent,
        Outcome::Missing => change_reply::Outcome::Missing,
        Outcome::Different => change_reply::Outcome::Different,
        Outcome::NotAppendable => change_reply::Outcome::NotAppendable,
    };
    Ok(proto::ChangeReply { outcome: outcome.into() })
}

pub(super) async fn scan(api: &Api, request: proto::ScanRequest) -> Result<proto::ScanReply, Status> {
    let proto::ScanRequest { from, to, prefix, limit, timeout_ms } = request;
    let text = |text: Option<String>| text.map(Arc::from);
    let range = ScanRange { from: text(from), to: text(to), prefix: text(prefix), limit };
    let page = api.0.client.scan(range, timeout(timeout_ms)).await.map_err(|error| status_of(&error))?;
    let item = |(key, value): (Arc<str>, Json)| proto::Item { key: key.to_string(), value: value.text().to_owned() };
    Ok(proto::ScanReply { items: page.items.into_iter().map(item).collect(), more: page.more })
}
