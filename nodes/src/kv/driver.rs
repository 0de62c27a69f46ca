//! What the leader of a shard group does besides serving: follow the configuration log, pull gained shards, tell
//! sources, free what was given up.
//!
//! Every step is an entry of some group's log that changes nothing when it comes twice, and all there is to do follows
//! from the replicated state. So a driver keeps nothing: it may be stopped anywhere, two may run at once for a moment,
//! and a new leader's goes on where the last one stopped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::select;
use quorate::env::{BoxFuture, Env};
use quorate::planted::{self, Bug};
use quorate::{Consistency, Group, WriteError, WriteOptions, Written};
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::{
    AckWork, HandOffWork, KvAnswer, KvCommand, KvMachine, KvQuery, KvReply, Step, SweepWork, Work,
};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::reach::{Directory, Reach};

/// How a driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverOptions {
    /// About how many bytes of a shard travel in one piece.
    pub chunk_bytes: u64,
    /// At most so many bytes of a shard are pulled in a second; `None` for as many as will go.
    pub bytes_per_second_max: Option<u64>,
    /// A shard is frozen when at most so many bytes of changes are left to pull: what is left is the write gap.
    pub freeze_bytes: u64,
    /// A shard whose changes never get that few is frozen after so many deltas all the same.
    pub freeze_deltas_max: u32,
    /// So many keys are freed by one entry.
    pub sweep_keys: u32,
    /// How long one call of the driver may take.
    pub call_timeout: Duration,
    /// The longest pause between two looks at what there is to do.
    pub look: Duration,
}

impl Default for DriverOptions {
    fn default() -> Self {
        DriverOptions {
            chunk_bytes: 128 * 1024,
            bytes_per_second_max: None,
            freeze_bytes: 16 * 1024,
            freeze_deltas_max: 32,
            sweep_keys: 1024,
            call_timeout: Duration::from_millis(1000),
            look: Duration::from_millis(100),
        }
    }
}

/// The shortest pause between two looks.
const LOOK_MIN: Duration = Duration::from_millis(2);

/// How long to wait before a duty that failed is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// The driver of one replica of a shard group; it acts while that replica leads.
#[derive(Clone)]
pub struct Driver {
    pub(super) me: Gid,
    pub(super) own: Group<KvMachine>,
    pub(super) configs: Option<Arc<dyn Reach<ConfigLog>>>,
    pub(super) groups: Arc<dyn Directory>,
    pub(super) env: Arc<dyn Env>,
    pub(super) options: DriverOptions,
    busy: Arc<Mutex<BTreeSet<Duty>>>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Something that one task of a driver is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Pull(ShardId),
    Acknowledge(ShardId, ConfigNumber),
    HandOff(ShardId),
    Sweep(ShardId),
}

impl Driver {
    /// A driver for `own`, a replica of group `me`. Without `configs` it is told configurations by others and does the
    /// moves only.
    pub fn new(
        me: Gid,
        own: Group<KvMachine>,
        configs: Option<Arc<dyn Reach<ConfigLog>>>,
        groups: Arc<dyn Directory>,
        env: Arc<dyn Env>,
        options: DriverOptions,
    ) -> Self {
        Driver { me, own, configs, groups, env, options, busy: Arc::default() }
    }

    /// Works until the replica stops.
    pub async fn run(self) {
        let mut leadership = self.own.watch();
        loop {
            let now = leadership.borrow_and_update().clone();
            if now.stopped.is_some() {
                return;
            }
            if now.leader == Some(self.own.node()) {
                let deposed = std::pin::pin!(leadership.changed());
                let leading = std::pin::pin!(self.lead());
                select(deposed, leading).await;
            } else if leadership.changed().await.is_err() {
                return;
            }
        }
    }

    /// Does what there is to do, until dropped.
    async fn lead(&self) {
        let moves = std::pin::pin!(self.follow_moves());
        match &self.configs {
            Some(configs) => {
                let configs = std::pin::pin!(self.follow_configs(configs.as_ref()));
                select(configs, moves).await;
            }
            None => moves.await,
        }
    }

    async fn follow_moves(&self) {
        loop {
            let seen = self.own.applied();
            if let Some(work) = self.work().await {
                self.start(work);
            }
            self.env.sleep(LOOK_MIN).await;
            self.news(seen).await;
        }
    }

    /// Waits until this replica has applied more than `seen`, or it is time to look again anyway.
    pub(super) async fn news(&self, seen: Option<quorate::Index>) {
        let next = seen.map_or(quorate::Index(0), quorate::Index::next);
        self.own.wait_applied(next, self.options.look).await;
    }

    /// What there is to do, as this replica knows it.
    pub(super) async fn work(&self) -> Option<Work> {
        match self.own.read(Consistency::Local, &KvQuery::Work, self.options.call_timeout).await {
            Ok(reply) => match reply.answer {
                KvAnswer::Work(work) => Some(work),
                _ => None,
            },
            Err(_) => None,
        }
    }

    fn start(&self, work: Work) {
        for pull in work.pulls {
            let driver = self.clone();
            self.begin(Duty::Pull(pull.shard), Box::pin(async move { driver.pull(pull.shard).await }));
        }
        for ack in work.acks {
            let driver = self.clone();
            self.begin(
                Duty::Acknowledge(ack.shard, ack.lost_at),
                Box::pin(async move { driver.acknowledge(ack).await }),
            );
        }
        for hand_off in work.hand_offs.into_iter().filter(|hand_off| hand_off.frozen_at.is_some()) {
            let driver = self.clone();
            self.begin(Duty::HandOff(hand_off.shard), Box::pin(async move { driver.ask_installed(hand_off).await }));
        }
        for sweep in work.sweeps {
            let driver = self.clone();
            self.begin(Duty::Sweep(sweep.shard), Box::pin(async move { driver.sweep(sweep).await }));
        }
    }

    /// Starts a task for a duty, unless one is at it.
    fn begin(&self, duty: Duty, task: BoxFuture<()>) {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(duty) {
            return;
        }
        let driver = self.clone();
        self.env.spawn(Box::pin(async move {
            task.await;
            driver.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&duty);
        }));
    }

    /// Whether this replica still leads: a task that outlives its leadership ends.
    pub(super) fn leads(&self) -> bool {
        self.own.watch().borrow().leader == Some(self.own.node())
    }

    pub(super) async fn write_own(&self, command: KvCommand) -> Result<KvReply, WriteError> {
        let options = WriteOptions { session: None, timeout: self.options.call_timeout };
        self.own.write(&command, options).await.map(|written: Written<KvReply>| written.reply)
    }

    /// Tells the source that a shard is installed here; it deletes what it kept.
    async fn acknowledge(&self, ack: AckWork) {
        let AckWork { shard, lost_at, source } = ack;
        if let Some(group) = self.groups.find(&source) {
            let delete = KvCommand::Delete { shard, lost_at, to: self.me.clone() };
            match group.write(&delete, self.options.call_timeout, 0).await.map(|written| written.reply) {
                Ok(KvReply::Step(Step::Done | Step::Nothing)) => {
                    // If this is lost the source is told again, and has nothing to do.
                    let _ = self.write_own(KvCommand::Acknowledged { shard, lost_at, source }).await;
                    return;
                }
                Ok(KvReply::Step(Step::StillServed)) => {
                    let freeze = KvCommand::Freeze { shard, lost_at };
                    let _ = group.write(&freeze, self.options.call_timeout, 0).await;
                }
                Ok(other) => tracing::warn!(%shard, ?other, "a source's answer to a delete"),
                Err(error) => tracing::debug!(%shard, %error, "a source could not be told"),
            }
        }
        self.env.sleep(RETRY).await;
    }

    /// Asks the destination of a frozen shard whether it has it: it may have told us while nobody led here.
    async fn ask_installed(&self, hand_off: HandOffWork) {
        let HandOffWork { shard, lost_at, to, .. } = hand_off;
        if planted::is(Bug::DeletedBeforeInstalled) {
            let _ = self.write_own(KvCommand::Delete { shard, lost_at, to }).await;
            return;
        }
        self.env.sleep(self.options.look).await;
        let Some(group) = self.groups.find(&to) else { return };
        let query = KvQuery::Installed { shard, source: self.me.clone(), lost_at };
        let answer = group.read(Consistency::Linearizable, &query, self.options.call_timeout, 0).await;
        if matches!(answer.map(|reply| reply.answer), Ok(KvAnswer::Installed(true))) && self.leads() {
            let _ = self.write_own(KvCommand::Delete { shard, lost_at, to }).await;
        }
    }

    /// Frees what was given up, a bounded part at a time.
    async fn sweep(&self, sweep: SweepWork) {
        let command = KvCommand::Sweep { shard: sweep.shard, max_keys: self.options.sweep_keys };
        while self.leads() {
            match self.write_own(command.clone()).await {
                // Between two entries clients get their turn.
                Ok(KvReply::Step(Step::Swept { left })) if left > 0 => self.env.sleep(LOOK_MIN).await,
                Ok(_) => return,
                Err(_) => self.env.sleep(RETRY).await,
            }
        }
    }
}
