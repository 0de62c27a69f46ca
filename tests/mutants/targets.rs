//! The programs that hunt bugs: test binaries and the simulator, built with the feature `planted`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

/// A program that hunts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The simulation's scenarios, which this program runs itself.
    Simulation,
    /// The library's log and snapshots on a simulated disk.
    Disk,
    /// The library's groups.
    Groups,
    /// The state machines by themselves.
    Machines,
    /// The sharded store.
    Sharded,
}

impl Target {
    /// What cargo calls the test, unless it is this program.
    fn name(self) -> &'static str {
        match self {
            Target::Simulation => "quorate-mutants",
            Target::Disk => "disk",
            Target::Groups => "groups",
            Target::Machines => "machines",
            Target::Sharded => "sharded",
        }
    }

    /// Whether this line of cargo's tells of it, and where it is then.
    fn found_in(self, line: &str) -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        let built = &message["target"];
        let is_it = built["name"] == self.name() && built["kind"][0] == "test";
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    }
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    own: PathBuf,
    /// What cargo is to build when one of them is needed.
    wanted: BTreeSet<Target>,
    built: BTreeMap<Target, PathBuf>,
}

impl Programs {
    /// This program, and those that cargo builds of `targets` once they are needed.
    ///
    /// # Errors
    /// When this program does not know where it is.
    pub(crate) fn new(targets: impl IntoIterator<Item = Target>) -> anyhow::Result<Programs> {
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let wanted = targets.into_iter().filter(|target| *target != Target::Simulation).collect();
        Ok(Programs { own, wanted, built: BTreeMap::new() })
    }

    /// Where a program is.
    ///
    /// # Errors
    /// When it is not there and cargo does not build it.
    pub(crate) fn path(&mut self, target: Target) -> anyhow::Result<&Path> {
        if target == Target::Simulation {
            return Ok(&self.own);
        }
        if self.built.is_empty() {
            self.built = build(&self.wanted)?;
        }
        self.built.get(&target).map(PathBuf::as_path).with_context(|| format!("{} was not built", target.name()))
    }
}

/// Has cargo build `targets`, which takes no time when they are built.
fn build(targets: &BTreeSet<Target>) -> anyhow::Result<BTreeMap<Target, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // All of the workspace, as it is tested otherwise: its features decide how dependencies are built, and those are there.
    command.args(["test", "--workspace", "--locked", "--features", "planted", "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.args(targets.iter().flat_map(|target| ["--test", target.name()]));
    let output = command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo failed: {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    let found = targets.iter().map(|target| {
        let path = messages.lines().filter_map(|line| target.found_in(line)).next_back();
        Ok((*target, path.with_context(|| format!("cargo built no {}", target.name()))?))
    });
    found.collect()
}
