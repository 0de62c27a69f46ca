//! What is wrong with a run, if anything is: with what clients were told, with what the groups hold in the end, with the nodes.

use std::collections::BTreeMap;

use quorate_harness::checker::Limits;
use quorate_harness::checker::appends::{self, Append, Told};
use quorate_harness::checker::json::JsonRegister;
use quorate_harness::checker::ownership::{self, Tenure};
use quorate_harness::findings::{Answer, Check};
use quorate_harness::run::{Event, EventKind, Pair};
use quorate_statemachines::slot::shard_of;
use serde_json::{Value, json};

use crate::contents::Contents;

/// Keys that begin so are only appended to and read.
pub(crate) const LISTS: &str = "list";

/// Whether there is an order of all operations on each key that explains every answer.
pub(crate) fn linearizability(events: &[Event]) -> Check {
    let register = JsonRegister::starting_with(Value::Null);
    match Check::linearizability(&register, events, Limits::default()) {
        Ok(check) => check,
        Err(malformed) => {
            let why = format!("an answer makes no sense: {}", malformed.why);
            Check::new("linearizability", Answer::False, why)
        }
    }
}

/// What was appended: by which client, as its how manyth.
pub(crate) fn token((client, number): Append) -> String {
    format!("{client}.{number};")
}

fn token_of(text: &str) -> Option<Append> {
    let (client, number) = text.strip_suffix(';').unwrap_or(text).split_once('.')?;
    Some((client.parse().ok()?, number.parse().ok()?))
}

/// Whether every list held in the end what was appended to it, once: by the last read of each, after the last append.
pub(crate) fn exactly_once(events: &[Event]) -> Check {
    let mut lists: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    for pair in Pair::all(events) {
        if let Some(key) = pair.call.key.as_str().filter(|key| key.starts_with(LISTS)) {
            lists.entry(key).or_default().push(pair);
        }
    }
    let (mut wrongs, mut unread, mut appended) = (Vec::new(), Vec::new(), 0);
    for (key, pairs) in &lists {
        let appends = || pairs.iter().filter(|pair| pair.call.f == "append");
        let mut told = BTreeMap::new();
        for pair in appends() {
            let Some(append) = pair.call.value.as_str().and_then(token_of) else { continue };
            let word = match pair.end.map(|end| end.kind) {
                Some(EventKind::Ok) => Told::Done,
                Some(EventKind::Fail) => Told::Refused,
                _ => Told::Unknown,
            };
            told.insert(append, word);
        }
        appended += told.len();
        // An append without a known end may take effect later, or never.
        let over = appends().filter(|pair| pair.end.is_some()).map(|pair| pair.at.1).max().unwrap_or_default();
        let is_last = |pair: &&Pair<'_>| pair.call.f == "read" && pair.at.0 > over;
        let read = pairs.iter().filter(is_last).filter_map(|pair| pair.end).rfind(|end| end.kind == EventKind::Ok);
        let Some(read) = read else {
            unread.push(format!("{key} was not read after the last append"));
            continue;
        };
        let held: Option<Vec<Append>> =
            read.value.as_str().unwrap_or_default().split_terminator(';').map(token_of).collect();
        match held.map(|held| appends::judge(&told, &held)) {
            Some(Ok(())) => {}
            Some(Err(fault)) => wrongs.push(format!("{key}: {fault}")),
            None => wrongs.push(format!("{key} holds what nobody appended: {}", read.value)),
        }
    }
    if wrongs.is_empty() && !unread.is_empty() {
        return Check::new("exactly once", Answer::Unknown, unread.join("; "));
    }
    Check::of_wrongs(
        "exactly once",
        wrongs,
        format!("{appended} appends to {} lists are there once if acknowledged", lists.len()),
    )
}

/// Whether each shard has one owner, the right one, which has all its keys and as they were read last.
pub(crate) fn ownership(contents: &Contents, events: &[Event]) -> Check {
    let mut wrongs = Vec::new();
    let serving = |group: &String, shard: &u32| Tenure {
        shard: u64::from(*shard),
        owner: group.clone(),
        from: contents.number,
        begins: (),
        ended: None,
    };
    let groups = || contents.groups.iter();
    let tenures: Vec<Tenure<()>> =
        groups().flat_map(|(group, held)| held.serves.keys().map(move |shard| serving(group, shard))).collect();
    wrongs.extend(ownership::judge(&tenures).err().map(|fault| fault.to_string()));
    for (group, held) in groups() {
        wrongs.extend(held.remains.iter().map(|shard| format!("{group} still has something of shard {shard}")));
    }
    let count = contents.owners.len() as u32;
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for (shard, owner) in (0..).zip(&contents.owners) {
        let Some(served) = contents.groups.get(owner).and_then(|held| held.serves.get(&shard)) else {
            wrongs.push(format!("shard {shard} is of {owner:?}, which does not serve it"));
            continue;
        };
        for (key, value) in served {
            if shard_of(key, count).0 != shard {
                wrongs.push(format!("{owner} has {key} in shard {shard}, where it does not belong"));
            }
            keys.insert(key, value);
        }
    }
    for (key, read) in last_reads(events) {
        let held: Value = keys.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if held != *read {
            wrongs.push(format!("{key} was read as {read} when all was over, and is held as {held}"));
        }
    }
    let good = format!("at configuration {} each of {count} shards has one owner, with all its keys", contents.number);
    Check::of_wrongs("ownership", wrongs, good)
}

/// What was read of each key after the last change of any, and while no change of that key was open that may come later.
fn last_reads(events: &[Event]) -> BTreeMap<&str, &Value> {
    let pairs = Pair::all(events);
    let changes = || pairs.iter().filter(|pair| pair.call.f != "read");
    let over = changes().filter(|pair| pair.end.is_some()).map(|pair| pair.at.1).max().unwrap_or_default();
    let is_known = |pair: &&Pair<'_>| pair.end.is_some_and(|end| end.kind != EventKind::Info);
    let open: Vec<&Value> = changes().filter(|pair| !is_known(pair)).map(|pair| &pair.call.key).collect();
    let reads = pairs.iter().filter(|pair| pair.call.f == "read" && pair.at.0 > over);
    let settled = reads.filter(|pair| !open.contains(&&pair.call.key));
    let ends = settled.filter_map(|pair| Some((pair.call.key.as_str()?, pair.end?)));
    ends.filter(|(_, end)| end.kind == EventKind::Ok).map(|(key, end)| (key, &end.value)).collect()
}

/// Whether anything succeeded at all: nothing is wrong with what never happens.
pub(crate) fn stats(events: &[Event]) -> Check {
    let mut by_f: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for event in events {
        let place = match event.kind {
            EventKind::Invoke => continue,
            EventKind::Ok => 0,
            EventKind::Fail => 1,
            EventKind::Info => 2,
        };
        by_f.entry(&event.f).or_default()[place] += 1;
    }
    let ok = |is_meant: fn(&str) -> bool| by_f.iter().filter(|(f, _)| is_meant(f)).map(|(_, [ok, ..])| ok).sum::<u64>();
    let (reads, changes) = (ok(|f| f == "read"), ok(|f| f != "read"));
    let reason = format!("{reads} reads and {changes} changes have ended well");
    let answer = if reads > 0 && changes > 0 { Answer::True } else { Answer::False };
    let ends = by_f.iter().map(|(f, [ok, fail, info])| {
        ((*f).to_owned(), json!({ "ok-count": ok, "fail-count": fail, "info-count": info }))
    });
    let details = json!({ "by-f": ends.collect::<serde_json::Map<_, _>>() });
    Check { details, ..Check::new("stats", answer, reason) }
}

/// Whether all nodes did what processes must: none ended by itself, or not when it was told to.
pub(crate) fn nodes(wrongs: Vec<String>) -> Check {
    Check::of_wrongs("nodes", wrongs, "none has ended by itself, and all did when they were told to")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contents::Holding;

    /// Operations one after the other: process, name, key, argument, how it ended, what it answered.
    fn history(operations: &[(u64, &str, &str, Value, EventKind, Value)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (process, f, key, asked, kind, answer) in operations {
            let time = Duration::from_millis(events.len() as u64);
            let (f, key) = ((*f).to_owned(), json!(key));
            let call = Event {
                process: *process,
                kind: EventKind::Invoke,
                f,
                key,
                value: asked.clone(),
                time,
                error: None,
                node: None,
            };
            let end = Event { kind: *kind, value: answer.clone(), ..call.clone() };
            events.extend([call, end]);
        }
        events
    }

    /// Two appends and a write that were acknowledged, one append of which nobody knows, and what was read then.
    fn good() -> Vec<Event> {
        use EventKind::{Info, Ok};
        history(&[
            (1, "append", "list0", json!("1.1;"), Ok, json!("1.1;")),
            (2, "append", "list0", json!("2.1;"), Info, Value::Null),
            (1, "append", "list0", json!("1.2;"), Ok, json!("1.2;")),
            (1, "write", "k1", json!(7), Ok, json!(7)),
            (3, "read", "list0", Value::Null, Ok, json!("1.1;1.2;")),
            (3, "read", "k1", Value::Null, Ok, json!(7)),
        ])
    }

    /// The same with another answer to the read of a key.
    fn read_as(key: &str, answer: Value) -> Vec<Event> {
        let mut events = good();
        let is_it = |event: &&mut Event| event.f == "read" && event.kind == EventKind::Ok && event.key == key;
        events.iter_mut().find(is_it).expect("it was read").value = answer;
        events
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_noticed() {
        assert_eq!(linearizability(&good()).answer, Answer::True);
        assert_eq!(exactly_once(&good()).answer, Answer::True);
        let lost = read_as("list0", json!("1.1;"));
        assert_eq!(linearizability(&lost).answer, Answer::False);
        assert_eq!(exactly_once(&lost).answer, Answer::False);
        assert!(exactly_once(&lost).reason.contains("acknowledged and is lost"), "{}", exactly_once(&lost).reason);
        assert_eq!(linearizability(&read_as("k1", Value::Null)).answer, Answer::False);
    }

    #[test]
    fn an_append_that_is_there_twice_or_that_nobody_made_is_noticed() {
        for (held, answer) in [
            ("1.1;2.1;1.2;", Answer::True),
            ("1.1;1.1;1.2;", Answer::False),
            ("1.1;9.9;1.2;", Answer::False),
            ("1.2;1.1;", Answer::False),
            ("what?", Answer::False),
        ] {
            assert_eq!(exactly_once(&read_as("list0", json!(held))).answer, answer, "{held}");
        }
    }

    #[test]
    fn a_list_that_nobody_read_in_the_end_is_not_judged() {
        let events = good();
        assert_eq!(exactly_once(&events[..8]).answer, Answer::Unknown);
    }

    /// What groups hold that did all that was acknowledged.
    fn held() -> Contents {
        let mut contents = Contents { number: 4, owners: vec!["g1".into(), "g2".into()], ..Contents::default() };
        for (key, value) in [("k1", "7"), ("list0", "\"1.1;1.2;\"")] {
            let shard = shard_of(key, 2).0;
            let group = contents.owners[shard as usize].clone();
            let held = contents.groups.entry(group).or_default();
            held.serves.entry(shard).or_default().insert(key.into(), value.into());
        }
        for (shard, group) in [(0, "g1"), (1, "g2")] {
            contents.groups.entry(group.into()).or_default().serves.entry(shard).or_default();
        }
        contents
    }

    #[test]
    fn a_shard_that_is_lost_doubled_or_changed_on_a_move_is_noticed() {
        let answer = |change: fn(&mut Contents)| {
            let mut contents = held();
            change(&mut contents);
            ownership(&contents, &good()).answer
        };
        let of =
            |contents: &mut Contents, group: &str| -> Holding { contents.groups.remove(group).unwrap_or_default() };
        assert_eq!(answer(|_| {}), Answer::True);
        assert_eq!(answer(|contents| contents.owners.swap(0, 1)), Answer::False, "each is at the other one");
        assert_eq!(answer(|contents| drop(contents.groups.remove("g1"))), Answer::False, "nobody serves it");
        let mut doubled = held();
        let mut both = of(&mut doubled, "g1");
        both.serves.insert(1, doubled.groups["g2"].serves[&1].clone());
        doubled.groups.insert("g1".into(), both);
        let check = ownership(&doubled, &good());
        assert!(check.reason.contains("has two owners"), "{}", check.reason);
        assert_eq!(answer(|contents| contents.groups.entry("g1".into()).or_default().remains.push(1)), Answer::False);
        let forget = |contents: &mut Contents| {
            contents.groups.values_mut().flat_map(|held| held.serves.values_mut()).for_each(BTreeMap::clear);
        };
        assert_eq!(answer(forget), Answer::False, "what was acknowledged is gone");
    }

    #[test]
    fn a_run_in_which_nothing_succeeds_is_not_good() {
        assert_eq!(stats(&good()).answer, Answer::True);
        assert_eq!(stats(&[]).answer, Answer::False);
        assert_eq!(nodes(vec!["n1 has ended by itself".into()]).answer, Answer::False);
    }
}
