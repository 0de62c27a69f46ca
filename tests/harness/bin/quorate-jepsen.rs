//! `quorate-jepsen`: judges recorded histories, and drives binaries to record some.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_harness::cli::run()
}
