//! What a node remembers of its cluster from one life to the next: where its peers are, and which groups it must not found.
//!
//! Promises: what was remembered survives a crash. The configuration log is right where it is reached; this is what it is
//! reached by, when the configuration file knows none of today's nodes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use quorate::fs::{Fs, read_whole, replace_durably};
use quorate::{Fatal, GroupId, NodeId};
use quorate_statemachines::configlog::Book;
use serde::{Deserialize, Serialize};

use super::config::ServerConfig;

const FILE: &str = "cluster.json";

/// The only version of the file so far.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    format: u32,
    /// Whether this node came to a cluster that was there already.
    joined: bool,
    /// The newest address book that was seen.
    book: Arc<Book>,
    /// Groups that this node had left: whoever makes such a group anew, with an empty log, makes it twice.
    left: BTreeSet<u64>,
    /// Groups of which files may still be here that nobody needs.
    dropping: BTreeSet<u64>,
    /// Groups that the configuration file names, and the nodes that it had for them when it named them first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fixed: BTreeMap<String, BTreeSet<NodeId>>,
}

/// A node's memory.
pub(super) struct Memory {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    held: Mutex<Remembered>,
}

impl Memory {
    /// Reads what the node of the data directory `dir` remembers. With `joining`, a new one joins a running cluster.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path, joining: bool) -> anyhow::Result<Memory> {
        let path = dir.join(FILE);
        let known = fs.metadata(&path)?.is_some();
        let held = if known {
            let bytes = read_whole(fs.as_ref(), &path)?;
            let held: Remembered =
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
            ensure!(held.format == FORMAT, "{} has format {}; this is {FORMAT}", path.display(), held.format);
            held
        } else {
            let (book, left, dropping, fixed) = Default::default();
            Remembered { format: FORMAT, joined: joining, book, left, dropping, fixed }
        };
        let memory = Memory { fs, path, held: Mutex::new(held) };
        if joining && !known {
            memory.change(|_| {}).context("cannot remember that this node joins")?;
        }
        Ok(memory)
    }

    fn held(&self) -> MutexGuard<'_, Remembered> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered, on disk first.
    fn change(&self, change: impl FnOnce(&mut Remembered)) -> Result<(), Fatal> {
        let mut held = self.held();
        let mut changed = held.clone();
        change(&mut changed);
        let fatal = |error: String| Fatal(format!("{}: {error}", self.path.display()));
        let bytes = serde_json::to_vec(&changed).map_err(|error| fatal(error.to_string()))?;
        replace_durably(self.fs.as_ref(), &self.path, &bytes).map_err(|error| fatal(error.to_string()))?;
        *held = changed;
        Ok(())
    }

    /// The newest address book that was seen; one that is not begun if none was.
    pub(super) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.held().book)
    }

    /// Takes a book in that was read somewhere, unless it is older.
    pub(super) fn take_book(&self, book: Arc<Book>) -> Result<(), Fatal> {
        let held = self.book();
        if book.version < held.version || *book == *held {
            return Ok(());
        }
        self.change(|remembered| remembered.book = book)
    }

    /// Whether this node is one of those that make the configuration log: it is named by the file that the cluster began
    /// with, and no cluster was ever seen.
    pub(super) fn founds_cluster(&self, config: &ServerConfig, node: NodeId) -> bool {
        let held = self.held();
        !held.joined && !held.book.is_begun() && config.controllers().contains(&node)
    }

    /// Whether this node may help to make a group that names it first: it never left it.
    pub(super) fn may_found(&self, group: GroupId) -> bool {
        !self.held().left.contains(&group.0)
    }

    /// From now on the files of a group that has let this node go may be dropped at any time.
    pub(super) fn leave(&self, group: GroupId) -> Result<(), Fatal> {
        self.change(|remembered| {
            remembered.left.insert(group.0);
            remembered.dropping.insert(group.0);
        })
    }

    /// A group that the configuration file names has these nodes, for good.
    ///
    /// # Errors
    /// When it had others before.
    pub(super) fn fix(&self, group: &str, nodes: &BTreeSet<NodeId>) -> anyhow::Result<()> {
        let known = self.held().fixed.get(group).cloned();
        match known {
            Some(known) => {
                let names =
                    |nodes: &BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                ensure!(
                    known == *nodes,
                    "{group} is on {} already and cannot be on {}: its nodes are chosen once",
                    names(&known),
                    names(nodes)
                );
                Ok(())
            }
            None => Ok(self.change(|remembered| _ = remembered.fixed.insert(group.to_owned(), nodes.clone()))?),
        }
    }

    /// Whether files of the group are being dropped.
    pub(super) fn is_dropping(&self, group: GroupId) -> bool {
        self.held().dropping.contains(&group.0)
    }

    /// The files of the group are gone.
    pub(super) fn dropped(&self, group: GroupId) -> Result<(), Fatal> {
        self.change(|remembered| _ = remembered.dropping.remove(&group.0))
    }
}

#[cfg(test)]
mod tests {
    use quorate::fs::SimFs;
    use quorate_statemachines::Gid;
    use quorate_statemachines::configlog::NodeAddresses;

    use super::*;

    fn open(fs: &Arc<dyn Fs>, joining: bool) -> Memory {
        quorate::fs::create_dir_durably(fs.as_ref(), Path::new("/data")).expect("a directory");
        Memory::open(Arc::clone(fs), Path::new("/data"), joining).expect("a memory")
    }

    #[test]
    fn what_was_remembered_is_there_in_the_next_life_and_an_older_book_is_not_taken() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
        let memory = open(&fs, false);
        let addresses = NodeAddresses { peer: "a:1".into(), client: "a:2".into(), http: None };
        let book = |version| {
            Arc::new(Book {
                version,
                nodes: [(NodeId(1), addresses.clone())].into(),
                removed: [NodeId(2)].into(),
                controllers: [NodeId(1)].into(),
                left: [(Gid::new("g1"), vec!["n1".into()])].into(),
            })
        };
        memory.take_book(book(5)).expect("it is taken");
        memory.take_book(book(4)).expect("it is passed over");
        memory.leave(GroupId(7)).expect("it is noted");
        let memory = open(&fs, true);
        assert_eq!(memory.book(), book(5));
        assert!(memory.is_dropping(GroupId(7)) && !memory.may_found(GroupId(7)));
        memory.dropped(GroupId(7)).expect("it is noted");
        assert!(!memory.is_dropping(GroupId(7)) && !memory.may_found(GroupId(7)), "never again");
    }

    #[test]
    fn the_nodes_of_a_fixed_group_are_chosen_once() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
        let memory = open(&fs, false);
        let fix = |memory: &Memory, nodes: &[u64]| memory.fix("masters", &nodes.iter().copied().map(NodeId).collect());
        fix(&memory, &[1, 2]).expect("the first time");
        let memory = open(&fs, false);
        fix(&memory, &[2, 1]).expect("the same");
        let refusal = fix(&memory, &[1, 2, 3]).expect_err("others").to_string();
        assert!(refusal.contains("on n1, n2 already"), "{refusal}");
    }

    #[test]
    fn only_a_node_that_the_cluster_began_with_and_that_saw_none_founds_it() {
        let config: ServerConfig = toml::from_str(
            "cluster = 1\ncontrollers = [1]\n[[nodes]]\nid = 1\npeer = \"127.0.0.1:1\"\nclient = \"127.0.0.1:2\"\n",
        )
        .expect("a configuration");
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
        let memory = open(&fs, false);
        assert!(memory.founds_cluster(&config, NodeId(1)) && !memory.founds_cluster(&config, NodeId(2)));
        memory.take_book(Arc::new(Book { version: 1, ..Book::default() })).expect("it is taken");
        assert!(!memory.founds_cluster(&config, NodeId(1)));
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
        assert!(!open(&fs, true).founds_cluster(&config, NodeId(1)));
        assert!(!open(&fs, false).founds_cluster(&config, NodeId(1)), "it joined in an earlier life");
    }
}
