//! Whether this replica's state is that of the others.
//!
//! An entry asks every replica for the digest of its state at that entry; the leader collects what they say, and a later entry
//! holds the verdict. Each replica judges itself by it, whenever it comes so far: one that holds something else stops.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use super::machine::Shared;
use super::state::{Own, State};
use crate::log::Verdict;
use crate::machine::{StateDigest, encode};
use crate::types::Index;
use crate::watch;

/// So many of the newest comparisons are remembered.
const KEPT: usize = 8;

/// What applied entries ask for that is not done by applying them.
pub(super) enum Task {
    /// The digest of the state at this entry.
    Compute(Index, StateDigest),
    /// The others' word on it.
    Judge(Verdict),
}

/// The digests of this replica, and what the others say.
pub(super) struct Digests(watch::Sender<BTreeMap<Index, Page>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Page {
    own: Option<u64>,
    verdict: Option<Verdict>,
}

impl Digests {
    pub(super) fn new() -> Self {
        Digests(watch::channel(BTreeMap::new()).0)
    }

    /// Waits for this replica's digest at `index`; for ever if it will have none.
    pub(super) async fn at(&self, index: Index) -> Option<u64> {
        let own = |book: &BTreeMap<Index, Page>| book.get(&index).and_then(|page| page.own);
        // Never closed: the sender is here.
        self.0.subscribe().wait_for(|book| own(book).is_some()).await.ok().as_ref().and_then(own)
    }

    /// Says in what this replica differs from the others, if that is known now.
    fn note(&self, index: Index, change: impl FnOnce(&mut Page)) -> Option<String> {
        let mut difference = None;
        self.0.modify(|book| {
            let page = book.entry(index).or_default();
            change(page);
            difference = page.difference();
            while book.len() > KEPT {
                book.pop_first();
            }
            true
        });
        difference
    }
}

impl Page {
    fn difference(&self) -> Option<String> {
        let (own, verdict) = (self.own?, self.verdict.as_ref()?);
        let at = verdict.at;
        match verdict.expected {
            Some(expected) if expected == own => None,
            Some(expected) => Some(format!(
                "this replica's state has parted from the others': at entry {at} its digest is {own:016x}, theirs {expected:016x}"
            )),
            None => Some(format!("the replicas' states have parted, and no majority agrees, at entry {at}")),
        }
    }
}

impl State {
    /// The digest of all that is applied, to be computed later; `None` when the machine has none.
    pub(super) fn digest(&self) -> Option<StateDigest> {
        let machine = self.machine.digest()?;
        let Own { time, version, sessions } = self.own.clone();
        Some(Box::new(move || {
            let mut hasher = XxHash3_64::new();
            hasher.write(&encode(&(time, version)));
            sessions.records().for_each(|record| hasher.write(&encode(&record)));
            hasher.write_u64(machine()?);
            Some(hasher.finish())
        }))
    }
}

impl Shared {
    /// Does what applied entries have asked for.
    pub(super) fn do_tasks(self: &std::sync::Arc<Self>, tasks: VecDeque<Task>) {
        for task in tasks {
            match task {
                Task::Judge(verdict) => {
                    let difference = self.digests.note(verdict.at, |page| page.verdict = Some(verdict));
                    difference.into_iter().for_each(|text| self.part(text));
                }
                Task::Compute(index, digest) => {
                    let shared = std::sync::Arc::clone(self);
                    let compute = move || {
                        if let Some(own) = digest() {
                            let difference = shared.digests.note(index, |page| page.own = Some(own));
                            difference.into_iter().for_each(|text| shared.part(text));
                        }
                    };
                    if self.inline {
                        compute();
                    } else {
                        tokio::task::spawn_blocking(compute);
                    }
                }
            }
        }
    }
}
