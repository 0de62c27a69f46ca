//! Two groups that are told which shards are whose, change by change: half of the nodes is the one, half the other.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::strings::{SHARDS, insist};
use crate::stdio::client::Client;
use crate::stdio::processes::Seat;
use crate::stdio::workload::Deed;

/// The names of the groups.
const GROUPS: [&str; 2] = ["g1", "g2"];
/// How long a configuration that is not taken yet waits for its next attempt.
const RETRY: Duration = Duration::from_millis(50);
/// How long it is offered. A group that does not take it by then is broken, which shows in what it does not serve.
const LIMIT: Duration = Duration::from_secs(90);

/// Who has which shards.
#[derive(Debug)]
pub(super) struct Halves {
    configuration: Mutex<Configuration>,
}

#[derive(Debug)]
struct Configuration {
    version: u64,
    /// The group of each shard: 0 or 1.
    owners: Vec<usize>,
}

impl Default for Halves {
    fn default() -> Self {
        let owners = (0..SHARDS).map(|shard| usize::from(shard >= SHARDS / 2)).collect();
        Halves { configuration: Mutex::new(Configuration { version: 1, owners }) }
    }
}

impl Configuration {
    fn shards(&self, group: usize) -> Vec<usize> {
        (0..self.owners.len()).filter(|shard| self.owners[*shard] == group).collect()
    }
}

/// The nodes of a group.
fn members(nodes: &[String], group: usize) -> &[String] {
    let (first, second) = nodes.split_at(nodes.len() / 2);
    if group == 0 { first } else { second }
}

impl Halves {
    /// Each node knows its own group as its peers, the other as its neighbour.
    pub(super) fn seats(names: &[String]) -> Vec<Seat> {
        let seat = |group: usize, name: &String| {
            let (own, other) = (GROUPS[group], GROUPS[1 - group]);
            let peers = format!("{other}={}", members(names, 1 - group).join(","));
            Seat {
                name: name.clone(),
                node_ids: members(names, group).to_vec(),
                placeholders: BTreeMap::from([("group", own.to_owned()), ("peers", peers)]),
                ..Seat::default()
            }
        };
        (0..2).flat_map(|group| members(names, group).iter().map(move |name| seat(group, name))).collect()
    }

    /// Gives each group half of the shards.
    pub(super) async fn prepare(&self, client: &mut Client, nodes: &[String]) -> Result<(), String> {
        let configuration = self.configuration.lock().await;
        for group in 0..2 {
            let shards = configuration.shards(group);
            let fields = json!({ "version": 1, "shards": shards, "shard_count": SHARDS });
            insist(client, members(nodes, group), "set_config", fields).await?;
        }
        Ok(())
    }

    /// Moves a shard from one group to the other. It is done when both have been told.
    pub(super) async fn operate(&self, client: &mut Client, nodes: &[String], random: &mut SmallRng) -> Option<Deed> {
        let mut configuration = self.configuration.lock().await;
        let shard = random.random_range(0..configuration.owners.len());
        let from = configuration.owners[shard];
        configuration.version += 1;
        configuration.owners[shard] = 1 - from;
        let mut groups = [from, 1 - from];
        if random.random_bool(0.5) {
            groups.reverse();
        }
        for group in groups {
            let moved = if group == from { "targets" } else { "sources" };
            let fields = json!({
                "version": configuration.version,
                "shards": configuration.shards(group),
                moved: { shard.to_string(): GROUPS[1 - group] },
            });
            let until = Instant::now() + LIMIT;
            while !is_taken(client, members(nodes, group).choose(random)?, &fields).await {
                if Instant::now() >= until {
                    return None;
                }
                sleep(RETRY).await;
            }
        }
        Some(Deed { kind: "move".to_owned(), targets: vec![format!("{shard} to {}", GROUPS[1 - from])] })
    }
}

/// Whether a group has taken a configuration, now or before.
async fn is_taken(client: &mut Client, node: &str, fields: &Value) -> bool {
    let answer = client.ask(node, "config_update", fields.clone()).await;
    answer.is_ok_and(|answer| answer.get("applied") == Some(&json!(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_is_a_group_that_knows_where_the_other_is() {
        let names: Vec<_> = (1..=6).map(|nth| format!("n{nth}")).collect();
        let seats = Halves::seats(&names);
        let told: Vec<_> = seats
            .iter()
            .map(|seat| (seat.name.as_str(), seat.node_ids.join(","), seat.placeholders["group"].as_str()))
            .collect();
        assert_eq!(told[0], ("n1", "n1,n2,n3".to_owned(), "g1"));
        assert_eq!(told[5], ("n6", "n4,n5,n6".to_owned(), "g2"));
        assert_eq!(seats[5].placeholders["peers"], "g1=n1,n2,n3");
    }
}
