//! Who waits for whom: requests pass through lanes in the order of their tickets, and one waits in a lane as long as an
//! earlier one that conflicts with it is still in it.
//!
//! Promises: entering and leaving cost the logarithm of the lane's length, however many wait. No deadlock: a request
//! enters all its lanes at once, so it waits for earlier tickets only.

use std::collections::BTreeSet;

/// A request's place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// How a request uses a lane. The lane of all keys knows all four; that of one key or one client only the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It reads what the lane stands for.
    Read,
    /// It writes it.
    Write,
    /// It reads a part of it.
    ReadPart,
    /// It writes a part of it.
    WritePart,
}

const MODES: usize = 4;

impl Mode {
    /// Parts are compared in lanes of their own, so here they never conflict with each other.
    fn conflicts(self) -> &'static [Mode] {
        use Mode::*;
        match self {
            Read => &[Write, WritePart],
            Write => &[Read, Write, ReadPart, WritePart],
            ReadPart => &[Write],
            WritePart => &[Read, Write],
        }
    }
}

/// One lane: those that are in it, by mode, and which of them wait.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    inside: [BTreeSet<Ticket>; MODES],
    waiting: [BTreeSet<Ticket>; MODES],
}

impl Lane {
    /// Enters; whether there is nothing to wait for. Tickets enter in their order.
    pub(crate) fn enter(&mut self, ticket: Ticket, mode: Mode) -> bool {
        debug_assert!(self.inside.iter().all(|set| set.last() < Some(&ticket)), "{ticket:?} enters too late");
        self.inside[mode as usize].insert(ticket);
        let free = self.is_free(ticket, mode);
        if !free {
            self.waiting[mode as usize].insert(ticket);
        }
        free
    }

    fn is_free(&self, ticket: Ticket, mode: Mode) -> bool {
        mode.conflicts().iter().all(|other| self.inside[*other as usize].first().is_none_or(|first| *first >= ticket))
    }

    /// Leaves, waiting or not; those that need not wait any more are added to `freed`.
    pub(crate) fn leave(&mut self, ticket: Ticket, mode: Mode, freed: &mut Vec<Ticket>) {
        self.inside[mode as usize].remove(&ticket);
        self.waiting[mode as usize].remove(&ticket);
        // Conflicts are mutual: whom it kept waiting is whom it would have waited for.
        for other in mode.conflicts() {
            while let Some(first) = self.waiting[*other as usize].first().copied() {
                if !self.is_free(first, *other) {
                    break;
                }
                self.waiting[*other as usize].remove(&first);
                freed.push(first);
            }
        }
    }

    /// Whether nobody is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.inside.iter().all(BTreeSet::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use Mode::*;

    use super::*;

    #[test]
    fn conflicts_are_mutual() {
        for a in [Read, Write, ReadPart, WritePart] {
            for b in [Read, Write, ReadPart, WritePart] {
                assert_eq!(a.conflicts().contains(&b), b.conflicts().contains(&a), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn readers_go_together_and_a_writer_goes_alone() {
        let mut lane = Lane::default();
        let mut freed = Vec::new();
        assert!(lane.enter(Ticket(1), Read));
        assert!(lane.enter(Ticket(2), Read));
        assert!(!lane.enter(Ticket(3), Write));
        assert!(!lane.enter(Ticket(4), Read));
        lane.leave(Ticket(1), Read, &mut freed);
        assert!(freed.is_empty());
        lane.leave(Ticket(2), Read, &mut freed);
        assert_eq!(freed, [Ticket(3)]);
        freed.clear();
        lane.leave(Ticket(3), Write, &mut freed);
        assert_eq!(freed, [Ticket(4)]);
        lane.leave(Ticket(4), Read, &mut freed);
        assert!(lane.is_empty());
    }

    #[test]
    fn a_read_of_a_part_does_not_queue_behind_a_waiting_scan() {
        let mut lane = Lane::default();
        assert!(lane.enter(Ticket(1), WritePart));
        assert!(!lane.enter(Ticket(2), Read));
        assert!(lane.enter(Ticket(3), ReadPart));
        assert!(!lane.enter(Ticket(4), WritePart));
    }

    #[test]
    fn one_that_gives_up_waiting_frees_those_behind_it() {
        let mut lane = Lane::default();
        let mut freed = Vec::new();
        assert!(lane.enter(Ticket(1), Read));
        assert!(!lane.enter(Ticket(2), Write));
        assert!(!lane.enter(Ticket(3), Read));
        lane.leave(Ticket(2), Write, &mut freed);
        assert_eq!(freed, [Ticket(3)]);
    }
}
