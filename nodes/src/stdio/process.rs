//! A service as a whole process: logs on standard error, SIGTERM as the end of the input, an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::CannotGoOn;
use super::options::StdioOptions;
use super::serve::serve_until;
use super::service::Service;

/// Runs the service that `build` makes on standard input and output, to the end of the process. `build` is called
/// inside the runtime.
pub fn run<S: Service>(options: &StdioOptions, build: impl FnOnce() -> anyhow::Result<S>) -> ExitCode {
    options.start_logging();
    match admit().and_then(|()| block_on(options, build)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; then the status alone has to tell.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn admit() -> anyhow::Result<()> {
    Ok(quorate::planted::admit()?)
}

fn block_on<S: Service>(options: &StdioOptions, build: impl FnOnce() -> anyhow::Result<S>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
        let stop = async move { _ = terminate.recv().await };
        let service = build()?;
        let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
        let served = serve_until(service, input, output, options.serve(), stop).await;
        served.map_err(|error| match error.get_ref() {
            Some(why) if why.is::<CannotGoOn>() => anyhow::Error::from(error),
            _ => anyhow::Error::from(error).context("answers cannot be written"),
        })
    });
    // Standard input is read by a thread that may wait for a line for ever.
    runtime.shutdown_background();
    result
}
