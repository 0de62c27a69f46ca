//! What masters say when they have done what they were asked.

use quorate_statemachines::master::{Done, Epoch, MasterOp, Name};

use super::masters::Masters;
use crate::stdio::Reply;

impl Masters {
    /// What `op` has done, at the primary `nth`.
    pub(super) fn described(&self, nth: usize, op: &MasterOp, done: Done, epoch: Epoch) -> Reply {
        if let Done::Allocated { placed, epoch } = done {
            return Reply::new()
                .field("chunk", placed.chunk.0)
                .field("version", placed.version.0)
                .field("servers", texts(&placed.servers))
                .field("epoch", epoch.0);
        }
        let office = |reply: Reply| reply.field("primary", &*self.name(nth)).field("epoch", epoch.0);
        match op {
            MasterOp::Create { path } | MasterOp::Delete { path } => Reply::new().field("path", &**path.text()),
            MasterOp::Rename { from, to } => Reply::new().field("from", &**from.text()).field("to", &**to.text()),
            MasterOp::Register { server, .. } => office(Reply::new().field("server", &**server)),
            MasterOp::Subscribe { .. } => office(Reply::new()),
            _ => Reply::new(),
        }
    }
}

/// Names for a reply.
pub(super) fn texts(names: &[Name]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}
