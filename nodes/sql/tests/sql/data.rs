//! What a shard's replica gives to queries.

use std::time::Duration;

use proptest::prelude::*;
use quorate_nodes::embedded::ReplicaFault;
use quorate_sql::data::{CacheOptions, ReadConsistency, ShardError, ShardStore, ShardView};
use quorate_sql::rows::Cell;
use tokio::time::Instant;

use crate::shards::{Cluster, PATIENCE, rows_of};

async fn small_blocks(bytes_max: usize) -> Cluster {
    let cluster = Cluster::with_cache(1, 1, CacheOptions { bytes_max, block_rows: 100 }).await;
    cluster.changed("CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)").await;
    cluster
}

fn insert(ids: impl Iterator<Item = i64>) -> String {
    let rows: Vec<String> = ids.map(|id| format!("({id}, 0)")).collect();
    format!("INSERT INTO t VALUES {}", rows.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_has_its_own_block_decoded_again_and_no_other() {
    let cluster = small_blocks(1 << 30).await;
    cluster.changed(&insert(0..1000)).await;
    let before = cluster.view(0).await;
    let first = rows_of(&before, "t");
    assert_eq!(first.len(), 1000);
    assert_eq!(before.cache_use().0, 1000);
    assert_eq!(rows_of(&before, "t"), first);
    assert_eq!(before.cache_use().0, 1000, "nothing changed, nothing is decoded");

    cluster.changed("UPDATE t SET n = 7 WHERE id = 555").await;
    let after = cluster.view(0).await;
    let second = rows_of(&after, "t");
    assert_eq!(second[555], [Cell::Int(555), Cell::Int(7)]);
    assert_eq!(after.cache_use().0, 1100, "one block of a hundred rows");
    // The older view is asked again: it gets its own rows, and the newer ones stay cached.
    assert_eq!(rows_of(&before, "t"), first);
    let decoded = after.cache_use().0;
    assert_eq!(rows_of(&after, "t"), second);
    assert_eq!(after.cache_use().0, decoded);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_stays_within_its_bytes_and_gives_the_rows_all_the_same() {
    let cluster = small_blocks(20_000).await;
    cluster.changed("CREATE TABLE u (id INT PRIMARY KEY, n BIGINT)").await;
    cluster.changed(&insert(0..600)).await;
    cluster.changed(&insert(0..600).replace("INTO t", "INTO u")).await;
    for _ in 0..3 {
        for table in ["t", "u"] {
            let view = cluster.view(0).await;
            assert_eq!(rows_of(&view, table).len(), 600);
            assert!(view.cache_use().1 <= 20_000, "{} bytes", view.cache_use().1);
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_give_views_of_a_bounded_age_and_any_running_replica_a_linearizable_one() {
    let cluster = Cluster::start(1, 3).await;
    cluster.changed("CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)").await;
    cluster.changed(&insert(0..10)).await;
    let data = &cluster.shards[0];
    let deadline = Instant::now() + PATIENCE;
    let view = data.look(ReadConsistency::Bounded(PATIENCE), deadline).await.unwrap();
    assert_eq!(view.tables().len(), 1);
    let stopped = cluster.stop_leader(0).await;
    assert_eq!(rows_of(&*cluster.view(0).await, "t").len(), 10);
    cluster.start_replica(0, stopped).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_shard_says_so_at_once_and_a_paused_one_when_the_time_is_up() {
    let cluster = Cluster::start(1, 3).await;
    let data = &cluster.shards[0];
    for replica in 0..3 {
        data.group().fault(replica, ReplicaFault::Pause).await.unwrap();
    }
    let soon = || Instant::now() + Duration::from_millis(50);
    let paused = data.look(ReadConsistency::Linearizable, soon()).await;
    assert_eq!(paused.err(), Some(ShardError::Timeout));
    cluster.stop_shard(0).await;
    let stopped = data.look(ReadConsistency::Linearizable, Instant::now() + PATIENCE).await;
    assert!(matches!(stopped, Err(ShardError::Unavailable(_))));
    cluster.shutdown().await;
}

#[derive(Clone, Debug)]
enum Step {
    Insert(i64, i64),
    Update(i64, i64),
    Delete(i64, i64),
    View,
    /// Reads one of the views taken so far.
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..600i64, 0..150i64);
    prop_oneof![
        2 => range().prop_map(|(from, count)| Step::Insert(from, count)),
        2 => range().prop_map(|(from, count)| Step::Update(from, count)),
        2 => range().prop_map(|(from, count)| Step::Delete(from, count)),
        2 => Just(Step::View),
        4 => any::<usize>().prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 64, ..Default::default() })]

    #[test]
    fn a_view_never_gives_rows_of_another_version(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = small_blocks(1 << 30).await;
            let mut model = std::collections::BTreeMap::new();
            let mut views = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(from, count) => {
                        let ids: Vec<i64> = (from..from + count).filter(|id| !model.contains_key(id)).collect();
                        if !ids.is_empty() {
                            assert_eq!(cluster.changed(&insert(ids.iter().copied())).await, ids.len() as u64);
                        }
                        model.extend(ids.into_iter().map(|id| (id, 0)));
                    }
                    Step::Update(from, count) => {
                        let to = from + count;
                        let changed = model.range_mut(from..to).map(|(_, n)| *n += 1).count() as u64;
                        let sql = format!("UPDATE t SET n = n + 1 WHERE id >= {from} AND id < {to}");
                        assert_eq!(cluster.changed(&sql).await, changed);
                    }
                    Step::Delete(from, count) => {
                        let to = from + count;
                        let before = model.len();
                        model.retain(|id, _| !(from..to).contains(id));
                        let sql = format!("DELETE FROM t WHERE id BETWEEN {from} AND {to} - 1");
                        assert_eq!(cluster.changed(&sql).await, (before - model.len()) as u64);
                    }
                    Step::View => views.push((cluster.view(0).await, model.clone())),
                    Step::Read(pick) if !views.is_empty() => {
                        let (view, model) = &views[pick % views.len()];
                        let rows: Vec<_> = model.iter().map(|(id, n)| vec![Cell::Int(*id), Cell::Int(*n)]).collect();
                        assert_eq!(rows_of(view, "t"), rows);
                    }
                    Step::Read(_) => {}
                }
            }
            cluster.shutdown().await;
        });
    }
}
