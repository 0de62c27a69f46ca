//! When acknowledgements came, and the longest time between two of them: what a client notices of a failover or a move.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The moments of acknowledgements. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(Arc<Mutex<BTreeSet<Instant>>>);

impl Acknowledged {
    fn moments(&self) -> MutexGuard<'_, BTreeSet<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, now.
    pub fn note(&self) {
        self.moments().insert(Instant::now());
    }

    /// The longest time without any between two moments, both of which count as one.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let moments = self.moments();
        let ends = moments.range(from..to).copied().chain([to]);
        let gaps = ends.scan(from, |last, at| Some(at - std::mem::replace(last, at)));
        gaps.max().unwrap_or_default()
    }
}

/// The value below which the part `q` of `sorted` lies; nothing of nothing.
pub fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let place = (sorted.len().saturating_sub(1) as f64 * q).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_two_acknowledgements_or_at_an_end() {
        let acknowledged = Acknowledged::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(acknowledged.longest_gap(at(0), at(7)), Duration::from_millis(7));
        acknowledged.moments().extend([at(10), at(15), at(45), at(50)]);
        assert_eq!(acknowledged.longest_gap(at(0), at(60)), Duration::from_millis(30));
        assert_eq!(acknowledged.longest_gap(at(0), at(20)), Duration::from_millis(10));
        assert_eq!(acknowledged.longest_gap(at(20), at(40)), Duration::from_millis(20));
    }

    #[test]
    fn quantiles_are_values_of_the_list() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.0), Duration::from_millis(1));
        assert_eq!(quantile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
