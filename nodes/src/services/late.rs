//! What a service has only some time after its `init` was answered: a replica that has to wait for what an earlier life of
//! its process has promised, say. Requests wait for it, within their deadlines.

use std::future::Future;

use quorate::Fatal;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::stdio::{ErrorReply, Failure};

/// Something that is being started.
#[derive(Clone, Debug)]
pub(super) struct Late<T>(watch::Receiver<Option<T>>);

impl<T: Clone + Send + Sync + 'static> Late<T> {
    /// What `start` comes to. If it fails, `failure` is told.
    pub(super) fn start(failure: Failure, start: impl Future<Output = Result<T, Fatal>> + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            match start.await {
                Ok(started) => _ = sender.send_replace(Some(started)),
                Err(fatal) => failure.tell(fatal),
            }
        });
        Late(receiver)
    }

    /// It, once it has been started.
    ///
    /// # Errors
    /// Error 11 when it has not been started by the deadline.
    pub(super) async fn by(&self, deadline: Instant) -> Result<T, ErrorReply> {
        let starting = || ErrorReply::unavailable("this node is still being started").reason("not_started");
        let mut started = self.0.clone();
        match timeout_at(deadline, started.wait_for(Option::is_some)).await {
            Ok(Ok(started)) => started.clone().ok_or_else(starting),
            Ok(Err(_)) | Err(_) => Err(starting()),
        }
    }
}
