//! What happens while the load runs: leaders are killed, groups join and leave, shards move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_statemachines::configlog::{Command, Query, Reply};
use quorate_statemachines::kv::{KvAnswer, KvQuery};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::load::Load;
use super::report::Report;
use crate::embedded::ReplicaFault;
use crate::kv::{Reach, ShardedStore};
use quorate::Consistency;

const TIMEOUT: Duration = Duration::from_secs(20);
const SHARDS: u32 = 12;

/// What is done when so many percent of the load are in.
const SCENES: [(usize, Scene); 7] = [
    (10, Scene::KillLeader("g1")),
    (25, Scene::Join("g3")),
    (40, Scene::Restart("g1")),
    (50, Scene::Move(0, "g2")),
    (60, Scene::KillLeader("g3")),
    (70, Scene::Leave("g2")),
    (85, Scene::Join("g2")),
];

#[derive(Clone, Copy)]
enum Scene {
    KillLeader(&'static str),
    Restart(&'static str),
    Join(&'static str),
    Leave(&'static str),
    Move(u32, &'static str),
}

/// The story as it unfolds.
pub(super) struct Story {
    store: Arc<ShardedStore>,
    events: Vec<String>,
    killed: BTreeMap<&'static str, usize>,
    kills: usize,
    started: Instant,
}

impl Story {
    /// Starts two groups, which share all shards.
    pub(super) async fn begin(store: Arc<ShardedStore>) -> anyhow::Result<Self> {
        store.ensure_groups(["g1", "g2", "g3"].map(Gid::new)).await?;
        let mut story = Story { store, events: Vec::new(), killed: BTreeMap::new(), kills: 0, started: Instant::now() };
        story.join(&["g1", "g2"]).await?;
        story.settle().await?;
        story.started = Instant::now();
        Ok(story)
    }

    /// Plays the scenes as the load goes on, and shows its progress.
    pub(super) async fn tell_while(&mut self, load: &Load) -> anyhow::Result<()> {
        let (_, total) = load.progress();
        let bar = ProgressBar::new(total as u64).with_style(style()?);
        let mut scenes = SCENES.iter().peekable();
        loop {
            let (done, total) = load.progress();
            bar.set_position(done as u64);
            if done >= total {
                break;
            }
            match scenes.next_if(|(percent, _)| done * 100 >= total * percent) {
                Some((_, scene)) => {
                    let event = self.play(*scene).await?;
                    let event = format!("{:5.1}s  {event}", self.started.elapsed().as_secs_f64());
                    bar.set_message(event.clone());
                    bar.println(&event);
                    if bar.is_hidden() {
                        println!("{event}");
                    }
                    self.events.push(event);
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn play(&mut self, scene: Scene) -> anyhow::Result<String> {
        match scene {
            Scene::KillLeader(name) => {
                let gid = Gid::new(name);
                let group = self.store.group(&gid).context("no such group")?;
                let leader = group.leader().unwrap_or(0);
                self.store.fault(&gid, leader, ReplicaFault::Stop).await?;
                self.killed.insert(name, leader);
                self.kills += 1;
                Ok(format!("killed {gid}/{leader}, which led {gid}"))
            }
            Scene::Restart(name) => {
                let gid = Gid::new(name);
                let Some(replica) = self.killed.remove(name) else { return Ok(format!("nothing to restart in {gid}")) };
                self.store.fault(&gid, replica, ReplicaFault::Start).await?;
                Ok(format!("started {gid}/{replica} again"))
            }
            Scene::Join(name) => {
                let number = self.join(&[name]).await?;
                Ok(format!("{name} joins (configuration {number}): shards move to it while they are written"))
            }
            Scene::Leave(name) => {
                let gids = BTreeSet::from([Gid::new(name)]);
                let number = self.change(Command::Leave { gids }).await?;
                Ok(format!("{name} leaves (configuration {number}): its shards move away"))
            }
            Scene::Move(shard, name) => {
                let command = Command::Move { shard: ShardId(shard), gid: Gid::new(name) };
                let number = self.change(command).await?;
                Ok(format!("shard {shard} moves to {name} (configuration {number})"))
            }
        }
    }

    async fn join(&self, names: &[&str]) -> anyhow::Result<ConfigNumber> {
        let groups = names.iter().map(|name| (Gid::new(*name), Vec::new())).collect();
        self.change(Command::Join { groups, shard_count: SHARDS }).await
    }

    async fn change(&self, command: Command) -> anyhow::Result<ConfigNumber> {
        match self.store.client().change(&command, TIMEOUT).await? {
            Reply::Done { number } => Ok(number),
            other => anyhow::bail!("{command:?} was answered {other:?}"),
        }
    }

    /// Waits until every group is at the newest configuration and has no move under way.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let newest = self.store.client().configuration(Query::Latest, TIMEOUT).await?.context("no configuration")?;
        let deadline = Instant::now() + TIMEOUT * 2;
        for gid in self.store.gids() {
            let group = self.store.group(&gid).context("no such group")?;
            loop {
                anyhow::ensure!(Instant::now() < deadline, "{gid} does not settle");
                if let Ok(reply) = group.read(Consistency::Linearizable, &KvQuery::Status, TIMEOUT, 0).await
                    && let KvAnswer::Status(status) = reply.answer
                    && status.settled
                    && status.number == newest.number
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.events.clone()
    }

    pub(super) fn judge(&self, report: &mut Report) {
        let scenes = self.events.len();
        let all = (scenes == SCENES.len()).then(|| format!("{scenes} events, {} leaders killed", self.kills));
        report.check("leaders died and shards moved under load", all.ok_or(format!("only {scenes} events happened")));
    }
}

fn style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{elapsed:>5} [{bar:40}] {pos}/{len} words, {per_sec}")?.progress_chars("=> "))
}
