//! One trial: a bug, a hunt, a seed, in a process of its own.
//!
//! Promises: whatever the bug does to the process (a panic, an endless wait, all memory) ends with the process, which is
//! killed when its time is up.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use quorate::planted::{Bug, VARIABLE};

use super::hunts::Hunt;
use super::simulate::NOTICED;
use super::targets::Target;

/// So many seconds of a processor's time a trial may take.
const CPU_SECONDS: &str = "60";

/// The signal that ends a process which has taken more.
const SIGXCPU: i32 = 24;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was noticed.
    Passed,
    /// Something was, and this was said of it.
    Noticed(String),
    /// It did not end in the time that a trial may take, the processor's or the clock's.
    Hung,
    /// There was no time left to wait for it.
    OutOfTime,
}

/// How long a trial may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so long it is taken to hang.
    pub(crate) hang: Duration,
    /// Nobody waits for it any longer than this.
    pub(crate) until: Instant,
}

/// Tries a claim with `seed`, and with a bug unless it is a control.
///
/// # Errors
/// When the process cannot be started or watched, or has no such claim.
pub(crate) fn run(program: &Path, hunt: &Hunt, seed: u64, bug: Option<Bug>, limits: Limits) -> anyhow::Result<Outcome> {
    let mut command = Command::new("sh");
    // What goes round in circles is known by the processor's time that it takes, however busy the machine is.
    command.args(["-c", "ulimit -t \"$0\" && exec \"$@\"", CPU_SECONDS]).arg(program);
    match hunt.target {
        Target::Simulation => command.args(["--simulate", hunt.claim, "--seed"]).arg(seed.to_string()),
        _ => command.args(["--exact", hunt.claim, "--include-ignored", "--test-threads", "1"]),
    };
    command.env(VARIABLE, bug.map_or("none", Bug::name)).env("QUORATE_SEED", seed.to_string());
    // Of what is generated: the same things for a seed, and no search for the least of those that fail.
    command.env("PROPTEST_RNG_SEED", seed.to_string()).env("PROPTEST_MAX_SHRINK_ITERS", "0");
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    command.env("RUST_BACKTRACE", "0").env_remove("RUST_LOG");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Read all along: a process that says much must not wait for somebody to listen.
    let said = [listen(child.stdout.take()), listen(child.stderr.take())];
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let hangs = begun.elapsed() >= limits.hang;
        if hangs || Instant::now() >= limits.until {
            end(&mut child)?;
            return Ok(if hangs { Outcome::Hung } else { Outcome::OutOfTime });
        }
        thread::sleep(LOOK);
    };
    let said: String = said.into_iter().map(|listener| listener.join().unwrap_or_default()).collect();
    if status.signal() == Some(SIGXCPU) {
        return Ok(Outcome::Hung);
    }
    if status.success() {
        ensure!(!said.contains("running 0 tests"), "{} has no claim {}", program.display(), hunt.claim);
        return Ok(Outcome::Passed);
    }
    match complaint(&said) {
        Some(complaint) => Ok(Outcome::Noticed(complaint)),
        // Killed, by itself or for want of memory.
        None if status.code().is_none() => Ok(Outcome::Noticed(status.to_string())),
        None => bail!("{} failed and does not say why: {status}: {said}", hunt.claim),
    }
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn listen(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut said = Vec::new();
        // What was said until the pipe broke.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// What a scenario noticed, or what the first panic said; on one line.
fn complaint(said: &str) -> Option<String> {
    if let Some(noticed) = said.lines().find_map(|line| line.strip_prefix(NOTICED)) {
        return Some(noticed.into());
    }
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    lines.next()?;
    let message: Vec<&str> = lines.take_while(|line| !line.starts_with("note:") && !line.is_empty()).take(4).collect();
    let message = message.join(" ");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    (!message.is_empty()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_said_is_told_on_one_line() {
        let said = "running 1 test\nthread 'a' (7) panicked at tests/x.rs:1:2:\nassertion `left == right` failed: lost\n  \
                    left: 1\n right: 2\nnote: run with `RUST_BACKTRACE=1`\n";
        let told = complaint(said);
        assert_eq!(told.as_deref(), Some("assertion `left == right` failed: lost left: 1 right: 2"));
        assert_eq!(complaint("test result: ok"), None);
    }
}
