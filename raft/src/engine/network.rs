//! openraft's network over the [`Transport`](crate::transport::Transport) port.
//!
//! Promises: appends are pipelined, and their answers given in order, whatever order they arrived in; a snapshot travels
//! in pieces and resumes where the receiver stands; an answer that belongs to another message or another life of this
//! node counts for nothing.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use tokio::sync::Semaphore;

use super::machine::meta_from;
use super::types::{RaftVote, TypeConfig, log_id_from, log_id_into, vote_from, vote_into};
use crate::host::Caller;
use crate::log::Entry;
use crate::planted::{self, Bug};
use crate::snapshot::{Snapshot, SnapshotReader, SnapshotView};
use crate::transport::{Append, Appended, Ballot, Chunk, ChunkReply, Reply, Request, TransportError};
use crate::types::{GroupId, NodeId};

/// Appends on their way to one follower at once.
const PIPELINE: usize = 64;

/// About how many KiB of entries are on their way to one follower at once, unless a single append has more: a heartbeat
/// must not wait behind a whole log.
const PIPELINE_KIB: u32 = 8 << 10;

/// How long an append, or a piece of a snapshot, may take where a loss shows by itself: what is late was not lost, and must
/// not be sent again. The last piece takes as long as the receiver needs to install the whole.
const LATE_NOT_LOST: Duration = Duration::from_secs(60);

/// The largest piece of a snapshot that is sent at once.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// How long one piece of a snapshot may take.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

type RaftSnapshot = openraft::Snapshot<crate::types::Term, NodeId, (), std::sync::Arc<dyn SnapshotView>>;

/// Makes the connections of one replica.
pub(crate) struct Network {
    pub(crate) group: GroupId,
    pub(crate) caller: Caller,
    /// After so long an append counts as lost, unless losses show by themselves.
    pub(crate) append_timeout: Duration,
}

/// One replica's way to one other.
pub(crate) struct Peer {
    group: GroupId,
    to: NodeId,
    caller: Caller,
    append_timeout: Duration,
    /// Of [`PIPELINE_KIB`].
    room: Semaphore,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _node: &()) -> Peer {
        let append_timeout = if self.caller.notices_loss() { LATE_NOT_LOST } else { self.append_timeout };
        let room = Semaphore::new(PIPELINE_KIB as usize);
        Peer { group: self.group, to: target, caller: self.caller.clone(), append_timeout, room }
    }
}

/// What can come back instead of the answer that was asked for.
#[derive(Debug)]
enum Failure {
    Transport(TransportError),
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transport(error) => write!(f, "{error}"),
            Failure::Refused(text) => write!(f, "refused: {text}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for RPCError<TypeConfig> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transport(TransportError::NoAnswer(_)) => RPCError::Network(NetworkError::new(&failure)),
            // Not to be sent again at once.
            Failure::Transport(TransportError::Unreachable(_) | TransportError::TooLarge { .. })
            | Failure::Refused(_) => RPCError::Unreachable(Unreachable::new(&failure)),
        }
    }
}

impl Peer {
    async fn call(&self, request: Request, timeout: Duration) -> Result<Reply, Failure> {
        match self.caller.call(self.to, self.group, request, timeout).await {
            Ok(Reply::Refused(cause)) => Err(Failure::Refused(cause.to_string())),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Failure::Transport(error)),
        }
    }

    async fn append(&self, rpc: AppendEntriesRequest<TypeConfig>, timeout: Duration) -> Result<Appended, Failure> {
        let append = Append {
            vote: vote_from(&rpc.vote),
            previous: rpc.prev_log_id.map(log_id_from),
            entries: rpc.entries,
            committed: rpc.leader_commit.map(log_id_from),
        };
        let reply = match self.call(Request::Append(append), timeout).await {
            Err(Failure::Transport(TransportError::NoAnswer(_))) if planted::is(Bug::LostAppendCounted) => {
                return Ok(Appended::Success);
            }
            reply => reply?,
        };
        match reply {
            Reply::Append(appended) => Ok(appended),
            other => Err(unexpected(&other)),
        }
    }

    async fn ballot(&self, request: Request, timeout: Duration) -> Result<VoteResponse<TypeConfig>, Failure> {
        match self.call(request, timeout).await? {
            Reply::Vote { vote, granted, last } => {
                Ok(VoteResponse::new(vote_into(vote), last.map(log_id_into), granted))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a snapshot piece by piece; `None` when the receiver lost its part and the sending must start again.
    async fn send_snapshot(&self, vote: &RaftVote, snapshot: &Snapshot) -> Result<Option<RaftVote>, Failure> {
        let timeout = if self.caller.notices_loss() { LATE_NOT_LOST } else { CHUNK_TIMEOUT };
        let mut pieces = Pieces::of(snapshot);
        let mut offset = 0u64;
        let mut held = 0u64;
        let mut piece = pieces.next()?;
        loop {
            let next = if piece.is_some() { pieces.next()? } else { None };
            let bytes = piece.unwrap_or_default();
            let end = offset + bytes.len() as u64;
            let done = next.is_none();
            if end > held || done {
                let chunk = Chunk { vote: vote_from(vote), meta: snapshot.meta.clone(), offset, bytes, done };
                match self.call(Request::Snapshot(chunk), timeout).await? {
                    Reply::Snapshot(ChunkReply::Installed(vote)) => return Ok(Some(vote_into(vote))),
                    Reply::Snapshot(ChunkReply::Held(count)) if count < end => return Ok(None),
                    Reply::Snapshot(ChunkReply::Held(count)) => held = count,
                    Reply::Snapshot(ChunkReply::Failed(text)) => return Err(Failure::Refused(text)),
                    other => return Err(unexpected(&other)),
                }
            }
            if done {
                return Ok(None);
            }
            offset = end;
            piece = next;
        }
    }
}

/// A snapshot in pieces of bounded size, whatever its records are like.
struct Pieces {
    reader: Box<dyn SnapshotReader>,
    rest: Bytes,
}

impl Pieces {
    fn of(snapshot: &Snapshot) -> Self {
        Pieces { reader: snapshot.view.open(), rest: Bytes::new() }
    }

    fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.rest.is_empty() {
            match self.reader.next().map_err(|error| Failure::Refused(format!("own snapshot: {error}")))? {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX))))
    }
}

/// What an append takes of the pipeline.
fn kib_of(rpc: &AppendEntriesRequest<TypeConfig>) -> u32 {
    let bytes: u64 = rpc.entries.iter().map(Entry::size).sum();
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(PIPELINE_KIB)
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::Refused(format!("an answer to another question: {reply:?}"))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = std::sync::Arc<dyn SnapshotView>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(match self.append(rpc, option.hard_ttl()).await? {
            Appended::Success => AppendEntriesResponse::Success,
            Appended::Partial(id) => AppendEntriesResponse::PartialSuccess(id.map(log_id_into)),
            Appended::Conflict => AppendEntriesResponse::Conflict,
            Appended::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_into(vote)),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        // A heartbeat's interval, which says nothing of how long many entries take; openraft itself sees to it that a
        // heartbeat does not take longer.
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let peer: &'s Peer = self;
        let answers = input
            .map(move |rpc| {
                let previous = rpc.prev_log_id;
                let last = rpc.entries.last().map(|entry| log_id_into(entry.id)).or(previous);
                async move {
                    // First come, first served: the order stays. It is never closed.
                    let _room = peer.room.acquire_many(kib_of(&rpc)).await;
                    Ok(match peer.append(rpc, peer.append_timeout).await? {
                        Appended::Success => (Ok(last), false),
                        Appended::Partial(id) => {
                            let id = id.map(log_id_into);
                            (Ok(id), id != last)
                        }
                        Appended::Conflict => match previous {
                            Some(previous) => (Err(StreamAppendError::Conflict(previous)), true),
                            None => return Err(Failure::Refused("a conflict before the first entry".into())),
                        },
                        Appended::HigherVote(vote) => (Err(StreamAppendError::HigherVote(vote_into(vote))), true),
                    })
                }
            })
            .buffered(PIPELINE);
        // The stream ends with the first answer that is not a full success: what follows it in the pipeline is void.
        let until_failure = answers.scan((false, None), |(ended, matched), answer| {
            // An append that overtook the one before it on its way was refused for lack of what has arrived since. For
            // openraft that would be a follower that lost its log; the end of the stream has the rest sent again.
            let overtook = matches!(&answer, Ok((Err(StreamAppendError::Conflict(at)), _)) if *matched >= Some(*at));
            if overtook || std::mem::replace(ended, !matches!(answer, Ok((_, false)))) {
                return futures::future::ready(None);
            }
            if let Ok((Ok(last), _)) = &answer {
                *matched = (*matched).max(*last);
            }
            futures::future::ready(Some(answer.map(|(result, _)| result).map_err(RPCError::from)))
        });
        Box::pin(futures::future::ready(Ok(Box::pin(until_failure) as BoxStream<'s, _>)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.ballot(Request::Vote(ballot(&rpc)), option.hard_ttl()).await?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.ballot(Request::PreVote(ballot(&rpc)), option.hard_ttl()).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let snapshot = Snapshot { meta: meta_from(&snapshot.meta), view: snapshot.snapshot };
        let sending = std::pin::pin!(async {
            loop {
                if let Some(vote) = self.send_snapshot(&vote, &snapshot).await? {
                    return Ok::<_, Failure>(vote);
                }
            }
        });
        match futures::future::select(sending, std::pin::pin!(cancel)).await {
            futures::future::Either::Left((Ok(vote), _)) => Ok(SnapshotResponse::new(vote)),
            futures::future::Either::Left((Err(failure), _)) => Err(RPCError::from(failure).into()),
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = Request::Transfer {
            from: vote_from(rpc.from_leader()),
            to: *rpc.to_node_id(),
            last: rpc.last_log_id().copied().map(log_id_from),
        };
        match self.call(request, option.hard_ttl()).await? {
            Reply::Transfer(Ok(())) => Ok(Ok(())),
            Reply::Transfer(Err(text)) => Err(RPCError::Unreachable(Unreachable::from_string(text))),
            other => Err(unexpected(&other).into()),
        }
    }
}

fn ballot(rpc: &VoteRequest<TypeConfig>) -> Ballot {
    Ballot { vote: vote_from(&rpc.vote), last: rpc.last_log_id.map(log_id_from), transfer: rpc.leadership_transfer }
}
