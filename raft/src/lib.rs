//! Quorate: write a deterministic state machine, get a linearizable, durable, fault-tolerant service.
pub mod env;
pub mod error;
pub mod log;
pub mod machine;
pub mod reads;
pub mod sessions;
pub mod snapshot;
pub mod transport;
pub mod types;
