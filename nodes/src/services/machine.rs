//! Any state machine as a node of JSON lines: one replica in each process, the others reached through standard input and
//! output. A program of yours is such a node with one line:
//!
//! ```no_run
//! # use quorate::StateMachine;
//! # fn node<M: StateMachine + Default>() -> std::process::ExitCode {
//! quorate_nodes::services::machine::main("counters", std::env::args_os(), M::default)
//! # }
//! ```
//!
//! Promises: a command that is acknowledged is committed; each takes effect once, also when its line comes twice; queries
//! are linearizable at any node.
//! Leaves out: machines whose commands, queries or replies JSON cannot hold, such as maps whose keys are no strings.
//! What it speaks is in `docs/protocol.md`, and `quorate-harness` drives it (`docs/testing/your-machine.md`).

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use quorate::sessions::Stamp;
use quorate::{Consistency, Group, GroupId, GroupOptions, StateMachine};
use serde::de::DeserializeOwned;

use super::group_sessions::GroupSessions;
use super::late::Late;
use super::{left, no_faults, targets, unusable};
use crate::distributed::{DistributedNode, DistributedOptions, Roster};
use crate::stdio::peers::PeerMessage;
use crate::stdio::{
    Call, ErrorReply, Failure, Fault, Footprint, Init, Plan, Reply, Request, Service, StdioOptions, run, unknown_type,
};

/// The group of all nodes.
const GROUP: GroupId = GroupId(1);

/// A node of one group whose replicas are processes of their own.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    /// The milliseconds between a leader's signs of life. More than a message takes to another node and back.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..60_000))]
    heartbeat: u64,

    /// Take a snapshot when the log holds so many bytes of entries.
    #[arg(long, value_name = "BYTES", default_value_t = GroupOptions::default().snapshot_log_bytes)]
    snapshot_log_bytes: u64,

    /// Keep so many entries behind a snapshot, for replicas that are a little late.
    #[arg(long, value_name = "N", default_value_t = GroupOptions::default().snapshot_keep_entries)]
    snapshot_keep_entries: u64,
}

/// Runs a node to the end of the process: `args` are the program's, its name first; `what` names the machine, and another
/// one's data directory is refused. Bad arguments, `--help` and `--version` end the process.
///
/// The exit code is that of failure when the node could not go on, which standard error explains.
pub fn main<M: StateMachine>(
    what: &str,
    args: impl IntoIterator<Item = OsString>,
    machine: impl Fn() -> M + Send + Sync + 'static,
) -> ExitCode {
    let cli = Cli::parse_from(args);
    let distributed = DistributedOptions {
        heartbeat: Duration::from_millis(cli.heartbeat),
        seed: cli.stdio.seed,
        data_dir: cli.stdio.data_dir.clone(),
    };
    let group = GroupOptions {
        snapshot_log_bytes: cli.snapshot_log_bytes,
        snapshot_keep_entries: cli.snapshot_keep_entries,
        ..distributed.group()
    };
    run(&cli.stdio, || Ok(MachineNode::new(what, machine, distributed, group)))
}

/// A node that has one replica of a machine's only group.
pub struct MachineNode<M: StateMachine> {
    what: Arc<str>,
    machine: Box<dyn Fn() -> M + Send + Sync>,
    options: DistributedOptions,
    group: GroupOptions,
    running: OnceLock<Late<Running<M>>>,
}

struct Running<M: StateMachine> {
    node: DistributedNode,
    group: Group<M>,
    sessions: GroupSessions,
}

/// A request, decoded.
#[derive(Debug)]
pub enum Asked<C, Q> {
    /// To carry a command out, at this place of a session if the client names one.
    Command(C, Option<Stamp>),
    /// To answer a query.
    Query(Q, Consistency),
}

impl<M: StateMachine> fmt::Debug for MachineNode<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineNode").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<M: StateMachine> MachineNode<M> {
    /// A node that has not been initialised. `machine` makes a fresh one; `what` names it.
    pub fn new(
        what: &str,
        machine: impl Fn() -> M + Send + Sync + 'static,
        options: DistributedOptions,
        group: GroupOptions,
    ) -> Self {
        MachineNode { what: what.into(), machine: Box::new(machine), options, group, running: OnceLock::new() }
    }

    fn running(&self) -> Result<&Late<Running<M>>, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

impl<M: StateMachine> Running<M> {
    async fn carry_out(&self, asked: Asked<M::Command, M::Query>, timeout: Duration) -> Result<Reply, ErrorReply> {
        match asked {
            Asked::Command(command, session) => {
                let written = self.sessions.write(&self.group, &command, session, timeout).await?;
                Ok(Reply::new().serialized("reply", &written.reply))
            }
            Asked::Query(query, consistency) => {
                let read = self.group.read(consistency, &query, timeout).await?;
                let names = self.node.roster().names();
                let served_by = names.get(&read.proof.served_by).map(ToString::to_string);
                Ok(Reply::new().serialized("answer", &read.answer).field("served_by", served_by))
            }
        }
    }
}

fn decode<T: DeserializeOwned>(request: &Request, name: &str) -> Result<T, ErrorReply> {
    let malformed = |why: String| ErrorReply::malformed(format!("field `{name}`: {why}"));
    serde_json::from_str(&request.fields().json_text(name)?).map_err(|error| malformed(error.to_string()))
}

#[async_trait]
impl<M: StateMachine> Service for MachineNode<M> {
    type Command = Asked<M::Command, M::Query>;

    fn plan(&self, request: &Request) -> Result<Plan<Self::Command>, ErrorReply> {
        let fields = request.fields();
        let asked = match request.kind.as_str() {
            "command" => Asked::Command(decode(request, "command")?, fields.stamp()?),
            "query" => {
                let consistency = match fields.optional_string("consistency")? {
                    None | Some("linearizable") => Consistency::Linearizable,
                    Some("read_index") => Consistency::LinearizableHere,
                    Some("lease") => Consistency::Lease,
                    Some(other) => return Err(ErrorReply::malformed(format!("no such consistency: {other:?}"))),
                };
                Asked::Query(decode(request, "query")?, consistency)
            }
            _ => return Err(unknown_type(request)),
        };
        // Nothing is known of what a command touches. Those of different clients are at once, and the log orders them.
        Ok(Plan::data(asked, Footprint::default()))
    }

    fn hears_peers(&self) -> bool {
        true
    }

    fn hear(&self, message: PeerMessage) {
        if let Some(running) = self.running.get().and_then(Late::now) {
            running.node.hear(&message);
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let roster = Roster::of_all(&init.node_ids()?, init.node_id()?).map_err(targets::failed)?;
        let (what, machine, options, group) =
            (Arc::clone(&self.what), (self.machine)(), self.options.clone(), self.group.clone());
        let (outbox, failure) = (init.outbox.clone(), init.failure.clone());
        let starting = start(what, machine, roster, options, group, outbox, failure);
        let _ = self.running.set(Late::start(&init, starting).await?);
        Ok(())
    }

    async fn call(&self, asked: Self::Command, call: Call) -> Result<Reply, ErrorReply> {
        let running = self.running()?.by(call.deadline).await?;
        if *running.node.roster().name() != call.dest {
            return Err(ErrorReply::not_found(format!("no node {} here", call.dest)).reason("unknown_node"));
        }
        running.carry_out(asked, left(call.deadline)).await
    }

    async fn fault(&self, _: Fault) -> Result<(), ErrorReply> {
        Err(no_faults())
    }

    async fn shutdown(&self) {
        if let Some(running) = self.running.get().and_then(Late::now) {
            running.node.shutdown().await;
        }
    }
}

/// Waits for nobody: the others may not be there yet.
async fn start<M: StateMachine>(
    what: Arc<str>,
    machine: M,
    roster: Roster,
    options: DistributedOptions,
    group: GroupOptions,
    outbox: crate::stdio::Outbox,
    failure: Failure,
) -> Result<Running<M>, ErrorReply> {
    let started = async {
        let node = DistributedNode::start(&what, roster, outbox, failure.clone(), &options, group).await?;
        // Nobody is heard before it is there.
        let group = node.host(GROUP, machine, node.roster().nodes()).await?;
        node.listen();
        Ok((node, group))
    };
    let (node, group) = started.await.map_err(|fatal| unusable(&failure, fatal))?;
    let sessions = GroupSessions::new(Arc::clone(node.env()));
    Ok(Running { node, group, sessions })
}
