//! What Raft promises of its replicas at every step, one property a file, with its section of the Raft thesis (Ongaro,
//! "Consensus: bridging theory and practice").
//!
//! They are judged from the outside: by what a replica asks of its log and what it tells its machine, in all of its lives.

mod applied;
mod completeness;
mod election;
mod machine;
mod matching;
mod quorum;
mod replica;
mod votes;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;

use quorate::log::{Entry, LogState, Payload};
use quorate::types::Vote;
use quorate::{EntryContext, LogId, Membership, NodeId, Term};
use twox_hash::XxHash3_64;

use replica::Replica;

/// What was broken, and how it shows.
pub(super) type Broken = (&'static str, String);

/// A step that a replica takes.
pub(super) enum Step<'a> {
    /// A life begins: what the log says it holds.
    Begins(LogState, &'a [Entry], Option<Vote>),
    /// Entries are appended to the log.
    Appended(&'a [Entry]),
    /// The log says that these are durable.
    Flushed(&'a [LogId]),
    /// Everything behind this entry is dropped.
    Truncated(Option<LogId>),
    /// A snapshot covers everything up to this entry.
    Purged(LogId),
    /// A vote is about to be saved.
    Votes(Vote),
    /// The log says that it is durable.
    Voted(Vote),
    /// The replica knows that everything up to here is committed.
    Committed(LogId),
    /// The machine applies a command.
    Applied(EntryContext, u64),
    /// The machine's state is replaced.
    Restored,
    /// Somebody is said to lead.
    Leads(Term, NodeId),
}

impl Step<'_> {
    /// What is judged at it.
    pub(super) fn properties(&self) -> &'static [&'static str] {
        match self {
            Step::Begins(..) => &[votes::PROPERTY, replica::DURABLE],
            Step::Appended(_) => &[matching::PROPERTY],
            Step::Votes(_) => &[votes::PROPERTY],
            Step::Committed(_) => &[quorum::PROPERTY, machine::COMMITTED],
            Step::Applied(..) => &[machine::APPLIED, applied::PROPERTY],
            Step::Leads(..) => &[election::PROPERTY, completeness::PROPERTY],
            Step::Flushed(_) | Step::Truncated(_) | Step::Purged(_) | Step::Voted(_) | Step::Restored => &[],
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |id: &Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
        match self {
            Step::Begins(log, entries, vote) => {
                let (purged, last) = (or_none(&log.purged), or_none(&log.last));
                write!(f, "begins with {purged}..{last}, {} entries, vote {vote:?}", entries.len())
            }
            Step::Appended(entries) => {
                f.write_str("appends")?;
                entries.iter().try_for_each(|entry| write!(f, " {entry}"))
            }
            Step::Flushed(ids) => write!(f, "has flushed {} entries", ids.len()),
            Step::Truncated(last) => write!(f, "truncates after {}", or_none(last)),
            Step::Purged(through) => write!(f, "purges through {through}"),
            Step::Votes(vote) => write!(f, "saves vote {vote}"),
            Step::Voted(vote) => write!(f, "has saved vote {vote}"),
            Step::Committed(last) => write!(f, "knows {last} to be committed"),
            Step::Applied(at, digest) => write!(f, "applies {} {} {digest:016x}", at.index, at.place),
            Step::Restored => f.write_str("restores its machine"),
            Step::Leads(term, leader) => write!(f, "sees {leader} lead {term}"),
        }
    }
}

/// All replicas of one group, as their steps show them.
#[derive(Default)]
pub(super) struct GroupView {
    replicas: BTreeMap<NodeId, Replica>,
    leaders: election::Leaders,
    entries: matching::Entries,
    committed: machine::CommittedLog,
    commands: machine::Commands,
}

impl GroupView {
    /// A replica takes a step: what it breaks.
    pub(super) fn take(&mut self, node: NodeId, step: &Step<'_>) -> Vec<Broken> {
        let mut broken = Vec::new();
        let replica = self.replicas.entry(node).or_default();
        match step {
            Step::Begins(log, entries, vote) => {
                broken.extend(votes::check_kept(replica, *vote));
                broken.extend(replica.begin(*log, entries));
            }
            Step::Appended(entries) => {
                for entry in *entries {
                    broken.extend(self.entries.check(replica.term_before(entry.id), entry));
                    replica.append(entry);
                }
            }
            Step::Flushed(ids) => ids.iter().for_each(|id| replica.flush(*id)),
            Step::Truncated(last) => {
                broken.extend(self.committed.check_truncation(*last, replica));
                replica.truncate(*last);
            }
            Step::Purged(through) => replica.purge(*through),
            Step::Votes(vote) => {
                broken.extend(votes::check_next(replica, *vote));
                replica.vote_asked = Some(*vote);
            }
            Step::Voted(vote) => {
                replica.vote_kept = Some(*vote);
                if vote.committed {
                    broken.extend(self.leads(vote.term, vote.node));
                }
            }
            Step::Committed(last) => {
                broken.extend(quorum::check(&self.replicas, node, *last, &self.committed));
                if let Some(replica) = self.replicas.get(&node) {
                    broken.extend(self.committed.extend(replica, *last));
                }
            }
            Step::Applied(at, digest) => {
                broken.extend(applied::check(replica, *at));
                broken.extend(self.commands.check(*at, *digest));
            }
            Step::Restored => replica.applied = None,
            Step::Leads(term, leader) => broken.extend(self.leads(*term, *leader)),
        }
        broken
    }

    /// Somebody takes `leader` for the leader of `term`.
    fn leads(&mut self, term: Term, leader: NodeId) -> Vec<Broken> {
        let is_new = !self.leaders.knows(term);
        let mut broken: Vec<Broken> = self.leaders.check(term, leader).into_iter().collect();
        // When it is first heard of, its log is still what it was elected for, or more.
        if let (true, Some(replica)) = (is_new, self.replicas.get(&leader)) {
            broken.extend(completeness::check(replica, term, &self.committed));
        }
        broken
    }

    pub(super) fn life_ends(&mut self, node: NodeId) {
        if let Some(replica) = self.replicas.get_mut(&node) {
            replica.applied = None;
        }
    }

    pub(super) fn power_lost(&mut self, node: NodeId) {
        if let Some(replica) = self.replicas.get_mut(&node) {
            replica.lose_power();
        }
    }

    pub(super) fn newest_leader(&self) -> Option<NodeId> {
        self.leaders.newest()
    }

    pub(super) fn committed(&self) -> Option<LogId> {
        self.committed.last()
    }
}

/// What makes an entry this one and no other.
fn digest(entry: &Entry) -> u64 {
    let mut hasher = XxHash3_64::new();
    let encoded = quorate::machine::encode(&entry.payload);
    hasher.write(&encoded);
    hasher.finish()
}

/// The membership that an entry puts in force, if it is such a one.
fn membership(entry: &Entry) -> Option<Membership> {
    match &entry.payload {
        Payload::Membership(membership) => Some((**membership).clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quorate::Index;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: Index(index) }
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: id(term, index), payload: Payload::Blank }
    }

    fn membership(voters: &[u64]) -> Entry {
        let voters = vec![voters.iter().copied().map(NodeId).collect()];
        let membership = Membership { voters, ..Membership::default() };
        Entry { id: id(0, 0), payload: Payload::Membership(Box::new(membership)) }
    }

    /// Three replicas with a membership and one entry of term 1, flushed on the nodes given.
    fn group(flushed_on: &[u64]) -> GroupView {
        let mut view = GroupView::default();
        for node in 1..=3 {
            let entries = [membership(&[1, 2, 3]), entry(1, 1)];
            assert!(view.take(NodeId(node), &Step::Appended(&entries)).is_empty());
            if flushed_on.contains(&node) {
                assert!(view.take(NodeId(node), &Step::Flushed(&[id(0, 0), id(1, 1)])).is_empty());
            }
        }
        view
    }

    fn breaks(view: &mut GroupView, node: u64, step: &Step<'_>) -> Vec<&'static str> {
        view.take(NodeId(node), step).into_iter().map(|(property, _)| property).collect()
    }

    #[test]
    fn a_commit_without_a_durable_majority_is_noticed() {
        assert_eq!(
            breaks(&mut group(&[2, 3]), 1, &Step::Committed(id(1, 1))),
            [""; 0],
            "the leader's own may come later"
        );
        assert_eq!(breaks(&mut group(&[1]), 1, &Step::Committed(id(1, 1))), [quorum::PROPERTY]);
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_noticed() {
        let mut view = group(&[1, 2]);
        assert!(breaks(&mut view, 1, &Step::Committed(id(1, 1))).is_empty());
        assert!(breaks(&mut view, 2, &Step::Leads(Term(2), NodeId(2))).is_empty());
        let dropped = breaks(&mut view, 3, &Step::Truncated(Some(id(0, 0))));
        assert_eq!(dropped, [machine::COMMITTED]);
        assert_eq!(breaks(&mut view, 3, &Step::Leads(Term(3), NodeId(3))), [completeness::PROPERTY]);
    }

    #[test]
    fn what_was_flushed_and_is_gone_in_the_next_life_is_noticed() {
        let mut view = group(&[1]);
        let log = |last| LogState { purged: None, last: Some(last) };
        let all = [membership(&[1, 2, 3]), entry(1, 1)];
        assert!(breaks(&mut view, 1, &Step::Begins(log(id(1, 1)), &all, None)).is_empty());
        assert!(breaks(&mut view, 2, &Step::Begins(log(id(0, 0)), &all[..1], None)).is_empty(), "never flushed");
        assert_eq!(breaks(&mut view, 1, &Step::Begins(log(id(0, 0)), &all[..1], None)), [replica::DURABLE]);
    }

    #[test]
    fn a_vote_that_is_forgotten_is_noticed() {
        let mut view = group(&[]);
        let vote = Vote { term: Term(4), node: NodeId(2), committed: false };
        for step in [Step::Votes(vote), Step::Voted(vote)] {
            assert!(breaks(&mut view, 1, &step).is_empty());
        }
        let empty = LogState::default();
        assert_eq!(breaks(&mut view, 1, &Step::Begins(empty, &[], None)), [votes::PROPERTY]);
    }

    #[test]
    fn machines_that_apply_different_commands_or_one_twice_are_noticed() {
        let at = |index| EntryContext { index: Index(index), place: 0, term: Term(1), time: quorate::LogTime(0) };
        let mut view = group(&[]);
        assert!(breaks(&mut view, 1, &Step::Applied(at(1), 7)).is_empty());
        assert!(breaks(&mut view, 2, &Step::Applied(at(1), 7)).is_empty());
        assert_eq!(breaks(&mut view, 3, &Step::Applied(at(1), 8)), [machine::APPLIED]);
        assert_eq!(breaks(&mut view, 2, &Step::Applied(at(1), 7)), [applied::PROPERTY]);
        assert!(breaks(&mut view, 2, &Step::Restored).is_empty());
        assert!(breaks(&mut view, 2, &Step::Applied(at(1), 7)).is_empty(), "a new life begins again");
    }
}
