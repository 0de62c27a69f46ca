//! Services behind JSON lines.
pub mod dedupe;
mod digest;
pub mod error;
pub mod fields;
mod lanes;
pub mod message;
mod outcome;
mod probe;
mod reader;
pub mod reply;
mod schedule;
pub mod service;
pub mod window;
pub mod writer;

#[cfg(test)]
mod schedule_tests;
