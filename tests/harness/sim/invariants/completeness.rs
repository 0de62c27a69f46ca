//! Leader completeness: a leader has every entry that was committed in an earlier term (thesis §3.6.3).

use quorate::{Index, LogId, Term};

use super::Broken;
use super::machine::CommittedLog;
use super::replica::Replica;

pub(super) const PROPERTY: &str = "a leader has every entry committed before (thesis §3.6.3)";

/// `leader` begins to lead `term`.
pub(super) fn check(leader: &Replica, term: Term, committed: &CommittedLog) -> Option<Broken> {
    committed.of_earlier_terms(term).find_map(|(index, of)| match leader.term_at(index) {
        Ok(None) => None,
        Ok(Some(held)) if held == of => None,
        held => {
            let id = LogId { term: of, index: Index(index) };
            let held = held.ok().flatten();
            Some((PROPERTY, format!("the leader of {term} lacks the committed {id}: it has {held:?} there")))
        }
    })
}
