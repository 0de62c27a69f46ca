//! What a service may have only some time after its `init` was answered: what it has kept is read first, and a replica has
//! to wait for what an earlier life of its process has promised. Requests wait for it, within their deadlines.

use std::future::Future;
use std::sync::Arc;

use quorate::watch;
use tokio::time::{Instant, timeout_at};

use crate::stdio::{ErrorReply, Init};

/// Something that is being started.
#[derive(Debug)]
pub struct Late<T>(watch::Receiver<State<T>>);

#[derive(Debug)]
enum State<T> {
    Starting,
    Started(Arc<T>),
    Failed(ErrorReply),
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        match self {
            State::Starting => State::Starting,
            State::Started(started) => State::Started(Arc::clone(started)),
            State::Failed(error) => State::Failed(error.clone()),
        }
    }
}

impl<T> State<T> {
    fn is_known(&self) -> bool {
        !matches!(self, State::Starting)
    }
}

impl<T: Send + Sync + 'static> Late<T> {
    /// What `start` comes to. Returns when that has ended, and soon enough to answer `init` in any case: then it goes on by
    /// itself.
    ///
    /// # Errors
    /// Why it cannot be started, if that is known by then.
    pub async fn start(
        init: &Init,
        start: impl Future<Output = Result<T, ErrorReply>> + Send + 'static,
    ) -> Result<Self, ErrorReply> {
        let (sender, mut state) = watch::channel(State::Starting);
        tokio::spawn(async move {
            let ended = match start.await {
                Ok(started) => State::Started(Arc::new(started)),
                Err(error) => State::Failed(error),
            };
            sender.modify(|state| {
                *state = ended;
                true
            });
        });
        let soon = Instant::now() + super::left(init.deadline) / 2;
        let _ = timeout_at(soon, state.wait_for(State::is_known)).await;
        if let State::Failed(error) = &*state.borrow() {
            return Err(error.clone());
        }
        Ok(Late(state))
    }

    /// It, if it has been started.
    pub fn now(&self) -> Option<Arc<T>> {
        match &*self.0.borrow() {
            State::Started(started) => Some(Arc::clone(started)),
            State::Starting | State::Failed(_) => None,
        }
    }

    /// It, once it has been started.
    ///
    /// # Errors
    /// Error 11 when it has not been started by the deadline, or cannot be.
    pub async fn by(&self, deadline: Instant) -> Result<Arc<T>, ErrorReply> {
        let mut state = self.0.clone();
        let _ = timeout_at(deadline, state.wait_for(State::is_known)).await;
        let refused = |text: &str| ErrorReply::unavailable(text).reason("not_started");
        match &*state.borrow() {
            State::Started(started) => Ok(Arc::clone(started)),
            State::Starting => Err(refused("this node is still being started")),
            State::Failed(error) => Err(refused(&error.text)),
        }
    }
}
