//! What servers said, for people and for programs.

use std::collections::BTreeMap;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use crate::server::proto;
use crate::server::status_json;

/// The same twice.
pub(super) struct Said {
    pub(super) json: Value,
    pub(super) text: String,
}

impl Said {
    pub(super) fn print(&self, json: bool) {
        if json {
            println!("{}", self.json);
        } else {
            println!("{}", self.text);
        }
    }
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn parsed(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("the server sent a value that is no JSON")
}

pub(super) fn value(reply: proto::GetReply) -> anyhow::Result<Said> {
    let value = reply.value.as_deref().map(parsed).transpose()?;
    let text = reply.value.clone().context("there is no such key")?;
    let json = json!({
        "value": value, "linearizable": reply.linearizable, "staleness_ms": reply.staleness_ms,
        "served_by": reply.served_by,
    });
    Ok(Said { json, text })
}

pub(super) fn items(page: proto::ScanReply) -> anyhow::Result<Said> {
    let mut all = Map::new();
    let mut shown = table(&["key", "value"]);
    for item in &page.items {
        all.insert(item.key.clone(), parsed(&item.value)?);
        shown.add_row([item.key.as_str(), item.value.as_str()]);
    }
    let more = if page.more { "\nthere are more" } else { "" };
    Ok(Said { json: json!({ "items": all, "more": page.more }), text: format!("{shown}{more}") })
}

pub(super) fn numbered(reply: proto::Numbered) -> Said {
    Said { json: json!({ "number": reply.number }), text: format!("configuration {}", reply.number) }
}

pub(super) fn configuration(config: proto::ConfigurationReply) -> Said {
    let mut shards: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (shard, group) in config.shards.iter().enumerate() {
        shards.entry(group).or_default().push(shard);
    }
    let mut shown = table(&["group", "nodes", "shards"]);
    for group in &config.groups {
        let held = shards.remove(group.name.as_str()).unwrap_or_default();
        shown.add_row([group.name.clone(), format!("{:?}", group.nodes), format!("{held:?}")]);
    }
    for (group, held) in shards {
        let name = if group.is_empty() { "(nobody)" } else { group };
        shown.add_row([name.to_owned(), String::new(), format!("{held:?}")]);
    }
    let groups: Map<String, Value> =
        config.groups.iter().map(|group| (group.name.clone(), json!(group.nodes))).collect();
    Said {
        json: json!({ "number": config.number, "shards": config.shards, "groups": groups }),
        text: format!("configuration {}\n{shown}", config.number),
    }
}

/// The newest entry of each group that any of these servers has: one that was away does not know what it has missed.
fn newest(answers: &[(String, Result<proto::StatusReply, tonic::Status>)]) -> BTreeMap<u64, u64> {
    let replicas = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).flat_map(|status| &status.replicas);
    let mut newest = BTreeMap::new();
    for replica in replicas {
        let known: &mut u64 = newest.entry(replica.id).or_default();
        *known = (*known).max(count(replica.last)).max(count(replica.applied));
    }
    newest
}

/// How many entries there are up to this one.
fn count(index: Option<u64>) -> u64 {
    index.map_or(0, |index| index + 1)
}

pub(super) fn status(answers: &[(String, Result<proto::StatusReply, tonic::Status>)]) -> Said {
    let newest = newest(answers);
    let lag = |replica: &proto::Replica| {
        newest.get(&replica.id).copied().unwrap_or_default().saturating_sub(count(replica.applied))
    };
    let mut shown = table(&["server", "node", "group", "role", "leader", "term", "applied", "lag", "snapshot", "log"]);
    let mut json = Vec::new();
    for (server, answer) in answers {
        match answer {
            Ok(status) => {
                let mut said = status_json(status);
                for (nth, replica) in status.replicas.iter().enumerate() {
                    said["replicas"][nth]["lag"] = lag(replica).into();
                }
                json.push(json!({ "server": server, "status": said }));
                for replica in &status.replicas {
                    let number = |index: Option<u64>| index.map_or_else(|| "-".to_owned(), |index| index.to_string());
                    shown.add_row([
                        server.clone(),
                        status.node.to_string(),
                        replica.group.clone(),
                        replica.role.clone(),
                        number(replica.leader),
                        replica.term.to_string(),
                        number(replica.applied),
                        lag(replica).to_string(),
                        number(replica.snapshot),
                        replica.log_bytes.to_string(),
                    ]);
                }
            }
            Err(status) => {
                json.push(json!({ "server": server, "error": status.message() }));
                shown.add_row([server.as_str(), "", &format!("no answer: {}", status.message())]);
            }
        }
    }
    Said { json: Value::Array(json), text: shown.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_away_lags_behind_what_others_have() {
        let replica = |last, applied| proto::Replica { group: "g1".into(), id: 7, last, applied, ..Default::default() };
        let of = |node, replica| {
            let replicas = vec![replica, proto::Replica { group: "other".into(), id: 8, ..Default::default() }];
            (format!("n{node}"), Ok(proto::StatusReply { node, replicas, ..Default::default() }))
        };
        let gone = ("n4".to_owned(), Err(tonic::Status::unavailable("no connection")));
        let answers =
            [of(1, replica(Some(4), Some(4))), of(2, replica(Some(9), Some(8))), of(3, replica(None, None)), gone];
        let said = status(&answers).json;
        let lags: Vec<&Value> = (0..3).map(|nth| &said[nth]["status"]["replicas"][0]["lag"]).collect();
        assert_eq!(lags, [5, 1, 10]);
        assert_eq!(said[0]["status"]["replicas"][1]["lag"], 0);
    }
}
