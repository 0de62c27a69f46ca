//! Answers and errors of queries as replies.

use quorate_nodes::stdio::{ErrorReply, Reply};
use serde_json::{Value, json};

use crate::dml::{Affected, PartOutcome, StatementError};
use crate::error::{Failed, QueryError, Reason};
use crate::scatter::Answer;

pub(super) fn reply(outcome: Result<Answer, QueryError>, require_all: bool) -> Result<Reply, ErrorReply> {
    let answer = outcome.map_err(error)?;
    if require_all && !answer.failed.is_empty() {
        return Err(incomplete(&answer));
    }
    let mut reply = Reply::new()
        .json_text("results", &answer.rows)
        .field("shards_total", answer.shards_total)
        .field("shards_responded", answer.shards_responded());
    if !answer.failed.is_empty() {
        reply = reply.field("failed", listed(&answer.failed));
    }
    if !answer.warnings.is_empty() {
        reply = reply.field("warnings", answer.warnings);
    }
    Ok(reply)
}

/// A partial answer where a whole one is required: error 0 with all of its fields.
fn incomplete(answer: &Answer) -> ErrorReply {
    let error = ErrorReply::timeout("not every shard has answered").reason("incomplete");
    let error = error
        .hint("results", serde_json::from_str::<Value>(&answer.rows).unwrap_or_default())
        .hint("shards_total", answer.shards_total)
        .hint("shards_responded", answer.shards_responded())
        .hint("failed", listed(&answer.failed));
    match answer.warnings.is_empty() {
        true => error,
        false => error.hint("warnings", answer.warnings.clone()),
    }
}

fn nobody(failed: &[Failed]) -> ErrorReply {
    let timed_out = failed.iter().any(|failed| failed.reason == Reason::Timeout);
    let error = match timed_out {
        true => ErrorReply::timeout("no shard has answered in time"),
        false => ErrorReply::unavailable("no shard can answer"),
    };
    error
        .reason("no_shard_answered")
        .hint("shards_total", failed.len())
        .hint("shards_responded", 0)
        .hint("failed", listed(failed))
}

fn listed(failed: &[Failed]) -> Value {
    let one = |failed: &Failed| json!({ "shard": failed.shard, "reason": failed.reason.word(), "text": failed.text });
    failed.iter().map(one).collect()
}

/// A query's error.
pub(super) fn error(error: QueryError) -> ErrorReply {
    let text = error.to_string();
    match error {
        QueryError::Wrong { position, .. } => {
            let error = ErrorReply::malformed(text).reason("sql");
            match position {
                Some(at) => error.hint("position", json!({ "line": at.line, "column": at.column })),
                None => error,
            }
        }
        QueryError::Memory(_) => ErrorReply::abort(text).reason("memory"),
        QueryError::NobodyAnswered(failed) => nobody(&failed),
        QueryError::TooLate => ErrorReply::timeout(text).reason("too_late"),
        QueryError::Internal(_) => ErrorReply::crash(text),
    }
}

/// A statement that changed something, everywhere.
pub(super) fn affected(outcome: Result<Affected, StatementError>) -> Result<Reply, ErrorReply> {
    let Affected { rows, shards_total, shards_responded } = outcome.map_err(statement)?;
    Ok(Reply::new()
        .field("results", json!([]))
        .field("rows_affected", rows)
        .field("shards_total", shards_total)
        .field("shards_responded", shards_responded))
}

fn statement(error: StatementError) -> ErrorReply {
    let text = error.to_string();
    match error {
        StatementError::Invalid(_) => ErrorReply::malformed(text).reason("sql"),
        StatementError::UnknownTable(_) => ErrorReply::malformed(text).reason("no_such_table"),
        StatementError::Exists(_) => ErrorReply::key_exists(text),
        StatementError::Constraint(_) => ErrorReply::precondition(text).reason("constraint"),
        StatementError::Conflict(_) => ErrorReply::conflict(text),
        StatementError::Unavailable(_) => ErrorReply::unavailable(text),
        StatementError::SeqReused => ErrorReply::malformed(text).reason("seq_reused"),
        StatementError::Partial { rows, shards, .. } => {
            let one = |(shard, outcome): &(String, PartOutcome)| {
                let outcome = match outcome {
                    PartOutcome::Applied => "applied",
                    PartOutcome::Refused => "refused",
                    PartOutcome::Unknown => "unknown",
                };
                json!({ "shard": shard, "outcome": outcome })
            };
            let shards: Value = shards.iter().map(one).collect();
            ErrorReply::timeout(text).reason("partial").hint("rows_affected", rows).hint("shards", shards)
        }
        StatementError::Unknown(_) => ErrorReply::timeout(text),
        StatementError::Session(cause) => cause.into(),
    }
}
