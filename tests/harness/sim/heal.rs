//! The last phase of a run: nothing is wrong any more, and all must be well again.

use std::time::Duration;

use quorate::{AdminError, ClientId, Consistency, GroupId, NodeId, StateMachine};

use super::cluster::replica;
use super::world::Sim;

/// How long a cluster may take until it serves again.
const HEAL: Duration = Duration::from_secs(30);

/// How long a single call may take.
const CALL: Duration = Duration::from_secs(10);

/// Ends all faults, and checks that each of the groups, with the numbers 1 to `groups`, elects, takes writes and catches up to
/// read indexes at every node that belongs to it, and, if `compare` says so, that all its replicas come to hold the same.
/// Whether all is well.
pub async fn heal<M: StateMachine>(sim: &Sim, groups: u64, compare: bool) -> bool {
    sim.calm().await;
    for group in (1..=groups).map(GroupId) {
        if let Err(reason) = serves::<M>(sim, group).await {
            sim.violate("when all faults have ended a group serves at every node", format!("{group}: {reason}"));
            return false;
        }
        if !compare {
            continue;
        }
        if let Err(reason) = same_states::<M>(sim, group).await {
            sim.violate("when all faults have ended all replicas hold the same", format!("{group}: {reason}"));
            return false;
        }
    }
    true
}

async fn serves<M: StateMachine>(sim: &Sim, group: GroupId) -> Result<(), String> {
    for node in sim.running() {
        let deadline = sim.now() + HEAL;
        while let Err(error) = serves_at::<M>(sim, node, group).await {
            if sim.now() >= deadline {
                return Err(format!("{node} does not after {HEAL:?}: {error}"));
            }
            sim.sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn serves_at<M: StateMachine>(sim: &Sim, node: NodeId, group: GroupId) -> Result<(), String> {
    if !sim.observer().members(group).contains(&node) {
        // It may never have heard who leads.
        return Ok(());
    }
    let (running, handle) = replica::<M>(sim, node, group).ok_or("it does not run")?;
    let silent = "no answer";
    // A write that any machine has.
    let write = handle.open_session(ClientId::new("healer"), CALL);
    running.ask(CALL, write).await.ok_or(silent)?.map_err(|error| format!("write: {error}"))?;
    let read = handle.with_state(Consistency::LinearizableHere, CALL, |_| ());
    running.ask(CALL, read).await.ok_or(silent)?.map_err(|error| format!("read: {error}"))?;
    Ok(())
}

async fn same_states<M: StateMachine>(sim: &Sim, group: GroupId) -> Result<(), String> {
    let deadline = sim.now() + HEAL;
    loop {
        let error = match sim.leader(group).and_then(|leader| replica::<M>(sim, leader, group)) {
            Some((running, handle)) => match running.ask(CALL, handle.compare_states(CALL)).await {
                Some(Ok(())) => return Ok(()),
                Some(Err(AdminError::Fatal(fatal))) => return Err(fatal.to_string()),
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
