//! Queries whose answers must be those of a single engine over the same rows, however the rows are spread, and for which
//! no more rows may travel than must.

use crate::rows::{ORDERS, USERS, shards};
use crate::support::{alike, ask, engine, parsed, said_by, single, sorted};

/// How many rows may come from the shards.
#[derive(Clone, Copy)]
enum Travel {
    /// Only those of the answer.
    Answer,
    /// So many from each shard.
    PerShard(i64),
    /// The answer's, and so many from each shard.
    AnswerAndPerShard(i64),
    /// The answer's, and so many.
    AnswerAnd(i64),
    /// So many, and so many more from each shard.
    TotalAndPerShard(i64, i64),
    /// So many.
    Total(i64),
}
use Travel::{Answer, AnswerAnd, AnswerAndPerShard, PerShard, Total, TotalAndPerShard};

const CITIES: i64 = 5;
const PROFILES: i64 = USERS / 2;

const QUERIES: &[(&str, Travel)] = &[
    // Filters and projections.
    ("SELECT * FROM users", Answer),
    ("SELECT id, name FROM users WHERE age > 25", Answer),
    ("SELECT id FROM users WHERE city IS NULL", Answer),
    ("SELECT id FROM users WHERE city = 'Oslo' AND score >= 5.0", Answer),
    ("SELECT name, city FROM users WHERE name LIKE '%1%'", Answer),
    ("SELECT id, balance FROM users WHERE id IN (1, 5, 999)", Answer),
    ("SELECT id, balance FROM users WHERE balance > 10.50", Answer),
    ("SELECT id, joined FROM users WHERE joined >= DATE '2019-06-01'", Answer),
    ("SELECT id, seen FROM users WHERE seen < TIMESTAMP '2020-09-13 12:28:00'", Answer),
    ("SELECT id FROM users WHERE active AND age BETWEEN 10 AND 20", Answer),
    ("SELECT upper(city) AS u, length(name) AS l FROM users WHERE id < 20", Answer),
    ("SELECT CASE WHEN age > 30 THEN 'old' WHEN age IS NULL THEN '?' ELSE 'young' END AS kind, id FROM users", Answer),
    ("SELECT id FROM users WHERE NOT active OR active IS NULL", Answer),
    ("SELECT id, value FROM events WHERE value > 9007199254740990", Answer),
    ("SELECT * FROM nothing", Answer),
    ("SELECT id FROM users WHERE false", Answer),
    ("SELECT make_array(id, age) AS pair, named_struct('a', id, 'b', name) AS s FROM users WHERE id < 10", Answer),
    ("SELECT id, unnest(make_array(1, 2, 3)) AS n FROM users WHERE id < 3", Answer),
    // Aggregates.
    ("SELECT count(*) FROM users", PerShard(1)),
    ("SELECT count(city), count(*), min(age), max(age), sum(age), avg(score) FROM users", PerShard(1)),
    ("SELECT sum(balance), avg(balance), min(joined), max(seen) FROM users", PerShard(1)),
    ("SELECT stddev(score), var_pop(score) FROM users", PerShard(1)),
    ("SELECT bool_and(active), bool_or(active), median(age) FROM users", PerShard(1)),
    ("SELECT first_value(name ORDER BY id), last_value(name ORDER BY id) FROM users", PerShard(1)),
    ("SELECT array_agg(id ORDER BY id) FROM users WHERE id < 30", PerShard(1)),
    ("SELECT max(id), count(*), sum(id) FROM nothing", PerShard(1)),
    ("SELECT count(*) FROM users WHERE age > 25", PerShard(1)),
    ("SELECT sum(value), max(value) FROM events", PerShard(1)),
    ("SELECT DISTINCT city FROM users", PerShard(CITIES)),
    ("SELECT DISTINCT id FROM users WHERE id < 50", Answer),
    ("SELECT city, count(*) FROM users GROUP BY city", PerShard(CITIES)),
    ("SELECT city, count(*) AS n FROM users GROUP BY city HAVING count(*) > 41", PerShard(CITIES)),
    ("SELECT city, active, avg(age) FROM users GROUP BY city, active", PerShard(CITIES * 3)),
    ("SELECT city, avg(age) AS a FROM users GROUP BY city ORDER BY a DESC, city LIMIT 2", PerShard(CITIES)),
    ("SELECT kind, count(*), sum(value) FROM events GROUP BY kind", PerShard(2)),
    ("SELECT count(DISTINCT city) FROM users", PerShard(CITIES)),
    ("SELECT city, count(DISTINCT age) FROM users GROUP BY city", Total(USERS)),
    ("SELECT city, active, count(*) FROM users GROUP BY ROLLUP (city, active)", PerShard(CITIES * 4 + 1)),
    ("SELECT date_trunc('month', joined) AS m, count(*) FROM users GROUP BY m", PerShard(5)),
    ("SELECT id, count(*) AS n FROM orders GROUP BY id ORDER BY n DESC, id LIMIT 3", PerShard(3)),
    // Order and limits.
    ("SELECT id, age FROM users ORDER BY age DESC NULLS LAST, id LIMIT 10", PerShard(10)),
    ("SELECT id FROM users ORDER BY id LIMIT 7 OFFSET 5", PerShard(12)),
    ("SELECT name, id FROM users ORDER BY name, id", Answer),
    ("SELECT id FROM users WHERE age > 25 ORDER BY score NULLS FIRST, id DESC LIMIT 4", PerShard(4)),
    ("SELECT * FROM orders ORDER BY amount DESC, id LIMIT 3", PerShard(3)),
    ("SELECT count(*) FROM (SELECT id FROM users LIMIT 5)", PerShard(5)),
    ("SELECT count(*) FROM (SELECT id FROM users WHERE age > 25 LIMIT 5)", PerShard(5)),
    // Joins of rows that lie together.
    ("SELECT u.id, p.followers FROM users u JOIN profiles p ON u.id = p.id WHERE u.age > 25", Answer),
    ("SELECT u.id, p.bio FROM users u LEFT JOIN profiles p ON u.id = p.id", Answer),
    ("SELECT u.id, p.id AS pid FROM users u FULL JOIN profiles p ON u.id = p.id AND p.followers > 50", Answer),
    ("SELECT count(*), sum(p.followers) FROM users u JOIN profiles p ON u.id = p.id", PerShard(1)),
    ("SELECT id FROM users WHERE id IN (SELECT id FROM profiles WHERE followers > 50)", Answer),
    (
        "SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM profiles p WHERE p.id = u.id AND p.followers > u.age)",
        Answer,
    ),
    ("SELECT id FROM users u WHERE NOT EXISTS (SELECT 1 FROM profiles p WHERE p.id = u.id)", Answer),
    ("SELECT a.id FROM users a JOIN users b ON a.id = b.id WHERE a.age < b.score", Answer),
    ("SELECT id, followers FROM users JOIN profiles USING (id) ORDER BY followers DESC, id LIMIT 5", PerShard(5)),
    ("SELECT u.city, max(p.followers) FROM users u JOIN profiles p ON u.id = p.id GROUP BY u.city", PerShard(CITIES)),
    ("SELECT u.id, n.note FROM users u LEFT JOIN nothing n ON u.id = n.id WHERE u.id < 4", Answer),
    ("SELECT a.id, b.followers, c.age FROM users a JOIN profiles b ON a.id = b.id JOIN users c ON b.id = c.id", Answer),
    // Joins with a side that every shard is given.
    ("SELECT o.id, c.country FROM orders o JOIN countries c ON o.country = c.code WHERE o.amount > 20", AnswerAnd(3)),
    (
        "SELECT c.country, sum(o.amount) FROM orders o JOIN countries c ON o.country = c.code GROUP BY c.country",
        TotalAndPerShard(3, 3),
    ),
    (
        "SELECT u.city, count(*) FROM users u JOIN orders o ON u.id = o.user_id GROUP BY u.city",
        TotalAndPerShard(USERS, CITIES),
    ),
    ("SELECT o.id FROM orders o WHERE o.country IN (SELECT code FROM countries)", AnswerAnd(3)),
    ("SELECT o.id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM countries c WHERE c.code = o.country)", AnswerAnd(3)),
    ("SELECT o.id, v.n FROM orders o JOIN (VALUES (1, 'one'), (2, 'two')) AS v(k, n) ON o.id = v.k", Answer),
    // Joins of the coordinator.
    ("SELECT u.id, o.id AS oid FROM users u LEFT JOIN orders o ON u.id = o.user_id", Total(USERS + ORDERS)),
    ("SELECT u.id FROM users u WHERE u.id NOT IN (SELECT user_id FROM orders)", Total(USERS + ORDERS)),
    (
        "SELECT u.id FROM users u WHERE u.id NOT IN (SELECT user_id FROM orders WHERE user_id IS NOT NULL)",
        Total(USERS + ORDERS),
    ),
    ("SELECT a.code, b.code AS other FROM countries a CROSS JOIN countries b", Total(9)),
    ("SELECT a.code, b.code AS other FROM countries a JOIN countries b ON a.code < b.code", Total(6)),
    (
        "SELECT u.city, p.bio, count(*) FROM users u JOIN profiles p ON u.id = p.id JOIN orders o ON o.user_id = p.id
         GROUP BY u.city, p.bio",
        Total(PROFILES + ORDERS),
    ),
    // Subqueries.
    ("SELECT id FROM users WHERE age > (SELECT avg(age) FROM users)", AnswerAndPerShard(1)),
    ("SELECT id, (SELECT max(followers) FROM profiles) AS m FROM users WHERE id < 10", AnswerAndPerShard(1)),
    (
        "SELECT city, count(*) FROM users GROUP BY city HAVING count(*) > (SELECT count(*) FROM countries)",
        PerShard(CITIES + 1),
    ),
    ("SELECT id FROM users WHERE age > (SELECT max(id) FROM nothing)", AnswerAndPerShard(1)),
    (
        "SELECT id FROM users WHERE age > (SELECT avg(age) FROM users WHERE score > (SELECT avg(score) FROM users))",
        AnswerAndPerShard(2),
    ),
    ("SELECT id, (SELECT sum(amount) FROM orders o WHERE o.user_id = u.id) AS s FROM users u", Total(USERS + ORDERS)),
    ("SELECT max(n) FROM (SELECT city, count(*) AS n FROM users GROUP BY city)", PerShard(CITIES)),
    (
        "WITH c AS (SELECT city, count(*) AS n FROM users GROUP BY city) SELECT city FROM c WHERE n = (SELECT max(n) FROM c)",
        PerShard(CITIES * 2),
    ),
    // Sets.
    ("SELECT id FROM users WHERE id < 10 UNION ALL SELECT id FROM profiles WHERE id < 10", Answer),
    ("SELECT count(*) FROM (SELECT id FROM users UNION ALL SELECT id FROM profiles)", PerShard(1)),
    ("SELECT city FROM users UNION SELECT country FROM countries", PerShard(CITIES + 3)),
    ("SELECT id FROM users INTERSECT SELECT id FROM profiles", Total(USERS + PROFILES)),
    ("SELECT id FROM users EXCEPT SELECT id FROM profiles", Total(USERS + PROFILES)),
    ("SELECT id FROM users WHERE id < 5 UNION ALL SELECT id FROM orders WHERE id < 5 ORDER BY id LIMIT 3", PerShard(6)),
    // Windows: their columns travel.
    ("SELECT id, row_number() OVER (PARTITION BY city ORDER BY id) AS r FROM users", Total(USERS)),
    ("SELECT id, sum(age) OVER (ORDER BY id) AS s FROM users WHERE age > 25", Answer),
    (
        "SELECT id FROM (SELECT id, rank() OVER (PARTITION BY city ORDER BY age) AS r FROM users) WHERE r = 1",
        Total(USERS),
    ),
    // Nothing of the shards.
    ("SELECT 1 AS one", Total(0)),
    ("VALUES (1, 'a'), (2, NULL)", Total(0)),
    (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5)
         SELECT t.n, u.name FROM t JOIN users u ON u.id = t.n",
        Total(USERS),
    ),
];

/// The last ORDER BY belongs to the statement itself.
fn is_ordered(sql: &str) -> bool {
    sql.rsplit_once("ORDER BY").is_some_and(|(_, rest)| !rest.contains(')'))
}

async fn compare(count: usize) {
    assert!(QUERIES.len() >= 60);
    let (engine, single) = (engine(&shards(count)), single());
    let mut wrong = Vec::new();
    for (sql, travel) in QUERIES {
        let answer = match ask(&engine, sql).await {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{sql}\n  {error}"));
                continue;
            }
        };
        assert!(answer.failed.is_empty(), "{sql}: {:?}", answer.failed);
        let (mut expected, mut rows) = (said_by(&single, sql).await, parsed(&answer.rows));
        if !is_ordered(sql) {
            (expected, rows) = (sorted(expected), sorted(rows));
        }
        if expected.len() != rows.len() || !expected.iter().zip(&rows).all(|(a, b)| alike(a, b)) {
            wrong.push(format!("{sql}\n  {rows:?}\n  in place of\n  {expected:?}"));
        }
        let (own, of_answer) = (count as i64, expected.len() as i64);
        let most = match *travel {
            Answer => of_answer,
            PerShard(each) => each * own,
            AnswerAndPerShard(each) => of_answer + each * own,
            AnswerAnd(more) => of_answer + more,
            TotalAndPerShard(total, each) => total + each * own,
            Total(total) => total.max(if count == 1 { of_answer } else { 0 }),
        };
        let travelled = answer.rows_travelled() as i64;
        if travelled > most || (matches!(travel, Answer) && travelled != most) {
            let explained = ask(&engine, &format!("EXPLAIN {sql}")).await.expect("it was planned already");
            let plan: Vec<_> = parsed(&explained.rows).iter().map(|row| row["plan"].to_string()).collect();
            let plan = plan.join("\n").replace("\\n", "\n");
            wrong.push(format!("{sql}\n  {travelled} rows travelled in place of at most {most}\n{plan}"));
        }
    }
    assert!(wrong.is_empty(), "on {count} shards:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_answers_as_a_single_engine_and_little_travels() {
    compare(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_shards_answer_as_a_single_engine_and_little_travels() {
    compare(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_shards_answer_as_a_single_engine_and_little_travels() {
    compare(5).await;
}
