//! Quorate's nodes: the five systems as services, the protocol that their binaries speak, the demo.

pub mod embedded;
pub mod kv;
pub mod stdio;
