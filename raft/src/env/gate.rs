//! All tasks of a simulated node as one thing that a test can hold, let go on, and end.
//!
//! Promises: while a gate is held, none of its futures runs, as after SIGSTOP: timers run out and messages pile up; once it
//! has ended, none of them ever runs again, as after SIGKILL: what they held is dropped. Futures are woken in the order in
//! which they came.
//! Leaves out: the network and the files, which are held and ended by themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What all futures of a node in one life go through. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    power: Power,
    next: u64,
    /// How to wake each future that has not ended.
    wakers: BTreeMap<u64, Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Power {
    #[default]
    Running,
    Held,
    Ended,
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on nothing behind it runs, until [`Self::resume`].
    pub fn hold(&self) {
        let mut state = self.state();
        if state.power == Power::Running {
            state.power = Power::Held;
        }
    }

    /// What was held goes on.
    pub fn resume(&self) {
        self.become_now(|power| if power == Power::Held { Power::Running } else { power });
    }

    /// Nothing behind it ever runs again.
    pub fn end(&self) {
        self.become_now(|_| Power::Ended);
    }

    /// Whether it is being held.
    pub fn is_held(&self) -> bool {
        self.state().power == Power::Held
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state().power == Power::Ended
    }

    /// `future`, behind this gate. `None` when the gate ends first.
    pub fn through<F: Future>(&self, future: F) -> Through<F> {
        let mut state = self.state();
        state.next += 1;
        Through { gate: self.clone(), number: state.next, inner: Some(Box::pin(future)) }
    }

    /// As [`Self::through`], for those who are behind the gate themselves: when it ends, this never does.
    pub(crate) async fn keep<F: Future>(self, future: F) -> F::Output {
        match self.through(future).await {
            Some(output) => output,
            None => pending().await,
        }
    }

    fn become_now(&self, change: impl FnOnce(Power) -> Power) {
        let wakers: Vec<Waker> = {
            let mut state = self.state();
            state.power = change(state.power);
            state.wakers.values().cloned().collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// A future behind a gate.
pub struct Through<F> {
    gate: Gate,
    number: u64,
    inner: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Through<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let power = {
            let mut state = this.gate.state();
            if state.power != Power::Ended {
                // Kept also while it runs: whoever ends the gate must reach it.
                state.wakers.insert(this.number, cx.waker().clone());
            }
            state.power
        };
        match (power, &mut this.inner) {
            (Power::Ended, inner) => {
                *inner = None;
                Poll::Ready(None)
            }
            (Power::Held, _) | (_, None) => Poll::Pending,
            (Power::Running, Some(inner)) => inner.as_mut().poll(cx).map(Some),
        }
    }
}

impl<F> Drop for Through<F> {
    fn drop(&mut self) {
        self.gate.state().wakers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    /// A task behind `gate` that counts milliseconds.
    fn count(gate: &Gate) -> Arc<AtomicU64> {
        let counter = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&counter);
        tokio::spawn(gate.through(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }));
        counter
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_stands_still_and_goes_on_and_what_has_ended_is_dropped() {
        let gate = Gate::new();
        let counter = count(&gate);
        let pause = || tokio::time::sleep(Duration::from_millis(20));
        pause().await;
        gate.hold();
        let held = counter.load(Ordering::Relaxed);
        pause().await;
        assert!(held > 5 && gate.is_held());
        assert_eq!(counter.load(Ordering::Relaxed), held);
        gate.resume();
        pause().await;
        assert!(counter.load(Ordering::Relaxed) > held);
        assert_eq!(Arc::strong_count(&counter), 2);
        gate.end();
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&counter), 1, "nothing of it is left");
        gate.resume();
        assert!(gate.has_ended(), "for good");
        assert_eq!(gate.through(async { 7 }).await, None);
    }
}
