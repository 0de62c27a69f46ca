//! Where queries compute: threads of their own, so that a heavy one holds back no heartbeat, and memory with a bound.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// Plans are trees that are walked by recursion. The stacks are only as large as they are used.
const STACK_BYTES: usize = 128 * 1024 * 1024;

/// Threads and memory for queries.
#[derive(Debug)]
pub struct QueryRuntime {
    runtime: Option<Runtime>,
    environment: Arc<RuntimeEnv>,
}

impl QueryRuntime {
    /// So many threads, and so many bytes for all queries together.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(threads: usize, memory_bytes: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .on_thread_start(yield_to_others)
            .build()?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(io::Error::other)?;
        Ok(QueryRuntime { runtime: Some(runtime), environment })
    }

    /// What plans are run within.
    pub fn environment(&self) -> &Arc<RuntimeEnv> {
        &self.environment
    }

    /// The memory of all queries.
    pub fn pool(&self) -> &Arc<dyn MemoryPool> {
        &self.environment.memory_pool
    }

    /// Runs work on these threads. It is given up when the handle is dropped.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Work<T> {
        let handle = self.runtime.as_ref().map(Runtime::handle).cloned();
        // There is a runtime until this is dropped.
        Work(handle.unwrap_or_else(Handle::current).spawn(work))
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// On few cores the groups come first: an election costs more than a late row.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(2) {
        tracing::debug!("queries run as urgently as everything else: {error}");
    }
}

/// Work that is given up when nobody waits for it any more.
#[derive(Debug)]
pub struct Work<T>(JoinHandle<T>);

impl<T> Future for Work<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
