//! Copies of a shard that servers have: each as it was at one moment, made of the one before and what changed since.
//!
//! Promises: a copy has everything that was acknowledged before it was asked for, or so long before that as the caller allows;
//! callers that ask at the same time share one; a copy that takes longer than its caller waits is there for the next one.
//! Leaves out: which keys a caller needs: a copy is the whole shard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use quorate::env::{Env, Moment, RealEnv};
use quorate::types::Index;
use quorate::{ReadError, Rejected};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::Json;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::client::ClientError;
use super::proto::view_piece::Piece;
use super::proto::{TablesRequest, ViewBegin, ViewEnd, ViewPiece, ViewRequest};
use super::reach::unread;
use super::servers::{PAUSE, Servers, millis, with_deadline};
use super::trust::ClientTls;

/// One server is waited for at least so long, if the deadline allows it, before another one is asked.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// How long the next piece of a view may take, whoever still waits for it.
const STALL: Duration = Duration::from_secs(10);

/// A piece may be one key with a long value.
const PIECE_MAX: usize = 32 << 20;

/// A shard at one moment. A clone shares it.
#[derive(Clone)]
pub struct ShardCopy {
    /// Its keys and their values.
    pub keys: OrdMap<Arc<str>, Json>,
    /// What the replica had applied that gave it.
    pub applied: Index,
    /// It has everything that was acknowledged before this moment.
    as_of: Moment,
    /// The server that knows it by this number.
    server: usize,
    id: u64,
}

impl fmt::Debug for ShardCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardCopy").field("applied", &self.applied).field("len", &self.keys.len()).finish()
    }
}

/// Makes copies of one shard of a group of the machine [`TABLES`](super::TABLES).
#[derive(Debug)]
pub struct ShardCopies(Arc<Copies>);

struct Copies {
    servers: Servers,
    group: String,
    shard: ShardId,
    /// The newest. Whoever holds it makes the next one.
    newest: Mutex<Option<ShardCopy>>,
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copies").field("group", &self.group).field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl ShardCopies {
    /// Of this shard of the group of this name in the cluster of these servers (`host:port`). Nothing is connected before it is
    /// used.
    ///
    /// # Errors
    /// When an address is none, or there is none, or a certificate cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        group: &str,
        shard: ShardId,
        servers: impl IntoIterator<Item = impl AsRef<str>>,
        tls: &ClientTls,
    ) -> anyhow::Result<ShardCopies> {
        let (servers, group, newest) = (Servers::new(servers, tls)?, group.to_owned(), Mutex::default());
        Ok(ShardCopies(Arc::new(Copies { servers, group, shard, newest })))
    }

    /// The shard with everything that was acknowledged before this call, or so long before it as `max_staleness` allows.
    ///
    /// # Errors
    /// [`ReadError`] when there is none in time.
    pub async fn get(&self, max_staleness: Option<Duration>, within: Duration) -> Result<ShardCopy, ReadError> {
        let (copies, asked) = (Arc::clone(&self.0), RealEnv.now());
        // In a task of its own: what has come so far of a large shard is not given up with its first caller.
        let made = tokio::spawn(async move { copies.get(asked, max_staleness, asked + within).await });
        match timeout(within, made).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => Err(Rejected::Invalid(format!("a copy's task has failed: {error}")).into()),
            Err(_) => Err(ReadError::Deadline(within)),
        }
    }
}

impl ShardCopy {
    /// Whether it is fresh enough for who asked at this moment.
    fn serves(&self, asked: Moment, max_staleness: Option<Duration>) -> bool {
        self.as_of + max_staleness.unwrap_or_default() >= asked
    }
}

impl Copies {
    async fn get(
        &self,
        asked: Moment,
        max_staleness: Option<Duration>,
        deadline: Moment,
    ) -> Result<ShardCopy, ReadError> {
        let mut newest = self.newest.lock().await;
        // Whoever held it before may have made one that will do.
        if let Some(copy) = newest.as_ref().filter(|copy| copy.serves(asked, max_staleness)) {
            return Ok(copy.clone());
        }
        let (whole, mut failure) = (deadline.since(asked), None);
        for attempt in 0.. {
            let left = deadline.since(RealEnv.now());
            if left.is_zero() {
                break;
            }
            let patience = left.min((left / 2).max(PATIENCE_MIN));
            match self.ask(attempt, newest.as_ref(), max_staleness, patience).await {
                Ok(copy) => {
                    self.servers.answered(attempt);
                    return Ok(newest.insert(copy).clone());
                }
                // That a server has no replica says less than any other reason.
                Err(status) if status.code() == Code::FailedPrecondition && failure.is_some() => {}
                Err(status) => failure = Some(unread(&status, whole)),
            }
            if (attempt + 1) % self.servers.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(failure.unwrap_or(ReadError::Deadline(whole)))
    }

    /// Asks one server; `patience` is for the beginning of its answer.
    async fn ask(
        &self,
        attempt: usize,
        known: Option<&ShardCopy>,
        max_staleness: Option<Duration>,
        patience: Duration,
    ) -> Result<ShardCopy, Status> {
        let at = self.servers.place(attempt);
        let known = known.filter(|known| known.server == at);
        let request = ViewRequest {
            group: self.group.clone(),
            shard: self.shard.0,
            since: known.map(|known| known.id),
            max_staleness_ms: max_staleness.map(millis),
            timeout_ms: millis(patience),
        };
        let mut server = self.servers.nth(attempt).max_decoding_message_size(PIECE_MAX);
        let asked = RealEnv.now();
        let begun = timeout(patience, async {
            let mut pieces = server.view(request).await?.into_inner();
            match next(&mut pieces).await? {
                Piece::Begin(begin) => Ok((begin, pieces)),
                _ => Err(Status::data_loss("a view without its beginning")),
            }
        });
        let late = |_| Status::deadline_exceeded("the server has not answered in time");
        let (begin, pieces) = begun.await.map_err(late)??;
        let ViewBegin { id, changes, applied, staleness_ms, .. } = begin;
        let keys = match (changes, known) {
            (true, Some(known)) => known.keys.clone(),
            (false, _) => OrdMap::new(),
            (true, None) => return Err(Status::data_loss("changes since a view that was not named")),
        };
        let age =
            Duration::try_from_secs_f64(staleness_ms / 1000.0).map_err(|error| Status::data_loss(error.to_string()))?;
        let keys = follow(keys, pieces).await?;
        Ok(ShardCopy { keys, applied: Index(applied), as_of: asked - age, server: at, id })
    }
}

async fn next(pieces: &mut Streaming<ViewPiece>) -> Result<Piece, Status> {
    let piece = pieces.message().await?.and_then(|piece| piece.piece);
    piece.ok_or_else(|| Status::data_loss("a view broke off before its end"))
}

/// The keys with what the pieces say, if they are whole.
async fn follow(
    mut keys: OrdMap<Arc<str>, Json>,
    mut pieces: Streaming<ViewPiece>,
) -> Result<OrdMap<Arc<str>, Json>, Status> {
    let mut came = ViewEnd::default();
    loop {
        let piece = timeout(STALL, next(&mut pieces)).await;
        match piece.map_err(|_| Status::deadline_exceeded("a view has come to a halt"))?? {
            Piece::Keys(changed) => {
                came.items += changed.items.len() as u64;
                came.removed += changed.removed.len() as u64;
                for item in changed.items {
                    keys.insert(item.key.into(), Json::made(item.value));
                }
                for key in changed.removed {
                    keys.remove(key.as_str());
                }
            }
            Piece::End(end) if end == came => return Ok(keys),
            Piece::End(_) => return Err(Status::data_loss("a view ends with another count than came")),
            Piece::Begin(_) => return Err(Status::data_loss("a view begins twice")),
        }
    }
}

/// The groups of the machine [`TABLES`](super::TABLES) in the cluster of these servers, in the order of its configuration.
///
/// # Errors
/// When no server says so in time.
pub async fn tables(
    servers: impl IntoIterator<Item = impl AsRef<str>>,
    tls: &ClientTls,
    within: Duration,
) -> anyhow::Result<Vec<String>> {
    let servers = Servers::new(servers, tls)?;
    let reply = servers
        .ask(within, |mut server, left| async move { server.tables(with_deadline(TablesRequest {}, left)).await })
        .await;
    Ok(reply.map_err(ClientError::of_question)?.groups)
}
