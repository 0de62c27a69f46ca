//! One line on the terminal that tells how a run goes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};

use crate::stdio::record::Record;

/// The terminal. Clones are the same one.
#[derive(Clone)]
pub(super) struct Screen(ProgressBar);

impl Screen {
    /// A line at the bottom, if standard error is a terminal.
    pub(super) fn new() -> Screen {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {msg}") {
            bar.set_style(style);
        }
        Screen(bar)
    }

    /// Tells something, above the line.
    pub(super) fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Keeps the line up to date until it is stopped.
pub(super) async fn show(screen: Screen, record: Record, time_limit: Duration) {
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    screen.0.set_length(time_limit.as_millis() as u64);
    loop {
        ticks.tick().await;
        let glance = record.glance();
        let tally = glance.tally;
        screen.0.set_position((record.now().min(time_limit)).as_millis() as u64);
        let faults = if glance.faults.is_empty() { String::new() } else { format!(" | {}", glance.faults.join("; ")) };
        screen.0.set_message(format!(
            "{}: {} ok, {} failed, {} unknown{faults}",
            glance.phase, tally.ok, tally.fail, tally.info
        ));
    }
}
