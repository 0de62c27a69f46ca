//! The log of the programs that run and ask clusters.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How a program logs. Flatten it into the program's own options.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFlags {
    /// How the log on standard error is written; RUST_LOG says what of it, as in `info,quorate=debug`.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What a node logs, which is watched by its log.
pub const NODE: &str = "info,openraft=error";

/// What everybody else logs, who has words of their own for what is wrong.
pub const OTHERS: &str = "error,openraft=off";

impl LogFlags {
    /// Begins to log to standard error: what `RUST_LOG` says, or else `otherwise`.
    ///
    /// # Panics
    /// When the process logs already.
    pub fn begin(self, otherwise: &str) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log {
            LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
    }
}
