//! A statement's parts: each shard concerned works its part out over its own rows and writes it by itself; then what
//! became of them is put together.
//!
//! Promises: a part is worked out at a read index and written with what it rests on, so no concurrent change is lost; it
//! is worked out anew at most [`CONFLICTS_MAX`] times; no definite error is given while anything was or may be kept.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate_nodes::kv::{BatchPart, BatchWriter, Decided, KvError, StatementNumber};
use quorate_statemachines::kv::{Batch, BatchOutcome, Json};
use tokio::time::Instant;

use super::error::PartOutcome;
use super::error::StatementError::{self, Unavailable};
use super::{Affected, Shard};
use crate::data::{KvView, Sight};

/// How often a part is worked out anew because rows changed meanwhile.
pub(super) const CONFLICTS_MAX: usize = 10;

/// How a statement's part follows from a shard's rows.
pub(super) trait Work: Send + Sync + 'static {
    /// What of the shard of this position it must see.
    fn sight(&self, shard: usize) -> Sight {
        let _ = shard;
        Sight::Catalogue
    }

    /// The part on the shard of this position, as its rows are now; `None` when there is nothing to do.
    fn part(&self, shard: usize, view: &KvView) -> Result<Option<Batch>, StatementError>;

    /// What it means that this key exists, which must not.
    fn exists(&self, key: &str) -> StatementError;
}

/// A statement on its way.
pub(super) struct Run<'a> {
    pub(super) shards: &'a [Shard],
    pub(super) writer: &'a BatchWriter,
    pub(super) number: &'a StatementNumber,
    /// The statement's digest.
    pub(super) digest: u64,
    /// When every shard must have done its part.
    pub(super) deadline: Instant,
}

/// A part that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// How many rows changed; without any, nothing did.
    rows: u64,
}

/// A part as it follows from a shard's rows.
type WorkedOut = Result<Option<Batch>, StatementError>;

/// What became of the parts, by position.
pub(super) type Parts = Vec<(usize, Result<Kept, StatementError>)>;

impl Run<'_> {
    /// The shards of these positions do their parts at the same time.
    ///
    /// Before any of them is written all are worked out, so that a statement which is wrong for one shard's rows leaves
    /// those of the others as they are. A shard that takes long does not hold the others back for more than half the time.
    pub(super) async fn all(&self, concerned: &[usize], work: &Arc<dyn Work>) -> Parts {
        let patience = self.left() / 2;
        let first = concerned.iter().map(|shard| tokio::time::timeout(patience, self.worked_out(*shard, work)));
        let first: Vec<Option<WorkedOut>> = join_all(first).await.into_iter().map(Result::ok).collect();
        let wrong = first.iter().flatten().filter_map(|result| result.as_ref().err());
        let wrong = wrong.filter(|error| error.is_definite()).find(|error| !matches!(error, Unavailable(_))).cloned();
        if let Some(wrong) = wrong
            && concerned.len() > 1
            && !self.was_run(concerned).await
        {
            return concerned.iter().map(|shard| (*shard, Err(wrong.clone()))).collect();
        }
        let parts = concerned.iter().zip(first);
        join_all(parts.map(|(shard, first)| async { (*shard, self.one(*shard, work, first).await) })).await
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn part(&self, shard: usize) -> BatchPart<'_> {
        let data = &self.shards[shard].data;
        self.writer.part(self.number, data.shard(), data.reach(), self.digest, self.left())
    }

    async fn one(
        &self,
        shard: usize,
        work: &Arc<dyn Work>,
        mut first: Option<WorkedOut>,
    ) -> Result<Kept, StatementError> {
        let mut part = self.part(shard);
        for _ in 0..=CONFLICTS_MAX {
            let worked_out = match first.take() {
                Some(worked_out) => worked_out,
                None => self.worked_out(shard, work).await,
            };
            let batch = match worked_out {
                Ok(Some(batch)) => batch,
                // A client may come again, and must be told the same; nobody else can.
                Ok(None) if self.number.is_named() || part.may_have_happened() => self.nothing(),
                Ok(None) => return Ok(Kept { rows: 0 }),
                Err(error) => return self.unless_decided(&mut part, work, error).await,
            };
            match part.write(&batch).await.map(|decided| (decided.outcome.clone(), decided)) {
                Ok((BatchOutcome::Conflict { .. }, _)) => {}
                Ok((_, decided)) => return kept(decided, work),
                Err(error) => return Err(error.into()),
            }
        }
        let error = StatementError::Conflict("rows were changed by others again and again".into());
        self.unless_decided(&mut part, work, error).await
    }

    /// An error is definite only if no earlier attempt with this number was carried out, or may yet be.
    async fn unless_decided(
        &self,
        part: &mut BatchPart<'_>,
        work: &Arc<dyn Work>,
        error: StatementError,
    ) -> Result<Kept, StatementError> {
        if !self.number.is_named() && !part.may_have_happened() {
            return Err(error);
        }
        match part.was_decided().await {
            Ok(Some(outcome)) => kept(Decided { outcome, replayed: true }, work),
            Ok(None) if part.may_have_happened() => Err(StatementError::Unknown(error.to_string())),
            Ok(None) => Err(error),
            Err(KvError::SeqReused) => Err(StatementError::SeqReused),
            Err(_) if part.may_have_happened() => Err(StatementError::Unknown(error.to_string())),
            Err(_) => Err(error),
        }
    }

    async fn worked_out(&self, shard: usize, work: &Arc<dyn Work>) -> WorkedOut {
        let view = self.shards[shard].data.see(&work.sight(shard), self.deadline).await?;
        let (work, digest) = (Arc::clone(work), self.digest);
        let batch = tokio::task::spawn_blocking(move || work.part(shard, &view)).await;
        let batch = batch.map_err(|error| StatementError::Unavailable(error.to_string()))??;
        let (bytes, max) = (batch.as_ref().map_or(0, bytes_of), self.shards[shard].data.part_bytes_max());
        if bytes > max {
            let text = format!("the statement changes {bytes} bytes of one shard, which takes {max} at once: split it");
            return Err(StatementError::Invalid(text));
        }
        Ok(batch.map(|batch| Batch { statement: digest, ..batch }))
    }

    fn nothing(&self) -> Batch {
        Batch { statement: self.digest, checks: Vec::new(), changes: Vec::new(), rows: 0 }
    }

    /// Whether an earlier run of this statement has sent something anywhere.
    pub(super) fn may_have_happened(&self) -> bool {
        (0..self.shards.len()).any(|shard| self.part(shard).may_have_happened())
    }

    /// Whether an earlier run of this statement was carried out on one of these shards, or may have been.
    pub(super) async fn was_run(&self, concerned: &[usize]) -> bool {
        if !self.number.is_named() {
            return false;
        }
        let asked = concerned.iter().map(|shard| async {
            let mut part = self.part(*shard);
            let may_have_happened = part.may_have_happened();
            !matches!(part.was_decided().await, Ok(None)) || may_have_happened
        });
        join_all(asked).await.into_iter().any(|was_run| was_run)
    }

    /// The statement's outcome.
    pub(super) fn outcome(&self, parts: Parts) -> Result<Affected, StatementError> {
        let rows = parts.iter().filter_map(|(_, part)| part.as_ref().ok()).map(|kept| kept.rows).sum();
        let total = self.shards.len();
        let failed = || parts.iter().filter_map(|(_, part)| part.as_ref().err());
        // What is not definite says most about what the client may count on.
        let Some(worst) = failed().find(|error| !error.is_definite()).or(failed().next()).cloned() else {
            return Ok(Affected { rows, shards_total: total, shards_responded: total });
        };
        let kept_something = parts.iter().any(|(_, part)| part.as_ref().is_ok_and(|kept| kept.rows > 0));
        if !kept_something {
            return Err(worst);
        }
        let outcome = |part: &Result<Kept, StatementError>| match part {
            Ok(_) => PartOutcome::Applied,
            Err(error) if error.is_definite() => PartOutcome::Refused,
            Err(_) => PartOutcome::Unknown,
        };
        let shards = parts.iter().map(|(shard, part)| (self.shards[*shard].name.clone(), outcome(part))).collect();
        Err(StatementError::Partial { rows, shards, text: worst.to_string() })
    }
}

/// About how long a batch is on its way.
fn bytes_of(batch: &Batch) -> usize {
    /// Digests, lengths, marks.
    const BESIDES: usize = 32;
    let checks = batch.checks.iter().map(|check| check.key.len() + BESIDES);
    let value = |value: &Json| value.text().len();
    let changes =
        batch.changes.iter().map(|change| change.key.len() + change.value.as_ref().map_or(0, value) + BESIDES);
    checks.chain(changes).sum()
}

fn kept(decided: Decided, work: &Arc<dyn Work>) -> Result<Kept, StatementError> {
    match decided.outcome {
        BatchOutcome::Applied { rows } => Ok(Kept { rows }),
        BatchOutcome::Exists { key } => Err(work.exists(&key)),
        BatchOutcome::Conflict { key } => Err(StatementError::Unknown(format!("a conflict was remembered at {key}"))),
    }
}
