//! Keys are judged by several threads at once.
//!
//! Promises: the verdict is that of judging one key after the other, unless a limit ends a search: of all keys that have
//! no order, the first is named.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Fewer operations than this are judged before a thread has started.
const WORTH_A_THREAD: usize = 500;

/// When to give a search up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop<'a> {
    deadline: Option<Instant>,
    /// The first part that decides the verdict, and the part that is searched.
    decided: Option<(&'a AtomicUsize, usize)>,
}

impl Stop<'_> {
    /// At this time, if ever.
    pub(super) fn at(deadline: Option<Instant>) -> Self {
        Stop { deadline, decided: None }
    }

    /// Whether it is time. That another part decides looks like running out of time; nobody asks what came of it.
    pub(super) fn is_now(&self) -> bool {
        self.decided.is_some_and(|(first, own)| first.load(Ordering::Relaxed) < own)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Judges parts, each with a number of operations, and gives what the first of them came to that decides the verdict, or
/// else what all came to. `judge` says whether its result decides.
pub(super) fn judge_all<T: Send>(
    sizes: &[usize],
    deadline: Option<Instant>,
    judge: impl Fn(usize, Stop<'_>) -> (T, bool) + Sync,
) -> Vec<T> {
    let operations: usize = sizes.iter().sum();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(sizes.len()).min(operations / WORTH_A_THREAD);
    let first = AtomicUsize::new(usize::MAX);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= sizes.len() || part > first.load(Ordering::Relaxed) {
                return;
            }
            let (result, decides) = judge(part, Stop { deadline, decided: Some((&first, part)) });
            if decides {
                first.fetch_min(part, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((part, result));
        }
    };
    if threads > 1 {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    } else {
        work();
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let first = first.into_inner();
    results.sort_by_key(|(part, _)| *part);
    match results.iter().position(|(part, _)| *part == first) {
        Some(at) => vec![results.swap_remove(at).1],
        None => results.into_iter().map(|(_, result)| result).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_that_decides_is_told_whatever_was_judged_first() {
        for bad in [vec![7, 3, 90], vec![99], vec![0, 1]] {
            let judged = judge_all(&[WORTH_A_THREAD; 100], None, |part, _| (part, bad.contains(&part)));
            assert_eq!(judged, [*bad.iter().min().unwrap()]);
        }
        assert_eq!(judge_all(&[1; 100], None, |part, _| (part, false)), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_search_is_given_up_once_an_earlier_part_decides() {
        let first = AtomicUsize::new(5);
        let stop = |own| Stop { deadline: None, decided: Some((&first, own)) };
        assert!(stop(6).is_now() && !stop(5).is_now() && !stop(4).is_now());
        assert!(Stop::at(Some(Instant::now())).is_now());
    }
}
