//! Nodes make up names, no two the same, also when they cannot hear each other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::findings::Check;
use crate::run::{Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// `generate` is answered `generate_ok` with an `id` that was never given before.
#[derive(Clone, Copy, Debug)]
pub struct UniqueIds;

#[async_trait]
impl Workload for UniqueIds {
    fn name(&self) -> &'static str {
        "unique-ids"
    }

    fn next(&self, _phase: Phase, _caller: &Caller, _random: &mut SmallRng) -> Next {
        Next::Call(Call::new("generate", Value::Null, Value::Null))
    }

    async fn call(&self, client: &mut Client, caller: &Caller, _call: &Call) -> Return {
        match client.ask(&caller.node, "generate", json!({})).await {
            Ok(mut body) => Return::ok(body.remove("id").unwrap_or_default()),
            Err(refusal) => Return::refused(Value::Null, &refusal),
        }
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let mut given: BTreeMap<String, u64> = BTreeMap::new();
        let mut wrong = Vec::new();
        for pair in Pair::all(&run.events) {
            match pair.answer() {
                Some(Value::Null) => wrong.push("an answer has no id".to_owned()),
                Some(id) => *given.entry(id.to_string()).or_default() += 1,
                None => {}
            }
        }
        let count = given.len();
        let twice = given.into_iter().filter(|(_, times)| *times > 1);
        wrong.extend(twice.map(|(id, times)| format!("{id} was given {times} times")));
        vec![Check::of_wrongs("unique ids", wrong, format!("{count} ids, all different"))]
    }
}
