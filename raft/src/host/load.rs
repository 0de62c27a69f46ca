//! What is in flight on one node, over all of its groups.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of one node, over all of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Bytes of commands that may be in flight on this node, its callers' and those that other nodes handed on; more are
    /// `Rejected(Overloaded)`. [`crate::GroupOptions::inflight_bytes_max`] bounds each group beside it.
    pub inflight_bytes_max: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        HostLimits { inflight_bytes_max: 256 << 20 }
    }
}

/// Bytes in flight, of at most so many.
#[derive(Debug)]
pub(crate) struct Load {
    bytes: AtomicU64,
    max: u64,
}

/// A part of a load, given back on drop.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    load: &'a Load,
    bytes: u64,
}

impl Load {
    pub(crate) fn new(max: u64) -> Self {
        Load { bytes: AtomicU64::new(0), max }
    }

    /// Counts `bytes` as in flight for as long as the part lives; `None` when they are too many. Where nothing else is in
    /// flight anything is let in, however large.
    pub(crate) fn take(&self, bytes: u64) -> Option<Part<'_>> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let part = Part { load: self, bytes };
        (before == 0 || before + bytes <= self.max).then_some(part)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_bounded_and_one_part_is_let_in_however_large() {
        let load = Load::new(10);
        let large = load.take(100);
        assert!(large.is_some() && load.take(1).is_none());
        drop(large);
        let parts: Vec<_> = (0..20).filter_map(|_| load.take(3)).collect();
        assert_eq!((parts.len(), load.bytes()), (3, 9));
        drop(parts);
        assert_eq!(load.bytes(), 0);
    }
}
