//! Recording what concurrent clients did, for a checker to judge afterwards.
//!
//! Promises: calls and returns are numbered in the order in which they happened; a call that is dropped without a
//! return (its task was cancelled, say) stays open, which claims nothing.
//! Leaves out: what was said on the wire; an operation is what its client saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checker::{Operation, Outcome, Position};

/// A history in the making. Clones record into the same one.
pub struct History<I, O>(Arc<Shared<I, O>>);

struct Shared<I, O> {
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    records: Mutex<Records<I, O>>,
}

struct Records<I, O> {
    operations: Vec<Operation<I, O>>,
    /// When each event happened; its place is its position.
    times: Vec<Duration>,
}

impl<I, O> History<I, O> {
    /// An empty history, timed by the machine's monotonic clock from now on.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }

    /// An empty history with a clock of the caller's, such as a simulation's. Times are for people: the order of events
    /// is the order in which they are recorded, whatever the clock says.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let records = Mutex::new(Records { operations: Vec::new(), times: Vec::new() });
        History(Arc::new(Shared { clock: Box::new(clock), records }))
    }

    /// Records that a client is about to send an operation. To be called before anything is sent.
    pub fn invoke(&self, process: u64, input: I) -> Call<I, O> {
        let mut records = self.records();
        let called = records.now(&self.0.clock);
        records.operations.push(Operation { process, input, called, outcome: Outcome::Open });
        Call { history: self.clone(), nth: records.operations.len() - 1 }
    }

    /// The number of calls so far.
    pub fn len(&self) -> usize {
        self.records().operations.len()
    }

    /// Whether nothing was called yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When an event of this history happened, by its clock.
    pub fn time(&self, position: Position) -> Option<Duration> {
        self.records().times.get(position.0 as usize).copied()
    }

    /// The operations so far, in the order of their calls. Those that have not returned yet are open.
    pub fn operations(&self) -> Vec<Operation<I, O>>
    where
        I: Clone,
        O: Clone,
    {
        self.records().operations.clone()
    }

    fn records(&self) -> MutexGuard<'_, Records<I, O>> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O> Records<I, O> {
    fn now(&mut self, clock: &(dyn Fn() -> Duration + Send + Sync)) -> Position {
        // The clock is read under the lock, so that times are in the order of positions.
        self.times.push(clock());
        Position(self.times.len() as u64 - 1)
    }
}

impl<I, O> Clone for History<I, O> {
    fn clone(&self) -> Self {
        History(Arc::clone(&self.0))
    }
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

/// An operation that was called and has not returned. Dropped, it stays open.
#[must_use = "a call without a return asserts nothing"]
pub struct Call<I, O> {
    history: History<I, O>,
    nth: usize,
}

impl<I, O> Call<I, O> {
    /// It returned. Refusals that assert something ("the value was another") are outputs too.
    pub fn ok(self, output: O) {
        let mut records = self.history.records();
        let at = records.now(&self.history.0.clock);
        records.operations[self.nth].outcome = Outcome::Returned { output, at };
    }

    /// It was refused, and it is certain that it never takes effect.
    pub fn fail(self) {
        self.history.records().operations[self.nth].outcome = Outcome::Failed;
    }

    /// Nobody knows whether it takes effect, or when.
    pub fn info(self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::register::{Register, RegisterAnswer, RegisterOp};
    use crate::checker::{Keyed, Limits, check};

    #[tokio::test]
    async fn clients_of_a_shared_value_record_a_linearizable_history() {
        let history = History::new();
        let value = Arc::new(Mutex::new(None));
        let client = |process: u64| {
            let (history, value) = (history.clone(), Arc::clone(&value));
            async move {
                for round in 0..50 {
                    let is_write = (process + round).is_multiple_of(3);
                    let op = if is_write { RegisterOp::Write(round) } else { RegisterOp::Read };
                    let call = history.invoke(process, Keyed::new("k", op));
                    tokio::task::yield_now().await;
                    let answer = match is_write {
                        true => {
                            *value.lock().unwrap() = Some(round);
                            RegisterAnswer::Done
                        }
                        false => RegisterAnswer::Value(*value.lock().unwrap()),
                    };
                    tokio::task::yield_now().await;
                    call.ok(answer);
                }
            }
        };
        futures::future::join_all((0..8).map(|process| tokio::spawn(client(process)))).await;
        let operations = history.operations();
        assert_eq!(operations.len(), 400);
        assert!(check(&Register::empty(), &operations, Limits::default()).is_linearizable());
    }

    #[test]
    fn a_call_that_is_dropped_stays_open_and_one_that_failed_asserts_nothing() {
        let history = History::new();
        drop(history.invoke(1, "dropped"));
        history.invoke(2, "unknown").info();
        history.invoke(3, "failed").fail();
        history.invoke(4, "done").ok(7);
        let outcomes: Vec<_> = history.operations().into_iter().map(|operation| operation.outcome).collect();
        let done = Outcome::Returned { output: 7, at: Position(4) };
        assert_eq!(outcomes, [Outcome::Open, Outcome::Open, Outcome::Failed, done]);
        assert!(history.time(Position(3)) <= history.time(Position(4)));
        assert_eq!(history.time(Position(5)), None);
    }
}
