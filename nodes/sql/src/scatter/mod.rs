//! Queries carried out: every shard runs its part, the coordinator the rest.
//!
//! A query's way: the shards' views are opened → the statement is planned and cut (`plan`) → level by level the
//! fragments are sent (`ask`), run (`executor`) and gathered (`course`) → the rest is run over what came back (`engine`).
//!
//! Promises: a shard is in all of an answer or in none of it; what comes late is dropped; what queries hold is bounded.
//! The answers of a level are held until all have come or the time is over, so that a shard can still be left out.
//! Leaves out: spilling to disk; a query that exceeds the bound fails.

mod answer;
mod ask;
mod catalogue;
mod course;
mod engine;
mod executor;
mod frame;
mod runtime;
mod shard;

pub use answer::{Answer, Query};
pub use engine::{Engine, EngineOptions};
pub use executor::{Executor, LocalExecutor};
pub use frame::{Failure, Frame, Given, Request};
pub use runtime::QueryRuntime;
pub use shard::Shard;

pub use crate::plan::explain::Travelled;
