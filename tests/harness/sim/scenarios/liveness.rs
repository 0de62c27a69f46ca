//! The last phase of every run: nothing is wrong any more, and all must be well again.

use std::time::Duration;

use quorate::{Consistency, GroupId, StateMachine, WriteOptions};

use crate::sim::cluster::replica;
use crate::sim::world::Sim;

/// How long a cluster may take until it serves again.
const HEAL: Duration = Duration::from_secs(30);

/// How long a single call may take.
const CALL: Duration = Duration::from_secs(10);

/// Ends all faults, and checks that every group elects, takes writes and answers reads at every node that belongs to it, and
/// that all its replicas come to hold the same.
pub(super) async fn heal<M: StateMachine>(
    sim: &Sim,
    groups: u64,
    command: impl Fn() -> M::Command,
    query: impl Fn() -> M::Query,
) {
    sim.calm().await;
    for group in (1..=groups).map(GroupId) {
        if let Err(reason) = serves::<M>(sim, group, &command, &query).await {
            return sim
                .violate("when all faults have ended a group serves at every node", format!("{group}: {reason}"));
        }
        if let Err(reason) = same_states::<M>(sim, group).await {
            return sim.violate("when all faults have ended all replicas hold the same", format!("{group}: {reason}"));
        }
    }
}

async fn serves<M: StateMachine>(
    sim: &Sim,
    group: GroupId,
    command: &impl Fn() -> M::Command,
    query: &impl Fn() -> M::Query,
) -> Result<(), String> {
    for node in sim.running() {
        let deadline = sim.now() + HEAL;
        loop {
            let Some((running, handle)) = replica::<M>(sim, node, group) else {
                return Err(format!("{node} does not run"));
            };
            let options = WriteOptions { session: None, timeout: CALL };
            let command = command();
            let written = running.ask(CALL, handle.write(&command, options)).await;
            let error = match written {
                // A node that is no member takes calls and hands them on; it holds nothing.
                Some(Ok(_)) if !sim.observer().members(group).contains(&node) => break,
                Some(Ok(written)) => {
                    let here = handle.wait_applied(written.at.index, CALL);
                    match running.ask(CALL, here).await {
                        Some(true) => {
                            match running.ask(CALL, handle.read(Consistency::LinearizableHere, &query(), CALL)).await {
                                Some(Ok(_)) => break,
                                Some(Err(error)) => format!("read: {error}"),
                                None => "read: no answer".to_owned(),
                            }
                        }
                        _ => format!("it does not apply {}", written.at),
                    }
                }
                Some(Err(error)) => format!("write: {error}"),
                None => "write: no answer".to_owned(),
            };
            if sim.now() >= deadline {
                return Err(format!("{node} does not after {HEAL:?}: {error}"));
            }
            sim.sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn same_states<M: StateMachine>(sim: &Sim, group: GroupId) -> Result<(), String> {
    let deadline = sim.now() + HEAL;
    loop {
        let leader = sim.leader(group).and_then(|leader| replica::<M>(sim, leader, group));
        let error = match leader {
            Some((running, handle)) => match running.ask(CALL, handle.compare_states(CALL)).await {
                Some(Ok(())) => return Ok(()),
                Some(Err(quorate::AdminError::Fatal(fatal))) => return Err(fatal.to_string()),
                Some(Err(error)) => error.to_string(),
                None => "no answer".to_owned(),
            },
            None => "no leader".to_owned(),
        };
        if sim.now() >= deadline {
            return Err(format!("states cannot be compared: {error}"));
        }
        sim.sleep(Duration::from_millis(100)).await;
    }
}
