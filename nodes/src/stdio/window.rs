//! How much may be in flight: reading pauses while there are too many lines, too many bytes, or too many requests of
//! one client, which would only grow old in its queue.
//!
//! A line takes its place when it has been read and leaves it when its answer has been written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How much may be in flight before reading pauses. Each bound may be passed by one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Lines in flight.
    pub lines: usize,
    /// Bytes of lines and answers in flight.
    pub bytes: usize,
    /// Lines in flight of one client to one node.
    pub lines_per_client: usize,
}

impl Default for WindowLimits {
    fn default() -> Self {
        WindowLimits { lines: 1024, bytes: 64 * 1024 * 1024, lines_per_client: 256 }
    }
}

/// A client and the node that it talks to.
pub(crate) type Route = (Arc<str>, Arc<str>);

/// Counts what is in flight.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    limits: WindowLimits,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    lines: usize,
    bytes: usize,
    routes: HashMap<Route, usize>,
    /// Routes at their limit.
    crowded: usize,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    pub(crate) fn new(limits: WindowLimits) -> Self {
        Window { limits, shared: Arc::default() }
    }

    /// Waits until another line may be read. There is one reader.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.shared.freed.notified().await;
        }
    }

    /// Whether another line may be read.
    pub(crate) fn has_room(&self) -> bool {
        let counts = self.shared.counts();
        counts.lines < self.limits.lines && counts.bytes < self.limits.bytes && counts.crowded == 0
    }

    /// Takes a line's place.
    pub(crate) fn enter(&self, route: Route, bytes: usize) -> Slot {
        let mut counts = self.shared.counts();
        counts.lines += 1;
        counts.bytes += bytes;
        let of_route = counts.routes.entry(route.clone()).or_default();
        *of_route += 1;
        if *of_route == self.limits.lines_per_client {
            counts.crowded += 1;
        }
        drop(counts);
        Slot { window: self.clone(), route, bytes }
    }
}

/// A line's place in the window; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Slot {
    window: Window,
    route: Route,
    bytes: usize,
}

impl Slot {
    /// From now on the place stands for an answer of `bytes` bytes.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let mut counts = self.window.shared.counts();
        counts.bytes = counts.bytes - self.bytes + bytes;
        self.bytes = bytes;
        drop(counts);
        self.window.shared.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.window.shared.counts();
        counts.lines -= 1;
        counts.bytes -= self.bytes;
        if let Some(of_route) = counts.routes.get_mut(&self.route) {
            *of_route -= 1;
            let left = *of_route;
            if left + 1 == self.window.limits.lines_per_client {
                counts.crowded -= 1;
            }
            if left == 0 {
                counts.routes.remove(&self.route);
            }
        }
        drop(counts);
        self.window.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn route(src: &str) -> Route {
        (src.into(), "n1".into())
    }

    #[test]
    fn each_bound_alone_pauses_reading() {
        let limits = WindowLimits { lines: 4, bytes: 100, lines_per_client: 2 };
        for (entries, full) in [
            (vec![("a", 1), ("b", 1), ("c", 1)], false),
            (vec![("a", 1), ("b", 1), ("c", 1), ("d", 1)], true),
            (vec![("a", 100)], true),
            (vec![("a", 1), ("a", 1)], true),
        ] {
            let window = Window::new(limits);
            let slots: Vec<Slot> = entries.into_iter().map(|(src, bytes)| window.enter(route(src), bytes)).collect();
            assert_eq!(window.room().now_or_never().is_none(), full);
            drop(slots);
            assert!(window.room().now_or_never().is_some());
            assert!(window.shared.counts().routes.is_empty());
        }
    }

    #[test]
    fn an_answer_that_is_not_yet_written_counts() {
        let window = Window::new(WindowLimits { lines: 4, bytes: 100, lines_per_client: 4 });
        let mut slot = window.enter(route("a"), 1);
        slot.resize(1000);
        assert!(window.room().now_or_never().is_none());
        drop(slot);
        assert!(window.room().now_or_never().is_some());
    }
}
