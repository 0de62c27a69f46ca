//! Shards that move, and what befalls the leaders that take part in it.

use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::admin::{GROUPS, until};
use crate::faults::Fault;
use crate::nemesis::Nemesis;

/// The steps of a move take some tens of milliseconds, and some more under load: any of them may be hit.
const STEPS_MS: u64 = 150;

impl Nemesis {
    /// Moves shards for about an interval. While the first one is under way, the leader of the group that gives it or of the
    /// one that takes it is struck, if there is anything to strike with.
    pub(super) async fn moves(&mut self) -> anyhow::Result<()> {
        // Nothing moves before the nodes of the last fault are back.
        let admin = self.admin()?;
        if until(async || admin.configuration().await.map(Some)).await.is_err() {
            return Ok(());
        }
        let strikes = [Fault::Kill, Fault::Pause, Fault::Cut];
        let strikes: Vec<Fault> = strikes.into_iter().filter(|fault| self.plan.faults.contains(fault)).collect();
        let end = GROUPS.choose(&mut self.rng).copied().unwrap_or(GROUPS[0]);
        let victim = match strikes.choose(&mut self.rng) {
            Some(fault) => self.admin()?.leader(end).await.map(|leader| (*fault, leader)),
            None => None,
        };
        let until = self.recorder.now() + self.plan.interval.mul_f64(self.rng.random_range(0.5..1.5));
        self.move_one().await?;
        let mut struck = None;
        if let Some((fault, leader)) = victim {
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..STEPS_MS))).await;
            struck = Some(self.strike(fault, vec![leader]).await);
        }
        while self.recorder.now() < until && !self.is_over() {
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(20..300))).await;
            self.move_one().await?;
            self.nodes.attend()?;
        }
        match struck {
            Some(struck) => self.undo(struck).await,
            None => Ok(()),
        }
    }

    /// Some shard is to go to another group.
    async fn move_one(&mut self) -> anyhow::Result<()> {
        let admin = self.admin()?;
        // Where nobody answers, nothing moves.
        let Ok(config) = admin.configuration().await else { return Ok(()) };
        let shard = self.rng.random_range(0..config.shards.len().max(1));
        let owner = config.shards.get(shard).cloned().unwrap_or_default();
        let others: Vec<&str> = GROUPS.into_iter().filter(|group| *group != owner).collect();
        let Some(to) = others.choose(&mut self.rng).copied() else { return Ok(()) };
        let window = self.note(Fault::Moves, vec![format!("shard {shard} to {to}")]);
        // Nobody may have heard it, or all of it may be done later.
        let _ = admin.move_shard(u32::try_from(shard)?, to).await;
        self.recorder.end(window);
        Ok(())
    }
}
