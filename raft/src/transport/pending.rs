//! Calls that wait for their answers: what adapters share that send messages one way and get answers another.
//!
//! Promises: an answer ends the one call whose message it names, once; one that comes late, twice, or for nobody is dropped.

// Only a transport that knows when a message was not sent asks for all of it.
#![cfg_attr(not(feature = "grpc"), allow(dead_code))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Answer, Envelope, TransportError};
use crate::types::{Incarnation, NodeId};

/// Which message: unique among all that one node ever sends.
pub(super) type Key = (Incarnation, u64);

/// How a call ended.
type Ending = Result<Answer, TransportError>;

/// The calls that wait.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<Key, oneshot::Sender<Ending>>>);

impl Pending {
    fn calls(&self) -> MutexGuard<'_, HashMap<Key, oneshot::Sender<Ending>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a call. It is to be done before the message leaves.
    pub(super) fn expect(self: &Arc<Self>, envelope: &Envelope) -> Waiting {
        let key = (envelope.incarnation, envelope.id);
        let (sender, ending) = oneshot::channel();
        self.calls().insert(key, sender);
        Waiting { pending: Arc::clone(self), key, ending }
    }

    /// Whether somebody still waits for this message's answer.
    pub(super) fn is_waiting(&self, key: Key) -> bool {
        self.calls().contains_key(&key)
    }

    /// Ends the call that `answer` is for, if it still waits.
    pub(super) fn answer(&self, answer: Answer) {
        self.end((answer.incarnation, answer.id), Ok(answer));
    }

    /// Ends a call without an answer.
    pub(super) fn fail(&self, key: Key, error: TransportError) {
        self.end(key, Err(error));
    }

    /// Ends all calls without an answer.
    pub(super) fn fail_all(&self, error: &TransportError) {
        let all = std::mem::take(&mut *self.calls());
        for call in all.into_values() {
            let _ = call.send(Err(error.clone()));
        }
    }

    fn end(&self, key: Key, ending: Ending) {
        let call = self.calls().remove(&key);
        if let Some(call) = call {
            // A caller that has just given up does not mind.
            let _ = call.send(ending);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.calls().len()
    }
}

/// A listed call; leaves the list when it is dropped.
pub(super) struct Waiting {
    pending: Arc<Pending>,
    key: Key,
    ending: oneshot::Receiver<Ending>,
}

impl Waiting {
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Waits for the answer of `to`, at most for `timeout`.
    pub(super) async fn answer(mut self, to: NodeId, timeout: Duration) -> Ending {
        match tokio::time::timeout(timeout, &mut self.ending).await {
            Ok(Ok(ending)) => ending,
            Ok(Err(_)) | Err(_) => Err(TransportError::NoAnswer(to)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pending.calls().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Reply, Request};
    use crate::types::{ClusterId, GroupId, Term};

    const TO: NodeId = NodeId(2);
    const LONG: Duration = Duration::from_secs(60);

    fn envelope(life: u64, id: u64) -> Envelope {
        let (incarnation, group) = (Incarnation(life), GroupId(1));
        Envelope { cluster: ClusterId(1), from: NodeId(1), incarnation, id, group, request: Request::WhoLeads }
    }

    fn answer(life: u64, id: u64) -> Answer {
        let reply = Reply::Leader { leader: None, term: Term(id) };
        Answer { incarnation: Incarnation(life), id, reply }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_find_their_calls_in_any_order_and_repetitions_find_nobody() {
        let pending = Arc::<Pending>::default();
        let [first, second, third] = [5, 6, 7].map(|id| pending.expect(&envelope(1, id)));
        for id in [6, 6, 8, 5] {
            pending.answer(answer(1, id));
        }
        pending.answer(answer(2, 7));
        assert_eq!(second.answer(TO, LONG).await.unwrap().id, 6);
        assert_eq!(first.answer(TO, LONG).await.unwrap().id, 5);
        assert_eq!(third.answer(TO, LONG).await.unwrap_err(), TransportError::NoAnswer(TO), "another life's answer");
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_leaves_nothing_behind() {
        let pending = Arc::<Pending>::default();
        drop(pending.expect(&envelope(1, 1)));
        let second = pending.expect(&envelope(1, 2));
        assert!(!pending.is_waiting((Incarnation(1), 1)) && pending.is_waiting(second.key()));
        pending.fail(second.key(), TransportError::Unreachable(TO));
        assert_eq!(second.answer(TO, LONG).await.unwrap_err(), TransportError::Unreachable(TO));
        let third = pending.expect(&envelope(1, 3));
        pending.fail_all(&TransportError::NoAnswer(TO));
        assert_eq!(third.answer(TO, LONG).await.unwrap_err(), TransportError::NoAnswer(TO));
        assert_eq!(pending.len(), 0);
    }
}
