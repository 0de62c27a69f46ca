//! Linearizability: could the operations of a run have happened one at a time, each between its call and its return?
//!
//! The search is Wing and Gong's, with Lowe's memory of configurations seen, key by key (Herlihy and Wing: a history is
//! linearizable if it is on every object by itself). What keeps it small is argued in `search.rs` and
//! `configuration.rs`: reads that fit are taken at once; an operation without a return is taken only if something
//! comes of it; a configuration that spent more of those than one seen before is not looked at; and the memory holds
//! only the stretch of a history where operations overlap.
//! Promises: a verdict is never a guess; when time or memory runs out, it is [`Verdict::Unknown`].
//! Leaves out: weaker consistency (stale reads have a checker of their own), and models with several possible outcomes.

pub mod appends;
mod configuration;
pub mod epochs;
mod events;
pub mod json;
pub mod jsonl;
pub mod kv;
mod model;
mod operation;
pub mod ownership;
#[cfg(test)]
mod properties;
pub mod register;
pub mod scatter;
mod search;
pub mod staleness;
mod steps;
mod verdict;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

pub use model::{Keyed, Model};
pub use operation::{Operation, Outcome, Position};
pub use verdict::{Counterexample, Exhausted, Limits, Verdict};

use search::{Found, Search};

/// Judges a history, given in any order.
///
/// Small keys are searched first: they find a violation the soonest.
pub fn check<M: Model>(model: &M, history: &[Operation<M::Input, M::Output>], limits: Limits) -> Verdict {
    let mut by_key: BTreeMap<Cow<'_, str>, Vec<usize>> = BTreeMap::new();
    for (nth, operation) in history.iter().enumerate() {
        by_key.entry(model.key(&operation.input)).or_default().push(nth);
    }
    let mut parts: Vec<(Cow<'_, str>, Vec<usize>)> = by_key.into_iter().collect();
    parts.sort_by_key(|(_, part)| part.len());

    // A limit beyond the clock's range is none.
    let deadline = Instant::now().checked_add(limits.time);
    let mut unknown = None;
    for (key, part) in parts {
        let operations: Vec<_> = part.iter().map(|nth| &history[*nth]).collect();
        match Search::new(model, &operations).run(deadline, limits.configurations) {
            Found::Order(_) => {}
            Found::Stuck { longest, stuck, unplaced } => {
                let whole = |places: Vec<usize>| places.into_iter().map(|nth| part[nth]).collect();
                return Verdict::NotLinearizable(Counterexample {
                    key: key.into_owned(),
                    longest: whole(longest),
                    stuck: part[stuck],
                    unplaced: whole(unplaced),
                });
            }
            Found::Exhausted(limit) => unknown = Some(limit),
        }
    }
    unknown.map_or(Verdict::Linearizable, Verdict::Unknown)
}
