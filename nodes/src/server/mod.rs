//! A node as a process: the groups of a sharded store on disk, spoken to by its peers and by clients over gRPC.
//!
//! - [`ServerConfig`]: who this node is and where it listens, from a file and from flags.
//! - [`Server`]: starts everything on a data directory, and ends it in good order.
//! - `groups`: the replicas on this node. `follow`: follows the configuration log, which says what there is to be. `keeper`:
//!   makes a group's nodes those that it is to have. `memory`: what a node knows of its cluster from an earlier life.
//! - `fixed`: groups that the configuration file names: the masters ([`masters`]), and those of machines that a program brings
//!   along ([`ServerBuilder`]). `hosted`: any group, in bytes.
//! - `views`: a shard at one moment, for whoever keeps a copy of it; [`ShardCopies`] does.
//! - `compare`: replicas compare their states now and then.
//! - `api`: what clients ask, `multiplex` many at a time; `nodes`: what they ask of
//!   the cluster's nodes; `copy`: a group's content for a backup. `http`: what operators look at.
//! - [`Client`]: changes each key once, wherever it has to ask. [`CallStream`]: many calls over one stream. [`MastersClient`]:
//!   the masters'. [`GroupClient`]: a group's of a machine of one's own; [`GroupReach`] is the way there for logic that is
//!   written against [`Reach`](crate::kv::Reach).
//!
//! Promises: whatever was acknowledged is there again after a kill; a data directory serves one node of one cluster.
//! Leaves out: who may do what: whoever a node's or a client's certificate lets in may do everything; the operators' port is for a
//! trusted network.

mod api;
mod client;
mod compare;
mod config;
mod copy;
mod fixed;
mod follow;
mod group_client;
mod groups;
mod hosted;
mod http;
mod identity;
mod keeper;
mod machines;
pub mod masters;
mod memory;
mod multiplex;
mod node;
mod nodes;
mod outcome;
mod queries;
mod reach;
mod recover;
mod run;
mod servers;
mod shard_copy;
mod stream;
mod trust;
mod views;
mod wrong_clock;

pub(crate) use fixed::{FixedGroup, fixed_groups};
pub(crate) use groups::{CONTROLLER, CONTROLLER_NAME, group_id};
pub(crate) use http::as_json as status_json;

pub(crate) use identity::{claim, claim_filled};
pub(crate) use outcome::is_unknown;

pub use client::{Client, ClientError};
pub use config::{Apart, NodeAddress, ServerConfig, ServerFlags, TlsFiles, make_certs};
pub use group_client::GroupClient;
pub use machines::{GroupConfig, ServerBuilder, TABLES};
pub use masters::{MasterError, MastersClient, MastersConfig, PrimaryChanges};
pub use node::{Server, Start};
pub use queries::RemoteQueries;
pub use reach::GroupReach;
pub use recover::{RecoverFlags, recover};
pub use run::{run, run_with};
pub use servers::ClusterFlags;
pub use shard_copy::{ShardCopies, ShardCopy, tables};
pub use stream::CallStream;
pub use trust::{ClientTls, ClientsTls};

/// The client API's messages, its client and its server, made from `proto/quorate.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod proto {
    tonic::include_proto!("quorate.v1");
}
