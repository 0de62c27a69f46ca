//! Nodes that reach each other over gRPC: one connection to each peer, for all groups.
//!
//! Promises: messages of one sender to one receiver are handed over in the order of their calls, many on their way at once;
//! what waits for a peer leaves in one frame; pieces of snapshots travel on a stream of their own; a node that is not whom
//! it was taken for, or of another cluster, is refused before the first message, and with TLS so is one that has no
//! certificate of the cluster's authority that names it.
//! Leaves out: retries, which are the caller's; who the peers are and where, which is the user's to say and to change.
//!
//! `docs/transport.md` tells the rest.

mod certs;
mod config;
mod hello;
mod link;
mod outbox;
mod pace;
mod peer;
mod proto;
mod receive;
#[cfg(test)]
mod rules_tests;
mod server;
mod service;
mod tls;
mod transport;

pub use certs::{CertFiles, dev_certs};
pub use config::{GrpcConfig, GrpcLimits};
pub use peer::PeerStatus;
pub use server::{GrpcServer, ServerStatus};
pub use tls::Tls;
pub use transport::GrpcTransport;
