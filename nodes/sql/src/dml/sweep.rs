//! Freeing the rows of dropped tables, a little at a time.
//!
//! Any number of sweepers may run: what they remove belongs to an incarnation that nobody can name any more.

use std::sync::Arc;
use std::time::Duration;

use quorate_statemachines::kv::{Batch, Change, Check, Expect, KvCommand};
use tokio::time::Instant;

use super::{Dml, Shard};
use crate::data::{KvView, Sight};
use crate::rows::{dropped_key, rows_prefix};
use crate::schema::TableId;

/// So many keys are removed by one entry.
const KEYS: usize = 1024;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(1);

impl Dml {
    /// Frees rows of dropped tables until dropped, looking for them every `pause`.
    pub async fn sweep_forever(&self, pause: Duration) {
        loop {
            self.sweep().await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Frees the rows of all tables that are dropped now, on all shards that answer.
    pub async fn sweep(&self) {
        futures::future::join_all(self.shards.iter().map(sweep_shard)).await;
    }
}

async fn sweep_shard(shard: &Shard) {
    // A shard that does not answer is swept another time.
    while let Ok(view) = shard.data.see(&Sight::Dropped(KEYS), Instant::now() + STEP).await {
        let Some(id) = view.dropped().into_iter().next() else { return };
        let command = KvCommand::Batch { shard: shard.data.shard(), session: None, batch: step(&view, &id) };
        if let Err(error) = shard.data.reach().write(&command, STEP, 0).await {
            tracing::debug!(shard = %shard.name, %error, "a dropped table's rows are left for later");
            return;
        }
    }
}

/// Removes some rows; when there are none left, the marker.
fn step(view: &KvView, id: &TableId) -> Batch {
    let marker = dropped_key(id);
    let remove = |key| Change { key, expect: Expect::Anything, value: None };
    let prefix = rows_prefix(id);
    let mut changes: Vec<Change> = view.keys_of(&prefix).take(KEYS).cloned().map(remove).collect();
    if changes.len() < KEYS {
        changes.push(remove(Arc::clone(&marker)));
    }
    let checks = view.get(&marker).map(|value| Check { key: marker, expect: Expect::Seen(value.digest()) });
    Batch { statement: 0, checks: checks.into_iter().collect(), changes, rows: 0 }
}
