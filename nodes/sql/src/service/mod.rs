//! The service of the binary `coordinator`: SQL over shards that are Raft groups, in this process or on servers.
//!
//! Promises: an answer says which shards have no part in it; a statement that defines a table waits for everything above
//! it and is waited for.
//! Leaves out: shards that are processes of their own, which are those of [`ScatterNode`].

mod apart;
mod changes;
mod cluster;
mod flags;
mod outcome;
mod request;
mod running;

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use quorate_nodes::server::ClientTls;
use quorate_nodes::services::ServiceOptions;
use quorate_nodes::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};
use tokio::time::Instant;

pub use self::apart::{Peers, ScatterNode, ScatterNodeOptions};
use self::changes::Changes;
pub use self::flags::{EngineArgs, ScatterArgs, parse_peers};
use self::request::{Command, Scatter};
use self::running::Running;
use crate::plan::Kind;
use crate::scatter::{EngineOptions, Query};

/// How a coordinator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorOptions {
    /// How its groups run.
    pub service: ServiceOptions,
    /// How its queries run.
    pub engine: EngineOptions,
    /// How long a query may wait for its turn and compute, besides the time of the shards.
    pub request_timeout: Duration,
    /// The servers that have the shards; without it they are in this process.
    pub servers: Option<OnServers>,
}

/// Servers that have shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnServers {
    /// Where they answer clients (`host:port`); any of a cluster will do.
    pub addresses: Vec<String>,
    /// What they are trusted by.
    pub tls: ClientTls,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        CoordinatorOptions {
            service: ServiceOptions::default(),
            engine: EngineOptions::default(),
            request_timeout: Duration::from_secs(2),
            servers: None,
        }
    }
}

/// The service of the binary `coordinator`.
#[derive(Debug)]
pub struct Coordinator {
    options: CoordinatorOptions,
    running: OnceLock<Running>,
}

impl Coordinator {
    /// A service that has not been initialised.
    pub fn new(options: CoordinatorOptions) -> Self {
        Coordinator { options, running: OnceLock::new() }
    }

    /// A service of the shards of these groups on servers, which needs no `init`. None of them is asked yet.
    ///
    /// # Errors
    /// When no servers are named, or an address is none, or a certificate cannot be read.
    pub fn of_groups(groups: &[String], options: CoordinatorOptions) -> Result<Self, ErrorReply> {
        let nobody = || ErrorReply::malformed("there are no servers");
        let running = Running::on_servers(groups, options.servers.as_ref().ok_or_else(nobody)?, options.engine)?;
        Ok(Coordinator { options, running: OnceLock::from(running) })
    }

    /// Carries out a request by itself, whatever else is carried out: its body, as clients of the binary send it. Gives the body
    /// of the answer.
    pub async fn ask(&self, body: &str) -> String {
        let request = Request::of_body("client", "coordinator", body);
        let planned = request.and_then(|request| Ok((self.plan(&request)?, request)));
        let (plan, request) = match planned {
            Ok(planned) => planned,
            Err(error) => return Reply::body("", Err(error)),
        };
        let deadline = Instant::now() + plan.timeout.unwrap_or(self.options.request_timeout);
        let call = Call { src: request.src.clone(), dest: request.dest.clone(), deadline };
        Reply::body(&request.kind, self.call(plan.command, call).await)
    }

    fn running(&self) -> Result<&Running, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

#[async_trait]
impl Service for Coordinator {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.request_timeout)
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        init.node_id()?;
        let names = request::shards(init.fields())?;
        let (options, failure) = (self.options.clone(), init.failure.clone());
        // In a task of its own: groups that are half started must not be given up.
        let started = tokio::spawn(async move {
            match &options.servers {
                Some(servers) => Running::on_servers(&names, servers, options.engine),
                None => Running::in_process(names, &options, &failure).await,
            }
        });
        let running = started.await.unwrap_or_else(|error| Err(ErrorReply::crash(error.to_string())))?;
        let _ = self.running.set(running);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let changes = &self.running()?.changes;
        let Command::Scatter(scatter) = command;
        statement(changes, scatter, &call).await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        match &self.running()?.cluster {
            Some(cluster) => cluster.fault(fault).await,
            None => Err(ErrorReply::not_supported("the shards are on servers: whoever runs those breaks them")),
        }
    }

    async fn shutdown(&self) {
        if let Some(cluster) = self.running.get().and_then(|running| running.cluster.as_ref()) {
            cluster.shutdown().await;
        }
    }
}

/// Carries a statement out.
async fn statement(changes: &Changes, scatter: Scatter, call: &Call) -> Result<Reply, ErrorReply> {
    if matches!(scatter.kind, Kind::Change | Kind::Define) {
        return changes.carry_out(scatter, call.deadline).await;
    }
    let Scatter { sql, params, timeout, require_all, consistency, .. } = scatter;
    let query = Query { sql, params, consistency, timeout, deadline: call.deadline };
    outcome::reply(changes.engine().query(query).await, require_all)
}
