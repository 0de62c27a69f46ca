//! Scatter-gather SQL: tables whose rows are spread over shards, each shard a Raft group.
//!
//! A query's way: `plan` (SQL to one physical plan, cut at the shards) → `scatter` (each shard runs its part over a view
//! of its rows; what comes back in time is run through the rest) → `json` (rows). A shard gives its view through `data`,
//! which reads what `rows` has written. Statements that change something go through `dml`; `declare` reads what a table
//! is to look like. `service` is all of it behind the protocol; `apart` reaches shards that are other processes, and `query` is a client
//! on a command line.
//!
//! Promises: nothing about consensus links DataFusion; all of that is here.

pub mod apart;
pub mod data;
pub mod declare;
pub mod dml;
pub mod error;
pub mod json;
pub mod plan;
pub mod query;
pub mod rows;
pub mod scatter;
pub mod schema;
pub mod service;
