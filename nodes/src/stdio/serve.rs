//! Runs a service behind a stream of lines: intake, dispatch and writer, from the first line to the last answer.
//!
//! Promises: returns once everything read has been answered or the time to drain is over, the service has been shut
//! down, and all answers have been written; or as soon as nobody reads the answers any more.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dedupe::DedupeLimits;
use super::dispatch::Dispatch;
use super::failure::Failure;
use super::intake::{self, End};
use super::service::Service;
use super::window::WindowLimits;
use super::writer::{self, Outbox, Outgoing};

/// The bounds within which a service is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// From the reading of a line to its answer, unless the request has a timeout of its own.
    pub request_timeout: Duration,
    /// From the end of the input to the answer of what is left; then again to the end of the service's shutdown.
    pub drain_timeout: Duration,
    /// Whether `fault` is accepted.
    pub allow_faults: bool,
    /// The longest line that is read.
    pub line_bytes: usize,
    /// What may be in flight.
    pub window: WindowLimits,
    /// What is kept for lines that are delivered twice.
    pub dedupe: DedupeLimits,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            request_timeout: Duration::from_millis(2000),
            drain_timeout: Duration::from_millis(4000),
            allow_faults: false,
            line_bytes: 16 * 1024 * 1024,
            window: WindowLimits::default(),
            dedupe: DedupeLimits::default(),
        }
    }
}

/// Serves until the end of the input.
pub async fn serve<S: Service>(
    service: S,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    options: ServeOptions,
) -> io::Result<()> {
    serve_until(service, input, output, options, pending()).await
}

/// Serves until the end of the input or until `stop` completes. An error means that answers could not be written; that
/// nobody reads them any more is none. When the service has said that it cannot go on ([`Failure`]), the error is why.
pub async fn serve_until<S: Service>(
    service: S,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    options: ServeOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = Arc::new(service);
    let (outbox, outgoing) = Outbox::new();
    let (sender, arrivals) = mpsc::unbounded_channel();
    let failure = Failure::default();
    let failed = failure.clone();
    let stop = async move {
        tokio::select! {
            () = stop => {}
            () = failed.told() => {}
        }
    };
    let mut writing = tokio::spawn(writer::write(outgoing, output));
    let reading = tokio::spawn(intake::read(service.clone(), input, options, stop, sender));

    Dispatch::new(service.clone(), options, outbox.clone(), failure.clone()).run(arrivals).await;
    // When nobody reads the answers, it may still be waiting for a line.
    reading.abort();
    let end = reading.await.unwrap_or(End::Input);
    if timeout(options.drain_timeout, service.shutdown()).await.is_err() {
        tracing::error!("the service did not stop within {} ms", options.drain_timeout.as_millis());
    }
    outbox.send(Outgoing::End);
    let written = match end {
        End::Input => (&mut writing).await,
        // Whoever asked for the end does not wait for a slow reader.
        End::Asked => match timeout(options.drain_timeout, &mut writing).await {
            Ok(written) => written,
            Err(_) => {
                writing.abort();
                return Err(failure.error().unwrap_or_else(unread));
            }
        },
    };
    if let Some(error) = failure.error() {
        return Err(error);
    }
    match written.unwrap_or_else(|failed| Err(io::Error::other(failed))) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "answers are left that nobody reads")
}
