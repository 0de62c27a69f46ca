//! Scatter and gather: an answer made of the answers of shards says honestly which of them it is made of.
//!
//! Judged by what is known of each row from outside: since when it was certainly there, and from when on it certainly was not.
//! Promises: a row twice, a row of a shard that was not counted, a row that a counted shard has left out, and a partial answer
//! that calls itself whole are found.
//! Leaves out: what was computed from the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known of a row. Moments are on one clock, which all who report share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// When somebody first tried to add it: before, it cannot be there.
    pub called: u64,
    /// When it was known to be there for good.
    pub known: Option<u64>,
}

/// An answer, and what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// When it was asked for.
    pub called: u64,
    /// When it came.
    pub returned: u64,
    /// Of how many shards it should be made.
    pub shards: u64,
    /// Those that it says it is made of.
    pub counted: BTreeSet<u64>,
    /// Whether it says that it is whole.
    pub whole: bool,
    /// The rows: the shard of each, and the row itself.
    pub rows: Vec<(u64, String)>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScatterFault {
    /// A row is there twice.
    Twice(String),
    /// A row is there of a shard that does not count.
    Uncounted(String, u64),
    /// A row is there that nobody had tried to add yet.
    TooEarly(String),
    /// A row is missing though its shard counts.
    Missing(String, u64),
    /// It says that it is whole and is not, or the other way round.
    Dishonest {
        /// How many shards there are.
        shards: u64,
        /// How many it counts.
        counted: usize,
        /// What it says.
        whole: bool,
    },
    /// It counts a shard that there is not.
    NoSuchShard(u64),
}

impl fmt::Display for ScatterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScatterFault::Twice(row) => write!(f, "row {row} is there twice"),
            ScatterFault::Uncounted(row, shard) => write!(f, "row {row} is of shard {shard}, which is not counted"),
            ScatterFault::TooEarly(row) => write!(f, "row {row} is there before anybody added it"),
            ScatterFault::Missing(row, shard) => write!(f, "row {row} is missing though shard {shard} is counted"),
            ScatterFault::Dishonest { shards, counted, whole } => {
                write!(f, "{counted} of {shards} shards are counted, and it says whole: {whole}")
            }
            ScatterFault::NoSuchShard(shard) => write!(f, "there is no shard {shard}"),
        }
    }
}

/// Judges an answer by what is known of all rows: their shards and when they came. Rows never go.
///
/// # Errors
/// The first [`ScatterFault`].
pub fn judge(answer: &Gathered, rows: &BTreeMap<String, (u64, Row)>) -> Result<(), ScatterFault> {
    let Gathered { shards, counted, whole, .. } = answer;
    if let Some(strange) = counted.iter().find(|shard| *shard >= shards) {
        return Err(ScatterFault::NoSuchShard(*strange));
    }
    if *whole != (counted.len() as u64 == *shards) {
        return Err(ScatterFault::Dishonest { shards: *shards, counted: counted.len(), whole: *whole });
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (shard, row) in &answer.rows {
        if !counted.contains(shard) {
            return Err(ScatterFault::Uncounted(row.clone(), *shard));
        }
        if !seen.insert(row) {
            return Err(ScatterFault::Twice(row.clone()));
        }
        if rows.get(row).is_none_or(|(_, known)| known.called > answer.returned) {
            return Err(ScatterFault::TooEarly(row.clone()));
        }
    }
    let missing = rows.iter().find(|(row, (shard, known))| {
        let there = known.known.is_some_and(|known| known <= answer.called);
        there && counted.contains(shard) && !seen.contains(row.as_str())
    });
    missing.map_or(Ok(()), |(row, (shard, _))| Err(ScatterFault::Missing(row.clone(), *shard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(counted: &[u64], whole: bool, rows: &[(u64, &str)]) -> Gathered {
        Gathered {
            called: 10,
            returned: 20,
            shards: 2,
            counted: counted.iter().copied().collect(),
            whole,
            rows: rows.iter().map(|(shard, row)| (*shard, (*row).to_owned())).collect(),
        }
    }

    #[test]
    fn an_answer_has_every_row_of_what_it_counts_once_and_says_what_it_counts() {
        let rows = BTreeMap::from([
            ("a".to_owned(), (0, Row { called: 1, known: Some(2) })),
            ("b".to_owned(), (1, Row { called: 1, known: Some(3) })),
            ("new".to_owned(), (1, Row { called: 15, known: Some(18) })),
            ("late".to_owned(), (1, Row { called: 30, known: None })),
        ]);
        let table = [
            (answer(&[0, 1], true, &[(0, "a"), (1, "b")]), Ok(())),
            (answer(&[0, 1], true, &[(0, "a"), (1, "b"), (1, "new")]), Ok(())),
            (answer(&[0], false, &[(0, "a")]), Ok(())),
            (answer(&[], false, &[]), Ok(())),
            (answer(&[0, 1], true, &[(0, "a")]), Err(ScatterFault::Missing("b".into(), 1))),
            (answer(&[0], false, &[(0, "a"), (1, "b")]), Err(ScatterFault::Uncounted("b".into(), 1))),
            (answer(&[0], false, &[(0, "a"), (0, "a")]), Err(ScatterFault::Twice("a".into()))),
            (answer(&[0, 1], true, &[(0, "a"), (1, "b"), (1, "late")]), Err(ScatterFault::TooEarly("late".into()))),
            (answer(&[0], true, &[(0, "a")]), Err(ScatterFault::Dishonest { shards: 2, counted: 1, whole: true })),
            (answer(&[0, 1], false, &[]), Err(ScatterFault::Dishonest { shards: 2, counted: 2, whole: false })),
            (answer(&[0, 7], true, &[]), Err(ScatterFault::NoSuchShard(7))),
        ];
        for (answer, verdict) in table {
            assert_eq!(judge(&answer, &rows), verdict, "{answer:?}");
        }
    }
}
