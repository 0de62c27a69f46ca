//! What the groups hold, from copies of them: which shards each serves, and with which keys.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use quorate::StateMachine;
use quorate::snapshot::{SnapshotReader, SnapshotView, edited};
use quorate_nodes::server::proto::ConfigurationReply;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{KvAnswer, KvMachine, KvQuery, ShardState};

use crate::admin::Admin;

/// What one group holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The shards that it serves, with their keys and the JSON texts of those.
    pub(crate) serves: BTreeMap<u32, BTreeMap<String, String>>,
    /// Shards of which it has something and which it does not serve.
    pub(crate) remains: Vec<u32>,
}

/// What all groups hold at one configuration, when nothing moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The configuration's number.
    pub(crate) number: u64,
    /// For each shard, the group that is to serve it.
    pub(crate) owners: Vec<String>,
    /// What each group has.
    pub(crate) groups: BTreeMap<String, Holding>,
}

/// Reads what all groups hold.
///
/// # Errors
/// When a shard is on its way, or a group cannot be copied.
pub(crate) async fn contents(admin: &Admin) -> anyhow::Result<Contents> {
    let ConfigurationReply { number, shards: owners, groups } = admin.configuration().await?;
    let mut held = BTreeMap::new();
    for group in groups {
        let content = Content(admin.copy(&group.name, number).await?.into());
        held.insert(group.name, holding(&content)?);
    }
    let after = admin.configuration().await?.number;
    anyhow::ensure!(after == number, "shards move");
    Ok(Contents { number, owners, groups: held })
}

fn holding(content: &Content) -> io::Result<Holding> {
    let mut holding = Holding::default();
    edited(content, KvMachine::default(), |machine| {
        let KvAnswer::Status(status) = machine.query(KvQuery::Status) else { return Ok(()) };
        for (ShardId(shard), status) in status.shards {
            if status.state != ShardState::Serving {
                holding.remains.push(shard);
                continue;
            }
            let keys = machine.keys(ShardId(shard)).map_err(|_| io::Error::other("served and not served"))?;
            let keys = keys.iter().map(|(key, value)| (key.to_string(), value.text().to_owned()));
            holding.serves.insert(shard, keys.collect());
        }
        Ok(())
    })?;
    Ok(holding)
}

/// A group's content in memory.
struct Content(Bytes);

impl SnapshotView for Content {
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(Reader(Some(self.0.clone())))
    }
}

struct Reader(Option<Bytes>);

impl SnapshotReader for Reader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}
