//! A node from its start to its end: until a signal, the end of its standard input, or a failure.

use std::io::Read;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{Server, ServerBuilder, ServerConfig, ServerFlags, Start};

/// Runs a node until it is told to end, and ends it in good order. A second signal ends the process at once.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(flags: &ServerFlags) -> anyhow::Result<()> {
    run_with(flags, |server| server).await
}

/// The same with machines that the program brings along, which `bring` adds.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    flags: &ServerFlags,
    bring: impl for<'a> FnOnce(ServerBuilder<'a>) -> ServerBuilder<'a>,
) -> anyhow::Result<()> {
    let config = ServerConfig::read(flags)?;
    let start = match (flags.join, flags.init) {
        (true, _) => Start::Joining,
        (false, true) => Start::New,
        (false, false) => Start::Again,
    };
    // Before the start, which may take its time: whoever is told to end then ends.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = tokio::select! {
        server = bring(Server::builder(&config)).start(start) => server?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = input_ends(), if flags.until_input_ends => None,
        fatal = server.failed() => Some(fatal),
    };
    tracing::info!("ending");
    tokio::select! {
        () = server.shutdown() => {}
        _ = terminate.recv() => bail!("ended at once"),
        _ = interrupt.recv() => bail!("ended at once"),
    }
    match failed {
        Some(fatal) => bail!("{fatal}"),
        None => Ok(()),
    }
}

/// Waits until standard input ends.
///
/// It is read on a thread of its own, which nobody waits for: tokio's would keep a process that is told to end until its input
/// ends, too.
async fn input_ends() {
    let (ended, heard) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        // An error is an end too.
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
        // The process may be ending for another reason.
        let _ = ended.send(());
    });
    let _ = heard.await;
}
