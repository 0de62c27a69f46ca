//! Linearizability: could the operations of a run have happened one at a time, each between its call and its return?
//!
//! The search is Wing and Gong's, with Lowe's memory of configurations seen, key by key (Herlihy and Wing: a history is
//! linearizable if it is on every object by itself). What keeps it small is argued in `search.rs` and
//! `configuration.rs`: reads that fit are taken at once; an operation without a return is taken only if something
//! comes of it; a configuration that spent more of those than one seen before is not looked at, and neither is one that
//! cannot lead to what a read shows next (`outlook.rs`); and the memory holds only the stretch of a history where
//! operations overlap.
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
mod nemesis;
mod operation;
mod outlook;
pub mod ownership;
mod parallel;
#[cfg(test)]
mod properties;
pub mod register;
pub mod scatter;
mod search;
pub mod staleness;
mod steps;
mod verdict;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub use model::{Effect, Keyed, Model};
pub use operation::{Operation, Outcome, Position};
pub use verdict::{Counterexample, Exhausted, Limits, Verdict};

use parallel::{Stop, judge_all};
use search::{Found, Search};

/// So many configurations are looked at, of a key that has no order, to tell how far one comes.
const EXPLAINED: usize = 50_000;

/// Judges a history, given in any order.
///
/// Small keys are searched first, and several at once: they find a violation the soonest.
pub fn check<M>(model: &M, history: &[Operation<M::Input, M::Output>], limits: Limits) -> Verdict
where
    M: Model + Sync,
    M::Input: Sync,
    M::Output: Sync,
{
    let mut by_key: BTreeMap<Cow<'_, str>, Vec<usize>> = BTreeMap::new();
    for (nth, operation) in history.iter().enumerate() {
        by_key.entry(model.key(&operation.input)).or_default().push(nth);
    }
    let mut parts: Vec<(Cow<'_, str>, Vec<usize>)> = by_key.into_iter().collect();
    parts.sort_by_key(|(_, part)| part.len());

    let sizes: Vec<usize> = parts.iter().map(|(_, part)| part.len()).collect();
    let verdicts = judge_all(&sizes, limits.deadline(), |nth, stop| {
        let (key, part) = &parts[nth];
        let operations: Vec<_> = part.iter().map(|nth| &history[*nth]).collect();
        let search = Search::new(model, &operations);
        let looked_ahead = search.looks_ahead();
        let mut found = search.run(stop, limits.configurations);
        if looked_ahead && matches!(found, Found::Stuck { .. }) {
            // It turned back before it was stuck. How far it comes otherwise says more, if that is soon found.
            let again = Search::new(model, &operations).without_outlook();
            let again = again.run(stop, limits.configurations.min(EXPLAINED));
            if matches!(again, Found::Stuck { .. }) {
                found = again;
            }
        }
        let verdict = match found {
            Found::Order(_) => Verdict::Linearizable,
            Found::Exhausted(limit) => Verdict::Unknown(limit),
            Found::Stuck { longest, stuck, unplaced } => {
                let whole = |places: Vec<usize>| places.into_iter().map(|nth| part[nth]).collect();
                Verdict::NotLinearizable(Counterexample {
                    key: key.clone().into_owned(),
                    longest: whole(longest),
                    stuck: part[stuck],
                    unplaced: whole(unplaced),
                })
            }
        };
        let decides = matches!(verdict, Verdict::NotLinearizable(_));
        (verdict, decides)
    });
    verdicts.into_iter().find(|verdict| !verdict.is_linearizable()).unwrap_or(Verdict::Linearizable)
}

/// The longest order, and for each operation that it leaves out the longest order that has it, as far as the limits
/// allow: what a picture of the violation shows. The longest comes first; none is told twice.
pub fn partial_orders<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    found: &Counterexample,
    limits: Limits,
) -> Vec<Vec<usize>> {
    let is_of_key = |nth: &usize| model.key(&history[*nth].input) == found.key;
    let part: Vec<usize> = (0..history.len()).filter(is_of_key).collect();
    let left_out: Vec<usize> =
        std::iter::once(&found.stuck).chain(&found.unplaced).filter_map(|nth| part.binary_search(nth).ok()).collect();
    let operations: Vec<_> = part.iter().map(|nth| &history[*nth]).collect();
    let search = Search::new(model, &operations).without_outlook();
    let orders = search.longest_with(&left_out, Stop::at(limits.deadline()), limits.configurations.min(EXPLAINED));
    let mut orders: Vec<Vec<usize>> =
        orders.into_iter().map(|order| order.into_iter().map(|nth| part[nth]).collect()).collect();
    orders.sort_by_key(|order: &Vec<usize>| std::cmp::Reverse(order.len()));
    orders.insert(0, found.longest.clone());
    let mut told = BTreeSet::new();
    orders.retain(|order| told.insert(order.clone()));
    orders
}
