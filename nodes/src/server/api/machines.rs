//! Groups that the configuration file names, in the words of their own machines: sessions, commands, queries, views.

use std::sync::Arc;
use std::time::Duration;

use quorate::{ClientId, Consistency, WriteOptions};
use quorate_statemachines::kv::KvMachine;
use tonic::Status;

use super::{Api, no_group, stamp};
use crate::served::Served;
use crate::server::hosted::Hosted;
use crate::server::outcome::{malformed, read_failed, timeout, write_failed};
use crate::server::proto::{self, read_request};
use crate::server::views::ViewStream;

fn machine(api: &Api, name: &str) -> Result<Arc<dyn Hosted>, Status> {
    api.0.groups.fixed().machine(name).ok_or_else(|| no_group(name))
}

pub(super) async fn open_session(api: &Api, request: proto::OpenSessionRequest) -> Result<proto::Done, Status> {
    let proto::OpenSessionRequest { group, client, timeout_ms } = request;
    let opened = machine(api, &group)?.open_session(ClientId::new(client), timeout(timeout_ms)).await;
    opened.map(|()| proto::Done {}).map_err(|error| write_failed(&error))
}

pub(super) async fn write(api: &Api, request: proto::WriteRequest) -> Result<proto::WriteReply, Status> {
    let proto::WriteRequest { group, command, session, timeout_ms } = request;
    let options = WriteOptions { session: stamp(session), timeout: timeout(timeout_ms) };
    let written = machine(api, &group)?.write_bytes(&command, options).await.map_err(|error| write_failed(&error))?;
    Ok(proto::WriteReply {
        reply: written.reply.into(),
        replayed: written.replayed,
        term: written.at.term.0,
        index: written.at.index.0,
    })
}

pub(super) async fn read(api: &Api, request: proto::ReadRequest) -> Result<proto::ReadReply, Status> {
    let consistency = match (request.max_staleness_ms, request.consistency()) {
        (Some(bound), _) => Consistency::Bounded(Duration::from_millis(bound)),
        (None, read_request::Consistency::Linearizable) => Consistency::Linearizable,
        (None, read_request::Consistency::LinearizableHere) => Consistency::LinearizableHere,
        (None, read_request::Consistency::Lease) => Consistency::Lease,
        (None, read_request::Consistency::Local) => Consistency::Local,
    };
    let group = machine(api, &request.group)?;
    let reply = group.read_bytes(consistency, &request.query, timeout(request.timeout_ms)).await;
    let reply = reply.map_err(|error| read_failed(&error))?;
    Ok(proto::ReadReply {
        answer: reply.answer.into(),
        linearizable: reply.proof.linearizable,
        staleness_ms: reply.proof.staleness.map(|age| age.as_secs_f64() * 1000.0),
        served_by: reply.proof.served_by.0,
        applied: reply.proof.applied.map(|index| index.0),
        redirected: reply.proof.redirected,
    })
}

pub(super) async fn view(api: &Api, request: proto::ViewRequest) -> Result<ViewStream, Status> {
    let group = machine(api, &request.group)?;
    let shards = group.typed().downcast_ref::<Served<KvMachine>>();
    let shards = shards.ok_or_else(|| malformed(format!("group {} has no shards", request.group)))?;
    api.0.views.open(shards, api.0.node, request).await
}
