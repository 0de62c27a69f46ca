//! What travels on a wire, and where its answer belongs.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::wire::Wire;
use crate::transport::{Answer, Envelope};

/// Where one answer belongs. Clones share it; the first answer to arrive is taken.
#[derive(Clone)]
pub(super) struct Slot(Arc<Mutex<Option<oneshot::Sender<Answer>>>>);

/// Waits for the answer of one slot.
pub(super) struct Arrival(oneshot::Receiver<Answer>);

impl Slot {
    pub(super) fn new() -> (Slot, Arrival) {
        let (sender, receiver) = oneshot::channel();
        (Slot(Arc::new(Mutex::new(Some(sender)))), Arrival(receiver))
    }

    pub(super) fn fill(&self, answer: Answer) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The caller may have given up.
            let _ = sender.send(answer);
        }
    }
}

impl Arrival {
    /// The answer; never ends when it is lost, as a lost answer looks from outside.
    pub(super) async fn wait(self) -> Answer {
        match self.0.await {
            Ok(answer) => answer,
            Err(oneshot::Canceled) => pending().await,
        }
    }
}

/// What travels on a wire.
#[derive(Clone)]
pub(super) enum Parcel {
    Request { envelope: Envelope, back: Arc<Wire>, slot: Slot },
    Reply { answer: Answer, slot: Slot },
}
