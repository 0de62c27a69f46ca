//! A subject in real processes: its nodes speak JSON lines, as `quorate_nodes::services::machine` has it, and are driven as
//! `quorate-jepsen test` drives any.
//!
//! Promises: the same operations, sessions and model as in the simulation; whatever way it ends, no process is left.
//! Leaves out: what decides everything by a seed: processes race.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use clap::Parser;
use quorate::StateMachine;
use rand::rngs::SmallRng;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Operation, OperationOf, Returned, Subject};
use crate::checker::jsonl::Textual;
use crate::checker::{Effect, Limits, Model};
use crate::cli::drive::{self, DriveFlags, Plan};
use crate::findings::{Answer, Check};
use crate::run::Run;
use crate::stdio::client::Client;
use crate::stdio::errors::{Refusal, Return};
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// How often a worker in a session tries.
const ATTEMPTS: usize = 6;

/// So many queries each worker asks at the end, when all is well.
const LAST_QUERIES: usize = 8;

/// So many operations are drawn to find a query: a subject may have none.
const DRAWS: usize = 100;

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Cli {
    #[command(flatten)]
    drive: DriveFlags,
}

/// Runs a subject in processes: `bin` with the arguments `node`, in which `{data}` stands for a directory that outlives a
/// node's processes. `flags` are those of `quorate-jepsen test`, but for the workload and the program: `--rate 100
/// --time-limit 20 --nemesis partition,kill`, say; without them there are three nodes. Prints what it does, writes a report,
/// and says what it found; [`crate::cli::exit_code`] makes an exit code of it.
///
/// # Errors
/// When the flags make no sense, the program is not there, or the run ended before its time: then there is no verdict.
///
/// # Panics
/// When JSON cannot hold one of the subject's operations.
pub fn processes<S: Subject>(
    subject: S,
    bin: &Path,
    node: &[&str],
    flags: impl IntoIterator<Item: Into<OsString> + Clone>,
) -> anyhow::Result<Answer> {
    let Cli { drive: flags } = Cli::try_parse_from(flags)?;
    let subject = Arc::new(subject);
    let plan = Plan {
        workload: Box::new(move || Arc::new(SubjectWorkload::new(Arc::clone(&subject)))),
        usual: 3,
        row: None,
        bin: bin.to_owned(),
        args: node.iter().map(ToString::to_string).collect(),
    };
    drive::run(&flags, &plan)
}

/// What is asked of a subject's nodes, for a [`crate::stdio::runner::Runner`] of your own.
pub fn workload<S: Subject>(subject: S) -> Arc<dyn Workload> {
    Arc::new(SubjectWorkload::new(Arc::new(subject)))
}

/// What is asked of a subject's nodes.
struct SubjectWorkload<S> {
    subject: Arc<S>,
    /// How many queries each worker has asked at the end.
    asked: Mutex<BTreeMap<usize, usize>>,
}

impl<S: Subject> SubjectWorkload<S> {
    fn new(subject: Arc<S>) -> Self {
        SubjectWorkload { subject, asked: Mutex::default() }
    }

    fn written(&self, operation: &OperationOf<S>) -> Call {
        let input = self.subject.input(operation);
        let model = self.subject.model();
        let key = model.key(&input);
        match operation {
            Operation::Command(command) => Call::new("command", &*key, self.json(command)),
            Operation::Query(query) => Call::new("query", &*key, self.json(query)),
        }
    }

    fn json(&self, operation: &(impl Serialize + std::fmt::Debug)) -> Value {
        let name = self.subject.name();
        serde_json::to_value(operation)
            .unwrap_or_else(|error| panic!("{name}: JSON cannot hold {operation:?}: {error}"))
    }

    /// A command, in a session of the worker's if it has one, and then tried again until its fate is known.
    async fn command(&self, client: &mut Client, caller: &Caller, command: &Value) -> Return {
        let mut fields = json!({ "command": command });
        let mut attempts = 1;
        if caller.worker % 2 == 1 {
            fields["client"] = format!("worker {}", caller.worker).into();
            fields["seq"] = caller.nth.into();
            attempts = ATTEMPTS;
        }
        let first = caller.nodes.iter().position(|node| *node == caller.node).unwrap_or_default();
        let mut refused: Option<Refusal> = None;
        for node in caller.nodes.iter().cycle().skip(first).take(attempts) {
            match client.ask(node, "command", fields.clone()).await {
                Ok(mut answer) => return Return::ok(answer.remove("reply").unwrap_or_default()),
                // Whatever a later attempt says, one of which nobody knows may still be carried out.
                Err(refusal) if refused.as_ref().is_none_or(Refusal::is_definite) => refused = Some(refusal),
                Err(_) => {}
            }
        }
        Return::refused(command.clone(), &refused.unwrap_or(Refusal::Timeout))
    }
}

#[async_trait]
impl<S: Subject> Workload for SubjectWorkload<S> {
    fn name(&self) -> &str {
        self.subject.name()
    }

    fn workers(&self, nodes: usize) -> usize {
        2 * nodes
    }

    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        if phase == Phase::Load {
            return Next::Call(self.written(&self.subject.generate(random)));
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.entry(caller.worker).or_default();
        *asked += 1;
        let mut drawn = (0..DRAWS).map(|_| self.subject.generate(random));
        match drawn.find(|operation| matches!(operation, Operation::Query(_))) {
            Some(query) if *asked <= LAST_QUERIES => Next::Call(self.written(&query)),
            _ => Next::Over,
        }
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        if call.f == "command" {
            return self.command(client, caller, &call.value).await;
        }
        let ways = ["linearizable", "read_index", "lease"];
        let fields = json!({ "query": call.value, "consistency": ways[caller.nth as usize % ways.len()] });
        match client.ask(&caller.node, "query", fields).await {
            Ok(mut answer) => Return::ok(answer.remove("answer").unwrap_or_default()),
            Err(refusal) => Return::unread(call.value.clone(), &refusal),
        }
    }

    fn has_last_phase(&self) -> bool {
        true
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let model = Worded { subject: &*self.subject, model: self.subject.model() };
        let check = Check::linearizability(&model, &run.events, Limits::default());
        let senseless =
            |why: String| Check::new("linearizability", Answer::False, format!("an answer makes no sense: {why}"));
        vec![check.unwrap_or_else(|malformed| senseless(malformed.why))]
    }
}

/// A subject's model, and how its operations are written down.
struct Worded<'a, S: Subject> {
    subject: &'a S,
    model: S::Model,
}

/// An operation as the model and as the machine have it.
struct Asked<S: Subject> {
    input: <S::Model as Model>::Input,
    operation: OperationOf<S>,
}

impl<S: Subject> PartialEq for Asked<S> {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input
    }
}

impl<S: Subject> Eq for Asked<S> {}

impl<S: Subject> Hash for Asked<S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.input.hash(hasher);
    }
}

impl<S: Subject> Model for Worded<'_, S> {
    type State = <S::Model as Model>::State;
    type Input = Asked<S>;
    type Output = <S::Model as Model>::Output;

    fn initial(&self) -> Self::State {
        self.model.initial()
    }

    fn step(&self, state: &Self::State, input: &Asked<S>, output: Option<&Self::Output>) -> Option<Self::State> {
        self.model.step(state, &input.input, output)
    }

    fn is_read_only(&self, input: &Asked<S>, output: Option<&Self::Output>) -> bool {
        self.model.is_read_only(&input.input, output)
    }

    fn effect(&self, input: &Asked<S>, output: Option<&Self::Output>) -> Effect<Self::State> {
        self.model.effect(&input.input, output)
    }

    fn is_part(&self, earlier: &Self::State, later: &Self::State) -> bool {
        self.model.is_part(earlier, later)
    }

    fn grows_towards(&self, state: &Self::State, input: &Asked<S>, later: &Self::State) -> bool {
        self.model.grows_towards(state, &input.input, later)
    }

    fn takes_all(&self, state: &Self::State) -> bool {
        self.model.takes_all(state)
    }

    fn key<'a>(&self, input: &'a Asked<S>) -> Cow<'a, str> {
        self.model.key(&input.input)
    }
}

type CommandOf<S> = <<S as Subject>::Machine as StateMachine>::Command;
type QueryOf<S> = <<S as Subject>::Machine as StateMachine>::Query;

impl<S: Subject> Textual for Worded<'_, S> {
    fn input(&self, f: &str, _key: &Value, value: &Value) -> Result<Asked<S>, String> {
        let operation = match f {
            "command" => serde_json::from_value::<CommandOf<S>>(value.clone()).map(Operation::Command),
            "query" => serde_json::from_value::<QueryOf<S>>(value.clone()).map(Operation::Query),
            other => return Err(format!("{other:?} is no operation of a machine")),
        };
        let operation = operation.map_err(|error| format!("{value}: {error}"))?;
        Ok(Asked { input: self.subject.input(&operation), operation })
    }

    fn output(&self, input: &Asked<S>, value: &Value) -> Result<Self::Output, String> {
        let returned = match &input.operation {
            Operation::Command(_) => serde_json::from_value(value.clone()).map(Returned::Reply),
            Operation::Query(_) => serde_json::from_value(value.clone()).map(Returned::Answer),
        };
        Ok(self.subject.output(&input.operation, returned.map_err(|error| format!("{value}: {error}"))?))
    }

    fn state_text(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
