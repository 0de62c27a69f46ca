//! The options that every binary has.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::serve::ServeOptions;

/// The options that every binary has. Flatten it into the binary's own.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct StdioOptions {
    /// Answer every request within so many milliseconds, counted from the reading of its line.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub request_timeout: u64,

    /// At the end of the input, take at most so many milliseconds to answer what is left.
    #[arg(long, value_name = "MS", default_value_t = 4000)]
    pub drain_timeout: u64,

    /// Accept `fault` requests, which stop, pause and cut off nodes.
    #[arg(long)]
    pub allow_faults: bool,

    /// Seed every random choice.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Give each group so many replicas.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: u32,

    /// Split the keys into so many shards where no request says how many.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub shards: u32,

    /// Keep everything under this directory: log, votes, snapshots. Started again on it, the service goes on with all that
    /// was acknowledged. Without it, everything is in memory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Log to standard error from this level on: off, error, warn, info, debug or trace. Without it RUST_LOG counts.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
}

impl StdioOptions {
    /// The bounds within which a service is run.
    pub fn serve(&self) -> ServeOptions {
        ServeOptions {
            request_timeout: Duration::from_millis(self.request_timeout),
            drain_timeout: Duration::from_millis(self.drain_timeout),
            allow_faults: self.allow_faults,
            ..ServeOptions::default()
        }
    }

    /// Sends logs to standard error. Without any wish: warnings, but nothing of the consensus engine, which
    /// warns of every election and calls every replica's end an error.
    pub fn start_logging(&self) {
        let filter = match self.log_level {
            Some(level) => EnvFilter::default().add_directive(level.into()),
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,openraft=off")),
        };
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
        // A log that nobody reads must not stop the process; and a second call changes nothing.
        let _ = logs.log_internal_errors(false).try_init();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        stdio: StdioOptions,
    }

    fn parse(args: &str) -> Result<StdioOptions, clap::Error> {
        Cli::try_parse_from(std::iter::once("node").chain(args.split_whitespace())).map(|cli| cli.stdio)
    }

    #[test]
    fn the_defaults_are_those_of_the_protocol() {
        let options = parse("").unwrap();
        assert_eq!(options.serve(), ServeOptions::default());
        assert_eq!((options.replicas, options.shards, options.seed), (3, 10, None));
        assert_eq!(options.data_dir, None);
    }

    #[test]
    fn every_option_is_understood() {
        let args = "--request-timeout 5 --drain-timeout 0 --allow-faults --seed 7 --replicas 5 --shards 4 --data-dir a/b \
                    --log-level debug";
        let options = parse(args).unwrap();
        assert_eq!(options.serve().request_timeout, Duration::from_millis(5));
        assert_eq!(options.serve().drain_timeout, Duration::ZERO);
        assert!(options.serve().allow_faults);
        assert_eq!((options.replicas, options.shards, options.seed), (5, 4, Some(7)));
        assert_eq!(options.data_dir.as_deref(), Some(Path::new("a/b")));
        assert_eq!(options.log_level, Some(LevelFilter::DEBUG));
    }

    #[test]
    fn what_does_not_exist_is_not_accepted_silently() {
        for args in
            ["--distributed", "--data-dir", "--request-timeout 0", "--replicas 0", "--shards 16385", "--seed -1"]
        {
            assert!(parse(args).is_err(), "{args}");
        }
    }
}
