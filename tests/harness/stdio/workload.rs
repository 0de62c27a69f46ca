//! What clients do to the nodes, and what must be true of it afterwards.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use serde_json::Value;

use super::client::Client;
use super::errors::Return;
use super::processes::Seat;
use crate::findings::Check;
use crate::run::Run;

/// A workload: what is called, how it is put into messages, and how the whole is judged.
///
/// Many workers use it at once.
#[async_trait]
pub trait Workload: Send + Sync {
    /// Its name, a part of a path.
    fn name(&self) -> &str;

    /// The number of workers if nobody says otherwise.
    fn workers(&self, nodes: usize) -> usize {
        nodes
    }

    /// Whether it can be run like that.
    ///
    /// # Errors
    /// Why not.
    fn fits(&self, _nodes: usize, _workers: usize) -> Result<(), String> {
        Ok(())
    }

    /// What each node is told when it starts.
    fn seats(&self, names: &[String]) -> Vec<Seat> {
        Seat::peers(names)
    }

    /// What is to be done before the first operation, once all nodes run.
    ///
    /// # Errors
    /// Why it cannot be done.
    async fn prepare(&self, _client: &mut Client, _nodes: &[String]) -> Result<(), String> {
        Ok(())
    }

    /// What the caller does next.
    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next;

    /// Carries a call out.
    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return;

    /// Whether somebody operates the cluster while it is used.
    fn is_operated(&self) -> bool {
        false
    }

    /// One deed of the operator, such as a shard moved; `None` if nothing came of it.
    async fn operate(&self, _client: &mut Client, _nodes: &[String], _random: &mut SmallRng) -> Option<Deed> {
        None
    }

    /// Whether there is a last phase, with all faults mended.
    fn has_last_phase(&self) -> bool {
        false
    }

    /// Whether the run was as it must be, in one respect or in several.
    fn judge(&self, run: &Run) -> Vec<Check>;
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The main one, with faults, until time is up.
    Load,
    /// The last one, without faults: it shows what has come of all that.
    Last,
}

/// A process in the sense of a history: what calls one operation at a time, and none after one whose outcome is unknown.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The worker that plays it, from 0.
    pub worker: usize,
    /// The number of workers.
    pub workers: usize,
    /// Its number.
    pub process: u64,
    /// The number of this operation among the worker's, from 1.
    pub nth: u64,
    /// The node that it asks.
    pub node: String,
    /// All nodes.
    pub nodes: Arc<[String]>,
    /// Until when to retry, where a workload does that.
    pub until: tokio::time::Instant,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub f: String,
    /// The object that it concerns.
    pub key: Value,
    /// Its argument.
    pub value: Value,
}

impl Call {
    /// An operation.
    pub fn new(f: &str, key: impl Into<Value>, value: impl Into<Value>) -> Call {
        Call { f: f.to_owned(), key: key.into(), value: value.into() }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// To call this.
    Call(Call),
    /// To ask again a little later.
    Wait,
    /// Nothing more in this phase.
    Over,
}

/// What an operator has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What: `move`, say.
    pub kind: String,
    /// To what.
    pub targets: Vec<String>,
}

/// How often a worker that has nothing to do asks again.
pub(super) const A_LITTLE: Duration = Duration::from_millis(5);
