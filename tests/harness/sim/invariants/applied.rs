//! A machine applies commands in the order of the log, each once in a life: what is applied never goes back (thesis §3.6.3,
//! `lastApplied` in figure 3.1).

use quorate::EntryContext;

use super::Broken;
use super::replica::Replica;

pub(super) const PROPERTY: &str = "what is applied never goes back (thesis §3.6.3)";

pub(super) fn check(replica: &mut Replica, at: EntryContext) -> Option<Broken> {
    let place = (at.index.0, at.place);
    let before = replica.applied.replace(place)?;
    (before >= place).then(|| (PROPERTY, format!("after {before:?} the machine applies {place:?}")))
}
