//! What the shards know of the tables that a statement reads.
//!
//! Promises: a shard that is late holds the planning back for a part of its time only, and one that was late before not at
//! all.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::shard::{Opening, Shard};
use crate::data::{ReadConsistency, ShardError, ShardView};
use crate::plan::planner::Known;

/// What a table is taken to have when nobody has counted.
const ROWS: usize = 1000;

/// The shards' views, as far as there are any.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) openings: Vec<Opening>,
    outcomes: Vec<Option<Result<Arc<dyn ShardView>, ShardError>>>,
}

/// The tables that a statement reads.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) known: BTreeMap<String, Known>,
    pub(super) unknown: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Opened {
    /// Asks all shards for their views.
    pub(super) fn ask(shards: &[Arc<Shard>], consistency: ReadConsistency, deadline: Instant) -> Self {
        let openings: Vec<Opening> = shards.iter().map(|shard| shard.open(consistency, deadline)).collect();
        Opened { outcomes: vec![None; openings.len()], openings }
    }

    /// Waits until the shards that can be expected to answer have, but after `hasty` only until `tables` are known.
    pub(super) async fn enough(&mut self, tables: &[String], shards: &[Arc<Shard>], hasty: Instant) {
        let openings = self.openings.iter().cloned().enumerate();
        let mut opening: FuturesUnordered<_> =
            openings.map(|(shard, opening)| async move { (shard, opening.await) }).collect();
        let mut haste = false;
        loop {
            let waits = |(shard, outcome): (usize, &Option<_>)| outcome.is_none() && !shards[shard].is_suspect();
            let all = !self.outcomes.iter().enumerate().any(waits);
            if (haste || all) && self.know_all(tables) {
                return;
            }
            tokio::select! {
                next = opening.next() => match next {
                    Some((shard, outcome)) => self.outcomes[shard] = Some(outcome),
                    None => return,
                },
                () = tokio::time::sleep_until(hasty), if !haste => haste = true,
            }
        }
    }

    /// The views that there are.
    pub(super) fn views(&self) -> impl Iterator<Item = &Arc<dyn ShardView>> {
        self.outcomes.iter().flatten().flatten()
    }

    fn know_all(&self, tables: &[String]) -> bool {
        tables.iter().all(|table| self.views().any(|view| view.table(table).is_some()))
    }

    /// The shards without a view, and why.
    pub(super) fn failed(&self) -> BTreeMap<usize, ShardError> {
        let error = |(shard, outcome): (usize, &Option<Result<_, ShardError>>)| match outcome {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some((shard, error.clone())),
            None => Some((shard, ShardError::Timeout)),
        };
        self.outcomes.iter().enumerate().filter_map(error).collect()
    }

    /// What the views say of `tables`: the first shard that knows a table says what it looks like.
    pub(super) fn catalogue(&self, tables: &[String], shards: &[Arc<Shard>]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for name in tables {
            match self.views().find_map(|view| view.table(name)) {
                Some(table) => _ = catalogue.known.insert(name.clone(), Known { table, rows: ROWS }),
                None => catalogue.unknown.push(name.clone()),
            }
        }
        for (shard, outcome) in shards.iter().zip(&self.outcomes) {
            let Some(Ok(view)) = outcome else { continue };
            for name in catalogue.known.keys().filter(|name| view.table(name).is_none()) {
                let text = format!("shard {:?} does not know the table {name:?} that others know", shard.name());
                catalogue.warnings.push(text);
            }
        }
        catalogue
    }
}

/// The tables with the rows that the views have, as far as they can be read.
pub(super) fn weigh(
    mut known: BTreeMap<String, Known>,
    views: &[Arc<dyn ShardView>],
    shards: usize,
) -> BTreeMap<String, Known> {
    for known in known.values_mut() {
        let of = |view: &Arc<dyn ShardView>| view.rows(&*view.table(&known.table.name)?);
        let counted: Vec<usize> = views.iter().filter_map(of).collect();
        // Those that have not answered are taken to be like the others.
        if !counted.is_empty() {
            known.rows = counted.iter().sum::<usize>() * shards / counted.len();
        }
    }
    known
}
