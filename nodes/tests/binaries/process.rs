//! A binary as a process: lines in, lines out, what it says on standard error, its exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running binary. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it said that nobody had received yet.
    pub(crate) rest: Vec<Value>,
    pub(crate) errors: String,
}

impl Process {
    pub(crate) fn start(binary: &str, args: &[&str]) -> Process {
        let mut child = Command::new(crate::binary(binary))
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut errors = child.stderr.take().expect("its errors are piped");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        Process { input: child.stdin.take(), child, lines, errors: Some(errors) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(bytes.as_ref()).and_then(|()| input.flush()).expect("the process reads its input");
    }

    /// Sends a line.
    pub(crate) fn send_line(&mut self, line: impl std::fmt::Display) {
        self.send(format!("{line}\n"));
    }

    /// The next line; `None` at the end of the output.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(parse(&line)),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was received"),
        }
    }

    /// Sends a request and returns its answer, which must be the next line.
    pub(crate) fn ask(&mut self, line: impl std::fmt::Display) -> Value {
        self.send_line(line);
        self.receive().expect("the process goes on")
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.expect("there is a kill").success());
    }

    /// The status with which the process ends, whatever it says.
    pub(crate) fn child_status(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().expect("the process can be waited for").code()
    }

    /// Ends the input and waits for the process.
    pub(crate) fn end(mut self) -> Ended {
        drop(self.input.take());
        self.wait()
    }

    /// Waits for the process, which ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("the process can be waited for") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the process does not end"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let rest = self.lines.iter().map(|line| parse(&line)).collect();
        let errors = self.errors.take().map(|errors| errors.join().expect("errors are read")).unwrap_or_default();
        Ended { status, rest, errors }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// It ended as a well-behaved process does.
    pub(crate) fn assert_well(&self) {
        assert_eq!(self.status.code(), Some(0), "{}", self.errors);
        self.assert_no_panic();
    }

    pub(crate) fn assert_no_panic(&self) {
        assert!(!self.errors.contains("panicked"), "{}", self.errors);
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("received {line:?}: {error}"))
}
