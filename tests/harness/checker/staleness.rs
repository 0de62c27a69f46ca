//! Bounded staleness: an answer is never older than it claims, by an oracle of what was acknowledged when.
//!
//! A register that only grows is enough: whoever reads a number has missed all that were acknowledged with higher ones.
//! Promises: an answer that misses a write that was acknowledged longer ago than the answer claims to be old is found.
//! Leaves out: how fresh answers should be; only that they are as fresh as they say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What was acknowledged, by when: the highest number of each key as time goes on.
#[derive(Clone, Debug, Default)]
pub struct Oracle(BTreeMap<String, BTreeMap<u64, Duration>>);

/// An answer that is older than it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// Of which key.
    pub key: String,
    /// What was read.
    pub read: u64,
    /// What had been acknowledged, and when.
    pub missed: (u64, Duration),
    /// When the read was answered for at the latest, and how old it claims to be.
    pub claimed: (Duration, Duration),
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooOld { key, read, missed: (number, when), claimed: (at, age) } = self;
        write!(f, "{key}: {read} was read at {at:?} as {age:?} old, but {number} was acknowledged at {when:?}")
    }
}

impl Oracle {
    /// A write of this number was acknowledged now.
    pub fn acknowledged(&mut self, key: &str, number: u64, now: Duration) {
        self.0.entry(key.to_owned()).or_default().entry(number).or_insert(now);
    }

    /// Judges an answer that was asked for at `called`, and claims to be at most `age` old. When exactly it was made nobody
    /// knows: not before it was asked for, so what was acknowledged by then less the age must be in it.
    ///
    /// # Errors
    /// [`TooOld`].
    pub fn judge(&self, key: &str, read: u64, called: Duration, age: Duration) -> Result<(), TooOld> {
        let Some(bound) = called.checked_sub(age) else { return Ok(()) };
        let missed = self.0.get(key).into_iter().flat_map(|numbers| numbers.range(read + 1..));
        let mut missed = missed.filter(|(_, when)| **when <= bound);
        let Some((number, when)) = missed.next() else { return Ok(()) };
        Err(TooOld { key: key.to_owned(), read, missed: (*number, *when), claimed: (called, age) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_misses_nothing_that_was_acknowledged_longer_ago_than_it_claims() {
        let ms = Duration::from_millis;
        let mut oracle = Oracle::default();
        oracle.acknowledged("k", 1, ms(10));
        oracle.acknowledged("k", 2, ms(20));
        for (read, called, age, good) in [
            (2, 100, 0, true),
            (1, 100, 90, true),
            (1, 100, 81, true),
            (1, 100, 80, false),
            (0, 100, 90, false),
            (0, 5, 0, true),
            (0, 5, 10, true),
        ] {
            assert_eq!(oracle.judge("k", read, ms(called), ms(age)).is_ok(), good, "{read} at {called} of {age}");
        }
        assert_eq!(oracle.judge("other", 0, ms(50), ms(0)), Ok(()));
    }
}
