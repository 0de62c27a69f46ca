//! A shard as the coordinator knows it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use quorate::watch;
use quorate_nodes::embedded::Life;
use quorate_nodes::services::presence::inside;
use quorate_nodes::stdio::Code;
use tokio::time::{Instant, timeout_at};

use crate::data::{ReadConsistency, ShardData, ShardError, ShardView};

/// The view of a shard that a query reads, once there is one.
pub(super) type Opening = Shared<BoxFuture<'static, Result<Arc<dyn ShardView>, ShardError>>>;

/// A shard: its name, its rows, whether it is there.
pub struct Shard {
    name: String,
    data: Arc<dyn ShardData>,
    /// What its process does, where that is known.
    life: Option<watch::Receiver<Life>>,
    /// It had no part in the last query: nobody waits for it to plan the next.
    suspect: AtomicBool,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard that is always there.
    pub fn new(name: impl Into<String>, data: Arc<dyn ShardData>) -> Self {
        Shard { name: name.into(), data, life: None, suspect: AtomicBool::new(false) }
    }

    /// The same in a process that lives this life: while that is paused or stopped, the shard is silent or gone.
    pub fn living(mut self, life: watch::Receiver<Life>) -> Self {
        self.life = Some(life);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rows.
    pub fn data(&self) -> &Arc<dyn ShardData> {
        &self.data
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    pub(super) fn suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    /// Asks for a view. The asking goes on whether or not anybody waits.
    pub(super) fn open(self: &Arc<Self>, consistency: ReadConsistency, deadline: Instant) -> Opening {
        let shard = Arc::clone(self);
        let opening = tokio::spawn(async move { shard.within(deadline, shard.data.view(consistency, deadline)).await });
        let opened = async move {
            opening.await.unwrap_or_else(|error| Err(ShardError::Failed(format!("no view could be made: {error}"))))
        };
        opened.boxed().shared()
    }

    /// Carries `call` out on the shard: by the deadline, and while it is there.
    pub(super) async fn within<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        let call = async { timeout_at(deadline, call).await.unwrap_or(Err(ShardError::Timeout)) };
        let Some(life) = &self.life else { return call.await };
        match inside(life.clone(), deadline, async { Ok(call.await) }).await {
            Ok(outcome) => outcome,
            Err(error) if error.code == Code::Timeout => Err(ShardError::Timeout),
            Err(error) => Err(ShardError::Unavailable(error.text)),
        }
    }
}
