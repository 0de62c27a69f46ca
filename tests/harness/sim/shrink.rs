//! Makes a failing plan smaller, as long as it fails in the same way (delta debugging: Zeller and Hildebrandt, "Simplifying and
//! isolating failure-inducing input").
//!
//! Leaves out: the best of all plans. What is found cannot be made smaller by leaving out one thing more, or the budget is spent.

use super::outcome::Outcome;
use super::plan::{Plan, Planned};
use super::run::{Recording, run_plan};
use super::scenario::Scenario;

/// A plan made smaller.
#[derive(Clone, Debug)]
pub struct Shrunken {
    /// What it comes to, with all that a report shows.
    pub outcome: Outcome,
    /// How many plans were tried.
    pub tried: usize,
}

/// Makes the plan of `outcome`, which failed, smaller; runs at most `budget` plans. An outcome that did not fail stays as it is.
pub fn shrink(scenario: &dyn Scenario, outcome: &Outcome, budget: usize) -> Shrunken {
    let Some(property) = outcome.violation().map(|violation| violation.property.clone()) else {
        return Shrunken { outcome: outcome.clone(), tried: 0 };
    };
    let mut search = Search { scenario, property, budget, tried: 0, best: outcome.plan.clone() };
    search.faults();
    search.operations();
    search.faults();
    search.lengths();
    let outcome = run_plan(scenario, &search.best, Recording::Trace);
    Shrunken { outcome, tried: search.tried }
}

struct Search<'a> {
    scenario: &'a dyn Scenario,
    property: String,
    budget: usize,
    tried: usize,
    best: Plan,
}

impl Search<'_> {
    /// Takes `plan` if it fails in the same way.
    fn takes(&mut self, plan: Plan) -> bool {
        if self.tried >= self.budget || plan == self.best {
            return false;
        }
        self.tried += 1;
        let outcome = run_plan(self.scenario, &plan, Recording::Hash);
        let is_same = outcome.violation().is_some_and(|violation| violation.property == self.property);
        if is_same {
            self.best = plan;
        }
        is_same
    }

    fn faults(&mut self) {
        let faults = self.best.faults.clone();
        minimise(faults, |faults| {
            let plan = Plan { faults: faults.to_vec(), ..self.best.clone() };
            self.takes(plan)
        });
    }

    fn operations(&mut self) {
        let shape = self.scenario.shape();
        // Named one by one, they can be left out one by one.
        let all = (0..shape.clients).flat_map(|client| (0..shape.operations).map(move |nth| (client, nth)));
        let all: Vec<(u64, u64)> = all.filter(|(client, nth)| self.best.keeps(*client, *nth)).collect();
        minimise(all, |kept| {
            let plan = Plan { operations: Some(kept.iter().copied().collect()), ..self.best.clone() };
            self.takes(plan)
        });
    }

    /// Shorter faults tell a simpler story.
    fn lengths(&mut self) {
        for nth in 0..self.best.faults.len() {
            loop {
                let mut faults = self.best.faults.clone();
                let Some(Planned { lasts, .. }) = faults.get_mut(nth).filter(|fault| fault.lasts > 50) else { break };
                *lasts /= 2;
                let plan = Plan { faults, ..self.best.clone() };
                if !self.takes(plan) {
                    break;
                }
            }
        }
    }
}

/// Leaves out of `items` as much as it can: first halves, then smaller and smaller parts. `fails` says whether what is left
/// still fails, and is told nothing twice in a row.
fn minimise<T: Clone>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while items.len() > 1 {
        let size = items.len().div_ceil(parts);
        let without = |start: usize| {
            let end = (start + size).min(items.len());
            [&items[..start], &items[end..]].concat()
        };
        let smaller = (0..items.len()).step_by(size).map(without).find(|rest| fails(rest));
        match smaller {
            Some(rest) => {
                items = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let mut asked = 0;
        let left = minimise((0..100).collect(), |items: &[u32]| {
            asked += 1;
            items.contains(&17) && items.contains(&71)
        });
        assert_eq!(left, [17, 71]);
        assert!(asked < 200, "asked {asked} times");
        assert!(minimise(vec![1, 2, 3], |_| true).is_empty());
        assert_eq!(minimise(vec![1, 2, 3], |items| items.len() == 3), [1, 2, 3]);
    }
}
