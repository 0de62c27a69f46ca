//! A directory's names: as they are now, as they were last synced, and the changes in between.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;

use super::content::prefix_length;
use super::disk::Inode;

type Names = BTreeMap<String, Inode>;

/// Invariant: `now` is `durable` with `pending` carried out.
#[derive(Debug, Default)]
pub(super) struct Directory {
    now: Names,
    durable: Names,
    pending: Vec<Change>,
}

/// One change of names: whole, or lost whole.
#[derive(Debug)]
enum Change {
    Link(String, Inode),
    Unlink(String),
    Rename { from: String, to: String },
}

impl Change {
    fn carry_out(&self, on: &mut Names) {
        match self {
            Change::Link(name, inode) => {
                on.insert(name.clone(), *inode);
            }
            Change::Unlink(name) => {
                on.remove(name);
            }
            Change::Rename { from, to } => {
                if let Some(inode) = on.remove(from) {
                    on.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.now.get(name).copied()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.now.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    pub(super) fn inodes(&self) -> impl Iterator<Item = Inode> {
        self.now.values().copied()
    }

    /// All that is named now, or may be named again after a crash.
    pub(super) fn inodes_ever(&self) -> impl Iterator<Item = Inode> {
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Link(_, inode) => Some(*inode),
            _ => None,
        });
        self.now.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub(super) fn link(&mut self, name: &str, inode: Inode) {
        self.change(Change::Link(name.to_owned(), inode));
    }

    pub(super) fn unlink(&mut self, name: &str) {
        self.change(Change::Unlink(name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if from != to {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        }
    }

    fn change(&mut self, change: Change) {
        change.carry_out(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.carry_out(&mut self.durable);
        }
    }

    /// Loses the last few changes that were not synced, or all of them, or none.
    pub(super) fn forget(&mut self, random: &mut SmallRng) {
        let pending = std::mem::take(&mut self.pending);
        let kept = prefix_length(pending.len(), random);
        pending[..kept].iter().for_each(|change| change.carry_out(&mut self.durable));
        self.now.clone_from(&self.durable);
    }
}
