//! Shards of real groups in this process, for tests of what they hold and of statements that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use quorate::GroupOptions;
use quorate::sessions::Stamp;
use quorate::types::ClientId;
use quorate_nodes::embedded::{EmbeddedGroup, ReplicaFault, World};
use quorate_nodes::kv::{DirectClient, Target};
use quorate_sql::data::{CacheOptions, KvShardData, KvView, ReadConsistency, ShardStore, ShardView};
use quorate_sql::dml::{Affected, Context, Dml, Shard, StatementError};
use quorate_sql::rows::{Cell, row_at};
use quorate_statemachines::kv::{Configure, Configured, KvMachine};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use tokio::time::Instant;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) shards: Vec<Arc<KvShardData>>,
    pub(crate) dml: Arc<Dml>,
}

pub(crate) fn parse(sql: &str) -> Statement {
    Parser::parse_sql(&GenericDialect {}, sql).unwrap_or_else(|error| panic!("{sql}: {error}")).remove(0)
}

pub(crate) fn context() -> Context {
    Context { session: None, timeout: PATIENCE, params: Vec::new(), select: None }
}

pub(crate) fn stamp(seq: u64) -> Stamp {
    Stamp { client: ClientId::new("tester"), seq, acked: None }
}

impl Cluster {
    pub(crate) async fn start(shards: u32, replicas: usize) -> Self {
        Self::with_cache(shards, replicas, CacheOptions::default()).await
    }

    pub(crate) async fn with_cache(count: u32, replicas: usize, cache: CacheOptions) -> Self {
        let world = World::seeded(GroupOptions::default(), None);
        let client = DirectClient::new(Arc::clone(world.env()));
        let mut shards = Vec::new();
        for shard in (0..count).map(ShardId) {
            let group = EmbeddedGroup::start(&world, replicas, KvMachine::default).await.expect("a group");
            let config = Configure {
                number: ConfigNumber(1),
                previous: ConfigNumber(0),
                shards: BTreeSet::from([shard]),
                shard_count: count,
                sources: BTreeMap::new(),
                targets: BTreeMap::new(),
            };
            let gid = Gid::new("s");
            let target = Target { gid: &gid, group: group.as_ref() };
            let (configured, _) = client.configure(target, &config, PATIENCE).await.expect("a configuration");
            assert!(matches!(configured, Configured::Applied | Configured::SameAgain));
            shards.push(Arc::new(KvShardData::new(group, shard, cache)));
        }
        let named = |data: &Arc<KvShardData>| {
            let name = format!("s{}", data.shard().0 + 1);
            Shard { name, data: Arc::<KvShardData>::clone(data) }
        };
        let dml = Arc::new(Dml::new(Arc::clone(world.env()), shards.iter().map(named).collect()));
        Cluster { shards, dml }
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<Affected, StatementError> {
        self.dml.execute(&parse(sql), context()).await
    }

    /// How many rows the statement changed.
    pub(crate) async fn changed(&self, sql: &str) -> u64 {
        self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).rows
    }

    /// The same, of a client that numbers its statements.
    pub(crate) async fn numbered(&self, seq: u64, sql: &str) -> Result<u64, StatementError> {
        let context = Context { session: Some(stamp(seq)), ..context() };
        self.dml.execute(&parse(sql), context).await.map(|affected| affected.rows)
    }

    pub(crate) async fn view(&self, shard: usize) -> Arc<KvView> {
        let deadline = Instant::now() + PATIENCE;
        self.shards[shard].look(ReadConsistency::Linearizable, deadline).await.expect("a view")
    }

    /// All rows of a table by their first column's integer.
    pub(crate) async fn rows(&self, table: &str) -> BTreeMap<i64, Vec<Cell>> {
        let mut rows = BTreeMap::new();
        for shard in 0..self.shards.len() {
            let view = self.view(shard).await;
            for row in rows_of(&view, table) {
                let Cell::Int(id) = row[0] else { panic!("{row:?} has no integer first") };
                assert!(rows.insert(id, row).is_none(), "row {id} is on two shards");
            }
        }
        rows
    }

    /// Crashes the leader of a shard; the replica to start again.
    pub(crate) async fn stop_leader(&self, shard: usize) -> usize {
        let group = self.shards[shard].group();
        let leader = group.led(PATIENCE).await.expect("a leader");
        group.fault(leader, ReplicaFault::Stop).await.expect("a stop");
        leader
    }

    pub(crate) async fn start_replica(&self, shard: usize, replica: usize) {
        self.shards[shard].group().fault(replica, ReplicaFault::Start).await.expect("a start");
    }

    pub(crate) async fn stop_shard(&self, shard: usize) {
        self.shards[shard].group().shutdown().await;
    }

    pub(crate) async fn shutdown(self) {
        for shard in &self.shards {
            shard.group().shutdown().await;
        }
    }
}

/// A table's rows in the order in which a view gives them.
pub(crate) fn rows_of(view: &KvView, table: &str) -> Vec<Vec<Cell>> {
    let Some(table) = view.table(table) else { return Vec::new() };
    let batches = view.batches(&table).expect("batches");
    let row = |batch, nth| row_at(&table, batch, nth).expect("a row");
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |nth| row(batch, nth))).collect()
}
