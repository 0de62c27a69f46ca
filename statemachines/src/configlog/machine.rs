//! The configuration log's state machine: every configuration ever made, by number, and the cluster's address book.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use imbl::OrdMap;
use quorate::NodeId;
use quorate::machine::{EntryContext, StateDigest, StateMachine, snapshot_digest};
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};

use super::book::{replace_in, serving};
use super::record::Record;
use super::{Answer, Book, Command, Config, NodeAddresses, NodeChange, NodeRefusal, Query, Refusal, Reply, rebalance};
use crate::names::{ConfigNumber, Gid, ShardId};
use crate::slot::SLOTS;

/// The most shards that a configuration may have: each has at least one hash slot.
pub const SHARDS_MAX: u32 = SLOTS as u32;

/// All configurations in their order.
///
/// Invariants: the numbers are the keys; each configuration's `previous` is the key before it, or 0; the number of
/// shards never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigLog {
    configs: OrdMap<ConfigNumber, Arc<Config>>,
    book: Arc<Book>,
}

impl ConfigLog {
    /// A log without any configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest configuration; configuration 0 while there is none.
    pub fn latest(&self) -> Arc<Config> {
        self.configs.get_max().map_or_else(Default::default, |(_, config)| Arc::clone(config))
    }

    /// The newest configuration whose number is at most this one.
    pub fn at(&self, number: ConfigNumber) -> Arc<Config> {
        self.configs.range(..=number).next_back().map_or_else(Default::default, |(_, config)| Arc::clone(config))
    }

    /// The configuration that follows this number.
    pub fn after(&self, number: ConfigNumber) -> Option<Arc<Config>> {
        let after = (std::ops::Bound::Excluded(number), std::ops::Bound::Unbounded);
        self.configs.range(after).next().map(|(_, config)| Arc::clone(config))
    }

    /// The address book.
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Gives the cluster other nodes all at once, as a restored copy of it has. Not a command: the copy does not run yet.
    ///
    /// # Errors
    /// When they cannot be the cluster's: a used-up id, an address named twice, a controller or a group's server that is no node.
    /// Nothing has changed then.
    pub fn readdress(
        &mut self,
        nodes: BTreeMap<NodeId, NodeAddresses>,
        controllers: BTreeSet<NodeId>,
    ) -> Result<(), NodeRefusal> {
        let mut book = Book::clone(&self.book);
        book.readdress_all(nodes, controllers)?;
        let latest = self.latest();
        for servers in latest.groups.values().chain(book.left.values()) {
            book.check_servers(servers)?;
        }
        self.book = Arc::new(book);
        Ok(())
    }

    fn append(&mut self, config: Config) -> Result<(), &'static str> {
        let latest = self.latest();
        config.validate()?;
        if config.previous != latest.number {
            return Err("it does not name the one before it");
        }
        if latest.exists() && config.shards.len() != latest.shards.len() {
            return Err("the number of shards changed");
        }
        self.note_left(&latest, &config);
        self.configs.insert(config.number, Arc::new(config));
        Ok(())
    }

    /// A group that leaves still holds what it has to give away, or what nobody wants now: its servers are remembered until
    /// it comes back. Told by the configurations alone, so that a snapshot without a book gives the same.
    fn note_left(&mut self, before: &Config, after: &Config) {
        let left = before.groups.iter().filter(|(gid, _)| !after.groups.contains_key(*gid));
        let left: Vec<_> = left.map(|(gid, servers)| (gid.clone(), servers.clone())).collect();
        if !left.is_empty() || after.groups.keys().any(|gid| self.book.left.contains_key(gid)) {
            let book = Arc::make_mut(&mut self.book);
            book.left.retain(|gid, _| !after.groups.contains_key(gid));
            book.left.extend(left);
        }
    }

    /// Carries out [`Command::Place`].
    fn place(&mut self, current: &Config, gid: Gid, servers: Vec<String>) -> Result<Option<Config>, Refusal> {
        self.book.check_servers(&servers)?;
        if let Some(held) = current.groups.get(&gid) {
            if *held == servers {
                return Ok(None);
            }
            let mut groups = current.groups.clone();
            groups.insert(gid, servers);
            return same_shards(current, groups).map(Some);
        }
        if !self.book.left.contains_key(&gid) {
            return Err(Refusal::UnknownGroup(gid));
        }
        Arc::make_mut(&mut self.book).place(&gid, servers);
        Ok(None)
    }

    /// Carries out [`Command::Nodes`]; gives the configuration that it makes, if it makes one.
    fn change_nodes(&mut self, current: &Config, change: NodeChange) -> Result<Option<Config>, Refusal> {
        let mut book = Book::clone(&self.book);
        let mut next = None;
        match change {
            NodeChange::Begin { nodes, controllers } => book.begin(nodes, controllers)?,
            NodeChange::Add { node, addresses } => book.add(node, addresses)?,
            NodeChange::Readdress { node, addresses } => book.readdress(node, addresses)?,
            NodeChange::Remove { node } => {
                if let Some(gid) = serving(&current.groups, node) {
                    return Err(NodeRefusal::Replicates { node, group: gid.to_string() }.into());
                }
                book.remove(node)?;
            }
            NodeChange::Replace { old, new } => {
                book.replace(old, new)?;
                let mut groups = current.groups.clone();
                let mut changed = false;
                for servers in groups.values_mut() {
                    changed |= replace_in(servers, old, new);
                }
                if changed {
                    next = Some(same_shards(current, groups)?);
                }
            }
            NodeChange::Controllers { nodes } => book.set_controllers(nodes)?,
        }
        if *self.book != book {
            if let Err(broken) = book.validate() {
                panic!("the address book breaks an invariant: {broken}");
            }
            self.book = Arc::new(book);
        }
        Ok(next)
    }
}

impl StateMachine for ConfigLog {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, _entry: EntryContext, command: Command) -> Reply {
        let current = self.latest();
        let next = match command {
            Command::Set { number, shards } => match set(&current, number, shards) {
                Ok(Some(next)) => Ok(next),
                Ok(None) => return Reply::NotApplied { current: current.number },
                Err(refusal) => Err(refusal),
            },
            Command::Join { groups, shard_count } => groups
                .values()
                .try_for_each(|servers| self.book.check_servers(servers))
                .map_err(Refusal::from)
                .and_then(|()| join(&current, groups, shard_count)),
            Command::Place { gid, servers } => match self.place(&current, gid, servers) {
                Ok(Some(next)) => Ok(next),
                Ok(None) => return Reply::Done { number: current.number },
                Err(refusal) => Err(refusal),
            },
            Command::Nodes(change) => match self.change_nodes(&current, change) {
                Ok(Some(next)) => Ok(next),
                Ok(None) => return Reply::Done { number: current.number },
                Err(refusal) => Err(refusal),
            },
            Command::Leave { gids } => leave(&current, &gids),
            Command::Move { shard, gid } => give(&current, shard, gid),
        };
        match next {
            Ok(next) => {
                let number = next.number;
                if let Err(broken) = self.append(next) {
                    panic!("configuration {number} breaks an invariant of the log: {broken}");
                }
                Reply::Done { number }
            }
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Latest => Answer::Config(Some(self.latest())),
            Query::At(number) => Answer::Config(Some(self.at(number))),
            Query::After(number) => Answer::Config(self.after(number)),
            Query::Book => Answer::Book(Arc::clone(&self.book)),
        }
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot_digest(self.snapshot()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let (configs, book) = (self.configs.clone(), Arc::clone(&self.book));
        Records::view(move || {
            let configs = configs.clone().into_iter().map(|(_, config)| Record::Config(config));
            configs.chain((*book != Book::default()).then(|| Record::Book(Arc::clone(&book))))
        })
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        let invalid = |broken| io::Error::new(io::ErrorKind::InvalidData, broken);
        let mut restored = ConfigLog::new();
        for record in read_records(reader) {
            match record? {
                Record::Config(config) => restored.append(Arc::unwrap_or_clone(config)).map_err(invalid)?,
                Record::Book(book) => {
                    book.validate().map_err(invalid)?;
                    restored.book = book;
                }
            }
        }
        *self = restored;
        Ok(())
    }
}

fn join(current: &Config, joining: BTreeMap<Gid, Vec<String>>, shard_count: u32) -> Result<Config, Refusal> {
    if joining.is_empty() {
        return Err(Refusal::NoGroup);
    }
    if joining.keys().any(is_nobody) {
        return Err(Refusal::Nameless);
    }
    if let Some(known) = joining.keys().find(|gid| current.groups.contains_key(gid)) {
        return Err(Refusal::KnownGroup(known.clone()));
    }
    let mut groups = current.groups.clone();
    groups.extend(joining);
    if current.exists() {
        return balanced(current, groups);
    }
    if !(1..=SHARDS_MAX).contains(&shard_count) {
        return Err(Refusal::BadShards { expected: None });
    }
    let unassigned = vec![None; shard_count as usize];
    let shards = rebalance(&unassigned, &vec![None; unassigned.len()], groups.keys());
    Ok(current.successor(number_after(current)?, shards, groups))
}

fn leave(current: &Config, gids: &BTreeSet<Gid>) -> Result<Config, Refusal> {
    if gids.is_empty() {
        return Err(Refusal::NoGroup);
    }
    if let Some(unknown) = gids.iter().find(|gid| !current.groups.contains_key(gid)) {
        return Err(Refusal::UnknownGroup(unknown.clone()));
    }
    let stays = |(gid, _): &(&Gid, &Vec<String>)| !gids.contains(*gid);
    let groups = current.groups.iter().filter(stays).map(|(gid, servers)| (gid.clone(), servers.clone())).collect();
    balanced(current, groups)
}

/// Carries out [`Command::Move`].
fn give(current: &Config, shard: ShardId, gid: Gid) -> Result<Config, Refusal> {
    if !current.groups.contains_key(&gid) {
        return Err(Refusal::UnknownGroup(gid));
    }
    let mut shards = current.shards.clone();
    *shards.get_mut(shard.0 as usize).ok_or(Refusal::UnknownShard(shard))? = Some(gid);
    Ok(current.successor(number_after(current)?, shards, current.groups.clone()))
}

/// An external configuration; `None` when its number is not new.
///
/// Its shards are looked at first: a configuration that could never be one is refused whatever its number.
fn set(
    current: &Config,
    number: ConfigNumber,
    shards: BTreeMap<ShardId, Option<Gid>>,
) -> Result<Option<Config>, Refusal> {
    let expected = current.exists().then(|| current.shard_count());
    let are_first_n = shards.keys().zip(0..).all(|(shard, nth)| shard.0 == nth);
    let fits = |count: usize| expected.map_or(count >= 1 && count <= SHARDS_MAX as usize, |n| count == n as usize);
    if !are_first_n || !fits(shards.len()) {
        return Err(Refusal::BadShards { expected });
    }
    if number <= current.number {
        return Ok(None);
    }
    let shards: Vec<Option<Gid>> = shards.into_values().map(|owner| owner.filter(|gid| !is_nobody(gid))).collect();
    let mut groups = current.groups.clone();
    for gid in shards.iter().flatten() {
        groups.entry(gid.clone()).or_default();
    }
    Ok(Some(current.successor(number, shards, groups)))
}

/// A configuration in which only servers are others.
fn same_shards(current: &Config, groups: BTreeMap<Gid, Vec<String>>) -> Result<Config, Refusal> {
    Ok(current.successor(number_after(current)?, current.shards.clone(), groups))
}

fn balanced(current: &Config, groups: BTreeMap<Gid, Vec<String>>) -> Result<Config, Refusal> {
    let shards = rebalance(&current.shards, &current.holders, groups.keys());
    Ok(current.successor(number_after(current)?, shards, groups))
}

fn number_after(current: &Config) -> Result<ConfigNumber, Refusal> {
    current.number.0.checked_add(1).map(ConfigNumber).ok_or(Refusal::NumbersExhausted)
}

/// The empty name stands for nobody in an external configuration.
fn is_nobody(gid: &Gid) -> bool {
    gid.0.is_empty()
}
