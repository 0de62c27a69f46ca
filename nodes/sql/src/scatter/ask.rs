//! One shard is asked for its answers to the fragments of a level.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::executor::Executor;
use super::frame::{self, Frame, Request};
use super::runtime::QueryRuntime;
use super::shard::{Opening, Shard};
use crate::data::{ShardError, ShardView};
use crate::error::{Kind, QueryError};

/// How many frames may be under way.
const FRAMES: usize = 4;

/// A whole answer of a shard to a fragment.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// The memory that the batches take.
    _held: Arc<MemoryReservation>,
}

/// Why a shard gave no whole answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is the shard's: it is left out.
    Shard(ShardError),
    /// It would be every shard's: there is no answer at all.
    Query(QueryError),
}

/// Asks `shard` for its answers to all of `requests`, by the deadline.
pub(super) async fn ask(
    shard: &Shard,
    opening: Opening,
    requests: &[Arc<Request>],
    executor: &Arc<dyn Executor>,
    runtime: &QueryRuntime,
    deadline: Instant,
) -> Result<Vec<Answered>, Refusal> {
    let answers = async {
        let view = opening.await?;
        let answers = requests.iter().map(|request| answer(request, &view, executor, runtime));
        // A refusal of the query is an outcome, not a failure of the shard.
        match try_join_all(answers).await {
            Ok(answers) => Ok(Ok(answers)),
            Err(Refusal::Query(error)) => Ok(Err(error)),
            Err(Refusal::Shard(error)) => Err(error),
        }
    };
    match shard.within(deadline, answers).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(error)) => Err(Refusal::Query(error)),
        Err(error) => Err(Refusal::Shard(error)),
    }
}

async fn answer(
    request: &Arc<Request>,
    view: &Arc<dyn ShardView>,
    executor: &Arc<dyn Executor>,
    runtime: &QueryRuntime,
) -> Result<Answered, Refusal> {
    let failed = |text: String| Refusal::Shard(ShardError::Failed(text));
    let held = MemoryConsumer::new("answers of shards").register(runtime.pool());
    let (sender, mut frames) = mpsc::channel(FRAMES);
    let executor = view.executor().unwrap_or_else(|| Arc::clone(executor));
    let (request, view) = (Arc::clone(request), Arc::clone(view));
    let running = runtime.spawn(async move { executor.run(request, view, sender).await });
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    let expected = loop {
        match frames.recv().await {
            Some(Frame::Bytes(chunk)) => {
                held.try_grow(chunk.len()).map_err(|error| Refusal::Query(error.into()))?;
                bytes += chunk.len() as u64;
                chunks.push(chunk);
            }
            Some(Frame::End { rows }) => break rows,
            Some(Frame::Failed(failure)) => {
                return Err(match failure.kind {
                    Kind::Statement => Refusal::Query(QueryError::wrong(failure.text)),
                    Kind::Memory => Refusal::Query(QueryError::Memory(failure.text)),
                    Kind::Internal => failed(failure.text),
                });
            }
            None => return Err(failed("its answer broke off before the end".into())),
        }
    };
    drop(running);
    let decoded = runtime.spawn(async move { frame::decode(chunks) }).await;
    let (_, batches) = match decoded {
        Ok(decoded) => decoded.map_err(|error| failed(format!("its answer cannot be read: {error}")))?,
        Err(error) => return Err(failed(format!("its answer cannot be read: {error}"))),
    };
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows != expected {
        return Err(failed(format!("its answer has {rows} rows in place of {expected}")));
    }
    Ok(Answered { batches, rows, bytes, _held: Arc::new(held) })
}

impl From<ShardError> for Refusal {
    fn from(error: ShardError) -> Self {
        Refusal::Shard(error)
    }
}
