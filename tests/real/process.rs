//! One server process: its start, its signals, its end.
//!
//! Promises: it dies with whoever started it, however that ends: it is killed when its owner is dropped, and ends by itself when
//! its standard input does.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};

/// How long a process that was told to end may take.
const ENDING: Duration = Duration::from_secs(120);

/// No file of a node whose disk fails can be written beyond this.
const BROKEN_DISK_BYTES: u64 = 4096;

/// A process that was started.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Open as long as this is there: the process ends when its input does.
    _input: Option<ChildStdin>,
}

impl Process {
    /// Starts `bin` with these arguments; what it logs is added to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(bin: &Path, args: &[String], log: &Path) -> anyhow::Result<Process> {
        let mut log = File::options().create(true).append(true).open(log).context("a node's log")?;
        // Whoever ignores this signal is told of a file that must not grow as of any other error of a write.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(bin).args(args);
        // A group of its own: Ctrl-C is for this process alone.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", bin.display()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| anyhow!("{} has ended at once", bin.display()))?;
        if let Some(mut said) = child.stderr.take() {
            // Through here, since a node whose files cannot grow could not write it itself.
            tokio::spawn(async move {
                let mut buffer = vec![0; 8192];
                while let Ok(count @ 1..) = said.read(&mut buffer).await {
                    // What cannot be kept is lost: nothing depends on it.
                    let _ = log.write_all(buffer.get(..count).unwrap_or_default());
                }
            });
        }
        let _input = child.stdin.take();
        Ok(Process { child, pid, _input })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// SIGKILL; waits until it is gone.
    pub(crate) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Stops it as it is.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM; waits until it has ended, and says how. One that takes too long is killed.
    ///
    /// # Errors
    /// When it took too long.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM);
        match tokio::time::timeout(ENDING, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.kill().await;
                Err(anyhow!("did not end within {ENDING:?} of being told to"))
            }
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// From now on it can write nothing behind the beginning of a file.
    pub(crate) fn break_disk(&self) {
        let limit = Rlimit { current: Some(BROKEN_DISK_BYTES), maximum: Some(BROKEN_DISK_BYTES) };
        if self.child.id().is_some() {
            // It may be ending just now.
            let _ = prlimit(Some(self.pid), Resource::Fsize, limit);
        }
    }

    fn signal(&self, signal: Signal) {
        // Once it has been waited for, its number may be another's.
        if self.child.id().is_some() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

/// The last lines of a log.
pub(crate) fn last_lines(log: &Path) -> String {
    const LINES: usize = 5;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-c".to_owned(), script.replace("FILE", &dir.path().join("file").display().to_string())];
        let process = Process::start(Path::new("sh"), &args, &dir.path().join("log")).unwrap();
        (dir, process)
    }

    #[tokio::test]
    async fn a_process_whose_owner_is_gone_is_gone() {
        let (_dir, process) = shell("sleep 1000");
        let pid = process.pid;
        drop(process);
        // It is waited for by the runtime, in a while.
        while rustix::process::test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn writes_to_a_broken_disk_fail_and_the_process_lives_to_tell() {
        // The shell goes on once a line comes, which is after the limit.
        let (dir, mut process) = shell("read line; head -c 10000 /dev/zero > FILE; test $? -ne 0 && exit 7");
        process.break_disk();
        let mut stdin = process._input.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, b"go\n").await.unwrap();
        assert_eq!(process.child.wait().await.unwrap().code(), Some(7));
        assert_eq!(std::fs::metadata(dir.path().join("file")).unwrap().len(), BROKEN_DISK_BYTES);
    }
}
