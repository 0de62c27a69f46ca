//! What goes wrong with processes, told to whoever runs the test.

use std::fmt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// Something that ends a run before its time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// A process could not be started.
    #[error("node {node} cannot be started: {why}")]
    NotStarted {
        /// Whose.
        node: String,
        /// Why.
        why: String,
    },
    /// A node did not answer `init` with `init_ok` in time.
    #[error("node {node} has not answered init with init_ok within 10 s: {why}")]
    NotInitialised {
        /// Which.
        node: String,
        /// What it answered, or why nothing came.
        why: Value,
    },
    /// A process ended that was not killed.
    #[error("node {node} has ended by itself, with {status}.{stdout}{stderr}")]
    Ended {
        /// Whose.
        node: String,
        /// How.
        status: ExitStatus,
        /// The last that it wrote to standard output.
        stdout: Tail,
        /// The last that it wrote to standard error.
        stderr: Tail,
    },
    /// A process ended when its input did, but not with success.
    #[error("node {node} has ended badly when its input did, with {status}.{stdout}{stderr}")]
    EndedBadly {
        /// Whose.
        node: String,
        /// How.
        status: ExitStatus,
        /// The last that it wrote to standard output.
        stdout: Tail,
        /// The last that it wrote to standard error.
        stderr: Tail,
    },
    /// A process went on when its input had ended.
    #[error("node {node} has not ended within {limit:?} of its input's end")]
    NotEnded {
        /// Whose.
        node: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A node has done what a [strict](Watch::strict) watch takes from none.
    #[error("{0}")]
    Improper(String),
    /// The workload could not be made ready.
    #[error("the workload could not be prepared: {0}")]
    NotPrepared(String),
    /// The options do not fit together.
    #[error("{0}")]
    Unfit(String),
    /// A file of the run could not be written.
    #[error("{0}")]
    Files(String),
    /// The person before the screen has had enough.
    #[error("interrupted")]
    Interrupted,
}

/// The last lines that a process has written to one of its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where to: `standard output`, say.
    pub of: &'static str,
    /// The lines.
    pub lines: Vec<String>,
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return write!(f, "\nIt wrote nothing to {}.", self.of);
        }
        write!(f, "\nThe last that it wrote to {}:", self.of)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Where trouble and warnings go. Clones are the same one.
#[derive(Clone)]
pub struct Watch {
    trouble: watch::Sender<Option<Trouble>>,
    warnings: Arc<Mutex<Vec<String>>>,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    is_strict: bool,
}

impl Watch {
    /// A watch that tells people of warnings with `tell`.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Watch {
        Watch { trouble: watch::channel(None).0, warnings: Arc::default(), tell: Arc::new(tell), is_strict: false }
    }

    /// The same watch, for which whatever it warns of is trouble too.
    pub fn strict(self) -> Watch {
        Watch { is_strict: true, ..self }
    }

    /// Raises the alarm; the first one counts.
    pub fn raise(&self, trouble: Trouble) {
        self.trouble.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(trouble);
            }
            is_first
        });
    }

    /// Why the alarm was raised, if it was.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// Waits until the alarm is raised.
    pub async fn raised(&self) -> Trouble {
        let mut trouble = self.trouble.subscribe();
        match trouble.wait_for(Option::is_some).await.map(|trouble| trouble.clone()) {
            Ok(Some(trouble)) => trouble,
            _ => std::future::pending().await,
        }
    }

    /// Warns of something, which the results will mention.
    pub fn warn(&self, warning: String) {
        (self.tell)(&format!("WARN {warning}"));
        if self.is_strict {
            self.raise(Trouble::Improper(warning.clone()));
        }
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    /// Tells people something.
    pub fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
