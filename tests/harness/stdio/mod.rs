//! Nodes as processes that speak JSON lines on standard input and output, as Maelstrom's do: any program in any language.
//!
//! - [`network`]: carries messages, delays and loses them, cuts connections; [`latency`]: how long they take.
//! - [`processes`]: starts, kills, pauses and restarts the nodes.
//! - [`client`], [`errors`]: a client, and what an answer or its absence means.
//! - [`nemesis`]: which faults come and go.
//! - [`workload`]: what is asked and how it is judged; [`workloads`]: those that there are.
//! - [`runner`]: one run of all that; [`results`]: what came of it.
//! - [`trial`]: nodes, network and clients for a test that says itself what happens, step by step.
//!
//! Promises: what Maelstrom promises to nodes: names, `init`, latencies, partitions, timeouts, the meaning of errors.
//! Leaves out: Maelstrom's services (`lin-kv` and others as nodes), its transactional workloads and its log.

pub mod client;
pub mod errors;
pub mod latency;
pub mod message;
pub mod nemesis;
pub mod network;
pub mod processes;
pub mod record;
pub mod results;
pub mod runner;
pub mod trial;
pub mod workload;
pub mod workloads;
