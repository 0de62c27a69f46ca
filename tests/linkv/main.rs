//! Concurrent clients of the services, with faults, judged by the checkers.
//!
//! The services run in this process, behind the protocol that the binaries speak.

mod cluster;
mod registers;
mod staleness;
