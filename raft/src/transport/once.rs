//! Which messages have arrived: a network that delivers a message twice must not make one write two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::types::{Incarnation, NodeId};

/// So many of a sender's newest messages are told apart; anything older is taken for a repetition.
const WINDOW: usize = 4096;

/// So many ended lives of a sender are remembered.
const LIVES: usize = 16;

/// What each sender has sent.
#[derive(Debug, Default)]
pub(crate) struct Once(Mutex<BTreeMap<NodeId, Sender>>);

/// Invariant: every id that was let in is among `ids` or below `floor`.
#[derive(Debug, Default)]
struct Sender {
    life: Option<Incarnation>,
    ended: VecDeque<Incarnation>,
    floor: u64,
    ids: BTreeSet<u64>,
}

impl Once {
    /// Whether this message of this life of `from` has not been let in before; it has from now on.
    pub(crate) fn let_in(&self, from: NodeId, life: Incarnation, id: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(from).or_default().let_in(life, id)
    }
}

impl Sender {
    fn let_in(&mut self, life: Incarnation, id: u64) -> bool {
        if self.ended.contains(&life) {
            return false;
        }
        if self.life != Some(life) {
            self.ended.extend(self.life.replace(life));
            if self.ended.len() > LIVES {
                self.ended.pop_front();
            }
            self.floor = 0;
            self.ids.clear();
        }
        if id < self.floor || !self.ids.insert(id) {
            return false;
        }
        if self.ids.len() > WINDOW
            && let Some(oldest) = self.ids.pop_first()
        {
            self.floor = oldest + 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);

    #[test]
    fn a_message_is_let_in_once_in_whatever_order_messages_come() {
        let once = Once::default();
        let life = Incarnation(7);
        assert_eq!([5, 3, 5, 4, 3].map(|id| once.let_in(A, life, id)), [true, true, false, true, false]);
        assert!(once.let_in(NodeId(2), life, 5), "another sender's");
    }

    #[test]
    fn a_message_of_an_ended_life_is_never_let_in() {
        let once = Once::default();
        assert!(once.let_in(A, Incarnation(7), 5));
        assert!(once.let_in(A, Incarnation(8), 5));
        assert!(!once.let_in(A, Incarnation(7), 6));
        assert!(!once.let_in(A, Incarnation(8), 5));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_taken_for_a_repetition() {
        let once = Once::default();
        let life = Incarnation(7);
        assert!((0..3 * WINDOW as u64).all(|id| once.let_in(A, life, id * 2)));
        assert!(!once.let_in(A, life, 0));
        assert_eq!(once.0.lock().unwrap()[&A].ids.len(), WINDOW);
    }
}
