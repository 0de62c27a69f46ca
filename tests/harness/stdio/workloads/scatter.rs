//! SQL over shards: an answer that lacks a shard says so, and has everything of the others.
//!
//! On one node, which is the coordinator with all of its shards, these are broken by requests to it (`fault`), where it
//! accepts them. On several, the first is the coordinator and the others are replicas of its shards, as the nodes' arguments
//! say; they are broken by the nemesis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::scatter;
use crate::findings::Check;
use crate::run::{EventKind, Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::message::Body;
use crate::stdio::processes::Seat;
use crate::stdio::workload::{Call, Caller, Deed, Next, Phase, Workload};

/// The shards of the coordinator.
const SHARDS: [&str; 3] = ["s1", "s2", "s3"];
/// How long a statement may take, in milliseconds.
const TIMEOUTS_MS: [u64; 4] = [20, 100, 400, 800];
/// How long it is tried to mend a shard.
const TO_MEND: Duration = Duration::from_secs(30);
/// How long a change may take, in milliseconds.
const CHANGE_MS: u64 = 800;

/// `scatter_query` (`query`, `timeout_ms`, `require_all`): inserts of one row, and reads of all of them.
#[derive(Debug, Default)]
pub struct Scatter {
    /// Whether somebody reads everything in the last phase.
    is_read_last: AtomicBool,
}

/// Asks for all rows.
async fn select(client: &mut Client, node: &str, call: &Call) -> Return {
    let mut fields = call.value.clone();
    fields["query"] = json!("SELECT id FROM t");
    match client.ask(node, "scatter_query", fields).await {
        Ok(body) => {
            let rows = body.get("results").and_then(Value::as_array).into_iter().flatten();
            let failed = body.get("failed").and_then(Value::as_array).into_iter().flatten();
            Return::ok(json!({
                "ids": rows.map(|row| row["id"].clone()).collect::<Vec<_>>(),
                "failed": failed.map(|failed| failed["shard"].clone()).collect::<Vec<_>>(),
                "total": body.get("shards_total"),
                "responded": body.get("shards_responded"),
            }))
        }
        Err(refusal) => Return::unread(call.value.clone(), &refusal),
    }
}

#[async_trait]
impl Workload for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn workers(&self, nodes: usize) -> usize {
        6 * nodes
    }

    fn fits(&self, nodes: usize, _workers: usize) -> Result<(), String> {
        match nodes {
            2 | 3 => Err("one node, or one for the coordinator and at least one for each of three shards".to_owned()),
            _ => Ok(()),
        }
    }

    fn seats(&self, names: &[String]) -> Vec<Seat> {
        let init = Body::from_iter([("shards".to_owned(), json!(SHARDS))]);
        Seat::peers(names).into_iter().map(|seat| Seat { init: init.clone(), ..seat }).collect()
    }

    async fn prepare(&self, client: &mut Client, nodes: &[String]) -> Result<(), String> {
        let node = nodes.first().ok_or("there is no coordinator")?;
        let create = json!({ "query": "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "timeout_ms": 10_000 });
        let limit = Duration::from_secs(15);
        let created = client.ask_within(limit, node, "scatter_query", create).await;
        created.map(drop).map_err(|refusal| format!("CREATE TABLE: {}", refusal.to_json()))
    }

    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        if phase == Phase::Last {
            let all = json!({ "timeout_ms": CHANGE_MS, "require_all": true });
            return match self.is_read_last.swap(true, Ordering::Relaxed) {
                true => Next::Over,
                false => Next::Call(Call::new("select-last", Value::Null, all)),
            };
        }
        if random.random_bool(0.5) {
            let id = caller.nth * caller.workers as u64 + caller.worker as u64;
            return Next::Call(Call::new("insert", Value::Null, id));
        }
        let timeout_ms = TIMEOUTS_MS.choose(random).copied().unwrap_or(CHANGE_MS);
        let require_all = random.random_bool(0.2);
        Next::Call(Call::new("select", Value::Null, json!({ "timeout_ms": timeout_ms, "require_all": require_all })))
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        let coordinator = caller.nodes.first().unwrap_or(&caller.node);
        if call.f == "insert" {
            let query = format!("INSERT INTO t VALUES ({}, {})", call.value, caller.worker);
            let fields = json!({ "query": query, "timeout_ms": CHANGE_MS });
            return match client.ask(coordinator, "scatter_query", fields).await {
                Ok(_) => Return::ok(call.value.clone()),
                Err(refusal) => Return::refused(call.value.clone(), &refusal),
            };
        }
        loop {
            let end = select(client, coordinator, call).await;
            if call.f == "select" || end.kind == EventKind::Ok || Instant::now() >= caller.until {
                return end;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_operated(&self) -> bool {
        true
    }

    async fn operate(&self, client: &mut Client, nodes: &[String], random: &mut SmallRng) -> Option<Deed> {
        let (node, shard) = (nodes.first()?, *SHARDS.choose(random)?);
        let target = if random.random_bool(0.5) { shard.to_owned() } else { format!("{shard}/leader") };
        let ways = [("stop", "start"), ("pause", "resume"), ("isolate", "heal"), ("delay", "heal")];
        let (broken, mended) = *ways.choose(random)?;
        let fault = |action: &str| json!({ "action": action, "target": target, "ms": 150 });
        let done = client.ask(node, "fault", fault(broken)).await;
        let stay = Duration::from_millis(random.random_range(100..1500));
        sleep(if done.is_ok() { stay } else { Duration::ZERO }).await;
        // Whatever came of the first, the shard is to be whole again. A coordinator that is dead has forgotten it.
        let until = Instant::now() + TO_MEND;
        while let Err(refusal) = client.ask(node, "fault", fault(mended)).await {
            if matches!(refusal.code(), Some(1 | 10 | 12)) || Instant::now() >= until {
                return None;
            }
            sleep(Duration::from_millis(50)).await;
        }
        done.is_ok().then(|| Deed { kind: broken.to_owned(), targets: vec![target] })
    }

    fn has_last_phase(&self) -> bool {
        true
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let rows = rows(&pairs);
        let (mut wrong, mut whole, mut partial) = (Vec::new(), 0, 0);
        for pair in pairs.iter().filter(|pair| pair.call.f.starts_with("select")) {
            match pair.answer() {
                Some(answer) => {
                    let is_whole = answer["failed"].as_array().is_some_and(Vec::is_empty);
                    *(if is_whole { &mut whole } else { &mut partial }) += 1;
                    wrong.extend(judge_answer(pair, answer, &rows).err());
                }
                None if pair.call.f == "select-last" => {
                    wrong.push("the shards did not all answer at the end".to_owned())
                }
                None => {}
            }
        }
        let good = format!("no answer lacks more than it says: {whole} whole ones, {partial} partial ones");
        vec![Check::of_wrongs("honest answers", wrong, good)]
    }
}

type Rows = BTreeMap<String, (u64, scatter::Row)>;

/// A moment as the checker counts them.
fn moment(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// All rows that may be there: those whose inserts have not failed.
fn rows(pairs: &[Pair<'_>]) -> Rows {
    let inserts = pairs.iter().filter(|pair| pair.call.f == "insert" && !pair.has_failed());
    let row = |pair: &Pair<'_>| {
        let id = pair.call.value.as_u64().unwrap_or_default();
        let known = pair.answer().and(pair.end).map(|end| moment(end.time));
        (id.to_string(), (shard_of(id) as u64, scatter::Row { called: moment(pair.call.time), known }))
    };
    inserts.map(row).collect()
}

/// Judges an answer by what is known of all rows.
fn judge_answer(pair: &Pair<'_>, answer: &Value, rows: &Rows) -> Result<(), String> {
    let Some(end) = pair.end else { return Ok(()) };
    let failed: BTreeSet<&str> = answer["failed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let counted = (0..SHARDS.len()).filter(|shard| !failed.contains(SHARDS[*shard]));
    let counted: BTreeSet<u64> = counted.map(|shard| shard as u64).collect();
    let (total, responded) = (answer["total"].as_u64(), answer["responded"].as_u64());
    if total != Some(SHARDS.len() as u64) || responded != Some(counted.len() as u64) {
        return Err(format!("{responded:?} of {total:?} shards are said to have answered, and {failed:?} not"));
    }
    if pair.call.value["require_all"] == true && !failed.is_empty() {
        return Err(format!("all shards were asked for, and {failed:?} are missing"));
    }
    let ids = answer["ids"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let gathered = scatter::Gathered {
        called: moment(pair.call.time),
        returned: moment(end.time),
        shards: SHARDS.len() as u64,
        counted,
        whole: failed.is_empty(),
        rows: ids.map(|id| (shard_of(id) as u64, id.to_string())).collect(),
    };
    scatter::judge(&gathered, rows).map_err(|fault| fault.to_string())
}

/// Where a row lives: its slot is CRC16 of its key's text, as Redis Cluster's are.
fn shard_of(id: u64) -> usize {
    const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);
    let slot = usize::from(CRC.checksum(id.to_string().as_bytes()) % 16_384);
    slot * SHARDS.len() / 16_384
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Event;

    fn event(kind: EventKind, f: &str, value: Value, time_ms: u64) -> Event {
        let time = Duration::from_millis(time_ms);
        Event { process: 0, kind, f: f.to_owned(), key: Value::Null, value, time, error: None, node: None }
    }

    #[test]
    fn keys_have_the_slots_of_redis_cluster() {
        assert_eq!(crc::Crc::<u16>::new(&crc::CRC_16_XMODEM).checksum(b"123456789"), 0x31c3);
        assert_eq!((1..=4).map(shard_of).collect::<Vec<_>>(), [1, 1, 0, 2], "slots 9842, 5649, 1584, 14039");
    }

    #[test]
    fn an_answer_lacks_only_the_shards_that_it_names() {
        let answer = |ids: &[u64], failed: &[&str]| {
            let responded = 3 - failed.len();
            json!({ "ids": ids, "failed": failed, "total": 3, "responded": responded })
        };
        // 1 and 2 are of s2, 3 of s1, 4 of s3. The insert of 4 has no answer.
        let table = [
            (answer(&[1, 2, 3], &[]), true),
            (answer(&[1, 2, 3, 4], &[]), true),
            (answer(&[1, 2], &["s1"]), true),
            (answer(&[], &["s1", "s2", "s3"]), true),
            (answer(&[1, 2], &[]), false),
            (answer(&[1, 2, 3], &["s1"]), false),
            (answer(&[1, 2, 2, 3], &[]), false),
            (answer(&[1, 2, 3, 9], &[]), false),
            (json!({ "ids": [3], "failed": ["s2"], "total": 3, "responded": 3 }), false),
        ];
        let ends: Vec<_> = (1..=3).map(|id| event(EventKind::Ok, "insert", json!(id), 20)).collect();
        let calls: Vec<_> = (1..=4).map(|id| event(EventKind::Invoke, "insert", json!(id), 10)).collect();
        let inserts: Vec<_> =
            calls.iter().enumerate().map(|(nth, call)| Pair { call, end: ends.get(nth), at: (nth, nth + 9) }).collect();
        let rows = rows(&inserts);
        for (answer, good) in table {
            let call = event(EventKind::Invoke, "select", json!({ "require_all": false }), 30);
            let end = event(EventKind::Ok, "select", answer.clone(), 40);
            let pair = Pair { call: &call, end: Some(&end), at: (0, 1) };
            let judged = judge_answer(&pair, &answer, &rows);
            assert_eq!(judged.is_ok(), good, "{answer}: {judged:?}");
        }
    }
}
