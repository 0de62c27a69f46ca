//! Quorate's state machines: what a group of replicas can agree on.

pub mod names;
