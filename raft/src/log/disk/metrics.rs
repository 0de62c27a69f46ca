//! What a log on disk counts and measures, by the `metrics` facade. Beside it, [`super::DiskLog::usage`] says what the log
//! holds at the moment.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

/// How long the disk took to sync a batch.
pub const SYNC_SECONDS: &str = "quorate_log_sync_seconds";
/// Bytes in the batches that were synced.
pub const BATCH_BYTES: &str = "quorate_log_batch_bytes";
/// Bytes of live entries that were written again to give an old segment up.
pub const REWRITTEN: &str = "quorate_log_rewritten_bytes_total";

/// Tells the installed recorder what the names mean. Once, after it was installed.
pub fn describe() {
    describe_histogram!(SYNC_SECONDS, Unit::Seconds, "How long the disk took to sync a batch of the log.");
    describe_histogram!(BATCH_BYTES, Unit::Bytes, "Bytes in the batches of the log that were synced.");
    describe_counter!(REWRITTEN, Unit::Bytes, "Bytes of live entries that were written again.");
}

/// A log's own, looked up once.
pub(super) struct LogMetrics {
    sync_seconds: Histogram,
    batch_bytes: Histogram,
    rewritten: Counter,
}

impl LogMetrics {
    pub(super) fn new() -> Self {
        LogMetrics {
            sync_seconds: histogram!(SYNC_SECONDS),
            batch_bytes: histogram!(BATCH_BYTES),
            rewritten: counter!(REWRITTEN),
        }
    }

    pub(super) fn synced(&self, bytes: usize, took: Duration) {
        self.sync_seconds.record(took);
        self.batch_bytes.record(bytes as f64);
    }

    /// So many bytes more were rewritten.
    pub(super) fn rewritten(&self, bytes: u64) {
        self.rewritten.increment(bytes);
    }
}
