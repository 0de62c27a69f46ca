//! `quorate-jepsen check`: the verdict on a recorded history of registers.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::checker::json::{JsonAnswer, JsonOp, JsonRegister, Operations};
use crate::checker::jsonl::{self, Lines};
use crate::checker::{Counterexample, Keyed, Limits, Model, Operation, Outcome, Verdict, check};
use crate::findings::{Answer, Check, Findings};
use crate::report;
use crate::run::Run;

type JsonOperation = Operation<Keyed<JsonOp>, JsonAnswer>;
type History = jsonl::Operations<JsonRegister>;

/// So many operations of an order are shown before the one that does not fit.
const SHOWN: usize = 40;

#[derive(Args)]
pub(super) struct CheckFlags {
    /// The history, a JSON object a line for each call and return; `-` reads standard input.
    file: PathBuf,
    /// What every key holds at first, as JSON: `'""'` for strings that start empty. Nothing if left out.
    #[arg(long, value_parser = json_value)]
    initial: Option<Value>,
    /// What the keys are.
    #[arg(long, value_enum, default_value_t = ModelName::Auto)]
    model: ModelName,
    /// How many seconds to search before the verdict is `unknown`.
    #[arg(long, default_value = "60", value_parser = seconds)]
    time_limit: Duration,
    /// Writes a report with pictures below this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Shows the whole order that was found before nothing fitted, however long.
    #[arg(long)]
    full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModelName {
    /// Registers: read, write, cas, delete.
    Register,
    /// Strings that start empty: get, put, append, delete.
    Kv,
    /// All of these operations.
    Auto,
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}; a string is given in quotes: '\"\"'"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    match file.to_str() {
        Some("-") => std::io::stdin().read_to_end(&mut text).context("standard input")?,
        _ => std::fs::File::open(file)
            .and_then(|mut file| file.read_to_end(&mut text))
            .with_context(|| file.display().to_string())?,
    };
    Ok(text)
}

/// Judges the history and says so.
pub(super) fn run(flags: &CheckFlags) -> anyhow::Result<Answer> {
    let lines = jsonl::read(&read(&flags.file)?)?;
    let (operations, initial) = match flags.model {
        ModelName::Register => (Operations::Register, Value::Null),
        ModelName::Kv => (Operations::Strings, json!("")),
        ModelName::Auto => (Operations::All, Value::Null),
    };
    let model = JsonRegister { initial: flags.initial.clone().unwrap_or(initial), operations };
    let history = lines.operations(&model)?;
    if let Some(line) = lines.goes_back {
        eprintln!("quorate-jepsen: line {line}: time goes back; the order of the lines counts");
    }
    let limits = Limits { time: flags.time_limit, ..Limits::default() };
    let verdict = check(&model, &history, limits);
    let shown = if flags.full { usize::MAX } else { SHOWN };
    let (answer, text) = tell(&model, &lines, &history, &verdict, shown);
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(store) = &flags.report {
        let check = Check::of_verdict(&model, &lines.events, &history, verdict, limits);
        let directory = report::write(store, &run_of(flags, lines), &Findings { checks: vec![check] })?;
        // Likewise.
        let _ = writeln!(std::io::stdout(), "report: {}", directory.join("index.html").display());
    }
    Ok(answer)
}

/// What a report needs to know beyond the history, as far as its file tells.
fn run_of(flags: &CheckFlags, lines: Lines) -> Run {
    let name = flags.file.file_stem().map(|name| name.to_string_lossy().into_owned());
    Run {
        workload: name.filter(|name| name != "-").unwrap_or_else(|| "history".to_owned()),
        started: std::fs::metadata(&flags.file).and_then(|file| file.modified()).unwrap_or_else(|_| SystemTime::now()),
        length: lines.events.iter().map(|event| event.time).max().unwrap_or_default(),
        settings: json!({ "file": flags.file, "initial": flags.initial, "time_limit_s": flags.time_limit.as_secs_f64() }),
        events: lines.events,
        faults: lines.faults,
        messages: Vec::new(),
    }
}

/// The verdict in words: it on the first line, its reason after it.
fn tell(model: &JsonRegister, lines: &Lines, history: &History, verdict: &Verdict, shown: usize) -> (Answer, String) {
    let keys = history.iter().map(|operation| &operation.input.key).collect::<std::collections::BTreeSet<_>>().len();
    let (answer, reason, details) = match verdict {
        Verdict::Linearizable => {
            let reason =
                format!("{} operations on {keys} keys have an order that explains every answer", history.len());
            (Answer::True, reason, String::new())
        }
        Verdict::Unknown(limit) => (Answer::Unknown, format!("{limit} before the search ended"), String::new()),
        Verdict::NotLinearizable(found) => {
            let reason = format!(
                "key {}: {} fits no order of the operations before it",
                found.key,
                summary(&history[found.stuck])
            );
            (Answer::False, reason, explain(model, lines, history, found, shown))
        }
    };
    let mut text = format!("{} ({reason})\n{details}", answer.word());
    let is_empty_string = |operation: &JsonOperation| match &operation.outcome {
        Outcome::Returned { output, .. } => *output == JsonAnswer::Value(json!("")),
        _ => false,
    };
    if answer == Answer::False && model.initial.is_null() && history.iter().any(is_empty_string) {
        text.push_str("note: reads answer \"\"; of keys that start as empty strings say --initial '\"\"'\n");
    }
    (answer, text)
}

/// What was asked and answered, in words.
fn summary(operation: &JsonOperation) -> String {
    let Operation { process, input, outcome, .. } = operation;
    format!("process {process} {} {}", input.op, answer(outcome))
}

fn answer(outcome: &Outcome<JsonAnswer>) -> String {
    match outcome {
        Outcome::Returned { output, .. } => format!("-> {output}"),
        Outcome::Failed => "-> failed".to_owned(),
        Outcome::Open => "-> never known".to_owned(),
    }
}

/// The longest order, with what the key holds after each of it, and what has no place in it.
fn explain(model: &JsonRegister, lines: &Lines, history: &History, found: &Counterexample, shown: usize) -> String {
    let of_key = history.iter().filter(|operation| operation.input.key == found.key).count();
    let skipped = found.longest.len().saturating_sub(shown);
    let mut text = format!(
        "key {}: the longest partial linearization has {} of {of_key} operations{}\n",
        found.key,
        found.longest.len(),
        if skipped > 0 { format!("; the last {shown} of them (--full shows all)") } else { String::new() },
    );
    let mut state = model.initial();
    if skipped == 0 {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  {:>16}  {:<44} holds {state}", "", "at first");
    }
    for (nth, place) in found.longest.iter().enumerate() {
        let operation = &history[*place];
        let output = match &operation.outcome {
            Outcome::Returned { output, .. } => Some(output),
            _ => None,
        };
        state = model.step(&state, &operation.input, output).unwrap_or(state);
        if nth >= skipped {
            let _ = writeln!(text, "  {:>16}  {:<44} holds {state}", span(lines, operation), summary(operation));
        }
    }
    text.push_str("operations that cannot be placed:\n");
    for place in std::iter::once(&found.stuck).chain(&found.unplaced) {
        let operation = &history[*place];
        let _ = writeln!(text, "  {:>16}  {}", span(lines, operation), summary(operation));
    }
    text
}

/// The lines of the call and the return.
fn span(lines: &Lines, operation: &JsonOperation) -> String {
    let called = lines.number(operation.called).unwrap_or_default();
    match operation.outcome {
        Outcome::Returned { at, .. } => format!("lines {called}-{}", lines.number(at).unwrap_or_default()),
        _ => format!("line {called}"),
    }
}
