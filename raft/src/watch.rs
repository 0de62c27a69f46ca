//! A value and those who watch it. Waiters are woken in the order they came: tokio's watch picks by an unseeded
//! generator, which would make a simulation differ from run to run.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

struct Channel<V> {
    value: RwLock<V>,
    state: Mutex<State>,
}

/// Invariant: every waiter has seen `version`.
struct State {
    version: u64,
    senders: usize,
    waiters: Vec<Waker>,
}

impl<V> Channel<V> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, V> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All senders are gone: the value will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watched value will not change any more")]
pub struct Closed;

/// Changes the value.
pub struct Sender<V>(Arc<Channel<V>>);

/// Sees the value, and remembers which version of it was seen.
pub struct Receiver<V>(Arc<Channel<V>>, u64);

/// A value with its first sender and receiver. The receiver has seen the first value.
pub fn channel<V>(init: V) -> (Sender<V>, Receiver<V>) {
    let state = Mutex::new(State { version: 0, senders: 1, waiters: Vec::new() });
    let channel = Arc::new(Channel { value: RwLock::new(init), state });
    (Sender(Arc::clone(&channel)), Receiver(channel, 0))
}

impl<V> Clone for Sender<V> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<V> Drop for Sender<V> {
    fn drop(&mut self) {
        let waiters = {
            let mut state = self.0.state();
            state.senders -= 1;
            if state.senders > 0 {
                return;
            }
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }
}

impl<V> Sender<V> {
    /// Changes the value in place; watchers hear of it if `modify` says so. Answers what it said.
    pub fn modify(&self, modify: impl FnOnce(&mut V) -> bool) -> bool {
        let modified = modify(&mut self.0.value.write().unwrap_or_else(PoisonError::into_inner));
        if modified {
            let waiters = {
                let mut state = self.0.state();
                state.version += 1;
                std::mem::take(&mut state.waiters)
            };
            waiters.into_iter().for_each(Waker::wake);
        }
        modified
    }

    /// The value.
    pub fn borrow(&self) -> RwLockReadGuard<'_, V> {
        self.0.read()
    }

    /// A receiver that has seen the value as it is.
    pub fn subscribe(&self) -> Receiver<V> {
        let version = self.0.state().version;
        Receiver(Arc::clone(&self.0), version)
    }

    /// Whether anybody but senders holds the channel.
    pub fn has_receivers(&self) -> bool {
        let senders = self.0.state().senders;
        Arc::strong_count(&self.0) > senders
    }
}

impl<V> Clone for Receiver<V> {
    fn clone(&self) -> Self {
        Receiver(Arc::clone(&self.0), self.1)
    }
}

impl<V> Receiver<V> {
    /// Waits until there is a version that this receiver has not seen.
    ///
    /// # Errors
    /// [`Closed`] when all senders are gone and nothing unseen is left.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let Receiver(channel, seen) = self;
        poll_fn(|context| {
            let mut state = channel.state();
            if state.version != *seen {
                *seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(Closed));
            }
            if !state.waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
                state.waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// The value; not marked as seen.
    pub fn borrow(&self) -> RwLockReadGuard<'_, V> {
        self.0.read()
    }

    /// The value, marked as seen.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, V> {
        self.1 = self.0.state().version;
        self.0.read()
    }
}

impl<V: Clone> Receiver<V> {
    /// Waits until the value satisfies `condition`, and answers it.
    ///
    /// # Errors
    /// [`Closed`] when all senders are gone and the last value does not satisfy it.
    pub async fn wait_for(&mut self, condition: impl Fn(&V) -> bool) -> Result<V, Closed> {
        loop {
            let value = self.borrow_and_update().clone();
            if condition(&value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

impl<V> fmt::Debug for Sender<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Sender")
    }
}

impl<V> fmt::Debug for Receiver<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Receiver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn waiters_are_woken_in_the_order_they_came() {
        let (sender, receiver) = channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for name in 0..8 {
            let (mut receiver, order, begun) = (receiver.clone(), Arc::clone(&order), Arc::clone(&started));
            tasks.push(tokio::spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                receiver.changed().await.unwrap();
                order.lock().unwrap().push(name);
            }));
            while started.load(Ordering::SeqCst) <= name {
                tokio::task::yield_now().await;
            }
        }
        sender.modify(|value| {
            *value = 1;
            true
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_receiver_hears_that_the_last_sender_is_gone_after_it_saw_the_last_value() {
        let (sender, mut receiver) = channel(1);
        sender.modify(|value| {
            *value = 2;
            true
        });
        drop(sender);
        assert_eq!(receiver.wait_for(|value| *value == 2).await, Ok(2));
        assert_eq!(receiver.wait_for(|value| *value == 3).await, Err(Closed));
    }
}
