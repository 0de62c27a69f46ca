//! All rows of all shards, while rows are added, shards move and nodes fail: a plain scan is the leaf of every question.
//!
//! Asked in two ways: through the routing client, which answers for all shards or not at all; and shard by shard within one
//! deadline, as a coordinator does, where a shard that does not answer in time is left out and the answer says so.
//! Shows: no row is there twice, no shard counts whose rows are missing, and an answer in parts says that it is one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use quorate_harness::checker::scatter::{self, Gathered, Row};
use quorate_harness::sim::{Scenario, Shape, Sim};
use quorate_nodes::kv::ScanRange;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{KvOp, Outcome};
use quorate_statemachines::slot::shard_of;
use rand::RngExt;
use serde_json::json;

use super::layout::NODES;
use super::operator::{self, SHARDS};
use super::outside::{Client, Ended, Outside, json as text};
use super::{World, suffers};

const LENGTH: Duration = Duration::from_secs(4);
const WRITERS: u64 = 3;
const WRITES: u64 = 30;
const ASKERS: u64 = 2;
const QUESTIONS: u64 = 25;
const CHANGES: u64 = 5;

/// How long a shard may take.
const SHARD: Duration = Duration::from_millis(300);

/// How long an answer for all may take.
const ALL: Duration = Duration::from_secs(2);

/// How long the store may take to serve when all is well.
const HEAL: Duration = Duration::from_secs(30);

/// What all rows begin with.
const ROWS: &str = "row-";

/// All rows that anybody has tried to add, with their shards.
type Rows = RefCell<BTreeMap<String, (u64, Row)>>;

/// The scenario.
pub(crate) struct Scatter;

#[async_trait(?Send)]
impl Scenario for Scatter {
    fn name(&self) -> &str {
        "scatter"
    }

    fn about(&self) -> &str {
        "all rows of a sharded store gathered: none twice, none missing of a shard that counts, parts say that they are parts"
    }

    fn shape(&self) -> Shape {
        let (clients, operations) = (WRITERS + ASKERS, WRITES);
        Shape { nodes: NODES, length: LENGTH, clients, operations, faults: 5, suffers: suffers() }
    }

    async fn run(&self, sim: &Sim) {
        let world = World::start(sim, 3).await;
        let outside: Vec<Outside> = (1..=2).map(|nth| Outside::new(sim, &world.layout, nth)).collect();
        if !operator::join(sim, &outside[0], world.layout.gids()).await {
            return sim.violate("a store starts", "no group could join".into());
        }
        let rows = Rows::default();
        let writers = (1..=WRITERS).map(|process| write(sim, &outside[(process % 2) as usize], process, &rows));
        let askers = (1..=ASKERS).map(|nth| ask(sim, &outside[(nth % 2) as usize], WRITERS + nth, &rows));
        let operator = operator::operate(sim, &outside[0], world.layout.gids(), CHANGES, LENGTH);
        futures::join!(sim.disturb(), join_all(writers), join_all(askers), operator);

        world.traps.clear();
        sim.calm().await;
        if !operator::join(sim, &outside[1], &world.layout.gids()[..1]).await {
            return sim.violate("service resumes when all is well", "no configuration can be made".into());
        }
        match all(sim, &outside[1], HEAL).await {
            Some(gathered) => judge(sim, &gathered, &rows),
            None => sim.violate("service resumes when all is well", "not all rows can be read".into()),
        }
    }
}

fn now(sim: &Sim) -> u64 {
    sim.now().as_nanos() as u64
}

/// Adds one row after the other.
async fn write(sim: &Sim, outside: &Outside, process: u64, rows: &Rows) {
    let client = Client::new(outside, &format!("writer-{process}"));
    for number in 1..=WRITES {
        let mut random = sim.random("operation", process << 32 | number);
        sim.sleep(Duration::from_millis(random.random_range(0..2 * LENGTH.as_millis() as u64 / WRITES))).await;
        if sim.now() >= LENGTH {
            return;
        }
        if !sim.plan().keeps(process, number) {
            continue;
        }
        let row = format!("{ROWS}{process}-{number}");
        let shard = u64::from(shard_of(&row, SHARDS).0);
        rows.borrow_mut().insert(row.clone(), (shard, Row { called: now(sim), known: None }));
        let ticket = sim.invoke(process, "add", json!(shard), json!(row), None);
        match client.run(KvOp::Put { key: row.as_str().into(), value: text(&row) }).await {
            Ended::Done(Outcome::Put) => {
                let known = Some(now(sim));
                rows.borrow_mut().entry(row.clone()).and_modify(|(_, row)| row.known = known);
                ticket.ok(json!(row));
            }
            Ended::Done(other) => sim.violate("a put puts", format!("{row}: {other:?}")),
            Ended::Refused(error) => ticket.fail(error),
            Ended::Unknown(error) => ticket.info(error),
        }
    }
}

/// Asks for all rows, in one way or the other.
async fn ask(sim: &Sim, outside: &Outside, process: u64, rows: &Rows) {
    for number in 1..=QUESTIONS {
        let mut random = sim.random("operation", process << 32 | number);
        sim.sleep(Duration::from_millis(random.random_range(0..2 * LENGTH.as_millis() as u64 / QUESTIONS))).await;
        if sim.now() >= LENGTH {
            return;
        }
        if !sim.plan().keeps(process, number) {
            continue;
        }
        let ticket = sim.invoke(process, "gather", json!(null), json!(null), None);
        let gathered = match random.random_range(0..3) {
            0 => all(sim, outside, ALL).await,
            _ => parts(sim, outside).await,
        };
        match gathered {
            Some(gathered) => {
                ticket.ok(json!({ "rows": gathered.rows.len(), "shards": gathered.counted }));
                judge(sim, &gathered, rows);
            }
            None => ticket.fail("no answer"),
        }
    }
}

fn shard_and_row(key: &Arc<str>) -> (u64, String) {
    (u64::from(shard_of(key, SHARDS).0), key.to_string())
}

/// Every shard, or no answer.
async fn all(sim: &Sim, outside: &Outside, timeout: Duration) -> Option<Gathered> {
    let called = now(sim);
    let range = ScanRange { prefix: Some(ROWS.into()), ..ScanRange::default() };
    let page = outside.kv.scan(range, timeout).await.ok()?;
    Some(Gathered {
        called,
        returned: now(sim),
        shards: u64::from(SHARDS),
        counted: (0..u64::from(SHARDS)).collect(),
        whole: !page.more,
        rows: page.items.iter().map(|(key, _)| shard_and_row(key)).collect(),
    })
}

/// Every shard that answers in time, as of one configuration.
async fn parts(sim: &Sim, outside: &Outside) -> Option<Gathered> {
    let called = now(sim);
    let config = outside.latest().await?;
    let leaf = async |shard: ShardId| {
        let owner = config.owner(shard)?;
        let answer = outside.scan_shard(owner, shard, ROWS, SHARD);
        let rows = tokio::time::timeout(SHARD, answer).await.ok().flatten()?;
        Some((u64::from(shard.0), rows))
    };
    let answers = join_all(config.shard_ids().map(leaf)).await;
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let counted: BTreeSet<u64> = answers.iter().map(|(shard, _)| *shard).collect();
    Some(Gathered {
        called,
        returned: now(sim),
        shards: u64::from(SHARDS),
        whole: counted.len() as u64 == u64::from(SHARDS),
        counted,
        rows: answers.iter().flat_map(|(_, rows)| rows.iter().map(shard_and_row)).collect(),
    })
}

fn judge(sim: &Sim, gathered: &Gathered, rows: &Rows) {
    if let Err(fault) = scatter::judge(gathered, &rows.borrow()) {
        sim.violate("what is gathered is what it says", format!("{fault}: {gathered:?}"));
    }
}
