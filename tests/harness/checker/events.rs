//! The calls and returns that are not yet in the order, as a list from which an operation can be lifted and put back.

/// The place of an event in the list. 0 stands before the first and after the last.
pub(super) type EventId = u32;

/// A call or a return of a task, by the task's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The task may be taken from here on.
    Call(u32),
    /// The task must have been taken before this.
    Return(u32),
}

/// A doubly linked list in arrays. What is lifted must be put back in the opposite order.
#[derive(Debug)]
pub(super) struct Events {
    kinds: Vec<Event>,
    next: Vec<EventId>,
    previous: Vec<EventId>,
}

impl Events {
    /// The given events in their order; the first gets id 1.
    pub(super) fn new(kinds: Vec<Event>) -> Self {
        let count = kinds.len() as EventId;
        let next = (1..=count).chain([0]).collect();
        let previous = std::iter::once(count).chain(0..count).collect();
        Events { kinds, next, previous }
    }

    /// The id of the first event left; 0 when none is.
    pub(super) fn first(&self) -> EventId {
        self.next[0]
    }

    /// The id of the event after this one; 0 when it is the last.
    pub(super) fn after(&self, event: EventId) -> EventId {
        self.next[event as usize]
    }

    /// What the event is; `None` for 0.
    pub(super) fn kind(&self, event: EventId) -> Option<Event> {
        (event > 0).then(|| self.kinds[event as usize - 1])
    }

    /// Takes an event out.
    pub(super) fn lift(&mut self, event: EventId) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    /// Puts the event that was taken out last, of those still out, where it was.
    pub(super) fn put_back(&mut self, event: EventId) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = event;
        self.previous[next as usize] = event;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(events: &Events) -> Vec<EventId> {
        let ids = std::iter::successors(Some(events.first()), |event| Some(events.after(*event)));
        ids.take_while(|event| *event != 0).collect()
    }

    #[test]
    fn what_is_lifted_and_put_back_in_the_opposite_order_is_where_it_was() {
        let mut events = Events::new(vec![Event::Call(0), Event::Call(1), Event::Return(0), Event::Return(1)]);
        let order = [2, 3, 1, 4];
        let mut seen = vec![left(&events)];
        for event in order {
            events.lift(event);
            seen.push(left(&events));
        }
        assert_eq!(seen, [vec![1, 2, 3, 4], vec![1, 3, 4], vec![1, 4], vec![4], vec![]]);
        for event in order.into_iter().rev() {
            assert_eq!(seen.pop(), Some(left(&events)));
            events.put_back(event);
        }
        assert_eq!(seen.pop(), Some(left(&events)));
    }
}
