//! Statements of SQL from a command line, for a coordinator to carry out, wherever it is.
//!
//! Promises: what is shown is what the coordinator said, and it says which shards have no part in it; it fails where the
//! coordinator does.
//! Leaves out: a coordinator: `quorate-sql` has one.

mod show;

use anyhow::{Context, bail};
use async_trait::async_trait;
use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::stdio::Code;

/// A coordinator of queries.
#[async_trait]
pub trait Queries: Send + Sync + 'static {
    /// Carries out a `scatter_query` of `docs/protocol.md`; its body and the answer's, as JSON.
    ///
    /// # Errors
    /// When the coordinator gives no answer, in words that say whether a change may have happened.
    async fn answer(&self, body: &str) -> anyhow::Result<String>;
}

/// What is to be carried out.
#[derive(Args, Clone, Debug)]
pub struct Statements {
    /// An answer without some shard is an error.
    #[arg(long)]
    require_all: bool,
    /// The rows may be so many milliseconds old; some replica answers that can prove it.
    #[arg(long)]
    max_staleness: Option<u64>,
    /// The statements; without any, each line of standard input is one.
    statements: Vec<String>,
}

/// How it is asked for, and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The body of each answer, one a line, in place of tables.
    pub json: bool,
    /// How long a shard may take, in milliseconds; one that takes longer is left out.
    pub timeout_ms: u64,
}

/// Has the statements carried out, one after the other, until one fails; of those from standard input, all.
///
/// # Errors
/// What the coordinator said.
pub async fn run(coordinator: &dyn Queries, given: &Statements, manner: Manner) -> anyhow::Result<()> {
    if !given.statements.is_empty() {
        for statement in &given.statements {
            carry_out(coordinator, statement, given, manner).await?;
        }
        return Ok(());
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut failed = 0;
    while let Some(line) = lines.next_line().await.context("cannot read standard input")? {
        let statement = line.trim().trim_end_matches(';');
        if !statement.is_empty()
            && let Err(error) = carry_out(coordinator, statement, given, manner).await
        {
            eprintln!("{error:#}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} statements have failed"),
    }
}

async fn carry_out(
    coordinator: &dyn Queries,
    statement: &str,
    given: &Statements,
    manner: Manner,
) -> anyhow::Result<()> {
    let mut body = json!({
        "type": "scatter_query",
        "query": statement,
        "timeout_ms": manner.timeout_ms,
        "require_all": given.require_all,
    });
    if let Some(bound) = given.max_staleness {
        body["consistency"] = json!({ "max_staleness_ms": bound });
    }
    let answer = coordinator.answer(&body.to_string()).await?;
    let said: Value = serde_json::from_str(&answer).context("the coordinator's answer")?;
    if manner.json {
        println!("{answer}");
    }
    if said["type"] == "error" {
        let may = if is_unknown(&said) { " (it may have happened)" } else { "" };
        bail!("{}{may}", show::error(&said));
    }
    if !manner.json {
        println!("{}", show::answer(&said));
    }
    Ok(())
}

/// Whether a change that failed so may have happened: also of some shards' parts.
fn is_unknown(error: &Value) -> bool {
    let open = [Code::Timeout, Code::Crash].map(Code::number);
    error["code"].as_u64().is_some_and(|code| open.contains(&code))
        && !matches!(error["reason"].as_str(), Some("incomplete" | "no_shard_answered" | "too_late" | "partial"))
}
