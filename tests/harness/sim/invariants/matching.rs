//! Log matching: if two logs have an entry of the same index and term, they are the same up to it (thesis §3.5).
//!
//! By induction it is enough that such an entry is the same everywhere, and stands behind one of the same term everywhere.

use std::collections::BTreeMap;

use quorate::log::Entry;
use quorate::{LogId, Term};

use super::{Broken, digest};

pub(super) const PROPERTY: &str = "entries of the same index and term are the same (thesis §3.5)";

/// Every entry that was ever appended anywhere.
#[derive(Default)]
pub(super) struct Entries(BTreeMap<LogId, (u64, Option<Term>)>);

impl Entries {
    /// An entry is appended behind one of the term `before`, where that is known.
    pub(super) fn check(&mut self, before: Option<Term>, entry: &Entry) -> Option<Broken> {
        let digest = digest(entry);
        let (known, known_before) = self.0.entry(entry.id).or_insert((digest, before));
        if *known != digest {
            return Some((PROPERTY, format!("{entry} is another entry elsewhere")));
        }
        match (*known_before, before) {
            (Some(there), Some(here)) if there != here => {
                Some((PROPERTY, format!("{entry} stands behind an entry of {here}, and of {there} elsewhere")))
            }
            (None, Some(_)) => {
                *known_before = before;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate::Index;
    use quorate::log::Payload;

    use super::*;

    #[test]
    fn an_entry_is_the_same_in_every_log_and_so_is_what_it_stands_behind() {
        let entry =
            |index, term| Entry { id: LogId { term: Term(term), index: Index(index) }, payload: Payload::Blank };
        let mut entries = Entries::default();
        assert_eq!(entries.check(Some(Term(1)), &entry(5, 2)), None);
        assert_eq!(entries.check(None, &entry(5, 2)), None, "behind a snapshot nobody knows");
        assert_eq!(entries.check(Some(Term(1)), &entry(5, 3)), None, "another term, another entry");
        assert!(entries.check(Some(Term(2)), &entry(5, 2)).is_some());
        let membership = Payload::Membership(Box::default());
        assert!(entries.check(Some(Term(1)), &Entry { payload: membership, ..entry(5, 2) }).is_some());
    }
}
