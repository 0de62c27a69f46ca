//! Statements over gRPC, for the coordinator that a server's program may bring along.
//!
//! Promises: an answer comes whole or not at all, however long it is; who asks is told whether a change may have happened.
//! Leaves out: the coordinator.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, stream};
use tonic::{Code, Status};

use super::outcome::{is_unknown, rejected};
use super::proto::{QueryPiece, QueryRequest, TablesRequest};
use super::servers::{Servers, with_deadline};
use super::trust::ClientTls;
use crate::query::Queries;

/// How long a piece of an answer is.
const PIECE: usize = 256 << 10;

/// How long a statement may take in all: shards have deadlines of their own.
const LONGEST: Duration = Duration::from_secs(600);

/// How long a server may take to show that it is there.
const THERE: Duration = Duration::from_secs(2);

pub(super) type QueryStream = Pin<Box<dyn Stream<Item = Result<QueryPiece, Status>> + Send>>;

/// Has a statement carried out here.
///
/// # Errors
/// When there is no coordinator, or it gives no answer.
pub(super) async fn answer(coordinator: Option<&Arc<dyn Queries>>, body: &str) -> Result<QueryStream, Status> {
    let nobody = || rejected(Status::unimplemented("this server has no coordinator: its program is not `quorate-sql`"));
    let answered = coordinator.ok_or_else(nobody)?.answer(body).await;
    let answer = Bytes::from(answered.map_err(|error| Status::internal(format!("{error:#}")))?);
    let ends = (0..answer.len()).step_by(PIECE).map(|from| (from, (from + PIECE).min(answer.len())));
    let pieces: Vec<QueryPiece> =
        ends.map(|(from, to)| QueryPiece { data: answer.slice(from..to).into(), last: to == answer.len() }).collect();
    Ok(Box::pin(stream::iter(pieces.into_iter().map(Ok))))
}

/// The coordinators of a cluster's servers.
pub struct RemoteQueries {
    servers: Servers,
}

impl std::fmt::Debug for RemoteQueries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteQueries").finish_non_exhaustive()
    }
}

impl RemoteQueries {
    /// Those of these servers (`host:port` of clients) that have one. Nothing is connected before it is used.
    ///
    /// # Errors
    /// When there is no server, an address is none, or a certificate cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(servers: impl IntoIterator<Item = impl AsRef<str>>, tls: &ClientTls) -> anyhow::Result<Self> {
        Ok(RemoteQueries { servers: Servers::new(servers, tls)? })
    }

    /// Asks the server of one attempt.
    async fn ask(&self, attempt: usize, body: &str) -> Result<String, Asking> {
        let mut server = self.servers.nth(attempt);
        // One that is gone is found out before it is sent anything that counts.
        server.tables(with_deadline(TablesRequest {}, THERE)).await.map_err(Asking::Another)?;
        let request = with_deadline(QueryRequest { body: body.to_owned() }, LONGEST);
        let mut pieces = match server.query(request).await {
            Ok(pieces) => pieces.into_inner(),
            Err(status) if !is_unknown(&status) || status.code() == Code::Unimplemented => {
                return Err(Asking::Another(status));
            }
            Err(status) => return Err(Asking::Unknown(status)),
        };
        let mut answer = Vec::new();
        loop {
            let cut = || Status::data_loss("the answer broke off before its end");
            let piece = pieces.message().await.map_err(Asking::Unknown)?;
            let QueryPiece { data, last } = piece.ok_or_else(|| Asking::Unknown(cut()))?;
            answer.extend_from_slice(&data);
            if last {
                return String::from_utf8(answer).map_err(|_| Asking::Unknown(cut()));
            }
        }
    }
}

/// Why a server has not answered.
enum Asking {
    /// It did nothing: another one may.
    Another(Status),
    /// It may have done it.
    Unknown(Status),
}

#[async_trait]
impl Queries for RemoteQueries {
    async fn answer(&self, body: &str) -> anyhow::Result<String> {
        let mut failure = None;
        for attempt in 0..self.servers.len() {
            match self.ask(attempt, body).await {
                Ok(answer) => {
                    self.servers.answered(attempt);
                    return Ok(answer);
                }
                Err(Asking::Unknown(status)) => bail!("{} (a change may have happened)", status.message()),
                // One that is there says more than one that is not.
                Err(Asking::Another(status)) if status.code() == Code::Unimplemented => failure = Some(status),
                Err(Asking::Another(status)) => failure = failure.or(Some(status)),
            }
        }
        let why = failure.map(|status| status.message().to_owned()).unwrap_or_default();
        Err(anyhow!("no server carries statements out: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// Answers with so many characters.
    struct Long(usize);

    #[async_trait]
    impl Queries for Long {
        async fn answer(&self, _: &str) -> anyhow::Result<String> {
            Ok("ä".repeat(self.0))
        }
    }

    #[tokio::test]
    async fn an_answer_is_sent_in_pieces_of_which_the_last_says_so() {
        for characters in [1, PIECE / 2, PIECE, 3 * PIECE] {
            let coordinator: Arc<dyn Queries> = Arc::new(Long(characters));
            let Ok(pieces) = answer(Some(&coordinator), "{}").await else { panic!("no answer") };
            let pieces: Vec<QueryPiece> = pieces.map(|piece| piece.expect("a piece")).collect().await;
            let lasts: Vec<bool> = pieces.iter().map(|piece| piece.last).collect();
            assert_eq!(lasts.iter().filter(|last| **last).count(), 1, "{characters}");
            assert_eq!(lasts.last(), Some(&true), "{characters}");
            let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.data).collect();
            assert_eq!(String::from_utf8(bytes).expect("a text").chars().count(), characters);
        }
        let nobody = answer(None, "{}").await.err().expect("there is nobody");
        assert!(nobody.code() == Code::Unimplemented && !is_unknown(&nobody));
    }
}
