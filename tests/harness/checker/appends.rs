//! Exactly once: what was appended to a list by clients who number what they append.
//!
//! Promises: an acknowledged append is there once, a refused one is not there, one of which nobody knows is there once at most,
//! and each client's are there in the order in which it made them.
//! Leaves out: the order of different clients' appends, which linearizability is about.

use std::collections::BTreeMap;
use std::fmt;

/// What the client of an append was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was done.
    Done,
    /// It was not done, and never will be.
    Refused,
    /// Nothing, or nothing that says either.
    Unknown,
}

/// One append: the client, and its number, which grows.
pub type Append = (u64, u64);

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendFault {
    /// An acknowledged append is not there.
    Lost(Append),
    /// An append is there twice.
    Doubled(Append),
    /// A refused append is there.
    Refused(Append),
    /// Something is there that nobody appended.
    Strange(Append),
    /// A client's earlier append stands behind a later one.
    Reordered(Append, Append),
}

impl fmt::Display for AppendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |(client, number): &Append| format!("append {number} of client {client}");
        match self {
            AppendFault::Lost(append) => write!(f, "{} was acknowledged and is lost", name(append)),
            AppendFault::Doubled(append) => write!(f, "{} is there twice", name(append)),
            AppendFault::Refused(append) => write!(f, "{} was refused and is there", name(append)),
            AppendFault::Strange(append) => write!(f, "{} is there and was never called", name(append)),
            AppendFault::Reordered(first, second) => write!(f, "{} stands behind {}", name(first), name(second)),
        }
    }
}

/// Judges what a list holds by what its clients were told.
///
/// # Errors
/// The first [`AppendFault`].
pub fn judge(told: &BTreeMap<Append, Told>, held: &[Append]) -> Result<(), AppendFault> {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seen: BTreeMap<Append, u64> = BTreeMap::new();
    for append in held {
        match told.get(append) {
            None => return Err(AppendFault::Strange(*append)),
            Some(Told::Refused) => return Err(AppendFault::Refused(*append)),
            Some(Told::Done | Told::Unknown) => {}
        }
        if seen.insert(*append, 1).is_some() {
            return Err(AppendFault::Doubled(*append));
        }
        let (client, number) = *append;
        if let Some(later) = last.insert(client, number).filter(|later| *later > number) {
            return Err(AppendFault::Reordered(*append, (client, later)));
        }
    }
    let lost = told.iter().find(|(append, told)| **told == Told::Done && !seen.contains_key(append));
    lost.map_or(Ok(()), |(append, _)| Err(AppendFault::Lost(*append)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_what_was_acknowledged_once_and_in_each_clients_order() {
        let told = BTreeMap::from([
            ((1, 1), Told::Done),
            ((1, 2), Told::Unknown),
            ((1, 3), Told::Done),
            ((2, 1), Told::Refused),
            ((2, 2), Told::Done),
        ]);
        let table: [(&[Append], Result<(), AppendFault>); 8] = [
            (&[(1, 1), (2, 2), (1, 3)], Ok(())),
            (&[(1, 1), (1, 2), (2, 2), (1, 3)], Ok(())),
            (&[(1, 1), (2, 2)], Err(AppendFault::Lost((1, 3)))),
            (&[(1, 1), (1, 1)], Err(AppendFault::Doubled((1, 1)))),
            (&[(1, 2), (1, 2)], Err(AppendFault::Doubled((1, 2)))),
            (&[(2, 1)], Err(AppendFault::Refused((2, 1)))),
            (&[(3, 1)], Err(AppendFault::Strange((3, 1)))),
            (&[(1, 3), (1, 1)], Err(AppendFault::Reordered((1, 1), (1, 3)))),
        ];
        for (held, verdict) in table {
            assert_eq!(judge(&told, held), verdict, "{held:?}");
        }
    }
}
