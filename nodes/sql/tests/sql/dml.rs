//! Statements that change rows, one claim at a time.

use datafusion::common::ScalarValue;
use quorate_sql::dml::{Context, PartOutcome, StatementError};
use quorate_sql::rows::Cell;

use crate::shards::{Cluster, context, parse};

async fn with_people() -> Cluster {
    let cluster = Cluster::start(3, 1).await;
    let sql = "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(5) NOT NULL, age BIGINT, pay DECIMAL(9,2))";
    assert_eq!(cluster.changed(sql).await, 0);
    cluster
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_changed_and_removed_wherever_they_are() {
    let cluster = with_people().await;
    let insert = "INSERT INTO people (id, pay, name) VALUES (1, 1.5, 'ann'), (2, 2, 'bob'), (3, -0.01, upper('c')), \
                  (4, NULL, 'd' || 'an')";
    assert_eq!(cluster.changed(insert).await, 4);
    let rows = cluster.rows("people").await;
    assert_eq!(rows[&1], [Cell::Int(1), text("ann"), Cell::Null, Cell::Decimal(150)]);
    assert_eq!(rows[&3], [Cell::Int(3), text("C"), Cell::Null, Cell::Decimal(-1)]);
    assert_eq!(rows[&4], [Cell::Int(4), text("dan"), Cell::Null, Cell::Null]);

    assert_eq!(cluster.changed("UPDATE people SET age = id * 10, name = lower(name) WHERE pay > 0 OR id = 3").await, 3);
    assert_eq!(cluster.changed("UPDATE people p SET age = p.age + 1 WHERE p.id = 3").await, 1);
    assert_eq!(cluster.changed("UPDATE people SET age = 0 WHERE id = 99").await, 0);
    let rows = cluster.rows("people").await;
    assert_eq!(rows[&3], [Cell::Int(3), text("c"), Cell::Int(31), Cell::Decimal(-1)]);
    assert_eq!(rows[&4][2], Cell::Null);

    assert_eq!(cluster.changed("DELETE FROM people WHERE age IS NULL").await, 1);
    assert_eq!(cluster.changed("DELETE FROM people").await, 3);
    assert!(cluster.rows("people").await.is_empty());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_statement_is_refused_before_anything_is_written() {
    let cluster = with_people().await;
    cluster.changed("INSERT INTO people VALUES (1, 'ann', 1, 1), (2, 'bob', 2, 2), (3, 'cy', 3, 3)").await;
    let before = cluster.rows("people").await;
    enum Kind {
        Invalid,
        Exists,
        Constraint,
        Unknown,
    }
    use Kind::{Constraint, Exists, Invalid, Unknown};
    let wrong = [
        (Exists, "INSERT INTO people VALUES (4, 'dan', 1, 1), (2, 'bob', 2, 2), (5, 'eve', 1, 1), (6, 'x', 1, 1)"),
        (Exists, "INSERT INTO people VALUES (4, 'dan', 1, 1), (5, 'e', 1, 1), (4, 'dan', 1, 1)"),
        (Constraint, "INSERT INTO people VALUES (NULL, 'dan', 1, 1)"),
        (Constraint, "INSERT INTO people VALUES (4, NULL, 1, 1)"),
        (Constraint, "INSERT INTO people (id) VALUES (4)"),
        (Constraint, "INSERT INTO people (name) VALUES ('dan')"),
        (Constraint, "INSERT INTO people VALUES (4, 'daniel', 1, 1)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', 1)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', 1, 1, 1)"),
        (Invalid, "INSERT INTO people VALUES ('four', 'dan', 1, 1)"),
        (Invalid, "INSERT INTO people VALUES (TRUE, 'dan', 1, 1)"),
        (Invalid, "INSERT INTO people VALUES (3000000000, 'dan', 1, 1)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', 1, 12345678.5)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', nosuch, 1)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', nosuch(1), 1)"),
        (Invalid, "INSERT INTO people VALUES (4, 'dan', 1 / 0, 1)"),
        (Invalid, "INSERT INTO people (id, shoe) VALUES (4, 1)"),
        (Invalid, "INSERT INTO people (id, id) VALUES (4, 4)"),
        (Invalid, "UPDATE people SET id = 5"),
        (Invalid, "UPDATE people SET shoe = 5"),
        (Invalid, "UPDATE people SET age = 1, age = 2"),
        (Invalid, "UPDATE people SET age = 'old'"),
        (Invalid, "UPDATE people SET age = age / 0"),
        (Invalid, "UPDATE people SET age = (SELECT max(age) FROM people)"),
        (Invalid, "UPDATE people SET age = 1 WHERE nosuch = 1"),
        (Invalid, "UPDATE people SET age = 1 WHERE age + 1"),
        (Invalid, "DELETE FROM people WHERE count(*) > 1"),
        (Constraint, "UPDATE people SET name = NULL"),
        // Wrong for one row only: the others stay as they are, on whatever shards.
        (Constraint, "UPDATE people SET name = CASE WHEN id = 1 THEN NULL ELSE 'zed' END"),
        (Constraint, "UPDATE people SET name = CASE WHEN id = 2 THEN NULL ELSE 'zed' END"),
        (Constraint, "UPDATE people SET name = CASE WHEN id = 3 THEN NULL ELSE 'zed' END"),
        (Invalid, "UPDATE people SET age = 1 / (age - 2)"),
        (Constraint, "UPDATE people SET name = 'daniel'"),
        (Unknown, "INSERT INTO nobody VALUES (1)"),
        (Unknown, "UPDATE nobody SET a = 1"),
        (Unknown, "DELETE FROM nobody"),
        (Unknown, "DROP TABLE nobody"),
        (Exists, "CREATE TABLE people (id INT PRIMARY KEY)"),
        (Invalid, "CREATE TABLE other (id INT)"),
    ];
    for (kind, sql) in wrong {
        let error = cluster.run(sql).await.expect_err(sql);
        let fits = match kind {
            Invalid => matches!(error, StatementError::Invalid(_)),
            Exists => matches!(error, StatementError::Exists(_)),
            Constraint => matches!(error, StatementError::Constraint(_)),
            Unknown => matches!(error, StatementError::UnknownTable(_)),
        };
        assert!(fits && error.is_definite(), "{sql}: {error:?}");
    }
    assert_eq!(cluster.rows("people").await, before);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn now_is_one_moment_in_all_rows_and_on_all_shards() {
    let cluster = Cluster::start(3, 1).await;
    cluster.changed("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP, day DATE)").await;
    cluster
        .changed("INSERT INTO t VALUES (1, now(), now()), (2, now(), '2024-02-29'), (3, '2024-02-29 12:30:00', NULL)")
        .await;
    let rows = cluster.rows("t").await;
    assert_eq!(rows[&1][1], rows[&2][1]);
    assert_eq!(rows[&2][2], Cell::Int(19782));
    assert_eq!(rows[&3][1], Cell::Int(1_709_209_800_000_000));
    cluster.changed("UPDATE t SET at = now()").await;
    let rows = cluster.rows("t").await;
    assert!(rows.values().all(|row| row[1] == rows[&1][1]), "{rows:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_stand_for_values() {
    let cluster = with_people().await;
    let params = vec![ScalarValue::Int32(Some(7)), ScalarValue::Utf8(Some("o'k".into()))];
    let run = |sql: &'static str| {
        let context = Context { params: params.clone(), ..context() };
        let dml = cluster.dml.clone();
        async move { dml.execute(&parse(sql), context).await.map(|affected| affected.rows) }
    };
    assert_eq!(run("INSERT INTO people (id, name) VALUES ($1, $2)").await, Ok(1));
    assert_eq!(run("UPDATE people SET age = $1 WHERE name = $2").await, Ok(1));
    assert!(matches!(run("DELETE FROM people WHERE id = $3").await, Err(StatementError::Invalid(_))));
    assert_eq!(run("DELETE FROM people WHERE id = $1 AND age = $1").await, Ok(1));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numbered_statement_takes_effect_once_however_often_it_comes() {
    let cluster = Cluster::start(3, 1).await;
    let create = "CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)";
    let insert = "INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)";
    let update = "UPDATE t SET n = n + 1 WHERE id > 1";
    for _ in 0..2 {
        assert_eq!(cluster.numbered(1, create).await, Ok(0));
        assert_eq!(cluster.numbered(2, insert).await, Ok(5));
        assert_eq!(cluster.numbered(3, update).await, Ok(4));
    }
    assert_eq!(cluster.numbered(3, "DELETE FROM t").await, Err(StatementError::SeqReused));
    let rows = cluster.rows("t").await;
    assert_eq!(rows.values().map(|row| &row[1]).filter(|n| **n == Cell::Int(1)).count(), 4);

    assert_eq!(cluster.numbered(4, "DELETE FROM t WHERE id < 3").await, Ok(2));
    cluster.changed(insert.replace("(3, 0), (4, 0), (5, 0)", "(6, 0)").as_str()).await;
    assert_eq!(cluster.numbered(4, "DELETE FROM t WHERE id < 3").await, Ok(2), "the first reply");
    assert_eq!(cluster.rows("t").await.len(), 6);
    // A statement that found nothing to do stays so.
    assert_eq!(cluster.numbered(5, "DELETE FROM t WHERE id = 9").await, Ok(0));
    cluster.changed("INSERT INTO t VALUES (9, 0)").await;
    assert_eq!(cluster.numbered(5, "DELETE FROM t WHERE id = 9").await, Ok(0));
    // What exists already is refused with nothing kept, and may be tried again.
    let taken = "INSERT INTO t VALUES (9, 1), (10, 1), (11, 1), (12, 1)";
    for _ in 0..2 {
        let refused = cluster.numbered(6, taken).await;
        assert!(matches!(refused, Err(StatementError::Exists(_))), "{refused:?}");
    }
    assert_eq!(cluster.rows("t").await.len(), 7);
    for _ in 0..2 {
        assert_eq!(cluster.numbered(7, "DROP TABLE t").await, Ok(0));
    }
    assert!(matches!(cluster.numbered(8, "DROP TABLE t").await, Err(StatementError::UnknownTable(_))));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_came_through_on_some_shards_only_says_on_which() {
    let cluster = with_people().await;
    let rows: Vec<String> = (0..30).map(|id| format!("({id}, 'x', 0, 0)")).collect();
    let insert = format!("INSERT INTO people VALUES {}", rows.join(","));
    cluster.changed(&insert).await;
    let held = cluster.view(1).await;
    let held = crate::shards::rows_of(&held, "people").len() as u64;
    assert!(held > 0 && held < 30);
    cluster.stop_shard(1).await;

    let error = cluster.run("UPDATE people SET age = age + 1").await.expect_err("a part is missing");
    let StatementError::Partial { rows, shards, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*rows, 30 - held);
    let outcomes: Vec<_> = shards.iter().map(|(name, outcome)| (name.as_str(), *outcome)).collect();
    let expected = [("s1", PartOutcome::Applied), ("s2", PartOutcome::Refused), ("s3", PartOutcome::Applied)];
    assert_eq!(outcomes, expected);
    assert!(!error.is_definite());

    // Nothing is kept of what can be known beforehand not to come through.
    let insert = insert.replace("(", "(1").replace("people1", "people");
    let refused = cluster.run(&insert).await.expect_err("a shard is stopped");
    assert!(matches!(refused, StatementError::Unavailable(_)), "{refused:?}");
    let refused = cluster.run("CREATE TABLE other (id INT PRIMARY KEY)").await.expect_err("a shard is stopped");
    assert!(matches!(refused, StatementError::Unavailable(_)), "{refused:?}");
    assert!(cluster.view(0).await.declaration("other").is_none());
    // A key that is named concerns its own shard alone.
    let alive = crate::shards::rows_of(&*cluster.view(0).await, "people")[0][0].clone();
    let Cell::Int(id) = alive else { panic!("{alive:?}") };
    assert_eq!(cluster.changed(&format!("UPDATE people SET age = 50 WHERE id = {id}")).await, 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_at_once_and_its_rows_are_swept_later() {
    let cluster = Cluster::start(2, 1).await;
    let create = "CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)";
    cluster.changed(create).await;
    let rows: Vec<String> = (0..3000).map(|id| format!("({id}, 0)")).collect();
    assert_eq!(cluster.changed(&format!("INSERT INTO t VALUES {}", rows.join(","))).await, 3000);
    cluster.changed("DROP TABLE t").await;
    cluster.changed("DROP TABLE IF EXISTS t").await;
    cluster.changed(create).await;
    cluster.changed("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY)").await;
    assert!(cluster.rows("t").await.is_empty(), "another table of the same name");
    cluster.changed("INSERT INTO t VALUES (1, 1)").await;
    cluster.dml.sweep().await;
    for shard in 0..2 {
        let view = cluster.view(shard).await;
        assert!(view.dropped().is_empty());
        assert!(view.keys_of("t:").count() <= 1, "only the new table's row");
    }
    assert_eq!(cluster.rows("t").await.len(), 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_statement_is_one_entry_on_each_shard() {
    let cluster = Cluster::start(3, 3).await;
    cluster.changed("CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)").await;
    let rows: Vec<String> = (0..100_000).map(|id| format!("({id}, {id})")).collect();
    let sql = format!("INSERT INTO t VALUES {}", rows.join(","));
    assert!(sql.len() > 1 << 20);
    assert_eq!(cluster.changed(&sql).await, 100_000);
    assert_eq!(cluster.changed("UPDATE t SET n = n + 1").await, 100_000);
    let rows = cluster.rows("t").await;
    assert!(rows.iter().all(|(id, row)| row[1] == Cell::Int(id + 1)));
    assert_eq!(cluster.changed("DELETE FROM t WHERE n % 2 = 0").await, 50_000);
    cluster.shutdown().await;
}
