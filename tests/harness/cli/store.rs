//! Where a run is kept: `<store>/<workload>/<time>/`, and `latest` beside it.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::json;

use crate::stdio::results::Results;
use crate::stdio::runner::Finished;

/// The directory of one run.
pub(super) struct Store(PathBuf);

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Store {
    /// Makes a new directory for a run of this workload, which is the latest from now on.
    pub(super) fn new(store: &Path, workload: &str) -> anyhow::Result<Store> {
        fs::create_dir_all(store).with_context(|| store.display().to_string())?;
        let of_workload = store.canonicalize()?.join(workload);
        fs::create_dir_all(&of_workload).with_context(|| of_workload.display().to_string())?;
        let name = time_name(SystemTime::now());
        let dir = (0..)
            .map(|nth| if nth == 0 { name.clone() } else { format!("{name}-{nth}") })
            .map(|name| of_workload.join(name))
            .find(|dir| !dir.exists())
            .context("a directory for the run")?;
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let latest = of_workload.join("latest");
        // A convenience: where links cannot be made, there is none.
        let _ = fs::remove_file(&latest);
        if let Some(name) = dir.file_name() {
            let _ = std::os::unix::fs::symlink(name, &latest);
        }
        Ok(Store(dir))
    }

    /// A file or directory of the run.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the history, what went wrong with the nodes and between them, and the results.
    pub(super) fn write(&self, finished: &Finished, results: &Results) -> anyhow::Result<()> {
        let run = &finished.run;
        self.lines("history.jsonl", &run.events)?;
        self.lines("faults.jsonl", &run.faults)?;
        self.lines("messages.jsonl", &run.messages)?;
        let all = json!({
            "workload": run.workload,
            "started": time_name(run.started),
            "length-s": run.length.as_secs_f64(),
            "settings": run.settings,
            "results": results.to_json(),
        });
        let path = self.path("results.json");
        fs::write(&path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())
    }

    fn lines<T: serde::Serialize>(&self, name: &str, lines: &[T]) -> anyhow::Result<()> {
        let path = self.path(name);
        let mut file = std::io::BufWriter::new(fs::File::create(&path).with_context(|| path.display().to_string())?);
        for line in lines {
            serde_json::to_writer(&mut file, line)?;
            file.write_all(b"\n")?;
        }
        file.flush().with_context(|| path.display().to_string())
    }
}

/// A moment as a name that sorts: `20261122T093000.123Z`.
fn time_name(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{:03}Z", since.subsec_millis())
}

/// The date of a day, counted from 1 January 1970.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_has_a_name_that_sorts() {
        let name = |seconds, ms| time_name(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(ms));
        assert_eq!(name(0, 0), "19700101T000000.000Z");
        assert_eq!(name(951_782_400, 7), "20000229T000000.007Z");
        assert_eq!(name(1_795_426_199, 123), "20261123T092959.123Z");
    }

    #[test]
    fn each_run_has_a_directory_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Store::new(dir.path(), "echo").unwrap(), Store::new(dir.path(), "echo").unwrap());
        assert_ne!(one.path("x"), other.path("x"));
        let latest = dir.path().join("echo/latest").canonicalize().unwrap();
        assert_eq!(latest, other.path("").canonicalize().unwrap());
    }
}
