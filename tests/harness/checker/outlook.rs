//! What can still come of a state: looking ahead to the next answer that shows one.
//!
//! Of all operations that show a state and are not in the order, take the one that returns first. Whatever comes before it in
//! an order was called before it returned. So the state that it shows grows out of the state now, or out of one that such an
//! operation sets, and each step of that is an operation that is still to come. If there is no such way, nothing can follow:
//! without this, appends by many clients at once are tried in every order before a read tells which it was.
//! And as long as a state shows in nothing that may come before it is set anew, it does not matter which state it is.

use super::Model;
use super::events::{Event, EventId, Events};
use super::steps::{ClassId, Effects, StateId, Steps};

/// What a configuration can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing is known that it cannot.
    Open,
    /// The next state that is shown can be reached.
    Towards {
        /// That state.
        goal: StateId,
        /// Whether it can be reached without setting a state.
        direct: bool,
        /// Whether it can be reached by setting a state first.
        set: bool,
        /// Whether nothing before that shows which state it is now.
        hidden: bool,
    },
    /// This task shows a state that nothing leads to.
    Hopeless(u32),
}

impl Outlook {
    /// Whether a state has to be set before the next one is shown. What sets one is tried first then: what else is done before
    /// would not be seen, and may be needed after it.
    pub(super) fn needs_set(self) -> bool {
        matches!(self, Outlook::Towards { direct: false, .. })
    }
}

/// Looks ahead from a state. `class_of` gives a task's class.
pub(super) fn look<M: Model>(
    steps: &mut Steps<'_, M>,
    events: &Events,
    class_of: impl Fn(u32) -> ClassId,
    state: StateId,
) -> Outlook {
    let (mut sets, mut grows, mut shown): (Vec<StateId>, Vec<ClassId>, Vec<StateId>) = Default::default();
    let mut is_blind = steps.takes_all(state);
    let mut event: EventId = events.first();
    loop {
        match events.kind(event) {
            // No answer is left that shows a state.
            None => return Outlook::Open,
            Some(Event::Call(task)) => {
                let class = class_of(task);
                match steps.effect(class) {
                    Effects::Shows(value) => shown.push(value),
                    Effects::Grows => grows.push(class),
                    Effects::Sets { to, blindly } => {
                        sets.push(to);
                        is_blind &= blindly;
                    }
                    Effects::Keeps => is_blind = false,
                    Effects::Unknown => return Outlook::Open,
                }
            }
            Some(Event::Return(task)) => {
                if let Effects::Shows(goal) = steps.effect(class_of(task)) {
                    let direct = grows_into(steps, state, goal, &grows);
                    let set = sets.iter().any(|set| grows_into(steps, *set, goal, &grows));
                    if !direct && !set {
                        return Outlook::Hopeless(task);
                    }
                    let hidden = is_blind && !direct && shown.iter().all(|value| !steps.is_part(state, *value));
                    return Outlook::Towards { goal, direct, set, hidden };
                }
            }
        }
        event = events.after(event);
    }
}

/// Whether a state can grow into another by some of these operations. Where there is a choice, it is not looked into: it can.
fn grows_into<M: Model>(steps: &mut Steps<'_, M>, from: StateId, to: StateId, grows: &[ClassId]) -> bool {
    if from == to {
        return true;
    }
    if !steps.is_part(from, to) {
        return false;
    }
    let mut left = grows.to_vec();
    let mut at = from;
    while at != to {
        let mut fits = (0..left.len()).filter(|nth| steps.grows_towards(at, left[*nth], to));
        let Some(nth) = fits.next() else { return false };
        if fits.any(|other| left[other] != left[nth]) {
            return true;
        }
        let class = left.swap_remove(nth);
        match steps.step(at, class) {
            Some(next) if next != at => at = next,
            // It does not lead further; nothing is known.
            _ => return true,
        }
    }
    true
}
