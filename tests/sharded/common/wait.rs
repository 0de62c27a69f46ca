//! Waiting for conditions, never for luck.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; fails the test when it does not within [`PATIENCE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        pause(5).await;
    }
}

/// Lets the load run on for so many milliseconds.
pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
