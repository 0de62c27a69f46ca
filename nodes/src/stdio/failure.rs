//! How a service says that it cannot go on: the process then ends, with the reason on standard error.

use std::fmt;
use std::io;

use quorate::watch;

/// Why a service cannot go on, once it cannot. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Failure(watch::Sender<Option<String>>);

impl Default for Failure {
    fn default() -> Self {
        Failure(watch::channel(None).0)
    }
}

impl Failure {
    /// The service cannot go on: what is being carried out is answered, nothing more is read, and the process ends with
    /// an error. The first reason counts.
    pub fn tell(&self, why: impl fmt::Display) {
        self.0.modify(|told| {
            let is_first = told.is_none();
            if is_first {
                *told = Some(why.to_string());
            }
            is_first
        });
    }

    /// Waits until it is told.
    pub(crate) async fn told(&self) {
        // The sender is here, so it does not end before.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// What was told, as the end of the service.
    pub(crate) fn error(&self) -> Option<io::Error> {
        self.0.borrow().clone().map(|why| io::Error::other(CannotGoOn(why)))
    }
}

/// The reason for which a service ended.
#[derive(Debug)]
pub(crate) struct CannotGoOn(String);

impl fmt::Display for CannotGoOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotGoOn {}
