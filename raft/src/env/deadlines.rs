//! Deadlines of many calls at once, at the price of a list entry each instead of a timer each.
//!
//! Promises: a call ends when its deadline comes, not later than a timer of its own would have it.
//! How: calls that wait are listed, in no order; one task sleeps until the earliest deadline that it saw when it last
//! looked, then looks again. Calls hardly ever reach their deadlines, so it hardly ever wakes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::select;
use tokio::sync::Notify;

use super::{Env, Moment};

/// The calls that wait, and the task that watches over them. Clones share it.
#[derive(Clone)]
pub(crate) struct Deadlines(Arc<Shared>);

struct Shared {
    env: Arc<dyn Env>,
    list: Mutex<List>,
    /// Tells the watching task of a deadline before the one that it sleeps for.
    earlier: Notify,
}

/// Invariants: `free` names exactly the empty places; `watched_until` is at or before the earliest deadline listed.
#[derive(Default)]
struct List {
    places: Vec<Option<(Moment, Waker)>>,
    free: Vec<usize>,
    /// When the watching task looks next; `None` when there is none.
    watched_until: Option<Moment>,
}

impl Deadlines {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        Deadlines(Arc::new(Shared { env, list: Mutex::default(), earlier: Notify::new() }))
    }

    /// Runs `future` until `deadline`; `None` when that comes first.
    ///
    /// The future is to be pinned where it is used: taking it by value would make room for it twice.
    pub(crate) fn until<F: Future + Unpin>(&self, deadline: Moment, future: F) -> Until<'_, F> {
        Until { future, deadline, waiting: Waiting { shared: &self.0, place: None } }
    }
}

/// A call and its deadline.
pub(crate) struct Until<'a, F> {
    future: F,
    deadline: Moment,
    waiting: Waiting<'a>,
}

impl<F: Future + Unpin> Future for Until<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = &mut *self;
        if let Poll::Ready(value) = Pin::new(&mut this.future).poll(cx) {
            return Poll::Ready(Some(value));
        }
        // Not looked at the first time: should the deadline have passed already, the watching task says so at once.
        if this.waiting.place.is_some() && this.waiting.shared.env.now() >= this.deadline {
            return Poll::Ready(None);
        }
        this.waiting.list(this.deadline, cx);
        Poll::Pending
    }
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches until nobody waits.
    async fn watch(self: Arc<Self>) {
        while let Some(next) = self.look() {
            let left = next.since(self.env.now());
            select(self.env.sleep(left), pin!(self.earlier.notified())).await;
        }
    }

    /// Wakes those whose deadline has come, and says when the next one comes.
    fn look(&self) -> Option<Moment> {
        let now = self.env.now();
        let mut list = self.list();
        let due: Vec<Waker> = list
            .places
            .iter()
            .flatten()
            .filter(|(deadline, _)| *deadline <= now)
            .map(|(_, waker)| waker.clone())
            .collect();
        // Those that were woken see to it themselves that they leave the list.
        let later = list.places.iter().flatten().map(|(deadline, _)| *deadline).filter(|deadline| *deadline > now);
        let next = later.min();
        list.watched_until = next;
        drop(list);
        due.into_iter().for_each(Waker::wake);
        next
    }
}

/// One call's place in the list, given up when it ends.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    place: Option<usize>,
}

impl Waiting<'_> {
    fn list(&mut self, deadline: Moment, cx: &mut Context<'_>) {
        let mut list = self.shared.list();
        match self.place {
            Some(place) => {
                if let Some((_, waker)) = &mut list.places[place] {
                    waker.clone_from(cx.waker());
                }
                return;
            }
            None => self.place = Some(list.take_place(deadline, cx.waker().clone())),
        }
        let unwatched = list.watched_until.is_none();
        let too_late = list.watched_until.is_some_and(|next| next > deadline);
        if unwatched || too_late {
            list.watched_until = Some(deadline);
        }
        drop(list);
        if unwatched {
            self.shared.env.spawn(Box::pin(Arc::clone(self.shared).watch()));
        } else if too_late {
            self.shared.earlier.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut list = self.shared.list();
            list.places[place] = None;
            list.free.push(place);
        }
    }
}

impl List {
    fn take_place(&mut self, deadline: Moment, waker: Waker) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some((deadline, waker));
                place
            }
            None => {
                self.places.push(Some((deadline, waker)));
                self.places.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::VirtualEnv;
    use std::future::pending;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn deadlines() -> (Arc<dyn Env>, Deadlines) {
        let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(1));
        (Arc::clone(&env), Deadlines::new(env))
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_ends_at_its_own_deadline_whatever_the_order() {
        let (env, deadlines) = deadlines();
        let start = env.now();
        let calls = [50u32, 10, 30, 10, 200].map(|ms| {
            let (env, deadlines) = (Arc::clone(&env), deadlines.clone());
            tokio::spawn(async move {
                assert_eq!(deadlines.until(start + MS * ms, pending::<()>()).await, None);
                (ms, env.now().since(start))
            })
        });
        for call in calls {
            let (ms, took) = call.await.unwrap();
            assert!(took >= MS * ms && took <= MS * (ms + 2), "{took:?} instead of {ms} ms");
        }
        assert!(deadlines.0.list().places.iter().all(Option::is_none));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_in_time_leaves_nothing_behind() {
        let (env, deadlines) = deadlines();
        for _ in 0..100 {
            let done = deadlines.until(env.now() + MS * 1000, pin!(tokio::time::sleep(MS))).await;
            assert_eq!(done, Some(()));
        }
        assert_eq!(deadlines.0.list().places.len(), 1);
        assert_eq!(deadlines.until(env.now(), pin!(async { 7 })).await, Some(7), "what is ready is not too late");
        // The watching task ends by itself, and comes again.
        tokio::time::sleep(MS * 5000).await;
        assert_eq!(deadlines.0.list().watched_until, None);
        assert_eq!(deadlines.until(env.now() + MS, pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_that_comes_later_is_kept() {
        let (env, deadlines) = deadlines();
        let (start, other) = (env.now(), deadlines.clone());
        let long = tokio::spawn(async move { other.until(start + MS * 500, pending::<()>()).await });
        tokio::time::sleep(MS * 5).await;
        assert_eq!(deadlines.until(start + MS * 20, pending::<()>()).await, None);
        assert!(env.now().since(start) <= MS * 22);
        assert_eq!(long.await.unwrap(), None);
        assert!(env.now().since(start) <= MS * 502);
    }
}
