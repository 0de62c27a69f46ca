//! Election safety: at most one leader in a term (thesis §3.2, figure 3.2).

use std::collections::BTreeMap;

use quorate::{NodeId, Term};

use super::Broken;

pub(super) const PROPERTY: &str = "at most one leader in a term (thesis §3.2)";

/// Who led which term.
#[derive(Default)]
pub(super) struct Leaders(BTreeMap<Term, NodeId>);

impl Leaders {
    /// Somebody takes `node` for the leader of `term`.
    pub(super) fn check(&mut self, term: Term, node: NodeId) -> Option<Broken> {
        let known = *self.0.entry(term).or_insert(node);
        (known != node).then(|| (PROPERTY, format!("{known} and {node} both lead {term}")))
    }

    pub(super) fn knows(&self, term: Term) -> bool {
        self.0.contains_key(&term)
    }

    pub(super) fn newest(&self) -> Option<NodeId> {
        self.0.last_key_value().map(|(_, node)| *node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_in_one_term_are_one_too_many() {
        let mut leaders = Leaders::default();
        assert_eq!(leaders.check(Term(1), NodeId(1)), None);
        assert_eq!(leaders.check(Term(2), NodeId(2)), None);
        assert_eq!(leaders.check(Term(1), NodeId(1)), None);
        assert!(leaders.check(Term(2), NodeId(3)).is_some());
        assert_eq!(leaders.newest(), Some(NodeId(2)));
    }
}
