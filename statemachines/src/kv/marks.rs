//! Which keys and sessions of a shard changed, and when: what lets a copy follow a shard that is still written to.
//!
//! Promises: what changed after an entry is found at the cost of those changes alone, however large the shard.

use std::ops::Bound;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use quorate::types::{ClientId, Index};
use serde::{Deserialize, Serialize};

/// A part of a shard that is copied and followed by itself. In a copy all sessions come first, then all keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Item {
    /// A client's session.
    Session(ClientId),
    /// A key and its value.
    Key(Arc<str>),
}

/// For each item that changed, the entry of its last change. A removed item is marked like any other.
///
/// Invariant: `by_item` and `by_index` hold the same pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    by_item: OrdMap<Item, Index>,
    by_index: OrdSet<(Index, Item)>,
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.by_item.len()
    }

    pub(super) fn mark(&mut self, item: Item, index: Index) {
        if let Some(earlier) = self.by_item.insert(item.clone(), index) {
            self.by_index.remove(&(earlier, item.clone()));
        }
        self.by_index.insert((index, item));
    }

    /// The items whose last change came after the entry `from`, in the order of those changes.
    pub(super) fn after(&self, from: Index) -> impl Iterator<Item = (Index, &Item)> {
        let first = (from.next(), Item::Session(ClientId::new("")));
        let rest = self.by_index.range::<_, (Index, Item)>((Bound::Included(&first), Bound::Unbounded));
        rest.map(|(index, item)| (*index, item))
    }

    /// Removes the oldest mark; says whether there was one.
    pub(super) fn remove_first(&mut self) -> bool {
        let Some((_, item)) = self.by_index.remove_min() else { return false };
        self.by_item.remove(&item);
        true
    }

    /// What has to be put (an index) or removed (none) to make these marks of `earlier`, at the cost of what has changed.
    pub(super) fn changes_since<'a>(&'a self, earlier: &'a Marks) -> impl Iterator<Item = (&'a Item, Option<Index>)> {
        earlier.by_item.diff(&self.by_item).map(|change| match change {
            DiffItem::Add(item, index) | DiffItem::Update { new: (item, index), .. } => (item, Some(*index)),
            DiffItem::Remove(item, _) => (item, None),
        })
    }

    /// All marks in the order of the changes, by an iterator that owns what it reads.
    pub(super) fn into_pairs(self) -> impl Iterator<Item = (Index, Item)> + Send + 'static {
        self.by_index.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_counts_at_its_last_change_only() {
        let (a, b) = (Item::Key("a".into()), Item::Session(ClientId::new("b")));
        let mut marks = Marks::default();
        marks.mark(a.clone(), Index(1));
        marks.mark(b.clone(), Index(2));
        marks.mark(a.clone(), Index(3));
        assert_eq!(marks.after(Index(0)).collect::<Vec<_>>(), [(Index(2), &b), (Index(3), &a)]);
        assert_eq!(marks.after(Index(2)).collect::<Vec<_>>(), [(Index(3), &a)]);
        assert_eq!(marks.after(Index(3)).count(), 0);
        assert_eq!(marks.len(), 2);
    }

    #[test]
    fn sessions_come_before_keys() {
        assert!(Item::Session(ClientId::new("z")) < Item::Key("".into()));
    }
}
