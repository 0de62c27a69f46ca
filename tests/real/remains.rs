//! What nodes leave behind: logs, which are looked through and kept with the report, and files, which are removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// The logs of the nodes below `dir`.
fn logs(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
}

/// Which nodes' code has panicked, whether they ended of it or not.
pub(crate) fn panics(dir: &Path) -> Vec<String> {
    let panicked = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("panicked at"))?.to_owned();
        Some(format!("{}: {line}", path.file_name().unwrap_or_default().to_string_lossy()))
    };
    logs(dir).filter_map(panicked).collect()
}

/// Keeps what the nodes have logged with the report.
pub(crate) fn keep_logs(dir: &Path, directory: &Path) -> anyhow::Result<()> {
    let kept = directory.join("node-logs");
    fs::create_dir_all(&kept)?;
    for log in logs(dir) {
        fs::copy(&log, kept.join(log.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Removes the nodes' files, which those that were just killed may still hold.
pub(crate) async fn discard(dir: TempDir) {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        if fs::remove_dir_all(dir.path()).is_ok() || !dir.path().exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
