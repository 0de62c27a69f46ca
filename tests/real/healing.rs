//! When all faults are over: every node serves again, and what is judged by how it was in the end is read.

use quorate_harness::findings::{Answer, Check};

use crate::admin::{Admin, until};
use crate::clients::{Work, read_all};
use crate::contents::contents;
use crate::judge;
use crate::nodes::Nodes;
use crate::recorder::Recorder;

/// How many operations of clients have to end well when all is whole again.
const SERVED_AGAIN: u64 = 20;

/// Waits until every node answers for every key in use, and clients get on with their work.
pub(crate) async fn heal(work: &Work, nodes: &Nodes) -> anyhow::Result<Check> {
    let (name, begun) = ("healing", work.recorder.now());
    for (id, address) in nodes.clients() {
        let read = until(async || Ok(read_all(work, id, &address, &work.keys()).await?.then_some(())));
        if let Err(error) = read.await {
            return Ok(Check::new(name, Answer::False, format!("n{id} does not serve: {error:#}")));
        }
    }
    let took = work.recorder.now().saturating_sub(begun);
    let ended_well = || work.recorder.glance().ends[0];
    let enough = ended_well() + SERVED_AGAIN;
    if let Err(error) = until(async || Ok((ended_well() >= enough).then_some(()))).await {
        return Ok(Check::new(name, Answer::False, format!("clients are not served: {error:#}")));
    }
    Ok(Check::new(name, Answer::True, format!("every node served {took:.1?} after the last fault")))
}

/// Reads all that is judged by how it was in the end, from each node.
pub(crate) async fn last_reads(work: &Work, nodes: &Nodes, healed: Check) -> anyhow::Result<Check> {
    let keys = [work.keys(), work.lists()].concat();
    for (id, address) in nodes.clients() {
        if let Err(error) = until(async || Ok(read_all(work, id, &address, &keys).await?.then_some(()))).await {
            return Ok(Check::new(healed.name, Answer::False, format!("n{id} serves no more: {error:#}")));
        }
    }
    Ok(healed)
}

/// Waits until nothing moves, and looks at what each group holds.
pub(crate) async fn owners(nodes: &Nodes, recorder: &Recorder) -> anyhow::Result<Check> {
    let admin = Admin::new(&nodes.clients())?;
    Ok(match until(async || contents(&admin).await.map(Some)).await {
        Ok(contents) => judge::ownership(&contents, &recorder.events()),
        Err(error) => Check::new("ownership", Answer::False, format!("shards do not come to rest: {error:#}")),
    })
}
