//! The routing client: from a key to its shard, its group, its leader; and back with one answer.
//!
//! Promises: an operation takes effect at most once over all attempts, because they carry one session number; a definite
//! error is given only when no attempt can have taken effect; every call ends by its deadline.
//! Leaves out: caching of values.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate::env::{Env, Moment};
use quorate::planted::{self, Bug};
use quorate::sessions::Stamp;
use quorate::{Consistency, Proof, ReadError, ReadReply, Rejected, WriteError};
use quorate_statemachines::configlog::{self, Book, Config, ConfigLog};
use quorate_statemachines::kv::{Json, KvAnswer, KvMachine, KvOp, KvQuery, NotServed, Outcome, Scan};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::attempts::Attempts;
use super::error::KvError;
use super::operate::{Attempt, Sessions};
use super::reach::{Directory, Reach};

/// Which keys of the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRange {
    /// Only keys from this one on.
    pub from: Option<Arc<str>>,
    /// Only keys before this one.
    pub to: Option<Arc<str>>,
    /// Only keys that begin so.
    pub prefix: Option<Arc<str>>,
    /// How many at most.
    pub limit: Option<u64>,
}

/// Keys of the whole store, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The keys and their values.
    pub items: Vec<(Arc<str>, Json)>,
    /// Whether more may follow the last key.
    pub more: bool,
}

/// A client of a sharded store. Shared by all callers of a process.
pub struct KvClient {
    env: Arc<dyn Env>,
    configs: Arc<dyn Reach<ConfigLog>>,
    groups: Arc<dyn Directory>,
    cached: RwLock<Option<Arc<Config>>>,
    sessions: Sessions<ShardId>,
}

impl std::fmt::Debug for KvClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KvClient")
    }
}

/// One operation's way through the store: what it was told so far.
struct Way<'a> {
    client: &'a KvClient,
    attempts: Attempts,
    /// The group to ask next in place of the configuration's.
    detour: Option<Gid>,
    /// Whether the cached configuration is known to be old.
    stale: bool,
}

impl<'a> Way<'a> {
    fn new(client: &'a KvClient, timeout: Duration) -> Self {
        Way { client, attempts: Attempts::new(&client.env, timeout), detour: None, stale: false }
    }

    /// Follows what a group says that does not serve the shard.
    async fn not_served(&mut self, config: &Config, shard: ShardId, why: NotServed) {
        match &why {
            NotServed::Migrating { to: Some(gid), .. } | NotServed::Migrating { from: Some(gid), .. } => {
                self.detour = Some(gid.clone());
                // Between freeze and install both say this; the gap is short, so ask again soon.
                self.attempts.hurry();
            }
            NotServed::WrongGroup { number, group } if *number >= config.number => {
                self.stale = true;
                if *number > config.number {
                    self.detour.clone_from(group);
                }
            }
            // The group is not as far as the configuration: who had the shard before serves it still.
            NotServed::WrongGroup { number, .. } => self.detour_to_owner_at(*number, shard).await,
            NotServed::NoConfig => self.detour_to_owner_at(config.previous, shard).await,
            NotServed::Migrating { .. } => self.stale = true,
        }
        self.attempts.refused(KvError::NotServed(why));
        self.attempts.pause().await;
    }

    async fn detour_to_owner_at(&mut self, number: ConfigNumber, shard: ShardId) {
        self.stale = true;
        let query = configlog::Query::At(number);
        let configs = &self.client.configs;
        if let Ok(reply) = configs.read(Consistency::Local, &query, self.attempts.patience(), self.attempts.nth).await {
            self.detour = reply.answer.config().and_then(|config| config.owner(shard).cloned());
        }
    }

    /// The configuration to go by: the cached one, unless it is known to be old.
    async fn config(&mut self) -> Result<Arc<Config>, KvError> {
        if !self.stale
            && let Some(config) = self.client.cached()
        {
            return Ok(config);
        }
        loop {
            match self.client.fetch_config(self.attempts.patience(), self.attempts.nth).await {
                Ok(config) if config.exists() => {
                    self.stale = false;
                    return Ok(config);
                }
                Ok(_) => return Err(self.attempts.fail(KvError::NoConfig)),
                Err(_) if self.attempts.left().is_zero() => return Err(self.attempts.over()),
                Err(error) => self.attempts.another_replica(error.into()).await,
            }
        }
    }

    /// The group to ask about `shard`.
    async fn group(
        &mut self,
        config: &Config,
        shard: ShardId,
    ) -> Result<Option<(Gid, Arc<dyn Reach<KvMachine>>)>, KvError> {
        let gid = match self.detour.take().or_else(|| config.owner(shard).cloned()) {
            Some(gid) => gid,
            None if self.client.is_newest(config, self.attempts.patience(), self.attempts.nth).await => {
                return Err(self.attempts.fail(KvError::Unassigned(shard)));
            }
            None => {
                self.stale = true;
                self.attempts.pause().await;
                return Ok(None);
            }
        };
        match self.client.groups.find(&gid) {
            Some(group) => Ok(Some((gid, group))),
            None => {
                self.stale = true;
                // It is being started, or will be.
                self.attempts.another_replica(Rejected::NoLeader.into()).await;
                Ok(None)
            }
        }
    }
}

impl KvClient {
    /// A client that finds configurations and groups through these.
    pub fn new(env: Arc<dyn Env>, configs: Arc<dyn Reach<ConfigLog>>, groups: Arc<dyn Directory>) -> Self {
        let sessions = Sessions::new(&env);
        KvClient { env, configs, groups, cached: RwLock::default(), sessions }
    }

    /// Carries out one operation, once. With `session`, a repetition by the caller gets the first reply again; without
    /// it, only this call's own attempts are recognised as one.
    ///
    /// # Errors
    /// [`KvError`]; definite only if the operation has not taken effect and never will.
    pub async fn execute(&self, op: KvOp, session: Option<Stamp>, timeout: Duration) -> Result<Outcome, KvError> {
        let mut way = Way::new(self, timeout);
        let key = Arc::clone(op.key());
        let mut numbered = self.sessions.number(op, session);
        while !way.attempts.left().is_zero() {
            let config = way.config().await?;
            let Some(shard) = config.shard_of(&key) else { return Err(way.attempts.fail(KvError::NoConfig)) };
            let Some((_, group)) = way.group(&config, shard).await? else { continue };
            match self.sessions.attempt(&mut way.attempts, &mut numbered, shard, shard, group.as_ref()).await {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Again => {}
                Attempt::NotServed(why) => way.not_served(&config, shard, why).await,
                Attempt::Failed(error) => return Err(error),
            }
        }
        Err(way.attempts.over())
    }

    /// A key's value, and what the answer proves.
    ///
    /// # Errors
    /// [`KvError`], always definite: a read changes nothing.
    pub async fn get(
        &self,
        key: &Arc<str>,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<ReadReply<Option<Json>>, KvError> {
        let mut way = Way::new(self, timeout);
        while !way.attempts.left().is_zero() {
            let config = way.config().await?;
            let Some(shard) = config.shard_of(key) else { return Err(KvError::NoConfig) };
            let Some((_, group)) = way.group(&config, shard).await? else { continue };
            let query = KvQuery::Get { shard, key: Arc::clone(key) };
            match group.read(consistency, &query, way.attempts.patience(), way.attempts.nth).await {
                Ok(ReadReply { answer: KvAnswer::Value(value), proof }) => {
                    return Ok(ReadReply { answer: value, proof });
                }
                Ok(ReadReply { answer: KvAnswer::NotServed(why), .. }) => way.not_served(&config, shard, why).await,
                Ok(other) => return Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
                Err(error) => way.attempts.another_replica(error.into()).await,
            }
        }
        Err(way.attempts.over())
    }

    /// A key's value from some follower if it can prove the bound, else from the leader.
    ///
    /// # Errors
    /// As [`KvClient::get`].
    pub async fn get_bounded(
        &self,
        key: &Arc<str>,
        bound: Duration,
        timeout: Duration,
    ) -> Result<(Option<Json>, Proof), KvError> {
        let mut way = Way::new(self, timeout);
        // Attempt 0 is the leader: begin with the next replica.
        way.attempts.nth = 1 + (self.env.random() % 2) as usize;
        while !way.attempts.left().is_zero() {
            let config = way.config().await?;
            let Some(shard) = config.shard_of(key) else { return Err(KvError::NoConfig) };
            let Some((_, group)) = way.group(&config, shard).await? else { continue };
            let query = KvQuery::Get { shard, key: Arc::clone(key) };
            match group.read(Consistency::Bounded(bound), &query, way.attempts.patience(), way.attempts.nth).await {
                Ok(ReadReply { answer: KvAnswer::Value(value), proof }) => return Ok((value, proof)),
                Ok(ReadReply { answer: KvAnswer::NotServed(why), .. }) => way.not_served(&config, shard, why).await,
                Ok(other) => return Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
                Err(error) => way.attempts.another_replica(error.into()).await,
            }
        }
        Err(way.attempts.over())
    }

    /// The keys of a range over all shards, in their order: linearizable for each shard, not across them; each shard
    /// is read once, under one configuration.
    ///
    /// # Errors
    /// [`KvError`], always definite.
    pub async fn scan(&self, range: ScanRange, timeout: Duration) -> Result<ScanPage, KvError> {
        let mut way = Way::new(self, timeout);
        let mut counted = Vec::new();
        while !way.attempts.left().is_zero() {
            let config = way.config().await?;
            let shards = config.shard_ids().map(|shard| self.scan_shard(&config, shard, &range, way.attempts.deadline));
            let mut pages = futures::future::join_all(shards).await;
            if planted::is(Bug::TimedOutCounted) {
                pages.retain(|page| !matches!(page, Err(KvError::NoAnswer(_) | KvError::Unavailable(_))));
            }
            if planted::is(Bug::RowsCountedTwice) {
                counted.extend(pages.iter().flatten().cloned());
            }
            match pages.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(pages) if counted.is_empty() => return Ok(merge(pages, range.limit)),
                Ok(_) => return Ok(merge(counted, range.limit)),
                Err(error @ (KvError::Unassigned(_) | KvError::Invalid(_))) => return Err(error),
                Err(error) => {
                    way.stale = true;
                    way.attempts.refused(error);
                    way.attempts.nth += 1;
                    way.attempts.pause().await;
                }
            }
        }
        Err(way.attempts.over())
    }

    async fn scan_shard(
        &self,
        config: &Config,
        shard: ShardId,
        range: &ScanRange,
        deadline: Moment,
    ) -> Result<ScanPage, KvError> {
        let mut way = Way::new(self, deadline.since(self.env.now()));
        while !way.attempts.left().is_zero() {
            let Some((_, group)) = way.group(config, shard).await? else { return Err(way.attempts.over()) };
            let ScanRange { from, to, prefix, limit } = range.clone();
            let query = KvQuery::Scan(Scan { shard, from, to, prefix, limit });
            match group.read(Consistency::Linearizable, &query, way.attempts.patience(), way.attempts.nth).await {
                Ok(ReadReply { answer: KvAnswer::Items { items, more }, .. }) => return Ok(ScanPage { items, more }),
                Ok(ReadReply { answer: KvAnswer::NotServed(why @ NotServed::WrongGroup { .. }), .. }) => {
                    return Err(KvError::NotServed(why));
                }
                Ok(ReadReply { answer: KvAnswer::NotServed(why), .. }) => way.not_served(config, shard, why).await,
                Ok(other) => return Err(KvError::Invalid(format!("another query's answer: {other:?}"))),
                Err(error) => way.attempts.another_replica(error.into()).await,
            }
        }
        Err(way.attempts.over())
    }

    /// Has the configuration log carry out a change. Not repeated after an unknown outcome: a change has no session.
    ///
    /// # Errors
    /// [`KvError`]; definite only if the change was not made.
    pub async fn change(&self, command: &configlog::Command, timeout: Duration) -> Result<configlog::Reply, KvError> {
        let mut way = Way::new(self, timeout);
        while !way.attempts.left().is_zero() {
            let result = self.configs.write(command, way.attempts.left(), way.attempts.nth).await;
            if !matches!(result, Err(WriteError::Rejected(_))) {
                // What was cached may be old now, and whoever is told of the change must not be answered from it.
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            match result {
                Ok(written) => return Ok(written.reply),
                Err(WriteError::Rejected(cause)) => way.attempts.another_replica(cause.into()).await,
                Err(error) => return Err(KvError::Unknown(error.to_string())),
            }
        }
        Err(way.attempts.over())
    }

    /// Asks the configuration log for a configuration; `None` when none follows yet.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] when it did not answer in time.
    pub async fn configuration(
        &self,
        query: configlog::Query,
        timeout: Duration,
    ) -> Result<Option<Arc<Config>>, KvError> {
        Ok(self.ask_configs(query, timeout).await?.config())
    }

    /// Asks the configuration log for the cluster's nodes.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] when it did not answer in time.
    pub async fn book(&self, timeout: Duration) -> Result<Arc<Book>, KvError> {
        Ok(self.ask_configs(configlog::Query::Book, timeout).await?.book().unwrap_or_default())
    }

    async fn ask_configs(&self, query: configlog::Query, timeout: Duration) -> Result<configlog::Answer, KvError> {
        let mut way = Way::new(self, timeout);
        while !way.attempts.left().is_zero() {
            match self.configs.read(Consistency::Linearizable, &query, way.attempts.patience(), way.attempts.nth).await
            {
                Ok(reply) => return Ok(reply.answer),
                Err(error) => way.attempts.another_replica(error.into()).await,
            }
        }
        Err(way.attempts.over())
    }

    fn cached(&self) -> Option<Arc<Config>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch_config(&self, timeout: Duration, attempt: usize) -> Result<Arc<Config>, ReadError> {
        let query = configlog::Query::Latest;
        let reply = self.configs.read(Consistency::Linearizable, &query, timeout, attempt).await?;
        let config = reply.answer.config().unwrap_or_else(|| Arc::new(Config::none()));
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        if config.exists() && cached.as_ref().is_none_or(|held| held.number < config.number) {
            *cached = Some(Arc::clone(&config));
        }
        Ok(config)
    }

    /// Whether no configuration follows `config`.
    async fn is_newest(&self, config: &Config, timeout: Duration, attempt: usize) -> bool {
        self.fetch_config(timeout, attempt).await.is_ok_and(|newest| newest.number <= config.number)
    }
}

/// Merges the shards' pages. Where a page ends early, nothing after its last key may be given out: that shard may have
/// keys there which nobody has read.
pub(super) fn merge(pages: Vec<ScanPage>, limit: Option<u64>) -> ScanPage {
    let mut more = pages.iter().any(|page| page.more);
    let bound =
        pages.iter().filter(|page| page.more).filter_map(|page| page.items.last().map(|(key, _)| key.clone())).min();
    let mut items: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(bound) = bound {
        items.retain(|(key, _)| *key <= bound);
    }
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if items.len() > limit {
        items.truncate(limit);
        more = true;
    }
    ScanPage { items, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], more: bool) -> ScanPage {
        let value = Json::from(&serde_json::Value::Null);
        ScanPage { items: keys.iter().map(|key| (Arc::from(*key), value.clone())).collect(), more }
    }

    fn keys(page: &ScanPage) -> Vec<&str> {
        page.items.iter().map(|(key, _)| &**key).collect()
    }

    #[test]
    fn a_merged_page_never_skips_what_an_early_end_left_unread() {
        let merged = merge(vec![page(&["a", "d"], true), page(&["b", "e"], false), page(&["c"], false)], None);
        assert_eq!((keys(&merged), merged.more), (vec!["a", "b", "c", "d"], true));
        let merged = merge(vec![page(&["a", "d"], false), page(&["b"], false)], Some(2));
        assert_eq!((keys(&merged), merged.more), (vec!["a", "b"], true));
        let merged = merge(vec![page(&["a"], false), page(&["b"], false)], Some(2));
        assert_eq!((keys(&merged), merged.more), (vec!["a", "b"], false));
    }
}
