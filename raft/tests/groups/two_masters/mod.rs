//! Two masters without a witness: at most one of them goes on alone, and nothing acknowledged is lost (`docs/two-masters.md`).

mod chair;
mod claims;
mod disk;
mod pair;
mod record;
mod simulation;
