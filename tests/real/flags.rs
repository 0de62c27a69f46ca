//! What a run is told on its command line, and what that comes to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::{Value, json};

use crate::admin::SHARDS;
use crate::clients::Workload;
use crate::faults::{Fault, Target};
use crate::nemesis::Plan;

/// Server processes on this machine, under load and faults, judged and reported.
#[derive(Clone, Debug, Parser)]
#[command(name = "quorate-real", version)]
pub(crate) struct Flags {
    /// What clients do.
    #[arg(short, long, value_enum, default_value_t = Workload::Kv)]
    pub(crate) workload: Workload,
    /// How many nodes. Each of two groups is on three of them, and so is the configuration log.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..100))]
    pub(crate) nodes: u64,
    /// How many clients work at the same time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) clients: u64,
    /// How many operations a second all clients try together.
    #[arg(long, value_name = "HZ", default_value_t = 100.0)]
    rate: f64,
    /// How many seconds.
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub(crate) time_limit: u64,
    /// What is done to the nodes, one after the other: kill, pause, cut, clock, roll, replace, disk, moves, with commas between;
    /// or all. Without it, nothing.
    #[arg(long, value_name = "KINDS", value_parser = Kinds::parse, default_value = "", hide_default_value = true)]
    nemesis: Kinds,
    /// The run ends when each kind has had so many turns, if the time is not over before.
    #[arg(long, value_name = "N", requires = "nemesis")]
    rounds: Option<u64>,
    /// Whom kills, pauses and cuts befall. Without it, any of these.
    #[arg(long, value_name = "TARGETS", value_enum, value_delimiter = ',')]
    targets: Vec<Target>,
    /// How many seconds a fault lasts, and how long it is quiet then, on average.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    nemesis_interval: f64,
    /// A leader that is silent for so long is replaced. On a busy machine, give it more.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(30..))]
    pub(crate) election_timeout_ms: u64,
    /// What decides what clients and faults do; when it happens depends on the machine.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Where runs are kept, each in <workload>/<time>.
    #[arg(long, value_name = "DIR", default_value = "store")]
    pub(crate) store: PathBuf,
    /// The program `quorate`; the one beside this program if it is left out.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// Kinds of faults.
#[derive(Clone, Debug)]
struct Kinds(Vec<Fault>);

impl Kinds {
    fn parse(text: &str) -> Result<Kinds, String> {
        if text == "all" {
            return Ok(Kinds(Fault::ALL.to_vec()));
        }
        let names = text.split(',').filter(|name| !name.is_empty());
        let kinds = names.map(|name| <Fault as clap::ValueEnum>::from_str(name, false));
        let known = || Fault::ALL.map(|fault| fault.to_string()).join(", ");
        kinds.collect::<Result<_, _>>().map(Kinds).map_err(|_| format!("the kinds are {}, or all", known()))
    }
}

impl Flags {
    pub(crate) fn plan(&self, seed: u64) -> anyhow::Result<Plan> {
        let interval = Duration::try_from_secs_f64(self.nemesis_interval).context("--nemesis-interval")?;
        let targets = if self.targets.is_empty() { Target::ANY.to_vec() } else { self.targets.clone() };
        Ok(Plan { faults: self.nemesis.0.clone(), targets, interval, rounds: self.rounds, seed })
    }

    /// The time between a client's operations, on average.
    pub(crate) fn pause(&self) -> anyhow::Result<Duration> {
        if self.clients == 0 || self.rate.is_nan() || self.rate <= 0.0 {
            bail!("nobody does anything: --clients and --rate are above 0");
        }
        Duration::try_from_secs_f64(self.clients as f64 / self.rate).context("--rate")
    }

    /// The servers' program.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(bin) = &self.bin {
            return bin.canonicalize().with_context(|| bin.display().to_string());
        }
        let own = std::env::current_exe()?;
        let names = ["quorate-process", "quorate"].map(|name| own.with_file_name(name));
        let found = names.into_iter().find(|path| path.exists());
        found.context("the program quorate is not beside this one: name it with --bin")
    }

    /// What the report says of them.
    pub(crate) fn settings(&self, seed: u64) -> Value {
        json!({
            "seed": seed,
            "nodes": self.nodes,
            "clients": self.clients,
            "rate": self.rate,
            "time_limit_s": self.time_limit,
            "nemesis": self.nemesis.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "rounds": self.rounds,
            "nemesis_interval_s": self.nemesis_interval,
            "election_timeout_ms": self.election_timeout_ms,
            "shards": SHARDS,
        })
    }
}
