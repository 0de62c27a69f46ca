//! Quorate's harness: what records the runs of a cluster, and what judges them.
//!
//! Nothing here knows Quorate's own machines: bring a [`checker::Model`] and record a [`history::History`] or a
//! [`run::Run`]. [`sim`] runs whole clusters of the library in one thread, by a seed; [`subject`] does so
//! with a state machine of yours.

pub mod checker;
pub mod cli;
pub mod findings;
pub mod gaps;
pub mod history;
pub mod report;
pub mod run;
pub mod seed;
pub mod sim;
pub mod stdio;
pub mod subject;
