//! Bugs planted on purpose, one at a time, to see that the tests would notice them: `docs/testing/mutations.md`.
//!
//! Promises: without the feature `planted` there are none. [`is`] is then a constant `false`, so that the branch of every
//! bug is dead code, and what is built is what would be built if no bug were in the source. With the feature a process has
//! at most the one bug that it was told of, by `plant` or by the variable `VARIABLE`, from its start to its end.
//! Leaves out: running the tests against each bug, which `quorate-mutants` does.

mod catalogue;
#[cfg(feature = "planted")]
mod switch;

pub use catalogue::{Bug, Layer};
#[cfg(feature = "planted")]
pub use switch::{is, plant, planted};

/// Names the bug that a process is to have, or `none`. Read only with the feature `planted`.
pub const VARIABLE: &str = "QUORATE_PLANTED";

/// Whether this process has this bug.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

// What the module promises, asked of the compiler.
#[cfg(not(feature = "planted"))]
const _: () = assert!(!is(Bug::NoSync));

/// To be asked by every program that is more than a test, before anything else.
///
/// # Errors
/// When the program was built with bugs, and [`VARIABLE`] does not say that this is known. If it does, a warning is written
/// to standard error.
pub fn admit() -> Result<(), BuiltWithBugs> {
    #[cfg(feature = "planted")]
    switch::admit()?;
    Ok(())
}

/// The program was built with the feature `planted`, which nothing but tests of the tests may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this program was built with planted bugs (feature `planted`) and must not be used; to use it all the same, to see a \
     bug caught, name the bug, or `none`, in QUORATE_PLANTED"
)]
pub struct BuiltWithBugs;
