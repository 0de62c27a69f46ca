//! What every adapter of the log's and the snapshots' ports must do, and each of them put through it.
//!
//! (The files' port has its suite beside it: `quorate::fs`.)

#[cfg(test)]
mod log;
#[cfg(test)]
mod snapshots;
