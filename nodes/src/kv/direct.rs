//! A client of single groups: it asks the group that it is told to, whoever the configuration names.
//!
//! Promises: an operation takes effect at most once over all its attempts; a shard that is on its way is waited for,
//! one that is somebody else's is not; every call ends by its deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate::env::Env;
use quorate::sessions::Stamp;
use quorate::types::NodeId;
use quorate::{Consistency, ReadReply};
use quorate_statemachines::kv::{
    Configure, Configured, Json, KvAnswer, KvCommand, KvMachine, KvOp, KvQuery, KvReply, NotServed, Outcome, Scan,
    ShardState, Status,
};
use quorate_statemachines::slot::shard_of;
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::attempts::Attempts;
use super::client::{ScanPage, ScanRange, merge};
use super::error::{KvError, of_harmless};
use super::operate::{Attempt, Sessions};
use super::reach::Reach;

/// A group to ask.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its name.
    pub gid: &'a Gid,
    /// The way to it.
    pub group: &'a dyn Reach<KvMachine>,
}

/// A client of single groups. Shared by all callers of a process.
pub struct DirectClient {
    env: Arc<dyn Env>,
    sessions: Sessions<(Gid, ShardId)>,
    /// How many shards each group counts, which never changes once it has a configuration.
    shard_counts: RwLock<BTreeMap<Gid, u32>>,
}

impl std::fmt::Debug for DirectClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectClient")
    }
}

impl DirectClient {
    /// A client with sessions of its own.
    pub fn new(env: Arc<dyn Env>) -> Self {
        DirectClient { sessions: Sessions::new(&env), shard_counts: RwLock::default(), env }
    }

    /// Carries out one operation, once; see [`super::KvClient::execute`].
    ///
    /// # Errors
    /// [`KvError`]; definite only if the operation has not taken effect and never will.
    pub async fn execute(
        &self,
        target: Target<'_>,
        op: KvOp,
        session: Option<Stamp>,
        timeout: Duration,
    ) -> Result<Outcome, KvError> {
        let mut attempts = Attempts::new(&self.env, timeout);
        let key = Arc::clone(op.key());
        let shard = self.shard(&mut attempts, target, &key).await?;
        let mut numbered = self.sessions.number(op, session);
        let place = (target.gid.clone(), shard);
        while !attempts.left().is_zero() {
            match self.sessions.attempt(&mut attempts, &mut numbered, place.clone(), shard, target.group).await {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Again => {}
                Attempt::NotServed(why) => {
                    wait_for(&mut attempts, why).await?;
                    // By reading: what is proposed while the shard is away only makes the log longer.
                    served(&mut attempts, target, shard, &key).await?;
                }
                Attempt::Failed(error) => return Err(error),
            }
        }
        Err(attempts.over())
    }

    /// A key's value, linearizable.
    ///
    /// # Errors
    /// [`KvError`], always definite: a read changes nothing.
    pub async fn get(&self, target: Target<'_>, key: &Arc<str>, timeout: Duration) -> Result<Option<Json>, KvError> {
        let mut attempts = Attempts::new(&self.env, timeout);
        let shard = self.shard(&mut attempts, target, key).await?;
        served(&mut attempts, target, shard, key).await
    }

    /// The keys of a range over all shards that the group serves, in their order: linearizable for each shard, not
    /// across them; each shard is read once, under one configuration.
    ///
    /// # Errors
    /// [`KvError`], always definite.
    pub async fn scan(&self, target: Target<'_>, range: &ScanRange, timeout: Duration) -> Result<ScanPage, KvError> {
        let mut attempts = Attempts::new(&self.env, timeout);
        loop {
            let (before, _) = status(&mut attempts, target).await?;
            match self.scan_shards(&mut attempts, target, range, &before).await? {
                Ok(pages) if status(&mut attempts, target).await?.0.number == before.number => {
                    return Ok(merge(pages, range.limit));
                }
                Ok(_) => {}
                Err(why) => wait_for(&mut attempts, why).await?,
            }
        }
    }

    async fn scan_shards(
        &self,
        attempts: &mut Attempts,
        target: Target<'_>,
        range: &ScanRange,
        status: &Status,
    ) -> Result<Result<Vec<ScanPage>, NotServed>, KvError> {
        if status.number == ConfigNumber(0) {
            return Ok(Err(NotServed::NoConfig));
        }
        let mut pages = Vec::new();
        let held = status.shards.iter().filter(|(_, shard)| shard.state != ShardState::Deleting);
        for (shard, _) in held {
            let ScanRange { from, to, prefix, limit } = range.clone();
            let query = KvQuery::Scan(Scan { shard: *shard, from, to, prefix, limit });
            match ask(attempts, target, &query).await?.answer {
                KvAnswer::Items { items, more } => pages.push(ScanPage { items, more }),
                // Kept for nobody, or gone meanwhile: not this group's.
                KvAnswer::NotServed(NotServed::WrongGroup { .. }) => {}
                KvAnswer::NotServed(why) => return Ok(Err(why)),
                other => return Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
            }
        }
        Ok(Ok(pages))
    }

    /// What the group holds, and the node that said so: its leader.
    ///
    /// # Errors
    /// [`KvError`], always definite.
    pub async fn status(&self, target: Target<'_>, timeout: Duration) -> Result<(Status, NodeId), KvError> {
        status(&mut Attempts::new(&self.env, timeout), target).await
    }

    /// Has the group take a configuration; says which shards are on their way after it.
    ///
    /// # Errors
    /// [`KvError`]; definite only if the configuration was not taken and never will be.
    pub async fn configure(
        &self,
        target: Target<'_>,
        config: &Configure,
        timeout: Duration,
    ) -> Result<(Configured, Vec<ShardId>), KvError> {
        let mut attempts = Attempts::new(&self.env, timeout);
        let command = KvCommand::Configure(config.clone());
        while !attempts.left().is_zero() {
            let open = match target.group.write(&command, attempts.left(), attempts.nth).await {
                Ok(written) => return configured(&mut attempts, written.reply),
                Err(error) => error,
            };
            if !open.is_definite() {
                attempts.lost(open.to_string());
            }
            attempts.another_replica(of_harmless(open)).await;
        }
        Err(attempts.over())
    }

    /// The shard of a key, as the group's configuration counts them.
    async fn shard(&self, attempts: &mut Attempts, target: Target<'_>, key: &str) -> Result<ShardId, KvError> {
        let known = self.shard_counts.read().unwrap_or_else(PoisonError::into_inner).get(target.gid).copied();
        if let Some(count) = known {
            return Ok(shard_of(key, count));
        }
        let (status, _) = status(attempts, target).await?;
        if status.number == ConfigNumber(0) {
            return Err(KvError::NoConfig);
        }
        let mut counts = self.shard_counts.write().unwrap_or_else(PoisonError::into_inner);
        counts.insert(target.gid.clone(), status.shard_count);
        Ok(shard_of(key, status.shard_count))
    }
}

/// An attempt of unknown outcome may still be carried out after a later one was refused.
fn configured(attempts: &mut Attempts, reply: KvReply) -> Result<(Configured, Vec<ShardId>), KvError> {
    match reply {
        KvReply::Configured { outcome, in_transfer } => {
            let taken = matches!(outcome, Configured::Applied | Configured::SameAgain);
            if taken || !attempts.is_open() {
                Ok((outcome, in_transfer.into_iter().collect()))
            } else {
                Err(attempts.over())
            }
        }
        other => Err(attempts.fail(KvError::Invalid(format!("another command's reply: {other:?}")))),
    }
}

async fn status(attempts: &mut Attempts, target: Target<'_>) -> Result<(Status, NodeId), KvError> {
    let reply = ask(attempts, target, &KvQuery::Status).await?;
    match reply.answer {
        KvAnswer::Status(status) => Ok((status, reply.proof.served_by)),
        other => Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
    }
}

async fn ask(attempts: &mut Attempts, target: Target<'_>, query: &KvQuery) -> Result<ReadReply<KvAnswer>, KvError> {
    while !attempts.left().is_zero() {
        match target.group.read(Consistency::Linearizable, query, attempts.patience(), attempts.nth).await {
            Ok(reply) => return Ok(reply),
            Err(error) => attempts.another_replica(error.into()).await,
        }
    }
    Err(attempts.over())
}

/// Waits until the shard is served; the key's value then.
async fn served(
    attempts: &mut Attempts,
    target: Target<'_>,
    shard: ShardId,
    key: &Arc<str>,
) -> Result<Option<Json>, KvError> {
    let query = KvQuery::Get { shard, key: Arc::clone(key) };
    loop {
        match ask(attempts, target, &query).await?.answer {
            KvAnswer::Value(value) => return Ok(value),
            KvAnswer::NotServed(why) => wait_for(attempts, why).await?,
            other => return Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
        }
    }
}

/// Waits a little for a shard that is on its way; any other refusal is final.
async fn wait_for(attempts: &mut Attempts, why: NotServed) -> Result<(), KvError> {
    match why {
        NotServed::Migrating { .. } => {
            attempts.refused(KvError::NotServed(why));
            attempts.pause().await;
            Ok(())
        }
        NotServed::NoConfig => Err(attempts.fail(KvError::NoConfig)),
        NotServed::WrongGroup { .. } => Err(attempts.fail(KvError::NotServed(why))),
    }
}
