//! Every value that some node has taken comes to be known by all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::findings::Check;
use crate::run::{Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// How long the nodes have to tell each other after the last fault.
const TO_SPREAD: Duration = Duration::from_secs(10);

/// `topology` (`topology`: each node's neighbours), `broadcast` (`message`: an integer), `read` answered with `messages`.
/// Workers broadcast and read; after that, each node is read until it knows everything, or for ten seconds.
#[derive(Debug, Default)]
pub struct Broadcast {
    values: AtomicU64,
    /// The workers that have had the last word of their node.
    asked: AtomicU64,
}

impl Broadcast {
    /// The last read of each node waits for what is missing as long as it may.
    async fn read_last(&self, client: &mut Client, caller: &Caller) -> Return {
        let wanted = self.values.load(Ordering::Relaxed);
        let mut waited = Duration::ZERO;
        loop {
            let end = read(client, &caller.node).await;
            let known = end.value.as_array().map_or(0, Vec::len) as u64;
            if known >= wanted || waited >= TO_SPREAD {
                return end;
            }
            waited += Duration::from_millis(250);
            sleep(Duration::from_millis(250)).await;
        }
    }
}

async fn read(client: &mut Client, node: &str) -> Return {
    match client.ask(node, "read", json!({})).await {
        Ok(mut body) => Return::ok(body.remove("messages").unwrap_or_default()),
        Err(refusal) => Return::unread(Value::Null, &refusal),
    }
}

#[async_trait]
impl Workload for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    async fn prepare(&self, client: &mut Client, nodes: &[String]) -> Result<(), String> {
        let topology = grid(nodes);
        for node in nodes {
            let told = client.ask(node, "topology", json!({ "topology": topology })).await;
            told.map_err(|refusal| format!("{node} was told the topology: {}", refusal.to_json()))?;
        }
        Ok(())
    }

    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        match phase {
            Phase::Load if random.random_bool(0.5) => {
                Next::Call(Call::new("broadcast", Value::Null, self.values.fetch_add(1, Ordering::Relaxed)))
            }
            Phase::Load => Next::Call(Call::new("read", Value::Null, Value::Null)),
            Phase::Last
                if self.asked.fetch_or(1 << (caller.worker % 64), Ordering::Relaxed) >> (caller.worker % 64) & 1
                    == 1 =>
            {
                Next::Over
            }
            Phase::Last => Next::Call(Call::new("read-last", Value::Null, Value::Null)),
        }
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        match call.f.as_str() {
            "broadcast" => match client.ask(&caller.node, "broadcast", json!({ "message": call.value })).await {
                Ok(_) => Return::ok(call.value.clone()),
                Err(refusal) => Return::refused(call.value.clone(), &refusal),
            },
            "read" => read(client, &caller.node).await,
            _ => self.read_last(client, caller).await,
        }
    }

    fn has_last_phase(&self) -> bool {
        true
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let texts = |values: &Value| {
            values.as_array().into_iter().flatten().map(Value::to_string).collect::<BTreeSet<String>>()
        };
        let broadcasts = || pairs.iter().filter(|pair| pair.call.f == "broadcast");
        let sent: BTreeSet<String> = broadcasts().map(|pair| pair.call.value.to_string()).collect();
        let taken: BTreeSet<String> = broadcasts().filter_map(|pair| pair.answer().map(Value::to_string)).collect();
        let mut wrong = Vec::new();
        for pair in pairs.iter().filter(|pair| pair.call.f.starts_with("read")) {
            let Some(answer) = pair.answer() else { continue };
            let (known, node) = (texts(answer), pair.call.node.as_deref().unwrap_or_default());
            wrong.extend(known.difference(&sent).map(|value| format!("{node} knows {value}, which nobody has sent")));
            if pair.call.f == "read-last" {
                wrong.extend(taken.difference(&known).map(|value| format!("{node} does not know {value} at the end")));
            }
        }
        let good = format!("all {} values that were taken are known everywhere", taken.len());
        vec![Check::of_wrongs("broadcast", wrong, good)]
    }
}

/// The nodes in rows, each with the neighbours on its sides.
fn grid(nodes: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let width = (1..).find(|width| width * width >= nodes.len()).unwrap_or(1);
    let place = |nth: usize| ((nth / width) as i64, (nth % width) as i64);
    let is_beside = |one: usize, other: usize| {
        let ((row, column), (other_row, other_column)) = (place(one), place(other));
        (row - other_row).abs() + (column - other_column).abs() == 1
    };
    let neighbours = |one: usize| (0..nodes.len()).filter(move |other| is_beside(one, *other));
    nodes
        .iter()
        .enumerate()
        .map(|(nth, node)| (node.as_str(), neighbours(nth).map(|nth| nodes[nth].as_str()).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_in_rows() {
        let nodes: Vec<_> = (1..=5).map(|nth| format!("n{nth}")).collect();
        let expected = json!({
            "n1": ["n2", "n4"], "n2": ["n1", "n3", "n5"], "n3": ["n2"], "n4": ["n1", "n5"], "n5": ["n2", "n4"]
        });
        assert_eq!(json!(grid(&nodes)), expected);
    }
}
