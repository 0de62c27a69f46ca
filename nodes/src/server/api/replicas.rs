//! What the replicas of a group are asked for: another leader, a copy, a snapshot.
//!
//! Promises: a copy that is to be of a settled group is of no other.

use std::sync::Arc;
use std::time::Duration;

use quorate::transport::Change as AdminChange;
use quorate::{AdminError, Consistency, NodeId};
use quorate_statemachines::Gid;
use quorate_statemachines::kv::{KvAnswer, KvMachine, KvQuery};
use tonic::Status;

use super::{Api, no_group};
use crate::kv::Reach;
use crate::served::Served;
use crate::server::copy::{PieceStream, pieces};
use crate::server::hosted::Hosted;
use crate::server::outcome::{TIMEOUT, rejected, timeout, unknown};
use crate::server::proto;

fn group(api: &Api, name: &str) -> Result<Arc<dyn Hosted>, Status> {
    api.0.groups.any(name).ok_or_else(|| no_group(name))
}

/// Refuses a group in which something moves. One that has settled cannot go on before the configuration log does.
async fn check_settled(name: &str, served: &Served<KvMachine>, number: u64, timeout: Duration) -> Result<(), Status> {
    let work = served.read(Consistency::Linearizable, &KvQuery::Work, timeout, 0).await;
    match work.map_err(|error| rejected(Status::unavailable(error.to_string())))?.answer {
        KvAnswer::Work(work) if work.settled && work.number.0 == number => Ok(()),
        _ => {
            let text = format!("group {name} has not settled at configuration {number}");
            Err(rejected(Status::failed_precondition(text)))
        }
    }
}

fn nowhere(name: &str) -> Status {
    rejected(Status::not_found(format!("{name} has no replica on this node")))
}

pub(super) async fn transfer(api: &Api, request: proto::TransferRequest) -> Result<proto::Done, Status> {
    let proto::TransferRequest { group: name, to, timeout_ms } = request;
    let change = AdminChange::Transfer(NodeId(to));
    match group(api, &name)?.change(change, timeout(timeout_ms)).await {
        Ok(()) => Ok(proto::Done {}),
        Err(error @ AdminError::Rejected(_)) => Err(rejected(Status::failed_precondition(error.to_string()))),
        Err(error) => Err(unknown(Status::unknown(error.to_string()))),
    }
}

pub(super) async fn copy(api: &Api, request: proto::CopyRequest) -> Result<PieceStream, Status> {
    let proto::CopyRequest { group: name, number, timeout_ms } = request;
    let timeout = timeout(timeout_ms);
    let group = group(api, &name)?;
    if let (Some(number), Some(shards)) = (number, api.0.groups.known().get(&Gid::new(name.as_str()))) {
        check_settled(&name, &shards, number, timeout).await?;
    }
    let copied = group.copy(timeout).await.ok_or_else(|| nowhere(&name))?;
    let copied = copied.map_err(|error| rejected(Status::unavailable(error.to_string())))?;
    let Some(last) = copied.meta.last else {
        return Err(rejected(Status::failed_precondition(format!("there is nothing in group {name} yet"))));
    };
    Ok(pieces(copied, last))
}

pub(super) async fn snapshot(api: &Api, request: proto::SnapshotRequest) -> Result<proto::Done, Status> {
    let name = request.group;
    let taken = group(api, &name)?.snapshot(TIMEOUT).await.ok_or_else(|| nowhere(&name))?;
    taken.map(|()| proto::Done {}).map_err(|error| unknown(Status::unknown(error.to_string())))
}
