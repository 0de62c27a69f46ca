//! Groups of a machine that the configuration names, spoken to in the machine's own words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate::env::RealEnv;
use quorate_nodes::kv::{DirectClient, Target};
use quorate_nodes::server::{ClientTls, GroupConfig, GroupReach, TABLES};
use quorate_statemachines::kv::{Configure, Json, KvMachine, KvOp};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use crate::cluster::{Cluster, PATIENCE};

/// A group of shards that has one shard, on the first two of three nodes.
fn described() -> Cluster {
    let mut cluster = Cluster::described(3);
    let group = GroupConfig { name: "s1".into(), machine: TABLES.into(), nodes: vec![1, 2] };
    cluster.reconfigure(|config| config.groups = vec![group]);
    cluster
}

fn first_config() -> Configure {
    Configure {
        number: ConfigNumber(1),
        previous: ConfigNumber(0),
        shards: BTreeSet::from([ShardId(0)]),
        shard_count: 1,
        sources: BTreeMap::new(),
        targets: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_server_answers_for_a_group_of_the_configuration_and_a_kill_loses_nothing() {
    let mut cluster = described();
    (0..3).for_each(|nth| cluster.spawn(nth));
    let way: GroupReach<KvMachine> =
        // The last one first: it has no replica.
        GroupReach::new("s1", cluster.addresses().iter().rev(), &ClientTls::default()).expect("a way");
    let (client, gid) = (DirectClient::new(Arc::new(RealEnv)), Gid::new("s1"));
    let target = Target { gid: &gid, group: &way };
    client.configure(target, &first_config(), PATIENCE).await.expect("it is configured");
    let put = KvOp::Put { key: "k".into(), value: Json::parse("7").expect("JSON") };
    client.execute(target, put, None, PATIENCE).await.expect("a change");

    let status = cluster.ask(&["status"]);
    let of_group = |server: &serde_json::Value| {
        let replicas = server["status"]["replicas"].as_array().cloned().unwrap_or_default();
        replicas.iter().filter(|replica| replica["group"] == "s1").count()
    };
    let counts: Vec<usize> = status.as_array().expect("servers").iter().map(of_group).collect();
    assert_eq!(counts, [1, 1, 0], "{status}");
    assert!(cluster.ctl(&["snapshot", "s1"]).status.success());

    for nth in 0..3 {
        cluster.kill(nth);
    }
    (0..3).for_each(|nth| cluster.spawn(nth));
    let value = client.get(target, &"k".into(), PATIENCE).await.expect("an answer");
    assert_eq!(value.map(|value| value.text().to_owned()).as_deref(), Some("7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_machine_that_the_program_has_not_is_refused_by_name() {
    let mut cluster = described();
    cluster.reconfigure(|config| config.groups[0].machine = "abacus".into());
    let output = cluster.run(0, &["--init"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("no machine \"abacus\""), "{error}");
}
