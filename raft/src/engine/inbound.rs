//! What a replica does with the consensus messages of others.

use std::sync::Arc;

use openraft::errors::{Fatal as RaftFatal, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use tokio::sync::Mutex;

use super::machine::{MachineAdapter, meta_into};
use super::types::{TypeConfig, log_id_from, log_id_into, vote_from, vote_into};
use crate::error::Rejected;
use crate::snapshot::{SnapshotMeta, SnapshotSink, SnapshotStore};
use crate::transport::{Append, Appended, Ballot, Chunk, ChunkReply, Reply};
use crate::types::{LogId, NodeId, Vote};

type Raft = openraft::Raft<TypeConfig, MachineAdapter>;

/// A snapshot on its way in.
pub(crate) struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    held: u64,
    sink: Box<dyn SnapshotSink>,
}

pub(crate) async fn append(raft: &Raft, append: Append) -> Reply {
    let request = AppendEntriesRequest {
        vote: vote_into(append.vote),
        prev_log_id: append.previous.map(log_id_into),
        entries: append.entries,
        leader_commit: append.committed.map(log_id_into),
    };
    match raft.append_entries(request).await {
        Ok(response) => Reply::Append(match response {
            AppendEntriesResponse::Success => Appended::Success,
            AppendEntriesResponse::PartialSuccess(id) => Appended::Partial(id.map(log_id_from)),
            AppendEntriesResponse::Conflict => Appended::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote(vote_from(&vote)),
        }),
        Err(error) => stopped(error),
    }
}

pub(crate) async fn vote(raft: &Raft, ballot: Ballot, pre: bool) -> Reply {
    let mut request = VoteRequest::new(vote_into(ballot.vote), ballot.last.map(log_id_into));
    request.leadership_transfer = ballot.transfer;
    let response = if pre { raft.pre_vote(request).await } else { raft.vote(request).await };
    match response {
        Ok(response) => Reply::Vote {
            vote: vote_from(&response.vote),
            granted: response.vote_granted,
            last: response.last_log_id.map(log_id_from),
        },
        Err(error) => stopped(error),
    }
}

pub(crate) async fn transfer(raft: &Raft, from: Vote, to: NodeId, last: Option<LogId>) -> Reply {
    let request = TransferLeaderRequest::new(vote_into(from), to, last.map(log_id_into));
    match raft.handle_transfer_leader(request).await {
        Ok(response) => Reply::Transfer(response.map_err(|error| error.to_string())),
        Err(_) => Reply::Refused(Rejected::Stopped),
    }
}

/// Takes a piece of a snapshot; the last one installs it.
pub(crate) async fn chunk(
    raft: &Raft,
    store: &Arc<dyn SnapshotStore>,
    slot: &Mutex<Option<Incoming>>,
    chunk: Chunk,
) -> Reply {
    let mut slot = slot.lock().await;
    match take_chunk(raft, store, &mut slot, chunk).await {
        Ok(reply) => Reply::Snapshot(reply),
        Err(text) => {
            *slot = None;
            Reply::Snapshot(ChunkReply::Failed(text))
        }
    }
}

async fn take_chunk(
    raft: &Raft,
    store: &Arc<dyn SnapshotStore>,
    slot: &mut Option<Incoming>,
    chunk: Chunk,
) -> Result<ChunkReply, String> {
    let same = slot.as_ref().is_some_and(|incoming| incoming.vote == chunk.vote && incoming.meta == chunk.meta);
    if !same {
        let sink = store.receive().await.map_err(|error| error.to_string())?;
        *slot = Some(Incoming { vote: chunk.vote, meta: chunk.meta.clone(), held: 0, sink });
    }
    let Some(incoming) = slot.as_mut() else { return Err("no snapshot is being received".into()) };
    if chunk.offset > incoming.held {
        return Ok(ChunkReply::Held(incoming.held));
    }
    let end = chunk.offset + chunk.bytes.len() as u64;
    if end > incoming.held {
        let known = usize::try_from(incoming.held - chunk.offset).unwrap_or(usize::MAX);
        let fresh = chunk.bytes.slice(known..);
        incoming.sink.write(fresh).await.map_err(|error| error.to_string())?;
        incoming.held = end;
    }
    if !chunk.done {
        return Ok(ChunkReply::Held(incoming.held));
    }
    let Some(incoming) = slot.take() else { return Err("no snapshot is being received".into()) };
    let view = incoming.sink.finish().await.map_err(|error| error.to_string())?;
    let snapshot = openraft::Snapshot { meta: meta_into(&incoming.meta), snapshot: view };
    match raft.install_full_snapshot(vote_into(incoming.vote), snapshot).await {
        Ok(response) => Ok(ChunkReply::Installed(vote_from(&response.vote))),
        Err(error) => Err(error.to_string()),
    }
}

fn stopped(error: RaftError<TypeConfig>) -> Reply {
    if !matches!(error.fatal(), Some(RaftFatal::Stopped)) {
        tracing::error!(%error, "a replica has stopped");
    }
    Reply::Refused(Rejected::Stopped)
}
