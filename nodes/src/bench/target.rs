//! What is put under load: a cluster of ours, asked in one of two ways, or etcd.

use std::time::Duration;

use anyhow::ensure;
use tonic::transport::Channel;

use crate::server::proto::change_request::Change;
use crate::server::proto::quorate_client::QuorateClient;
use crate::server::proto::{ChangeRequest, GetRequest};
use crate::server::{CallStream, ClientTls};

/// As much of etcd's API as is needed, made from `proto/etcd.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod etcd {
    tonic::include_proto!("etcdserverpb");
}

use etcd::kv_client::KvClient;

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A call for each operation.
    Unary,
    /// All operations on one stream to each server.
    Stream,
}

/// A system that is measured.
#[derive(Clone, Debug)]
pub(super) struct Target {
    ways: Vec<Way>,
    max_staleness_ms: u64,
}

/// One connection.
#[derive(Clone, Debug)]
enum Way {
    Unary(QuorateClient<Channel>),
    Stream(CallStream),
    Etcd(KvClient<Channel>),
}

/// What one client has of it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    way: Way,
    max_staleness_ms: u64,
}

fn channel(server: &str, tls: &ClientTls) -> anyhow::Result<Channel> {
    Ok(tls.endpoint(server)?.connect_lazy())
}

impl Target {
    /// A cluster of ours.
    pub(super) fn quorate(
        servers: &[String],
        tls: &ClientTls,
        shape: Shape,
        connections: usize,
        max_staleness: Duration,
    ) -> anyhow::Result<Target> {
        let max_staleness_ms = u64::try_from(max_staleness.as_millis())?;
        let unary = |server: &String| Ok(Way::Unary(QuorateClient::new(channel(server, tls)?)));
        let stream = |server: &String| Ok(Way::Stream(CallStream::new(server, tls)?));
        let ways = match shape {
            Shape::Unary => servers.iter().cycle().take(connections.max(servers.len())).map(unary).collect(),
            Shape::Stream => servers.iter().map(stream).collect::<anyhow::Result<Vec<_>>>(),
        };
        Target::new(ways?, max_staleness_ms)
    }

    /// An etcd cluster.
    pub(super) fn etcd(members: &[String], connections: usize) -> anyhow::Result<Target> {
        let way = |member: &String| Ok(Way::Etcd(KvClient::new(channel(member, &ClientTls::default())?)));
        let ways = members.iter().cycle().take(connections.max(members.len())).map(way);
        Target::new(ways.collect::<anyhow::Result<_>>()?, 0)
    }

    fn new(ways: Vec<Way>, max_staleness_ms: u64) -> anyhow::Result<Target> {
        ensure!(!ways.is_empty(), "there is no server");
        Ok(Target { ways, max_staleness_ms })
    }

    /// What the nth client has of it.
    pub(super) fn of(&self, nth: usize) -> Client {
        Client { way: self.ways[nth % self.ways.len()].clone(), max_staleness_ms: self.max_staleness_ms }
    }
}

impl Client {
    pub(super) async fn put(&self, key: String, value: String) -> anyhow::Result<()> {
        match &self.way {
            Way::Unary(client) => drop(client.clone().change(put(key, &value)).await?),
            Way::Stream(stream) => drop(stream.change(put(key, &value)).await?),
            Way::Etcd(client) => {
                client.clone().put(etcd::PutRequest { key: key.into(), value: value.into() }).await?;
            }
        }
        Ok(())
    }

    /// Reads a key, linearizably or, if `bounded`, as some replica has it.
    pub(super) async fn get(&self, key: String, bounded: bool) -> anyhow::Result<()> {
        let request =
            |key| GetRequest { key, max_staleness_ms: bounded.then_some(self.max_staleness_ms), timeout_ms: 0 };
        let found = match &self.way {
            Way::Unary(client) => client.clone().get(request(key)).await?.into_inner().value.is_some(),
            Way::Stream(stream) => stream.get(request(key)).await?.value.is_some(),
            Way::Etcd(client) => {
                let request = etcd::RangeRequest { key: key.into(), serializable: bounded };
                !client.clone().range(request).await?.into_inner().kvs.is_empty()
            }
        };
        ensure!(found || bounded, "a key that was put is not there");
        Ok(())
    }
}

/// Without a session, as etcd has none.
fn put(key: String, value: &str) -> ChangeRequest {
    ChangeRequest { key, change: Some(Change::Put(format!("\"{value}\""))), session: None, timeout_ms: 0 }
}
