//! A table's rows in the key-value store of its shards, and as Arrow batches.
//!
//! Promises: a row reads back exactly as it was written, in every type; the store's order of keys is that of the primary
//! key; rows whose primary keys are equal have one key and one shard.
//! Leaves out: which rows there are.

mod arrays;
mod cell;
mod keys;
mod text;

pub use arrays::{batch_of, cell_at, decode, row_at};
pub use cell::{Cell, Unfit};
pub use keys::{CATALOGUE, DROPPED, catalogue_key, dropped_key, row_key, rows_prefix, shard_text};
pub use text::{Damaged, encode};
