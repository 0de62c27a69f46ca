//! One process of a node.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::output::{LastLines, listen, log, log_file};
use super::watch::{Trouble, Watch};
use super::{Network, Program};

/// How long to wait for the last words of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process, in a process group of its own: what it starts dies with it.
pub(super) struct Process {
    group: Pid,
    /// It is to die, or has died.
    doomed: Arc<AtomicBool>,
    gone: watch::Receiver<bool>,
    feeding: AbortHandle,
}

impl Process {
    /// Starts a process and connects it to the network.
    pub(super) fn start(
        program: &Program,
        node: &str,
        args: Vec<String>,
        network: &Network,
        watch: &Watch,
    ) -> Result<Process, Trouble> {
        let not_started = |why: String| Trouble::NotStarted { node: node.to_owned(), why };
        let data = program.data.join(node);
        fs::create_dir_all(&data).map_err(|error| not_started(format!("{}: {error}", data.display())))?;
        let file = log_file(program, node).map_err(|error| not_started(format!("its log: {error}")))?;
        let mut child = spawn(&program.bin, args, &data)
            .map_err(|error| not_started(format!("{}: {error}", program.bin.display())))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(not_started("its inputs and outputs are not piped".to_owned()));
        };
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.ok_or_else(|| not_started("it has ended at once".to_owned()))?;

        let (said, logged) = (LastLines::default(), LastLines::default());
        let name = node.to_owned();
        let listening = tokio::spawn(listen(name.clone(), stdout, network.clone(), watch.clone(), said.clone()));
        let logging = (file, program.log_stderr);
        let logging = tokio::spawn(log(name.clone(), stderr, logging, watch.clone(), logged.clone()));
        let feeding = tokio::spawn(feed(name.clone(), stdin, network.clone())).abort_handle();
        let doomed = Arc::new(AtomicBool::new(false));
        let (told, gone) = watch::channel(false);
        let attendance = Attendance { node: name, doomed: Arc::clone(&doomed), watch: watch.clone(), told };
        tokio::spawn(attendance.attend(child, [(listening, said), (logging, logged)]));
        Ok(Process { group, doomed, gone, feeding })
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.end();
        // The sender is dropped only after it has said so.
        let _ = self.gone.wait_for(|gone| *gone).await;
    }

    /// Stops it as it is.
    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // Once it is gone its number may be another's.
        if !*self.gone.borrow() {
            let _ = kill_process_group(self.group, signal);
        }
    }

    fn end(&self) {
        self.doomed.store(true, Ordering::Release);
        self.signal(Signal::KILL);
        self.feeding.abort();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(bin: &Path, args: Vec<String>, dir: &Path) -> std::io::Result<Child> {
    Command::new(bin)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Gives a process what reaches its node.
async fn feed(node: String, mut stdin: ChildStdin, network: Network) {
    while let Some(message) = network.receive(&node).await {
        // One that does not read any more has ended or is about to, which its exit tells.
        if stdin.write_all(message.line().as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Waits for the end of a process.
struct Attendance {
    node: String,
    doomed: Arc<AtomicBool>,
    watch: Watch,
    told: watch::Sender<bool>,
}

impl Attendance {
    async fn attend(self, mut child: Child, outputs: [(JoinHandle<()>, LastLines); 2]) {
        let status = child.wait().await;
        self.told.send_replace(true);
        let [(listening, said), (logging, logged)] = outputs;
        // A process of its own that it has left behind may keep its outputs open.
        let (stop_listening, stop_logging) = (listening.abort_handle(), logging.abort_handle());
        let _ = tokio::time::timeout(LAST_WORDS, futures::future::join(listening, logging)).await;
        stop_listening.abort();
        stop_logging.abort();
        if let (Ok(status), false) = (status, self.doomed.load(Ordering::Acquire)) {
            let (stdout, stderr) = (said.tail("standard output"), logged.tail("standard error"));
            self.watch.raise(Trouble::Ended { node: self.node, status, stdout, stderr });
        }
    }
}
