//! `quorate-jepsen test`: drives nodes that speak JSON lines, breaks them, and says whether they did as they must.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::drive::{self, DriveFlags, Plan};
use crate::findings::Answer;
use crate::stdio::workloads::{Row, WorkloadName};

#[derive(Args)]
pub(super) struct TestFlags {
    /// What is asked of the nodes.
    #[arg(short, long, value_enum)]
    workload: WorkloadName,
    /// The program that each node runs.
    #[arg(long, value_name = "PATH")]
    bin: PathBuf,
    /// What it is told. {node} stands for the node's name, {nodes} for all names, {data} for a directory of the node's own
    /// that outlives its processes.
    #[arg(last = true, value_name = "ARGUMENTS")]
    args: Vec<String>,
    /// Of kvraft: run it as this row of the table of the course's tests does.
    #[arg(long, value_enum)]
    row: Option<Row>,
    #[command(flatten)]
    drive: DriveFlags,
}

/// Runs the workload as often as was asked for, and says what came of it.
pub(super) fn run(flags: TestFlags) -> anyhow::Result<Answer> {
    let TestFlags { workload, bin, args, row, drive } = flags;
    if row.is_some() && workload != WorkloadName::Kvraft {
        bail!("--row is of the workload kvraft");
    }
    let plan = Plan {
        workload: Box::new(move || row.map_or_else(|| workload.workload(), Row::workload)),
        usual: if workload == WorkloadName::Scatter { 1 } else { 5 },
        row,
        bin,
        args,
    };
    drive::run(&drive, &plan)
}
