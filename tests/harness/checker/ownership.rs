//! Shard ownership: a shard has one owner at a time, and each begins with exactly what the one before it ended with.
//!
//! What is judged are tenures, one owner's time with one shard, as the owners' own logs tell them. Times of different groups do
//! not compare; the numbers of configurations do: a tenure begins with one and ends with a later one.
//! Promises: whatever was lost, doubled or changed on a move, or served by two at once, is found, whoever noticed.
//! Leaves out: whether the moves were the right ones, and what clients were told, which linearizability is about.

use std::collections::BTreeMap;
use std::fmt;

/// One owner's time with one shard. `C` is what the shard holds, or a digest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure<C> {
    /// The shard.
    pub shard: u64,
    /// Who serves it.
    pub owner: String,
    /// The configuration that gave it the shard.
    pub from: u64,
    /// What it had when it began to serve.
    pub begins: C,
    /// How it ended, if it did.
    pub ended: Option<Ended<C>>,
}

/// The end of a tenure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<C> {
    /// The configuration that took the shard away.
    pub at: u64,
    /// What it had when it served for the last time.
    pub with: C,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnershipFault {
    /// Two serve a shard at once.
    TwoOwners {
        /// The shard.
        shard: u64,
        /// The first one and the configuration from which on it serves.
        one: (String, u64),
        /// The other one, likewise.
        other: (String, u64),
    },
    /// Somebody began with something else than the one before had ended with.
    Changed {
        /// The shard.
        shard: u64,
        /// Who had it, and took what to its end.
        ended: (String, String),
        /// Who has it, and began with what.
        began: (String, String),
    },
    /// The first owner of all began with something.
    FromNothing {
        /// The shard.
        shard: u64,
        /// Who.
        owner: String,
        /// With what.
        began: String,
    },
}

impl fmt::Display for OwnershipFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnershipFault::TwoOwners { shard, one, other } => write!(
                f,
                "shard {shard} has two owners: {} since configuration {}, {} since {}",
                one.0, one.1, other.0, other.1
            ),
            OwnershipFault::Changed { shard, ended, began } => {
                write!(f, "shard {shard}: {} ended with {}, but {} began with {}", ended.0, ended.1, began.0, began.1)
            }
            OwnershipFault::FromNothing { shard, owner, began } => {
                write!(f, "shard {shard}: {owner}, its first owner, began with {began}")
            }
        }
    }
}

/// Judges the tenures of all shards, given in any order.
///
/// # Errors
/// The first [`OwnershipFault`] of the lowest shard that has one.
pub fn judge<C: Eq + Default + fmt::Debug>(tenures: &[Tenure<C>]) -> Result<(), OwnershipFault> {
    let mut by_shard: BTreeMap<u64, Vec<&Tenure<C>>> = BTreeMap::new();
    for tenure in tenures {
        by_shard.entry(tenure.shard).or_default().push(tenure);
    }
    for (shard, mut tenures) in by_shard {
        tenures.sort_by_key(|tenure| (tenure.from, tenure.ended.as_ref().map_or(u64::MAX, |ended| ended.at)));
        let first = tenures.first().filter(|first| first.begins != C::default());
        if let Some(first) = first {
            let began = format!("{:?}", first.begins);
            return Err(OwnershipFault::FromNothing { shard, owner: first.owner.clone(), began });
        }
        for pair in tenures.windows(2) {
            follow(shard, pair[0], pair[1])?;
        }
    }
    Ok(())
}

fn follow<C: Eq + fmt::Debug>(shard: u64, one: &Tenure<C>, next: &Tenure<C>) -> Result<(), OwnershipFault> {
    let ended = one.ended.as_ref().filter(|ended| ended.at <= next.from);
    let Some(ended) = ended else {
        let (one, other) = ((one.owner.clone(), one.from), (next.owner.clone(), next.from));
        return Err(OwnershipFault::TwoOwners { shard, one, other });
    };
    if ended.with != next.begins {
        let (had, has) = (format!("{:?}", ended.with), format!("{:?}", next.begins));
        let (ended, began) = ((one.owner.clone(), had), (next.owner.clone(), has));
        return Err(OwnershipFault::Changed { shard, ended, began });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenure(owner: &str, from: u64, begins: u64, ended: Option<(u64, u64)>) -> Tenure<u64> {
        let ended = ended.map(|(at, with)| Ended { at, with });
        Tenure { shard: 1, owner: owner.to_owned(), from, begins, ended }
    }

    #[test]
    fn owners_that_follow_each_other_with_what_there_was_are_right() {
        let good =
            [tenure("b", 4, 7, None), tenure("a", 1, 0, Some((4, 7))), Tenure { shard: 2, ..tenure("b", 1, 0, None) }];
        assert_eq!(judge(&good), Ok(()));
        // A shard that was taken away and given back to the one that had kept it.
        assert_eq!(judge(&[tenure("a", 1, 0, Some((2, 3))), tenure("a", 5, 3, None)]), Ok(()));
    }

    #[test]
    fn whoever_serves_beside_another_or_with_something_else_is_found() {
        let still = [tenure("a", 1, 0, None), tenure("b", 2, 0, None)];
        assert!(matches!(judge(&still), Err(OwnershipFault::TwoOwners { .. })));
        let late = [tenure("a", 1, 0, Some((4, 7))), tenure("b", 3, 7, None)];
        assert!(matches!(judge(&late), Err(OwnershipFault::TwoOwners { .. })));
        let lossy = [tenure("a", 1, 0, Some((2, 7))), tenure("b", 2, 6, None)];
        assert!(matches!(judge(&lossy), Err(OwnershipFault::Changed { .. })));
        assert!(matches!(judge(&[tenure("a", 1, 9, None)]), Err(OwnershipFault::FromNothing { .. })));
    }
}
