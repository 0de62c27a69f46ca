//! A vote is never taken back: terms only grow, a replica votes for one candidate in a term, and remembers it through
//! restarts (thesis §3.4, §3.8).

use quorate::types::Vote;

use super::Broken;
use super::replica::Replica;

pub(super) const PROPERTY: &str = "a vote is never taken back (thesis §3.4, §3.8)";

fn takes_back(before: Vote, now: Vote) -> bool {
    match now.term.cmp(&before.term) {
        std::cmp::Ordering::Less => true,
        // Whoever voted for one candidate may learn that the others elected another.
        std::cmp::Ordering::Equal if now.committed => before.committed && now.node != before.node,
        std::cmp::Ordering::Equal => before.committed || now.node != before.node,
        std::cmp::Ordering::Greater => false,
    }
}

/// The replica is about to vote.
pub(super) fn check_next(replica: &Replica, vote: Vote) -> Option<Broken> {
    let before = replica.vote_asked.filter(|before| takes_back(*before, vote))?;
    Some((PROPERTY, format!("after {before} it votes {vote}")))
}

/// The replica starts again, with this vote.
pub(super) fn check_kept(replica: &Replica, found: Option<Vote>) -> Option<Broken> {
    let before = replica.vote_kept.filter(|before| found.is_none_or(|found| takes_back(*before, found)))?;
    Some((PROPERTY, format!("it had voted {before}, and starts again with {found:?}")))
}

#[cfg(test)]
mod tests {
    use quorate::{NodeId, Term};

    use super::*;

    #[test]
    fn a_later_term_or_the_same_candidate_takes_nothing_back() {
        let vote = |term, node, committed| Vote { term: Term(term), node: NodeId(node), committed };
        let table = [
            (vote(1, 1, false), vote(1, 1, true), false),
            (vote(1, 1, true), vote(2, 2, false), false),
            (vote(1, 1, false), vote(1, 2, true), false),
            (vote(1, 1, false), vote(1, 2, false), true),
            (vote(1, 1, true), vote(1, 2, true), true),
            (vote(2, 1, false), vote(1, 1, false), true),
            (vote(1, 1, true), vote(1, 1, false), true),
        ];
        for (before, now, expected) in table {
            assert_eq!(takes_back(before, now), expected, "{before} {now}");
        }
    }
}
