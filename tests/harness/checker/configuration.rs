//! Which operations are in the order already, and the memory of what was seen.

use std::collections::HashMap;

use super::steps::StateId;

/// The operations taken. Those that returned are numbered by call, so that all but a window of them are taken from the
/// front on; those without a return are numbered apart, since they may stay out forever.
#[derive(Debug)]
pub(super) struct Configuration {
    returned: Vec<u64>,
    open: Vec<u64>,
    /// The number of returned ones taken.
    taken: usize,
    /// The first word of `returned` that is not full.
    front: usize,
    /// No word of `returned` after this one has a bit set.
    back: usize,
}

/// The returned operations taken, in as few words as their overlap needs. Equal sets have equal windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Window {
    /// So many words before the window are full.
    full: u32,
    words: Box<[u64]>,
}

impl Configuration {
    /// Nothing taken, of so many operations.
    pub(super) fn new(returned: usize, open: usize) -> Self {
        // One word more than needed: the front always stands on a word that is not full.
        let returned = vec![0; returned / 64 + 1];
        Configuration { returned, open: vec![0; open.div_ceil(64)], taken: 0, front: 0, back: 0 }
    }

    /// The number of returned operations taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether this operation without a return is taken.
    pub(super) fn has_open(&self, bit: usize) -> bool {
        self.open[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// Whether this operation that returned is taken.
    pub(super) fn has_returned(&self, bit: usize) -> bool {
        self.returned[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// Takes or gives back an operation without a return.
    pub(super) fn flip_open(&mut self, bit: usize) {
        self.open[bit / 64] ^= 1 << (bit % 64);
    }

    /// Takes an operation that returned.
    pub(super) fn take(&mut self, bit: usize) {
        self.returned[bit / 64] |= 1 << (bit % 64);
        self.taken += 1;
        self.back = self.back.max(bit / 64);
        while self.returned[self.front] == u64::MAX {
            self.front += 1;
        }
    }

    /// Gives back an operation that returned.
    pub(super) fn give_back(&mut self, bit: usize) {
        self.returned[bit / 64] &= !(1 << (bit % 64));
        self.taken -= 1;
        self.front = self.front.min(bit / 64);
        while self.back > 0 && self.returned[self.back] == 0 {
            self.back -= 1;
        }
    }

    fn window(&self) -> Window {
        let words = self.returned.get(self.front..=self.back).unwrap_or_default();
        Window { full: self.front as u32, words: words.into() }
    }
}

/// The configurations seen, each with the state that it led to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// For equal states and returned operations: the sets of operations without a return, none within another.
    sets: HashMap<(Window, StateId), Vec<Box<[u64]>>>,
    count: usize,
}

impl Seen {
    /// The number of configurations remembered.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Remembers a configuration; false when there is no need to look at it.
    ///
    /// That is so if one was seen that differs only by having taken fewer of the operations without a return: whatever
    /// can follow here can follow there, and there it was, or will be, looked for.
    pub(super) fn is_new(&mut self, configuration: &Configuration, state: StateId) -> bool {
        let open = &configuration.open;
        let sets = self.sets.entry((configuration.window(), state)).or_default();
        if sets.iter().any(|seen| is_within(seen, open)) {
            return false;
        }
        let before = sets.len();
        sets.retain(|seen| !is_within(open, seen));
        sets.push(open.as_slice().into());
        self.count = self.count + sets.len() - before;
        true
    }
}

fn is_within(small: &[u64], large: &[u64]) -> bool {
    small.iter().zip(large).all(|(small, large)| small & !large == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_depends_on_the_set_alone() {
        let mut forwards = Configuration::new(300, 0);
        let mut backwards = Configuration::new(300, 0);
        (0..200).for_each(|bit| forwards.take(bit));
        (0..300).rev().for_each(|bit| backwards.take(bit));
        (200..300).for_each(|bit| backwards.give_back(bit));
        assert_eq!(forwards.window(), backwards.window());
        assert_eq!(forwards.window().words.len(), 1, "192 of 200 are full words");
        forwards.give_back(0);
        assert_eq!(forwards.window().words.len(), 4);
        forwards.take(0);
        assert_eq!(forwards.window(), backwards.window());
        (192..200).for_each(|bit| forwards.give_back(bit));
        assert_eq!(forwards.window(), Window { full: 3, words: Box::new([]) }, "nothing beyond the full words");
        assert_eq!(forwards.taken(), 192);
    }

    #[test]
    fn a_configuration_that_spent_more_open_operations_is_not_new() {
        let mut seen = Seen::default();
        let mut configuration = Configuration::new(1, 2);
        configuration.flip_open(0);
        assert!(seen.is_new(&configuration, 7));
        assert!(!seen.is_new(&configuration, 7), "seen");
        assert!(seen.is_new(&configuration, 8), "another state");
        configuration.flip_open(1);
        assert!(!seen.is_new(&configuration, 7), "spent more");
        configuration.flip_open(0);
        assert!(seen.is_new(&configuration, 7), "spent another");
        configuration.flip_open(1);
        assert!(seen.is_new(&configuration, 7), "spent none");
        assert_eq!(seen.len(), 2, "the one that spent none stands for those that spent some");
    }
}
