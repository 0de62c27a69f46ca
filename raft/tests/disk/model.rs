//! What a log should hold: a model that takes one elementary step after the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::GroupId;
use quorate::log::{Action, DiskLog, Entry, Payload, Proposal, Write};
use quorate::types::{Index, LogId, LogTime, NodeId, Term, Vote};

/// One step, whole or not taken.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Push(GroupId, Entry),
    Truncate(GroupId, Option<LogId>),
    Purge(GroupId, LogId),
    Vote(GroupId, Vote),
    Forget(GroupId),
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) purged: Option<LogId>,
    pub(crate) vote: Option<Vote>,
    pub(crate) entries: Vec<Entry>,
}

impl Held {
    /// The index of the next entry.
    pub(crate) fn end(&self) -> u64 {
        let last = self.entries.last().map(|entry| entry.id).or(self.purged);
        last.map_or(0, |id| id.index.0 + 1)
    }

    pub(crate) fn first(&self) -> u64 {
        self.entries.first().map_or(self.end(), |entry| entry.id.index.0)
    }
}

/// All groups that are not as a new one is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model(pub(crate) BTreeMap<GroupId, Held>);

impl Model {
    pub(crate) fn apply(&mut self, step: &Step) {
        let (Step::Push(group, _)
        | Step::Truncate(group, _)
        | Step::Purge(group, _)
        | Step::Vote(group, _)
        | Step::Forget(group)) = step;
        let mut held = self.0.remove(group).unwrap_or_default();
        match step {
            Step::Push(_, entry) => {
                held.entries.retain(|before| before.id.index < entry.id.index);
                held.entries.push(entry.clone());
            }
            Step::Truncate(_, last) => {
                held.entries.retain(|entry| last.is_some_and(|last| entry.id.index <= last.index));
            }
            Step::Purge(_, through) => {
                held.entries.retain(|entry| entry.id.index > through.index);
                held.purged = held.purged.max(Some(*through));
            }
            Step::Vote(_, vote) => held.vote = Some(*vote),
            Step::Forget(_) => held = Held::default(),
        }
        if held != Held::default() {
            self.0.insert(*group, held);
        }
    }

    pub(crate) fn group(&self, group: GroupId) -> Held {
        self.0.get(&group).cloned().unwrap_or_default()
    }

    /// What a log holds, read through its handles.
    pub(crate) async fn read(log: &std::sync::Arc<DiskLog>) -> std::io::Result<Model> {
        let mut model = Model::default();
        for id in log.groups() {
            let group = log.group(id);
            let state = group.state().await?;
            let entries = group.read(Index(0), Index(u64::MAX)).await?;
            assert_eq!(state.last, entries.last().map(|entry| entry.id).or(state.purged), "{id}");
            assert_eq!(group.bytes(), entries.iter().map(Entry::size).sum::<u64>(), "{id}");
            let held = Held { purged: state.purged, vote: group.vote().await?, entries };
            if held != Held::default() {
                model.0.insert(id, held);
            }
        }
        Ok(model)
    }
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: Index(index) }
}

/// An entry with a command of so many bytes.
pub(crate) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    if bytes == 0 {
        return Entry { id: id(term, index), payload: Payload::Blank };
    }
    let command: Vec<u8> = (0..bytes).map(|at| (at as u64 * 7 + index + term) as u8).collect();
    let write = Write { session: None, action: Action::Apply(Bytes::from(command)) };
    let proposal = Proposal { stamped: LogTime(index), writes: vec![write] };
    Entry { id: id(term, index), payload: Payload::Writes(proposal.into()) }
}

pub(crate) fn vote(term: u64) -> Vote {
    Vote { term: Term(term), node: NodeId(term % 3), committed: term.is_multiple_of(2) }
}
