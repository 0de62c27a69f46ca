//! One process of a node.

use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::output::{LastLines, listen, log, log_file};
use super::watch::{Tail, Trouble, Watch};
use super::{Network, Program};

/// How long to wait for the last words of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process, in a process group of its own: what it starts dies with it.
pub(super) struct Process {
    group: Pid,
    /// It is to end, or has ended: its end is no reason for alarm.
    dismissed: Arc<AtomicBool>,
    gone: watch::Receiver<bool>,
    feeding: AbortHandle,
    /// Its input ends when this is dropped.
    input: Option<oneshot::Sender<()>>,
    /// How it has ended, once it has been heard out.
    attendance: JoinHandle<std::io::Result<End>>,
}

/// How a process has ended: its status, the last that it wrote to standard output and to standard error.
type End = (ExitStatus, Tail, Tail);

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
        let (input, closed) = oneshot::channel();
        let feeding = tokio::spawn(feed(name.clone(), stdin, network.clone(), closed)).abort_handle();
        let dismissed = Arc::new(AtomicBool::new(false));
        let (told, gone) = watch::channel(false);
        let attendance = Attendance { node: name, dismissed: Arc::clone(&dismissed), watch: watch.clone(), told };
        let attendance = tokio::spawn(attendance.attend(child, [(listening, said), (logging, logged)]));
        Ok(Process { group, dismissed, gone, feeding, input: Some(input), attendance })
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.doom();
        // The sender is dropped only after it has said so.
        let _ = self.gone.wait_for(|gone| *gone).await;
    }

    /// Ends its input, and waits until it has ended by that and has been heard out. One that has not is killed.
    pub(super) async fn end(mut self, node: &str, limit: Duration) -> Result<(), Trouble> {
        self.dismissed.store(true, Ordering::Release);
        // One that is stopped would not notice.
        self.resume();
        self.input = None;
        let node = node.to_owned();
        match tokio::time::timeout(limit, &mut self.attendance).await {
            Ok(Ok(Ok((status, stdout, stderr)))) => match status.success() {
                true => Ok(()),
                false => Err(Trouble::EndedBadly { node, status, stdout, stderr }),
            },
            // What has no status has not ended, as far as anybody knows.
            Err(_) | Ok(Err(_) | Ok(Err(_))) => {
                self.kill().await;
                Err(Trouble::NotEnded { node, limit })
            }
        }
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

    fn doom(&self) {
        self.dismissed.store(true, Ordering::Release);
        self.signal(Signal::KILL);
        self.feeding.abort();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.doom();
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

/// Gives a process what reaches its node, whole lines, until it is `closed`.
async fn feed(node: String, mut stdin: ChildStdin, network: Network, mut closed: oneshot::Receiver<()>) {
    loop {
        let message = tokio::select! {
            biased;
            _ = &mut closed => return,
            message = network.receive(&node) => message,
        };
        let Some(message) = message else { return };
        // One that does not read any more has ended or is about to, which its exit tells.
        if stdin.write_all(message.line().as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Waits for the end of a process.
struct Attendance {
    node: String,
    dismissed: Arc<AtomicBool>,
    watch: Watch,
    told: watch::Sender<bool>,
}

impl Attendance {
    async fn attend(self, mut child: Child, outputs: [(JoinHandle<()>, LastLines); 2]) -> std::io::Result<End> {
        let status = child.wait().await;
        self.told.send_replace(true);
        let [(listening, said), (logging, logged)] = outputs;
        // A process of its own that it has left behind may keep its outputs open.
        let (stop_listening, stop_logging) = (listening.abort_handle(), logging.abort_handle());
        let _ = tokio::time::timeout(LAST_WORDS, futures::future::join(listening, logging)).await;
        stop_listening.abort();
        stop_logging.abort();
        let (status, stdout, stderr) = (status?, said.tail("standard output"), logged.tail("standard error"));
        if !self.dismissed.load(Ordering::Acquire) {
            let (stdout, stderr) = (stdout.clone(), stderr.clone());
            self.watch.raise(Trouble::Ended { node: self.node, status, stdout, stderr });
        }
        Ok((status, stdout, stderr))
    }
}
