//! From SQL to a plan in two parts: the shards' and the coordinator's.

pub(crate) mod codec;
pub(crate) mod cut;
pub(crate) mod explain;
mod gather;
mod given;
mod inputs;
mod leaf;
mod params;
pub(crate) mod planner;
pub(crate) mod statement;
mod table;

pub use codec::ENGINE;
pub use params::params;
pub use planner::Planner;
pub use statement::{Kind, Outline, outline};
