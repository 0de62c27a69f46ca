//! One line on the terminal that tells how a run goes, and above it what is done to nodes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::recorder::Recorder;

/// The terminal. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    /// A line at the bottom, if standard error is a terminal.
    pub(crate) fn new() -> Screen {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {msg}") {
            bar.set_style(style);
        }
        Screen(bar)
    }

    /// Tells something, above the line.
    pub(crate) fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Keeps the line up to date until it is stopped.
    pub(crate) async fn show(self, recorder: Recorder, limit: Duration) {
        self.0.set_length(limit.as_millis() as u64);
        loop {
            let glance = recorder.glance();
            let [ok, fail, info] = glance.ends;
            let faults =
                if glance.faults.is_empty() { String::new() } else { format!(" | {}", glance.faults.join("; ")) };
            self.0.set_position(recorder.now().min(limit).as_millis() as u64);
            self.0.set_message(format!("{}: {ok} ok, {fail} failed, {info} unknown{faults}", glance.phase));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
