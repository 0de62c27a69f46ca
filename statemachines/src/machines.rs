//! All of the crate's unit tests as a test with a name, which a build of the whole workspace can select: `--lib` would be
//! every crate's. Built only with planted bugs, to hunt them; otherwise the library's own tests are these.

// What others use of a library nobody uses here.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod configlog;
pub mod kv;
pub mod master;
pub mod names;
pub mod register;
pub mod slot;

pub use names::{ConfigNumber, Gid, ShardId};
