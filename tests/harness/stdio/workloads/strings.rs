//! Strings that are read, set and lengthened: linearizable, and what is retried happens once.
//!
//! Every operation names a session and is retried at one node after the other until it is answered, as a client of a real
//! store does; so nearly all of them have a known outcome, and one that happened twice shows in its string.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::halves::Halves;
use super::verdicts::strings;
use crate::findings::Check;
use crate::run::{Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::{Refusal, Return};
use crate::stdio::message::Body;
use crate::stdio::processes::Seat;
use crate::stdio::workload::{Call, Caller, Deed, Next, Phase, Workload};

/// How long a refused request waits for its next attempt.
const RETRY: Duration = Duration::from_millis(20);

/// The groups of a sharded store.
const GROUPS: [&str; 3] = ["g1", "g2", "g3"];
/// The shards of a sharded store, and of a group that is told all of them.
pub(super) const SHARDS: u64 = 10;

/// Whose keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each worker has one of its own.
    Own,
    /// All use so many.
    Shared(u64),
}

/// What the keys are in.
#[derive(Debug)]
enum Store {
    /// One group.
    Group,
    /// A sharded store with a controller of its own.
    Controlled,
    /// Two groups, and whoever tells them their shards.
    Halves(Halves),
}

/// `get` (`key`), `put` and `append` (`key`, `value`), with `client` and `seq`.
#[derive(Debug)]
pub struct Strings {
    name: &'static str,
    keys: Keys,
    store: Store,
    /// The next key that is read in the last phase.
    last: AtomicU64,
}

impl Strings {
    /// One group. It is told to hold all shards, if it wants to be told.
    pub fn kvraft(keys: Keys) -> Strings {
        Strings { name: "kvraft", keys, store: Store::Group, last: AtomicU64::new(0) }
    }

    /// A sharded store, whose groups join and leave and whose shards move under load.
    pub fn sharded() -> Strings {
        let (keys, store) = (Keys::Shared(10), Store::Controlled);
        Strings { name: "sharded-kv", keys, store, last: AtomicU64::new(0) }
    }

    /// Two groups between which shards move under load.
    pub fn moved() -> Strings {
        let (keys, store) = (Keys::Shared(10), Store::Halves(Halves::default()));
        Strings { name: "shard-moves", keys, store, last: AtomicU64::new(0) }
    }

    fn key_count(&self, workers: usize) -> u64 {
        match self.keys {
            Keys::Own => workers as u64,
            Keys::Shared(count) => count,
        }
    }

    fn next_of_load(&self, caller: &Caller, random: &mut SmallRng) -> Call {
        let key = match self.keys {
            Keys::Own => caller.worker as u64,
            Keys::Shared(count) => random.random_range(0..count),
        };
        let token = || format!("x {} {} y", caller.worker, caller.nth + 1);
        match random.random_range(0..100) {
            0..50 => Call::new("append", key, token()),
            50..55 if self.keys != Keys::Own => Call::new("put", key, token()),
            _ => Call::new("get", key, Value::Null),
        }
    }
}

#[async_trait]
impl Workload for Strings {
    fn name(&self) -> &'static str {
        self.name
    }

    fn workers(&self, nodes: usize) -> usize {
        2 * nodes
    }

    fn fits(&self, nodes: usize, _workers: usize) -> Result<(), String> {
        match self.store {
            Store::Halves(_) if nodes < 2 => Err("shard-moves has two groups: two nodes at least".to_owned()),
            _ => Ok(()),
        }
    }

    fn seats(&self, names: &[String]) -> Vec<Seat> {
        match self.store {
            Store::Halves(_) => Halves::seats(names),
            _ => Seat::peers(names),
        }
    }

    async fn prepare(&self, client: &mut Client, nodes: &[String]) -> Result<(), String> {
        match &self.store {
            Store::Halves(halves) => return halves.prepare(client, nodes).await,
            Store::Controlled => {
                let groups: Body = GROUPS.iter().map(|gid| ((*gid).to_owned(), json!([]))).collect();
                return insist(client, nodes, "join", json!({ "groups": groups })).await.map(drop);
            }
            Store::Group => {}
        }
        let shards: Vec<u64> = (0..SHARDS).collect();
        let told = insist(client, nodes, "set_config", json!({ "version": 1, "shards": shards })).await?;
        if !told {
            insist(client, nodes, "join", json!({ "groups": { "g1": [] } })).await?;
        }
        Ok(())
    }

    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        if phase == Phase::Load {
            return Next::Call(self.next_of_load(caller, random));
        }
        let (nth, keys) = (self.last.fetch_add(1, Ordering::Relaxed), self.key_count(caller.workers));
        match nth {
            nth if nth < keys => Next::Call(Call::new("read", nth, Value::Null)),
            nth if nth == keys && matches!(self.store, Store::Controlled) => {
                Next::Call(Call::new("query", Value::Null, Value::Null))
            }
            _ => Next::Over,
        }
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        if call.f == "query" {
            return last_configuration(client, caller).await;
        }
        let is_read = matches!(call.f.as_str(), "get" | "read");
        let kind = if is_read { "get" } else { call.f.as_str() };
        let mut fields =
            json!({ "key": call.key, "client": client.name(), "seq": caller.nth, "acked": caller.nth - 1 });
        if !is_read {
            fields["value"] = call.value.clone();
        }
        let count = caller.nodes.len();
        let mut place = caller.nodes.iter().position(|node| *node == caller.node).unwrap_or_default();
        let mut unknown: Option<Refusal> = None;
        loop {
            let node = &caller.nodes[place % count];
            let refusal = match client.ask(node, kind, fields.clone()).await {
                Ok(mut body) if is_read => {
                    return Return::ok(body.remove("value").unwrap_or_else(|| json!("")));
                }
                Ok(_) => return Return::ok(call.value.clone()),
                Err(refusal) => refusal,
            };
            let is_for_ever = matches!(refusal.code(), Some(10 | 12 | 20 | 22));
            if !refusal.is_definite() {
                unknown = Some(refusal.clone());
            }
            if is_for_ever || Instant::now() >= caller.until {
                let last = unknown.unwrap_or(refusal);
                return match is_read {
                    true => Return::unread(Value::Null, &last),
                    false => Return::refused(call.value.clone(), &last),
                };
            }
            // Of two groups the other one is half of the nodes away.
            place += if refusal.text("reason") == Some("wrong_group") { (count / 2).max(1) } else { 1 };
            if refusal.is_definite() {
                sleep(RETRY).await;
            }
        }
    }

    fn is_operated(&self) -> bool {
        !matches!(self.store, Store::Group)
    }

    async fn operate(&self, client: &mut Client, nodes: &[String], random: &mut SmallRng) -> Option<Deed> {
        if let Store::Halves(halves) = &self.store {
            return halves.operate(client, nodes, random).await;
        }
        let node = nodes.choose(random)?;
        let config = client.ask(node, "query", json!({ "version": -1 })).await.ok()?;
        let groups: Vec<&str> = config.get("groups")?.as_object()?.keys().map(String::as_str).collect();
        let absent: Vec<&&str> = GROUPS.iter().filter(|gid| !groups.contains(*gid)).collect();
        let (kind, fields, targets) = match random.random_range(0..4) {
            0 if !absent.is_empty() => {
                let gid = **absent.choose(random)?;
                ("join", json!({ "groups": { gid: [] } }), vec![gid.to_owned()])
            }
            1 if groups.len() > 1 => {
                let gid = *groups.choose(random)?;
                ("leave", json!({ "gids": [gid] }), vec![gid.to_owned()])
            }
            _ => {
                let (shard, gid) = (random.random_range(0..SHARDS), *groups.choose(random)?);
                ("move", json!({ "shard": shard, "gid": gid }), vec![format!("{shard} to {gid}")])
            }
        };
        let done = client.ask(nodes.choose(random)?, kind, fields).await;
        done.is_ok().then(|| Deed { kind: kind.to_owned(), targets })
    }

    fn has_last_phase(&self) -> bool {
        true
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let unread = pairs.iter().filter(|pair| pair.call.f == "read" && pair.answer().is_none());
        let unread = unread.map(|pair| format!("key {} could not be read at the end", pair.call.key)).collect();
        let mut checks = vec![strings(run), Check::of_wrongs("recovery", unread, "every key was served at the end")];
        if matches!(self.store, Store::Controlled) {
            let configs = pairs.iter().filter(|pair| pair.call.f == "query").filter_map(|pair| pair.answer());
            let wrong = configs.flat_map(homeless_shards).collect();
            checks.push(Check::of_wrongs("ownership", wrong, "every shard has a group at the end".to_owned()));
        }
        checks
    }
}

/// The configuration at the end, asked of one node after the other until it is known.
async fn last_configuration(client: &mut Client, caller: &Caller) -> Return {
    let mut nodes = caller.nodes.iter().cycle();
    loop {
        let node = nodes.next().unwrap_or(&caller.node);
        match client.ask(node, "query", json!({ "version": -1 })).await {
            Ok(body) => return Return::ok(Value::Object(body)),
            Err(refusal) if Instant::now() >= caller.until => return Return::unread(Value::Null, &refusal),
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// What is wrong with the last configuration.
fn homeless_shards(config: &Value) -> Vec<String> {
    let is_known = |gid: &Value| gid.as_str().is_some_and(|gid| config["groups"].get(gid).is_some());
    let Some(shards) = config["shards"].as_object() else { return vec!["a configuration has no shards".to_owned()] };
    let homeless = shards.iter().filter(|(_, gid)| !is_known(gid));
    homeless.map(|(shard, gid)| format!("shard {shard} is of {gid}, which is no group")).collect()
}

/// Asks until it is done: true; or until it turns out that nobody knows what that is: false.
pub(super) async fn insist(client: &mut Client, nodes: &[String], kind: &str, fields: Value) -> Result<bool, String> {
    let until = Instant::now() + Duration::from_secs(60);
    for attempt in 0.. {
        match client.ask(&nodes[attempt % nodes.len()], kind, fields.clone()).await {
            Ok(_) => return Ok(true),
            // A repetition of one that was done.
            Err(refusal) if refusal.code() == Some(22) => return Ok(true),
            Err(refusal) if refusal.code() == Some(10) => return Ok(false),
            Err(refusal) if refusal.code() == Some(12) || Instant::now() >= until => {
                return Err(format!("{kind}: {}", refusal.to_json()));
            }
            Err(_) => sleep(RETRY).await,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_of_no_known_group_is_noticed() {
        let config = json!({ "shards": { "0": "g1", "1": "g2", "2": "" }, "groups": { "g1": [] } });
        assert_eq!(homeless_shards(&config).len(), 2);
        assert_eq!(homeless_shards(&json!({ "shards": { "0": "g1" }, "groups": { "g1": [] } })), [""; 0]);
        assert_eq!(homeless_shards(&json!({})).len(), 1);
    }
}
