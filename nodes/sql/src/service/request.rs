//! What a coordinator is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use datafusion::common::ScalarValue;
use quorate::sessions::Stamp;
use quorate_nodes::stdio::{ErrorReply, Fields, Footprint, Plan, Request, unknown_type};
use serde_json::Value;

use super::outcome;
use crate::data::ReadConsistency;
use crate::plan::{Kind, Outline, outline, params};

/// How long a shard may take, where no request says it.
const TIMEOUT_MS: u64 = 1000;

/// A statement of more words than these is taken to touch everything.
const WORDS_MAX: usize = 100;

/// A request, decoded.
#[derive(Clone, Debug)]
pub enum Command {
    /// A statement.
    Scatter(Scatter),
}

/// A statement, and how to carry it out.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// The statement.
    pub sql: String,
    /// What it does.
    pub kind: Kind,
    /// The values of `$1`, `$2`, ...
    pub params: Vec<ScalarValue>,
    /// How long a shard may take.
    pub timeout: Duration,
    /// A partial answer is none.
    pub require_all: bool,
    /// How fresh the rows must be.
    pub consistency: ReadConsistency,
    /// Its place in a session.
    pub stamp: Option<Stamp>,
}

pub(super) fn plan(request: &Request, request_timeout: Duration) -> Result<Plan<Command>, ErrorReply> {
    match request.kind.as_str() {
        "scatter_query" => {}
        _ => return Err(unknown_type(request)),
    }
    let fields = request.fields();
    let sql = fields.string("query")?.to_owned();
    let timeout = Duration::from_millis(fields.optional_positive("timeout_ms")?.unwrap_or(TIMEOUT_MS));
    let params = match fields.has("params") {
        true => params(&fields.json_text("params")?).map_err(outcome::error)?,
        false => Vec::new(),
    };
    let Outline { kind, words, target } = outline(&sql).map_err(outcome::error)?;
    let consistency = consistency(fields)?;
    let scatter = Scatter {
        sql,
        kind,
        params,
        timeout,
        require_all: fields.flag("require_all")?,
        consistency,
        stamp: fields.stamp()?,
    };
    let stale = matches!(consistency, ReadConsistency::Bounded(bound) if !bound.is_zero());
    let command = Command::Scatter(scatter);
    let plan = match kind {
        Kind::Define => Plan::barrier(command),
        Kind::Change => Plan::data(command, changes(words, target)),
        Kind::Query | Kind::Other if stale => Plan::stale_read(command),
        Kind::Query | Kind::Other => Plan::data(command, reads(words)),
    };
    // The shards have their time, and once more when one is lost late; the rest is for waiting and computing.
    Ok(plan.timeout(request_timeout.saturating_add(timeout.saturating_mul(2))))
}

fn reads(words: BTreeSet<String>) -> Footprint {
    if words.len() > WORDS_MAX {
        return Footprint::read_everything();
    }
    words.iter().fold(Footprint::default(), |footprint, word| footprint.and_read(word))
}

/// The table that it changes, and those that it may read.
fn changes(words: BTreeSet<String>, target: Option<String>) -> Footprint {
    match target {
        Some(target) if words.len() <= WORDS_MAX => reads(words).and_write(&target),
        _ => Footprint::write_everything(),
    }
}

fn consistency(fields: Fields<'_>) -> Result<ReadConsistency, ErrorReply> {
    const EXPECTED: &str = "\"linearizable\" or {\"max_staleness_ms\": a non-negative integer}";
    match fields.map().get("consistency") {
        None | Some(Value::Null) => Ok(ReadConsistency::Linearizable),
        Some(Value::String(word)) if word == "linearizable" => Ok(ReadConsistency::Linearizable),
        Some(Value::Object(bound)) if bound.len() == 1 && bound.contains_key("max_staleness_ms") => {
            match bound.get("max_staleness_ms").and_then(Value::as_u64) {
                Some(0) => Ok(ReadConsistency::Linearizable),
                Some(bound) => Ok(ReadConsistency::Bounded(Duration::from_millis(bound))),
                None => Err(ErrorReply::malformed(format!("field `consistency` must be {EXPECTED}"))),
            }
        }
        Some(other) => Err(fields.ill_typed("consistency", EXPECTED, other)),
    }
}

/// The names of `shards`: at least one, no two alike.
pub(super) fn shards(fields: Fields<'_>) -> Result<Vec<String>, ErrorReply> {
    /// Each is a group of its own in this process.
    const SHARDS_MAX: usize = 1024;
    let names = fields.strings("shards")?;
    let distinct: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() || names.len() > SHARDS_MAX || distinct.len() < names.len() || distinct.contains("") {
        let expected = format!("field `shards` must name 1 to {SHARDS_MAX} shards, each once");
        return Err(ErrorReply::malformed(expected));
    }
    Ok(names)
}
