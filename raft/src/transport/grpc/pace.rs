//! A bound on how many bytes a second leave.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets through so many bytes a second, in the order in which they come.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When all that was let through so far will have left at that speed.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Pace { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::default() }
    }

    /// Waits until `bytes` may leave.
    pub(super) async fn pass(&self, bytes: usize) {
        let now = Instant::now();
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let start = free_at.map_or(now, |at| at.max(now));
            *free_at = Some(start + takes);
            start
        };
        if start > now {
            sleep_until(start).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_leave_at_the_given_speed_and_idle_time_is_not_saved_up() {
        let pace = Pace::new(1000);
        let start = Instant::now();
        for _ in 0..5 {
            pace.pass(500).await;
        }
        assert_eq!(start.elapsed().as_millis(), 2000, "the first one does not wait");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..3 {
            pace.pass(500).await;
        }
        assert_eq!(start.elapsed().as_millis(), 1000);
    }
}
