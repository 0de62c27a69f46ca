//! One group of replicas that hold registers, each replica a node of its own that any client may ask.
//!
//! Promises: writes and linearizable reads at any node; a follower's answer says how old it can be at most, and is
//! never older than asked for.
//! Leaves out: shards; which node a client should ask.

mod registers;
mod request;
mod sessions;
#[cfg(test)]
mod sessions_tests;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use quorate_statemachines::register::RegisterMachine;

use self::registers::Registers;
use self::request::Command;
use super::targets;
use super::{FIRST_LEADER, ServiceOptions, left};
use crate::embedded::EmbeddedGroup;
use crate::services::presence::inside;
use crate::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

/// The service of the binary `replica`.
#[derive(Debug)]
pub struct Replica {
    options: ServiceOptions,
    registers: OnceLock<Registers>,
}

impl Replica {
    /// A service that has not been initialised.
    pub fn new(options: ServiceOptions) -> Self {
        Replica { options, registers: OnceLock::new() }
    }

    fn registers(&self) -> Result<&Registers, ErrorReply> {
        self.registers.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

#[async_trait]
impl Service for Replica {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request)
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let names = init.node_ids()?;
        let world = self.options.world();
        let group = EmbeddedGroup::start(&world, names.len(), RegisterMachine::new).await.map_err(targets::failed)?;
        group.led(FIRST_LEADER).await;
        let _ = self.registers.set(Registers::new(names, group, Arc::clone(world.env())));
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let registers = self.registers()?;
        let nth = registers.nth(&call.dest).ok_or_else(|| ErrorReply::not_found(format!("no node {}", call.dest)))?;
        let life = registers.group().watch(nth).ok_or_else(|| targets::unknown(&call.dest))?;
        inside(life, call.deadline, async {
            let stopped = || ErrorReply::unavailable("it is stopped").reason("node_stopped");
            let node = registers.group().running(nth).ok_or_else(stopped)?;
            let timeout = left(call.deadline);
            match command {
                Command::Read { key } => registers.read(&node, &key, timeout).await,
                Command::Change { key, change, session } => {
                    registers.change(&node, &key, change, session, timeout).await
                }
                Command::FollowerRead { key, freshness } => {
                    registers.follower_read(&node, &key, freshness, timeout).await
                }
            }
        })
        .await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let registers = self.registers()?;
        let nth = registers.nth(&fault.target).ok_or_else(|| targets::unknown(&fault.target))?;
        registers.group().fault(nth, targets::replica_fault(fault.action)).await.map_err(targets::failed)
    }

    async fn shutdown(&self) {
        if let Some(registers) = self.registers.get() {
            registers.group().shutdown().await;
        }
    }
}
