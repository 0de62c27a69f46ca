//! Metadata masters: an epoch has one primary, epochs only rise, and what was acknowledged is there at the end.
//!
//! Each worker is a client and a chunk server. It asks the master that it takes for the primary, follows its hints, and
//! retries changes under a session. Meanwhile the operator asks for failovers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::epochs::Epochs;
use crate::findings::Check;
use crate::run::{Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::{Refusal, Return};
use crate::stdio::message::Body;
use crate::stdio::workload::{Call, Caller, Deed, Next, Phase, Workload};

/// How long a refused request waits for its next attempt.
const RETRY: Duration = Duration::from_millis(20);
/// The page of a list.
const PAGE: usize = 1_000;

/// `create`, `allocate_chunk`, `list`, `stat`, `subscribe`, `register_chunkserver`, `heartbeat`, `trigger_failover`.
#[derive(Debug, Default)]
pub struct Masters {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who is the primary, as far as is known.
    primary: Option<String>,
    /// Paths that were acknowledged.
    paths: BTreeSet<String>,
    /// Of those, the ones with chunks, which are looked at in the last phase.
    with_chunks: BTreeSet<String>,
    listed: bool,
    /// Workers that are registered as chunk servers.
    servers: BTreeSet<usize>,
    /// What chunk servers were told without having asked.
    told: Vec<Told>,
}

/// A chunk server was told who is the primary of an epoch.
#[derive(Clone, Debug)]
struct Told {
    epoch: u64,
    primary: String,
    by: String,
    whom: String,
}

impl Masters {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the primary, whoever that is.
    async fn ask(&self, client: &mut Client, caller: &Caller, kind: &str, fields: &Value) -> Result<Body, Refusal> {
        let first = self.state().primary.clone().unwrap_or_else(|| caller.node.clone());
        let mut node = first;
        let mut unknown = None;
        for attempt in caller.worker.. {
            let refusal = match client.ask(&node, kind, fields.clone()).await {
                Ok(body) => return Ok(body),
                Err(refusal) => refusal,
            };
            if !refusal.is_definite() {
                unknown = Some(refusal.clone());
            }
            if !matches!(refusal.code(), None | Some(0 | 11 | 13)) || Instant::now() >= caller.until {
                return Err(unknown.unwrap_or(refusal));
            }
            let hint = refusal.text("primary").filter(|hint| *hint != node).map(str::to_owned);
            node = hint.clone().unwrap_or_else(|| caller.nodes[attempt % caller.nodes.len()].clone());
            self.state().primary = Some(node.clone());
            if hint.is_none() {
                sleep(RETRY).await;
            }
        }
        Err(Refusal::Timeout)
    }

    fn fields(call: &Call, client: &Client, caller: &Caller) -> (&'static str, Value) {
        let session = json!({ "client": client.name(), "seq": caller.nth, "acked": caller.nth - 1 });
        let with = |mut fields: Value, session: Value| {
            if let (Some(fields), Value::Object(session)) = (fields.as_object_mut(), session) {
                fields.extend(session);
            }
            fields
        };
        match call.f.as_str() {
            "create" => ("create", with(json!({ "path": call.value }), session)),
            "allocate" => ("allocate_chunk", with(json!({ "path": call.value, "replicas": 1 }), session)),
            "list" => ("list", json!({ "limit": PAGE, "from": call.value })),
            "stat" => ("stat", json!({ "path": call.value })),
            "register" => ("register_chunkserver", json!({ "capacity": 1_000_000 })),
            "heartbeat" => ("heartbeat", json!({ "chunks": [] })),
            _ => ("subscribe", json!({})),
        }
    }

    /// All paths, page by page.
    async fn list(&self, client: &mut Client, caller: &Caller) -> Return {
        let (mut paths, mut from) = (Vec::new(), String::new());
        loop {
            let fields = json!({ "limit": PAGE, "from": from });
            match self.ask(client, caller, "list", &fields).await {
                Ok(body) => {
                    let page = body.get("paths").and_then(Value::as_array).cloned().unwrap_or_default();
                    from = page.last().and_then(Value::as_str).map(|last| format!("{last}\u{0}")).unwrap_or_default();
                    let is_last = body.get("more") != Some(&json!(true)) || page.is_empty();
                    paths.extend(page);
                    if is_last {
                        return Return::ok(json!({ "paths": paths }));
                    }
                }
                Err(refusal) => return Return::unread(Value::Null, &refusal),
            }
        }
    }

    fn next_of_load(&self, caller: &Caller, random: &mut SmallRng) -> Call {
        let mut state = self.state();
        if state.servers.insert(caller.worker) {
            return Call::new("register", Value::Null, Value::Null);
        }
        let path = state.paths.iter().choose(random).cloned();
        match (random.random_range(0..10), path) {
            (0..3, Some(path)) => Call::new("allocate", Value::Null, path),
            (3, Some(path)) => Call::new("stat", Value::Null, path),
            (4, _) => Call::new("heartbeat", Value::Null, Value::Null),
            (5, _) => Call::new("subscribe", Value::Null, Value::Null),
            _ => Call::new("create", Value::Null, format!("/w{}/f{}", caller.worker, caller.nth + 1)),
        }
    }
}

#[async_trait]
impl Workload for Masters {
    fn name(&self) -> &'static str {
        "masters"
    }

    fn workers(&self, nodes: usize) -> usize {
        2 * nodes
    }

    fn next(&self, phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        if phase == Phase::Load {
            return Next::Call(self.next_of_load(caller, random));
        }
        let mut state = self.state();
        if !std::mem::replace(&mut state.listed, true) {
            return Next::Call(Call::new("list", Value::Null, Value::Null));
        }
        match state.with_chunks.pop_first() {
            Some(path) => Next::Call(Call::new("stat", Value::Null, path)),
            None => Next::Over,
        }
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        if call.f == "list" {
            return self.list(client, caller).await;
        }
        let (kind, fields) = Self::fields(call, client, caller);
        let answer = self.ask(client, caller, kind, &fields).await;
        let mut state = self.state();
        for message in client.take_told() {
            let body = message.fields();
            let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let epoch = body.get("epoch").and_then(Value::as_u64).unwrap_or_default();
            state.told.push(Told { epoch, primary: text("primary"), by: message.src, whom: message.dest });
        }
        match answer {
            Ok(mut body) => {
                let path = call.value.as_str().unwrap_or_default();
                match call.f.as_str() {
                    "create" => drop(state.paths.insert(path.to_owned())),
                    "allocate" => drop(state.with_chunks.insert(path.to_owned())),
                    _ => {}
                }
                if let Some(primary) = body.get("primary").and_then(Value::as_str) {
                    state.primary = Some(primary.to_owned());
                }
                for field in ["type", "msg_id", "in_reply_to", "delete", "replicate"] {
                    body.remove(field);
                }
                Return::ok(Value::Object(body))
            }
            Err(refusal) if matches!(call.f.as_str(), "create" | "allocate") => {
                Return::refused(call.value.clone(), &refusal)
            }
            Err(refusal) => {
                if refusal.text("reason") == Some("not_registered") {
                    state.servers.remove(&caller.worker);
                }
                Return::unread(call.value.clone(), &refusal)
            }
        }
    }

    fn is_operated(&self) -> bool {
        true
    }

    async fn operate(&self, client: &mut Client, nodes: &[String], random: &mut SmallRng) -> Option<Deed> {
        // Failovers one after the other would leave no time between them.
        if random.random_bool(0.6) {
            return None;
        }
        let status = client.ask(nodes.choose(random)?, "shadow_status", json!({})).await.ok()?;
        let primary = status.get("primary")?.as_str()?.to_owned();
        let mut fields = json!({ "failed_master": primary, "timeout_ms": 5_000 });
        let others: Vec<&String> = nodes.iter().filter(|node| **node != primary).collect();
        if let (true, Some(to)) = (random.random_bool(0.5), others.choose(random)) {
            fields["to"] = json!(to);
        }
        let asked = nodes.choose(random)?;
        let limit = Duration::from_secs(6);
        let done = client.ask_within(limit, asked, "trigger_failover", fields).await;
        done.is_ok().then(|| Deed { kind: "failover".to_owned(), targets: vec![primary] })
    }

    fn has_last_phase(&self) -> bool {
        true
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let (wrong, newest) = wrong_epochs(&pairs, &self.state().told);
        vec![
            Check::of_wrongs(
                "one primary",
                wrong,
                format!("{newest} epochs, one after the other, with one primary each"),
            ),
            Check::of_wrongs("files", wrong_files(&pairs), "every file and every chunk is there".to_owned()),
        ]
    }
}

/// What is wrong with who was primary when, and the newest epoch.
fn wrong_epochs(pairs: &[Pair<'_>], told: &[Told]) -> (Vec<String>, u64) {
    let (mut epochs, mut wrong) = (Epochs::default(), Vec::new());
    for Told { epoch, primary, by, whom } in told {
        wrong.extend(epochs.told(*epoch, primary, whom).err().map(|fault| fault.to_string()));
        if primary != by {
            wrong.push(format!("{by} said that {primary} is the primary of epoch {epoch}"));
        }
    }
    // The newest epoch of an answer that had come, with the moment; both rise.
    let mut ends: Vec<(Duration, u64)> = Vec::new();
    for pair in pairs {
        let Some(answer) = pair.answer() else { continue };
        let Some(epoch) = answer["epoch"].as_u64() else { continue };
        // Whoever answers without naming itself may repeat what an older primary has answered to the same session.
        if let Some(primary) = answer["primary"].as_str() {
            wrong.extend(epochs.served(epoch, primary).err().map(|fault| fault.to_string()));
        }
        ends.push((pair.end.map(|end| end.time).unwrap_or_default(), epoch));
    }
    ends.sort_unstable();
    let newest_at: Vec<(Duration, u64)> = ends
        .iter()
        .scan(0, |newest, (time, epoch)| {
            *newest = (*newest).max(*epoch);
            Some((*time, *newest))
        })
        .collect();
    for pair in pairs {
        let Some(epoch) = pair.answer().and_then(|answer| answer["epoch"].as_u64()) else { continue };
        // The same of an answer that is repeated.
        if pair.call.f == "allocate" {
            continue;
        }
        let before = newest_at.partition_point(|(time, _)| *time < pair.call.time);
        if before > 0 && newest_at[before - 1].1 > epoch {
            let newest = newest_at[before - 1].1;
            wrong.push(format!("{} was answered in epoch {epoch} when epoch {newest} had begun", pair.call.f));
        }
    }
    (wrong, epochs.newest())
}

/// What is wrong with the files.
fn wrong_files(pairs: &[Pair<'_>]) -> Vec<String> {
    let of = |f: &'static str| pairs.iter().filter(move |pair| pair.call.f == f);
    let path = |pair: &Pair<'_>| pair.call.value.as_str().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    let mut owners: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut chunks: BTreeMap<String, Vec<(Duration, u64)>> = BTreeMap::new();
    for pair in of("allocate") {
        let (Some(answer), Some(end)) = (pair.answer(), pair.end) else { continue };
        let Some(chunk) = answer["chunk"].as_u64() else { continue };
        owners.entry(chunk).or_default().push(path(pair));
        chunks.entry(path(pair)).or_default().push((end.time, chunk));
    }
    let twice = owners.iter().filter(|(_, paths)| paths.len() > 1);
    wrong.extend(twice.map(|(chunk, paths)| format!("chunk {chunk} was given to {}", paths.join(" and "))));
    for pair in of("stat") {
        let Some(answer) = pair.answer() else {
            if pair.has_failed() && pair.end.is_some_and(|end| end.error.as_ref().is_some_and(is_no_such_key)) {
                wrong.push(format!("{} was created, and is not there", path(pair)));
            }
            continue;
        };
        let there: BTreeSet<u64> =
            answer["chunks"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let given = chunks.get(&path(pair)).into_iter().flatten();
        let before = given.filter(|(time, chunk)| *time <= pair.call.time && !there.contains(chunk));
        wrong.extend(before.map(|(_, chunk)| format!("{} has lost its chunk {chunk}", path(pair))));
    }
    for pair in of("create") {
        // Every path is created by one operation, whose retries have a session.
        let error = pair.end.and_then(|end| end.error.as_ref());
        if error.is_some_and(|error| error[0] == "key-already-exists") {
            wrong.push(format!("{} was said to exist when it was created", path(pair)));
        }
    }
    for pair in of("list") {
        let Some(answer) = pair.answer() else {
            wrong.push("the files could not be listed at the end".to_owned());
            continue;
        };
        let there: BTreeSet<&str> =
            answer["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for create in of("create") {
            let path = path(create);
            match (there.contains(path.as_str()), create.answer().is_some(), create.has_failed()) {
                (false, true, _) => wrong.push(format!("{path} was created, and is not listed")),
                (true, _, true) => wrong.push(format!("{path} was refused, and is listed")),
                _ => {}
            }
        }
        let asked: BTreeSet<String> = of("create").map(path).collect();
        let unasked = there.iter().filter(|path| !asked.contains(**path));
        wrong.extend(unasked.map(|path| format!("{path} is listed, and nobody has created it")));
    }
    wrong
}

fn is_no_such_key(error: &Value) -> bool {
    error[0] == "key-does-not-exist"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Event, EventKind};

    /// Operations one after the other: name, argument, and the answer or the error.
    fn wrongs(operations: &[(&str, Value, Result<Value, &str>)], told: &[(u64, &str, &str)]) -> Vec<String> {
        let event = |kind, f: &str, value: &Value, at: usize, error| {
            let time = Duration::from_millis(at as u64);
            Event { process: 0, kind, f: f.to_owned(), key: Value::Null, value: value.clone(), time, error, node: None }
        };
        let events: Vec<(Event, Event)> = operations
            .iter()
            .enumerate()
            .map(|(nth, (f, asked, answer))| {
                let end = match answer {
                    Ok(answer) => event(EventKind::Ok, f, answer, nth * 10 + 5, None),
                    Err(error) => event(EventKind::Fail, f, asked, nth * 10 + 5, Some(json!([error, ""]))),
                };
                (event(EventKind::Invoke, f, asked, nth * 10, None), end)
            })
            .collect();
        let pairs: Vec<Pair<'_>> = events.iter().map(|(call, end)| Pair { call, end: Some(end), at: (0, 1) }).collect();
        let told = told.iter().enumerate().map(|(nth, (epoch, primary, by))| Told {
            epoch: *epoch,
            primary: (*primary).to_owned(),
            by: (*by).to_owned(),
            whom: format!("c{}", nth / 2),
        });
        let told: Vec<Told> = told.collect();
        let mut wrong = wrong_epochs(&pairs, &told).0;
        wrong.extend(wrong_files(&pairs));
        wrong
    }

    #[test]
    fn an_epoch_has_one_primary_and_epochs_rise() {
        let office =
            |primary: &str, epoch: u64| ("subscribe", Value::Null, Ok(json!({ "primary": primary, "epoch": epoch })));
        assert_eq!(wrongs(&[office("n1", 1), office("n2", 2)], &[(2, "n2", "n2"), (3, "n3", "n3")]), [""; 0]);
        assert_eq!(wrongs(&[], &[(2, "n2", "n2"), (2, "n2", "n2")]).len(), 1, "c0 was told twice");
        assert_eq!(wrongs(&[office("n1", 1), office("n2", 1)], &[]).len(), 1);
        assert_eq!(wrongs(&[office("n2", 2)], &[(2, "n1", "n1")]).len(), 1);
        assert_eq!(wrongs(&[office("n2", 2)], &[(3, "n1", "n2")]).len(), 1);
        assert_eq!(wrongs(&[office("n2", 2), office("n1", 1)], &[]).len(), 1);
    }

    #[test]
    fn what_was_acknowledged_is_there_and_nothing_else() {
        let create = |path: &str| ("create", json!(path), Ok(json!({})));
        let refused = |path: &str, error| ("create", json!(path), Err(error));
        let list = |paths: &[&str]| ("list", Value::Null, Ok(json!({ "paths": paths })));
        let allocate = |path: &str, chunk: u64| ("allocate", json!(path), Ok(json!({ "chunk": chunk })));
        let stat = |path: &str, chunks: &[u64]| ("stat", json!(path), Ok(json!({ "chunks": chunks })));
        let unavailable = "temporarily-unavailable";
        let table = [
            (vec![create("/a"), refused("/b", unavailable), list(&["/a"])], 0),
            (vec![create("/a"), list(&[])], 1),
            (vec![refused("/b", unavailable), list(&["/b"])], 1),
            (vec![refused("/b", "key-already-exists")], 1),
            (vec![list(&["/x"])], 1),
            (vec![allocate("/a", 1), allocate("/a", 2), stat("/a", &[1, 2])], 0),
            (vec![allocate("/a", 1), allocate("/a", 2), stat("/a", &[2])], 1),
            (vec![allocate("/a", 1), allocate("/b", 1)], 1),
            (vec![create("/a"), ("stat", json!("/a"), Err("key-does-not-exist"))], 1),
        ];
        for (operations, count) in table {
            let found = wrongs(&operations, &[]);
            assert_eq!(found.len(), count, "{operations:?}: {found:?}");
        }
    }
}
