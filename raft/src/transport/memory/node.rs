//! A node as its network knows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::traffic::{Counters, Traffic};
use crate::transport::{Inbound, Request};
use crate::types::NodeId;

/// Who receives a node's messages, and what the node has sent.
pub(super) struct Node {
    id: NodeId,
    inbound: RwLock<Option<Weak<dyn Inbound>>>,
    life: AtomicU64,
    counters: Counters,
}

impl Node {
    pub(super) fn new(id: NodeId) -> Self {
        Node { id, inbound: RwLock::default(), life: AtomicU64::new(0), counters: Counters::default() }
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    /// Changes with each start and end of the node, so that nothing of an earlier life is mistaken for the present one.
    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    pub(super) fn end_life(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn set_inbound(&self, inbound: Option<Weak<dyn Inbound>>) {
        *self.inbound.write().unwrap_or_else(PoisonError::into_inner) = inbound;
        self.end_life();
    }

    pub(super) fn inbound(&self) -> Option<Arc<dyn Inbound>> {
        self.inbound.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade)
    }

    pub(super) fn count(&self, request: &Request) {
        self.counters.count(request);
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.counters.read()
    }
}

/// What a node does with its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Power {
    #[default]
    Running,
    /// As after SIGSTOP: nothing gets in or out, nothing is lost.
    Paused,
    Stopped,
}
