//! Statements while leaders die, and while others change the same rows. A failure prints its seed; `SQL_SEED` replays it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_sql::dml::{Context, StatementError};
use quorate_sql::rows::Cell;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::shards::{Cluster, PATIENCE, context, parse, stamp};

fn seed() -> u64 {
    let given = std::env::var("SQL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().next_u64());
    println!("replay with SQL_SEED={seed}");
    seed
}

type Model = BTreeMap<i64, i64>;

/// One statement, and what the model says of it.
async fn step(cluster: &Cluster, model: &mut Model, random: &mut StdRng) {
    match random.random_range(0..10) {
        0..4 => {
            let ids: Vec<i64> = (0..random.random_range(1..6)).map(|_| random.random_range(0..60)).collect();
            let rows: Vec<String> = ids.iter().map(|id| format!("({id}, 0)")).collect();
            let result = cluster.run(&format!("INSERT INTO t VALUES {}", rows.join(","))).await;
            let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
            if distinct.len() < ids.len() || ids.iter().any(|id| model.contains_key(id)) {
                assert!(matches!(result, Err(StatementError::Exists(_))), "{ids:?}: {result:?}");
            } else {
                assert_eq!(result.map(|affected| affected.rows), Ok(ids.len() as u64));
                model.extend(ids.iter().map(|id| (*id, 0)));
            }
        }
        4..8 => {
            let (modulus, by) = (random.random_range(1..5), random.random_range(1..100));
            let changed = model.iter_mut().filter(|(id, _)| *id % modulus == 0).map(|(_, n)| *n += by).count();
            let sql = format!("UPDATE t SET n = n + {by} WHERE id % {modulus} = 0");
            assert_eq!(cluster.changed(&sql).await, changed as u64, "{sql}");
        }
        _ => {
            let from = random.random_range(0..60);
            let before = model.len();
            model.retain(|id, _| !(from..from + 8).contains(id));
            let sql = format!("DELETE FROM t WHERE id BETWEEN {from} AND {}", from + 7);
            assert_eq!(cluster.changed(&sql).await, (before - model.len()) as u64, "{sql}");
        }
    }
}

/// Stops one leader after another, and starts it again once the others have a new one.
fn killer(cluster: &Arc<Cluster>, over: &Arc<AtomicBool>, seed: u64) -> tokio::task::JoinHandle<()> {
    let (cluster, over) = (Arc::clone(cluster), Arc::clone(over));
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed ^ 1);
        while !over.load(Ordering::Relaxed) {
            let shard = random.random_range(0..cluster.shards.len());
            let stopped = cluster.stop_leader(shard).await;
            cluster.shards[shard].group().led(PATIENCE).await;
            cluster.start_replica(shard, stopped).await;
        }
    })
}

async fn statements_apply_once(shards: u32, seed: u64) {
    let cluster = Arc::new(Cluster::start(shards, 3).await);
    cluster.changed("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)").await;
    let over = Arc::new(AtomicBool::new(false));
    let killer = killer(&cluster, &over, seed);
    let (mut model, mut random) = (Model::new(), StdRng::seed_from_u64(seed));
    for _ in 0..60 {
        step(&cluster, &mut model, &mut random).await;
    }
    over.store(true, Ordering::Relaxed);
    killer.await.expect("the killer");
    let rows = cluster.rows("t").await;
    let held: Model = rows.iter().map(|(id, row)| (*id, number(&row[1]))).collect();
    assert_eq!(held, model);
    if let Ok(cluster) = Arc::try_unwrap(cluster) {
        cluster.shutdown().await;
    }
}

fn number(cell: &Cell) -> i64 {
    match cell {
        Cell::Int(number) => *number,
        other => panic!("{other:?} is no integer"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_apply_once_while_leaders_die() {
    let seed = seed();
    for shards in [1, 3, 5] {
        statements_apply_once(shards, seed.wrapping_add(shards.into())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_under_concurrency() {
    let cluster = Arc::new(Cluster::start(3, 3).await);
    cluster.changed("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)").await;
    cluster.changed("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)").await;
    let client = |client: i64| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut counted = Model::new();
            for turn in 0..25 {
                let id = (client + turn) % 4 + 1;
                match cluster.run(&format!("UPDATE t SET n = n + 1 WHERE id = {id}")).await {
                    Ok(affected) => *counted.entry(id).or_default() += affected.rows as i64,
                    Err(error) => assert!(matches!(error, StatementError::Conflict(_)), "{error:?}"),
                }
            }
            counted
        })
    };
    let clients: Vec<_> = (0..4).map(client).collect();
    let mut counted = Model::from([(1, 0), (2, 0), (3, 0), (4, 0)]);
    for client in clients {
        for (id, count) in client.await.expect("a client") {
            *counted.entry(id).or_default() += count;
        }
    }
    let rows = cluster.rows("t").await;
    assert_eq!(rows.iter().map(|(id, row)| (*id, number(&row[1]))).collect::<Model>(), counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_statements_that_create_one_table_at_the_same_time_one_succeeds() {
    let cluster = Arc::new(Cluster::start(3, 1).await);
    for round in 0..5 {
        let create = |n: usize| {
            let cluster = Arc::clone(&cluster);
            let sql = format!("CREATE TABLE t{round} (id INT PRIMARY KEY, c{n} INT)");
            tokio::spawn(async move { cluster.run(&sql).await })
        };
        let all: Vec<_> = (0..4).map(create).collect();
        let mut created = 0;
        for one in all {
            match one.await.expect("a client") {
                Ok(_) => created += 1,
                Err(error) => assert!(matches!(error, StatementError::Exists(_)), "{error:?}"),
            }
        }
        assert_eq!(created, 1);
        assert_eq!(cluster.changed(&format!("INSERT INTO t{round} (id) VALUES (1), (2), (3), (4)")).await, 4);
    }
}

/// A client that gives up early, and then says the same again under the same number, unless it was told that nothing
/// was carried out: then under a new one.
async fn insist(cluster: &Cluster, seq: &mut u64, sql: &str, random: &mut StdRng) -> (u64, usize) {
    let mut errors = Vec::new();
    for attempt in 0.. {
        // Short at first, so that many outcomes are unknown; in the end long enough.
        let patience = Duration::from_millis(random.random_range(1..20) + 5 * attempt * attempt);
        let context = Context { session: Some(stamp(*seq)), timeout: patience, ..context() };
        match cluster.dml.execute(&parse(sql), context).await {
            Ok(affected) => {
                *seq += 1;
                return (affected.rows, attempt as usize);
            }
            Err(error) => {
                errors.push((*seq, format!("{error:?}")));
                *seq += u64::from(error.is_definite());
            }
        }
        assert!(attempt < 60, "{sql} never comes through: {errors:#?}");
    }
    unreachable!("some attempt succeeds")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_said_again_applies_once_and_one_definitely_refused_never_does() {
    let seed = seed();
    let cluster = Arc::new(Cluster::start(3, 3).await);
    cluster.changed("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)").await;
    let rows: Vec<String> = (0..12).map(|id| format!("({id}, 0)")).collect();
    cluster.changed(&format!("INSERT INTO t VALUES {}", rows.join(","))).await;
    let over = Arc::new(AtomicBool::new(false));
    let killer = killer(&cluster, &over, seed);
    let (mut seq, mut random, mut repeated) = (1, StdRng::seed_from_u64(seed), 0);
    let mut expected = Model::from_iter((0..12).map(|id| (id, 0)));
    for turn in 0..36 {
        let modulus = random.random_range(1..4);
        let (sql, changed) = match turn % 3 {
            0 => {
                expected.insert(100 + turn, 0);
                expected.insert(200 + turn, 0);
                (format!("INSERT INTO t VALUES ({}, 0), ({}, 0)", 100 + turn, 200 + turn), 2)
            }
            _ => {
                let changed = expected.iter_mut().filter(|(id, _)| *id % modulus == 0).map(|(_, n)| *n += 1).count();
                (format!("UPDATE t SET n = n + 1 WHERE id % {modulus} = 0"), changed as u64)
            }
        };
        let (rows, attempts) = insist(&cluster, &mut seq, &sql, &mut random).await;
        assert_eq!(rows, changed, "{sql}");
        repeated += attempts;
    }
    over.store(true, Ordering::Relaxed);
    killer.await.expect("the killer");
    let rows = cluster.rows("t").await;
    assert_eq!(rows.iter().map(|(id, row)| (*id, number(&row[1]))).collect::<Model>(), expected);
    println!("{repeated} statements were said again");
}
