//! Replicas of a group compare their states now and then: the work of the group's leader.
//!
//! Promises: a group in which nothing has happened since the last comparison is left alone. What follows from a difference,
//! [`Group::compare_states`] says.
//! Leaves out: groups whose machines have no digest.

use std::sync::Weak;
use std::time::Duration;

use quorate::{AdminError, Group, Role, StateMachine};
use quorate_statemachines::master::Name;

use crate::services::master::Masters;

/// How long one comparison may take: replicas compute their digests in half of it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How soon to look whether a master has a replica again.
const BETWEEN_LIVES: Duration = Duration::from_secs(1);

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Same,
    Differ,
    /// Too few replicas said anything.
    Unknown,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Finding::Same => "same",
            Finding::Differ => "differ",
            Finding::Unknown => "unknown",
        }
    }
}

/// Compares every so often for as long as the replica runs, whenever it leads.
pub(super) async fn compare_regularly<M: StateMachine>(group: Group<M>, every: Duration) {
    let mut leadership = group.watch();
    let mut compared = None;
    loop {
        let stopped = leadership.wait_for(|now| now.stopped.is_some());
        // It ends with its replica.
        if tokio::time::timeout(every, stopped).await.is_ok() {
            return;
        }
        if leadership.borrow().role != Role::Leader || group.applied() == compared {
            continue;
        }
        let finding = compare(&group).await;
        metrics::counter!("quorate_comparisons_total", "outcome" => finding.word()).increment(1);
        compared = group.applied();
    }
}

/// The same for the master of this name, whose replica is another one after each takeover; for as long as `masters` lives.
pub(super) async fn compare_masters_regularly(masters: Weak<Masters>, own: Name, every: Duration) {
    while let Some(masters) = masters.upgrade() {
        let replica = masters.replica(&own);
        drop(masters);
        if let Some(replica) = replica {
            compare_regularly(replica, every).await;
        }
        tokio::time::sleep(BETWEEN_LIVES).await;
    }
}

async fn compare<M: StateMachine>(group: &Group<M>) -> Finding {
    match group.compare_states(TIMEOUT).await {
        Ok(()) => Finding::Same,
        Err(AdminError::Fatal(fatal)) => {
            tracing::error!(group = %group.id(), %fatal, "the states of a group's replicas differ");
            Finding::Differ
        }
        Err(error) => {
            tracing::debug!(group = %group.id(), %error, "the states of a group's replicas were not compared");
            Finding::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io;
    use std::sync::Arc;

    use quorate::env::{Env, RealEnv};
    use quorate::log::MemoryLog;
    use quorate::machine::StateDigest;
    use quorate::snapshot::{MemorySnapshots, SnapshotReader, SnapshotView};
    use quorate::transport::MemoryNetwork;
    use quorate::types::ClusterId;
    use quorate::{EntryContext, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, WriteOptions};
    use quorate_statemachines::kv::{Configure, Json, KvAnswer, KvCommand, KvMachine, KvOp, KvQuery, KvReply};
    use quorate_statemachines::{ConfigNumber, ShardId};

    use super::*;

    const CALL: Duration = Duration::from_secs(30);

    /// A shard group's machine that may put something else than it was told.
    struct Flawed {
        machine: KvMachine,
        wrong: bool,
    }

    impl StateMachine for Flawed {
        type Command = KvCommand;
        type Reply = KvReply;
        type Query = KvQuery;
        type Answer = KvAnswer;

        fn apply(&mut self, entry: EntryContext, mut command: KvCommand) -> KvReply {
            if let KvCommand::Op { op: KvOp::Put { value, .. }, .. } = &mut command
                && self.wrong
                && value.text() == "13"
            {
                *value = json("14");
            }
            self.machine.apply(entry, command)
        }

        fn query(&self, query: KvQuery) -> KvAnswer {
            self.machine.query(query)
        }

        fn digest(&self) -> Option<StateDigest> {
            self.machine.digest()
        }

        fn snapshot(&self) -> Box<dyn SnapshotView> {
            self.machine.snapshot()
        }

        fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
            self.machine.restore(reader)
        }
    }

    fn json(text: &str) -> Json {
        Json::parse(text).expect("JSON")
    }

    fn put(value: &str) -> KvCommand {
        KvCommand::Op { shard: ShardId(0), session: None, op: KvOp::Put { key: "k".into(), value: json(value) } }
    }

    /// Three replicas of a shard group, the third of which is wrong.
    async fn start() -> Vec<Group<Flawed>> {
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let (network, nodes) = (MemoryNetwork::new(Arc::clone(&env), 1), [1, 2, 3].map(NodeId));
        let mut replicas = Vec::new();
        for node in nodes {
            let config = HostConfig { node, cluster: ClusterId(1) };
            let host = Host::new(config, Arc::clone(&env), network.transport(node));
            network.register(node, &host);
            let spec = GroupSpec {
                id: GroupId(1),
                machine: Flawed { machine: KvMachine::default(), wrong: node == NodeId(3) },
                log: Arc::new(MemoryLog::new()),
                snapshots: Arc::new(MemorySnapshots::new()),
                options: GroupOptions::default(),
            };
            replicas.push(host.create_group(spec).await.expect("a replica"));
            // Hosts live as long as the test.
            std::mem::forget(host);
        }
        replicas[0].initialize(BTreeSet::from(nodes)).await.expect("a group");
        let configure = KvCommand::Configure(Configure {
            number: ConfigNumber(1),
            previous: ConfigNumber(0),
            shards: BTreeSet::from([ShardId(0)]),
            shard_count: 1,
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
        });
        write(&replicas[0], &configure).await;
        replicas
    }

    async fn write(replica: &Group<Flawed>, command: &KvCommand) {
        replica.write(command, WriteOptions { session: None, timeout: CALL }).await.expect("it is carried out");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shard_group_is_compared_by_itself_and_a_flipped_value_is_found() {
        let replicas = start().await;
        write(&replicas[0], &put("12")).await;
        assert_eq!(compare(&replicas[0]).await, Finding::Same);
        // From here on the third one holds another value.
        write(&replicas[0], &put("13")).await;
        let comparing: Vec<_> = replicas
            .iter()
            .map(|replica| tokio::spawn(compare_regularly(replica.clone(), Duration::from_millis(20))))
            .collect();
        let mut odd = replicas[2].watch();
        let stopped = tokio::time::timeout(CALL, odd.wait_for(|now| now.stopped.is_some()));
        stopped.await.expect("it is found").expect("a replica");
        write(&replicas[0], &put("15")).await;
        comparing.into_iter().for_each(|task| task.abort());
    }
}
