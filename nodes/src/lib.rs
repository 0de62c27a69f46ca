//! Quorate's nodes: the systems as services, the protocol that their binaries speak, the demo.
//!
//! Promises: a binary under `bin/` parses its options, wires a service and runs it; everything else is here.

pub mod backup;
pub mod bench;
pub mod ctl;
pub mod demo;
mod disk;
pub mod distributed;
pub mod embedded;
mod hosting;
pub mod kv;
pub mod logs;
pub mod query;
pub mod served;
pub mod server;
pub mod services;
pub mod stdio;
pub mod up;
