//! The metadata of a master: a namespace of paths, their chunks and where the replicas lie, and who is the primary.
//!
//! Promises: one primary an epoch, one epoch a term of the log; a command that a primary took under an older epoch
//! changes nothing once a newer one has begun, and never will; placement follows from the state alone; no query orders
//! the last copy of a chunk to be deleted.
//! Leaves out: what is not replicated (when a chunk server was last heard from, which orders are out), and the data
//! itself: a chunk's bytes and versions are the chunk servers'.

mod chunks;
mod command;
mod heartbeat;
mod machine;
mod namespace;
mod path;
mod servers;
mod snapshot;
#[cfg(test)]
mod tests;

pub use chunks::Placed;
pub use command::{
    ChunkId, Done, Epoch, Found, MasterAnswer, MasterCommand, MasterOp, MasterQuery, MasterReply, Name, Office,
    Refusal, Version,
};
pub use heartbeat::{Heard, Wanting};
pub use machine::MasterMachine;
pub use namespace::{LIST_MAX, Listing};
pub use path::{FilePath, InvalidPath};
pub use servers::ServerState;
