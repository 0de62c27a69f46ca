//! Which bug this process has.

use std::sync::OnceLock;

use super::{Bug, BuiltWithBugs, VARIABLE};

/// Decided once, by whoever asks or says first.
static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();

/// Whether this process has this bug.
#[inline]
pub fn is(bug: Bug) -> bool {
    planted() == Some(bug)
}

/// The bug that this process has.
///
/// # Panics
/// When [`VARIABLE`] names a bug that there is not: it would be taken for one that nobody notices.
pub fn planted() -> Option<Bug> {
    *PLANTED.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(name) if name == "none" => None,
        Ok(name) => Some(Bug::named(&name).unwrap_or_else(|| panic!("{VARIABLE} names no bug: {name:?}"))),
        Err(_) => None,
    })
}

/// Has this process have `bug` from now on, or none.
///
/// # Panics
/// When something else was decided before.
pub fn plant(bug: Option<Bug>) {
    let decided = *PLANTED.get_or_init(|| bug);
    assert!(decided == bug, "{bug:?} comes too late: this process has {decided:?}");
}

pub(super) fn admit() -> Result<(), BuiltWithBugs> {
    if PLANTED.get().is_none() && std::env::var_os(VARIABLE).is_none() {
        return Err(BuiltWithBugs);
    }
    let what = planted().map_or("none planted", Bug::name);
    eprintln!("WARNING: this program was built with planted bugs and is good for nothing but tests ({what})");
    Ok(())
}
