//! `quorate-jepsen`: histories judged, and binaries driven, from the command line.
//!
//! Promises: exit code 0, 1 or 2 is a verdict (true, false, unknown); whatever kept it from one is 3 or more, and told on
//! standard error.

mod check;
pub(crate) mod drive;
mod progress;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::findings::Answer;

/// Judges what a distributed system did.
#[derive(Parser)]
#[command(name = "quorate-jepsen", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether a recorded history is linearizable.
    Check(check::CheckFlags),
    /// Drives nodes that speak JSON lines on standard input and output, and judges them.
    Test(Box<test::TestFlags>),
}

/// No verdict: what was to be judged could not be read.
const NO_VERDICT: u8 = 3;
/// No verdict: the command itself was not understood.
const USAGE: u8 = 64;

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // That it cannot be written has nobody to be told to.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let answer = match cli.command {
        Command::Check(flags) => check::run(&flags),
        Command::Test(flags) => test::run(*flags),
    };
    exit_code("quorate-jepsen", answer)
}

/// The exit code of a program that was to give a verdict: 0 for true, 1 for false, 2 for unknown, 3 for none, which is then
/// explained on standard error under the program's name.
pub fn exit_code(program: &str, answer: anyhow::Result<Answer>) -> ExitCode {
    match answer {
        Ok(Answer::True) => ExitCode::SUCCESS,
        Ok(Answer::False) => ExitCode::from(1),
        Ok(Answer::Unknown) => ExitCode::from(2),
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::from(NO_VERDICT)
        }
    }
}
