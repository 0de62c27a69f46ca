//! Nodes say what they are told: the first thing to try a new node with.

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::findings::Check;
use crate::run::{Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// `echo` (`echo`: anything) is answered `echo_ok` with the same `echo`.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

#[async_trait]
impl Workload for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn next(&self, _phase: Phase, _caller: &Caller, random: &mut SmallRng) -> Next {
        let words = format!("Please echo {}", random.random_range(0..128));
        Next::Call(Call::new("echo", Value::Null, words))
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        match client.ask(&caller.node, "echo", json!({ "echo": call.value })).await {
            Ok(mut body) => Return::ok(body.remove("echo").unwrap_or_default()),
            Err(refusal) => Return::refused(call.value.clone(), &refusal),
        }
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let wrong = pairs.iter().filter_map(|pair| {
            let answer = pair.answer()?;
            (*answer != pair.call.value).then(|| format!("{} was answered {answer}", pair.call.value))
        });
        vec![Check::of_wrongs("echo", wrong.collect(), "every answer was the question")]
    }
}
