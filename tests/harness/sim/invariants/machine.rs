//! State-machine safety: no two replicas apply different commands at one place (thesis §3.6.3), and no two of them take
//! different entries for committed; what is committed is never dropped.

use std::collections::BTreeMap;

use quorate::{EntryContext, Index, LogId, Term};

use super::Broken;
use super::replica::Replica;

pub(super) const COMMITTED: &str = "what is committed is the same everywhere, for good (thesis §3.6.3)";
pub(super) const APPLIED: &str = "machines apply the same commands at the same places (thesis §3.6.3)";

/// The log as far as anybody has said that it is committed: the term of each entry, and its digest where it is known.
#[derive(Default)]
pub(super) struct CommittedLog {
    entries: BTreeMap<u64, (Term, Option<u64>)>,
    last: Option<LogId>,
}

impl CommittedLog {
    /// A replica says that everything up to `last` is committed.
    pub(super) fn extend(&mut self, replica: &Replica, last: LogId) -> Option<Broken> {
        let mut broken = None;
        for (index, held) in replica.entries.range(..=last.index.0) {
            let known = self.entries.entry(*index).or_insert((held.term, Some(held.digest)));
            if known.0 != held.term || known.1.is_some_and(|digest| digest != held.digest) {
                let text = format!("entry {index} is of {}, and of {} elsewhere", held.term, known.0);
                broken = broken.or(Some((COMMITTED, text)));
            }
        }
        if let Some((term, _)) = self.entries.get(&last.index.0)
            && *term != last.term
        {
            let text = format!("{last} is said to be committed, and elsewhere it is of {term}");
            broken = broken.or(Some((COMMITTED, text)));
        }
        self.last = self.last.max(Some(last));
        broken
    }

    /// A replica drops everything behind `last`.
    pub(super) fn check_truncation(&self, last: Option<LogId>, replica: &Replica) -> Option<Broken> {
        let from = last.map_or(0, |last| last.index.0 + 1);
        let dropped = replica
            .entries
            .range(from..)
            .find(|(index, held)| self.entries.get(*index).is_some_and(|(term, _)| *term == held.term));
        dropped.map(|(index, held)| {
            let id = LogId { term: held.term, index: Index(*index) };
            (COMMITTED, format!("{id} is committed, and dropped here"))
        })
    }

    pub(super) fn of_earlier_terms(&self, than: Term) -> impl Iterator<Item = (u64, Term)> {
        self.entries.iter().map(|(index, (term, _))| (*index, *term)).filter(move |(_, term)| *term < than)
    }

    /// Whether this was known already.
    pub(super) fn knows(&self, id: LogId) -> bool {
        self.last.is_some_and(|last| id.index <= last.index)
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }
}

/// What machines have applied: at each index and place the term and the command.
#[derive(Default)]
pub(super) struct Commands(BTreeMap<(u64, u32), (Term, u64)>);

impl Commands {
    pub(super) fn check(&mut self, at: EntryContext, digest: u64) -> Option<Broken> {
        let place = (at.index.0, at.place);
        let (term, known) = *self.0.entry(place).or_insert((at.term, digest));
        let is_same = (term, known) == (at.term, digest);
        (!is_same).then(|| {
            (APPLIED, format!("at {place:?} this one applies another command than others ({term}, {})", at.term))
        })
    }
}
