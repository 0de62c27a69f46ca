//! Who waits for which index: a list in index order, so that an apply wakes exactly those it satisfies.
//!
//! A watch would wake every waiter on every apply, which costs twenty times an apply with a thousand readers waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::types::Index;

/// The applied index of a replica, and those who wait for it to reach theirs.
#[derive(Debug, Default)]
pub(crate) struct AppliedIndex {
    /// The number of applied entries: the applied index plus one.
    count: AtomicU64,
    waiters: Mutex<BTreeMap<Index, Vec<oneshot::Sender<()>>>>,
}

impl AppliedIndex {
    /// The last applied index, if any entry was applied.
    pub(crate) fn get(&self) -> Option<Index> {
        self.count.load(Ordering::Acquire).checked_sub(1).map(Index)
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<Index, Vec<oneshot::Sender<()>>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that everything up to `index` is applied.
    pub(crate) fn advance(&self, index: Index) {
        self.count.fetch_max(index.0 + 1, Ordering::Release);
        let woken = {
            let mut waiters = self.waiters();
            if waiters.is_empty() {
                return;
            }
            let later = waiters.split_off(&index.next());
            std::mem::replace(&mut *waiters, later)
        };
        for waiter in woken.into_values().flatten() {
            // A waiter that gave up is gone.
            let _ = waiter.send(());
        }
    }

    /// Waits until everything up to `index` is applied. For ever, if the replica stops: the caller has a deadline.
    pub(crate) async fn reach(&self, index: Index) {
        let receiver = {
            let mut waiters = self.waiters();
            if self.get() >= Some(index) {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            let list = waiters.entry(index).or_default();
            list.retain(|waiter| !waiter.is_closed());
            list.push(sender);
            receiver
        };
        if receiver.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_advance_wakes_exactly_those_whose_index_is_reached() {
        let applied = Arc::new(AppliedIndex::default());
        let waiting: Vec<_> = [0u64, 3, 3, 7]
            .map(|index| {
                let applied = Arc::clone(&applied);
                tokio::spawn(async move { applied.reach(Index(index)).await })
            })
            .into_iter()
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(applied.get(), None);
        applied.advance(Index(3));
        for waiter in waiting.into_iter().take(3) {
            waiter.await.unwrap();
        }
        assert_eq!(applied.waiters().len(), 1, "index 7 still waits");
        applied.reach(Index(2)).await;
    }
}
