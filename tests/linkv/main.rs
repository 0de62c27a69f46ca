//! Concurrent clients of the services, with faults, judged by the checkers.
//!
//! The services run in this process, behind the protocol that the binaries speak; or as processes in the harness's network.

mod cluster;
mod groups;
mod masters;
mod processes;
mod registers;
mod staleness;
mod stores;
