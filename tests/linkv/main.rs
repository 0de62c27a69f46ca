//! Concurrent clients of the services, with faults, judged by the checkers.
//!
//! The services run in this process, behind the protocol that the binaries speak; or as processes behind a router.

mod cluster;
mod groups;
mod masters;
mod processes;
mod registers;
mod router;
mod staleness;
mod stores;
