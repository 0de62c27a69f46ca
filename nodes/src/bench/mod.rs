//! `quorate bench`: what a durable cluster does in a second, how long an operation takes, and what it costs the servers; beside
//! etcd if one is given, in the same run and with the same load.
//!
//! How: so many clients, each with one operation at a time, spread evenly over the servers, in rounds in which the systems take
//! turns; keys are drawn at random from those that were put before. An operation counts if it was answered within the measured time.
//! Leaves out: more load than the clients' own process can make, which shares the machine with the servers.

mod cost;
mod load;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::server::ClientTls;
use crate::up::{Local, UpFlags};

use cost::Processes;
use load::{Load, Measured};
use target::{Shape, Target};

/// `quorate bench`'s flags.
#[derive(Args, Clone, Debug)]
pub struct BenchFlags {
    /// Servers of a cluster that runs (`host:port` of clients). Without it, three are started for the run.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    #[command(flatten)]
    tls: ClientTls,
    /// Their processes on this machine, so that their processor time can be told.
    #[arg(long, value_delimiter = ',', requires = "servers")]
    pids: Vec<u32>,
    /// Members of an etcd cluster (`host:port` of clients), measured beside.
    #[arg(long, value_delimiter = ',')]
    etcd: Vec<String>,
    /// Its processes on this machine.
    #[arg(long, value_delimiter = ',', requires = "etcd")]
    etcd_pids: Vec<u32>,
    /// How many clients, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,1000")]
    clients: Vec<usize>,
    /// What they do.
    #[arg(long, value_delimiter = ',', default_value = "put,get,bounded")]
    operations: Vec<Operation>,
    /// How long each system is measured with each load, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// In so many rounds. The systems take turns, so that what else the machine does at a time befalls all of them; ratios are those of
    /// the middle round. A round begins with a tenth of its length that is not measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a value is, in bytes.
    #[arg(long, default_value_t = 256)]
    value: usize,
    /// How many keys there are.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Connections of clients that make a call each, at most; beyond that they share.
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// How old a bounded read may be, in milliseconds.
    #[arg(long, default_value_t = 100)]
    max_staleness: u64,
    /// Where the servers that are started keep their data; removed afterwards.
    #[arg(long, default_value = "quorate-bench")]
    dir: PathBuf,
    /// The first port of the servers that are started.
    #[arg(long, default_value_t = 7401)]
    port: u16,
    /// JSON lines in place of a table.
    #[arg(long)]
    json: bool,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    /// Writes a key.
    Put,
    /// Reads a key, linearizably.
    Get,
    /// Reads a key as some replica has it: ours proves how old that is at most; etcd's (serializable) says nothing of it.
    Bounded,
}

/// One line of the result.
struct Row {
    operation: Operation,
    clients: usize,
    system: String,
    measured: Measured,
}

/// Measures, and prints.
///
/// # Errors
/// When servers cannot be started or reached, or the flags make no sense.
pub async fn run(flags: &BenchFlags) -> anyhow::Result<()> {
    ensure!(flags.seconds > 0.0 && flags.seconds.is_finite(), "--seconds must be more than 0");
    ensure!(flags.keys > 0 && flags.connections > 0, "--keys and --connections must be more than 0");
    ensure!(flags.clients.iter().all(|clients| *clients > 0), "--clients must be more than 0");
    if !flags.servers.is_empty() {
        return measure(flags, &flags.servers, &flags.pids).await;
    }
    ensure!(!flags.dir.exists(), "{} is there already: it would be removed", flags.dir.display());
    let up = UpFlags::bench(flags.dir.clone(), flags.port);
    let result = match Local::start(&up).await {
        Ok(local) => {
            let result = measure(flags, &local.servers(), &local.pids()).await;
            local.end().await;
            result
        }
        Err(error) => Err(error),
    };
    // Why nothing could be measured is worth more than why nothing could be removed.
    let removed = std::fs::remove_dir_all(&flags.dir);
    result?;
    removed.with_context(|| format!("cannot remove {}", flags.dir.display()))
}

async fn measure(flags: &BenchFlags, servers: &[String], pids: &[u32]) -> anyhow::Result<()> {
    let max_staleness = Duration::from_millis(flags.max_staleness);
    let ours = |shape| Target::quorate(servers, &flags.tls, shape, flags.connections, max_staleness);
    let mut targets = Vec::new();
    if !flags.etcd.is_empty() {
        targets.push((
            "etcd".to_owned(),
            Target::etcd(&flags.etcd, flags.connections)?,
            Processes(flags.etcd_pids.clone()),
        ));
    }
    targets.push(("quorate, a call each".to_owned(), ours(Shape::Unary)?, Processes(pids.to_vec())));
    targets.push(("quorate, one stream".to_owned(), ours(Shape::Stream)?, Processes(pids.to_vec())));
    let load =
        Load { keys: flags.keys, value: "v".repeat(flags.value), seconds: flags.seconds / f64::from(flags.rounds) };
    for (system, target, _) in &targets {
        load.prepare(target).await.with_context(|| format!("{system}: the keys cannot be put"))?;
    }
    if !flags.json {
        let BenchFlags { keys, value, seconds, rounds, .. } = flags;
        println!("{keys} keys, values of {value} bytes, {seconds} s each in {rounds} rounds");
    }
    for &operation in &flags.operations {
        let mut rows: Vec<Row> = Vec::new();
        for &clients in &flags.clients {
            let mut measured: Vec<Measured> = targets.iter().map(|_| Measured::new()).collect();
            for round in 0..flags.rounds as usize {
                for ((_, target, processes), measured) in targets.iter().zip(&mut measured) {
                    measured.add(load.run((target, processes), operation, clients, round).await);
                }
            }
            let systems = targets.iter().map(|(system, ..)| system.clone());
            rows.extend(systems.zip(measured).map(|(system, measured)| Row { operation, clients, system, measured }));
        }
        show(&rows, flags.json);
    }
    Ok(())
}

fn show(rows: &[Row], as_json: bool) {
    if as_json {
        for row in rows {
            println!("{}", row.json());
        }
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "operation",
        "clients",
        "system",
        "1/s",
        "p50",
        "p99",
        "p99.9",
        "servers' CPU",
        "failed",
        "to the first",
    ]);
    for row in rows {
        let Measured { latency, failed, .. } = &row.measured;
        let quantile = |q| format!("{:.2?}", Duration::from_micros(latency.value_at_quantile(q)));
        // The first of the same clients is the one to compare with.
        let first = rows.iter().find(|other| other.clients == row.clients).unwrap_or(row);
        table.add_row([
            format!("{:?}", row.operation).to_lowercase(),
            row.clients.to_string(),
            row.system.clone(),
            format!("{:.0}", row.measured.rate()),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            row.measured.cpu().map(|cpu| format!("{:.1} us", cpu.as_secs_f64() * 1e6)).unwrap_or_default(),
            failed.to_string(),
            format!("{:.2}", row.measured.ratio(&first.measured)),
        ]);
    }
    println!("{table}");
    if let Some(failure) = rows.iter().find_map(|row| row.measured.failure.as_ref()) {
        println!("a failure: {failure}");
    }
}

impl Row {
    fn json(&self) -> serde_json::Value {
        let Measured { rates, latency, failed, failure, .. } = &self.measured;
        json!({
            "operation": format!("{:?}", self.operation).to_lowercase(),
            "clients": self.clients,
            "system": self.system,
            "per_second": self.measured.rate(),
            "per_second_by_round": rates,
            "p50_us": latency.value_at_quantile(0.5),
            "p99_us": latency.value_at_quantile(0.99),
            "p999_us": latency.value_at_quantile(0.999),
            "max_us": latency.max(),
            "cpu_us": self.measured.cpu().map(|cpu| cpu.as_secs_f64() * 1e6),
            "failed": failed,
            "failure": failure,
        })
    }
}
