//! Who is outside of the nodes: clients on hosts of their own, and what they ask of the store.

use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::{ClientSession, Stamp};
use quorate::types::ClientId;
use quorate::{Consistency, Host, HostConfig, NodeId};
use quorate_harness::sim::Sim;
use quorate_nodes::kv::{Directory, KvClient, KvError, Reach};
use quorate_statemachines::configlog::{Config, ConfigLog, Query};
use quorate_statemachines::kv::{Json, KvAnswer, KvMachine, KvOp, KvQuery, Outcome, Scan, Status, Work};
use quorate_statemachines::{Gid, ShardId};

use super::layout::Layout;
use super::node::CLUSTER;
use super::ways::Ways;

/// The hosts of clients are numbered from here on.
const HOSTS: u64 = 100;

/// How long a call of the judges may take: all is well then.
const CALL: Duration = Duration::from_secs(2);

/// One host outside, with its routing client. Clones are the same.
#[derive(Clone)]
pub(super) struct Outside {
    _host: Arc<Host>,
    ways: Arc<Ways>,
    pub(super) kv: Arc<KvClient>,
}

impl Outside {
    pub(super) fn new(sim: &Sim, layout: &Layout, nth: u64) -> Outside {
        let node = NodeId(HOSTS + nth);
        let transport = sim.network().transport(node);
        let host = Host::new(HostConfig { node, cluster: CLUSTER }, sim.env(), transport);
        let ways = Arc::new(Ways::new(&host, layout, None));
        let configs = Arc::clone(&ways.configs) as Arc<dyn Reach<ConfigLog>>;
        let kv = Arc::new(KvClient::new(sim.env(), configs, Arc::clone(&ways) as Arc<dyn Directory>));
        Outside { _host: host, ways, kv }
    }

    /// The newest configuration, if anybody says.
    pub(super) async fn latest(&self) -> Option<Arc<Config>> {
        self.kv.configuration(Query::Latest, CALL).await.ok().flatten()
    }

    fn group(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.ways.find(gid)
    }

    /// What a group has to do.
    pub(super) async fn work(&self, gid: &Gid) -> Option<Work> {
        let reply = self.group(gid)?.read(Consistency::Linearizable, &KvQuery::Work, CALL, 0).await.ok()?;
        if let KvAnswer::Work(work) = reply.answer { Some(work) } else { None }
    }

    /// The keys of a shard that begin so, of the group that serves it.
    pub(super) async fn scan_shard(
        &self,
        gid: &Gid,
        shard: ShardId,
        prefix: &str,
        timeout: Duration,
    ) -> Option<Vec<Arc<str>>> {
        let query = KvQuery::Scan(Scan { shard, prefix: Some(prefix.into()), ..Scan::default() });
        match self.group(gid)?.read(Consistency::Linearizable, &query, timeout, 0).await.ok()?.answer {
            KvAnswer::Items { items, more: false } => Some(items.into_iter().map(|(key, _)| key).collect()),
            _ => None,
        }
    }

    /// What a group holds.
    pub(super) async fn status(&self, gid: &Gid) -> Option<Status> {
        let reply = self.group(gid)?.read(Consistency::Linearizable, &KvQuery::Status, CALL, 0).await.ok()?;
        if let KvAnswer::Status(status) = reply.answer { Some(status) } else { None }
    }
}

/// How an operation ended.
pub(super) enum Ended<T> {
    Done(T),
    /// It has not taken effect and never will.
    Refused(KvError),
    /// Nobody knows.
    Unknown(KvError),
}

/// A client with a session of its own.
pub(super) struct Client {
    kv: Arc<KvClient>,
    session: ClientSession,
}

/// How long one call takes at most, and how often one of unknown outcome is repeated.
const ATTEMPT: Duration = Duration::from_millis(1_500);
const REPEATS: usize = 2;

impl Client {
    pub(super) fn new(outside: &Outside, name: &str) -> Client {
        Client { kv: Arc::clone(&outside.kv), session: ClientSession::new(ClientId::new(name)) }
    }

    /// Carries an operation out, once.
    pub(super) async fn run(&self, op: KvOp) -> Ended<Outcome> {
        let Some(call) = self.session.call() else { return Ended::Refused(KvError::SessionWindow) };
        let stamp: Stamp = call.stamp().clone();
        let mut result = self.kv.execute(op.clone(), Some(stamp.clone()), ATTEMPT).await;
        for _ in 0..REPEATS {
            match &result {
                Err(KvError::Unknown(_)) => result = self.kv.execute(op.clone(), Some(stamp.clone()), ATTEMPT).await,
                _ => break,
            }
            // Whatever is said of a repetition is not said of the first attempt.
            if let Err(error) = result {
                result = Err(KvError::Unknown(error.to_string()));
            }
        }
        match result {
            Ok(outcome) => Ended::Done(outcome),
            Err(error) if error.is_definite() => Ended::Refused(error),
            Err(error) => Ended::Unknown(error),
        }
    }

    /// The text of a key.
    pub(super) async fn get(&self, key: &Arc<str>, timeout: Duration) -> Result<Option<String>, KvError> {
        let reply = self.kv.get(key, Consistency::Linearizable, timeout).await?;
        Ok(reply.answer.as_ref().map(text_of))
    }

    /// The same, within the time of a call.
    pub(super) async fn get_soon(&self, key: &Arc<str>) -> Result<Option<String>, KvError> {
        self.get(key, ATTEMPT).await
    }
}

/// The JSON string of a text.
pub(super) fn json(text: &str) -> Json {
    Json::from(&serde_json::Value::from(text))
}

/// The text of a JSON string.
pub(super) fn text_of(value: &Json) -> String {
    match value.value() {
        Some(serde_json::Value::String(text)) => text,
        other => format!("{other:?}"),
    }
}
