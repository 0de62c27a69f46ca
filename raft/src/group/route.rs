//! The way to the leader: whom to ask next, and when.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use super::GroupCore;
use crate::env::Moment;
use crate::error::Rejected;
use crate::group::Leadership;
use crate::types::NodeId;
use crate::watch;

/// The pause after a refusal grows from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// One call's search for the leader, until its deadline.
pub(crate) struct Route<'a> {
    core: &'a Arc<GroupCore>,
    pub(crate) deadline: Moment,
    timeout: Duration,
    leadership: watch::Receiver<Leadership>,
    /// Who was named as the leader by the last one asked, if that is news.
    hint: Option<NodeId>,
    pause: Duration,
    last_refusal: Option<Rejected>,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This node's own replica.
    Here,
    /// Another node.
    There(NodeId),
}

impl<'a> Route<'a> {
    pub(crate) fn new(core: &'a Arc<GroupCore>, timeout: Duration) -> Self {
        Self::until(core, core.env.now() + timeout, timeout)
    }

    /// The search of a call that began earlier, with `timeout`.
    pub(crate) fn until(core: &'a Arc<GroupCore>, deadline: Moment, timeout: Duration) -> Self {
        Route {
            core,
            deadline,
            timeout,
            leadership: core.replica.leadership(),
            hint: None,
            pause: PAUSE.0,
            last_refusal: None,
        }
    }

    /// What is left of the call's time.
    pub(crate) fn left(&self) -> Duration {
        self.core.left(self.deadline)
    }

    /// Whom to ask next; waits for a leader to be known.
    ///
    /// # Errors
    /// The refusal to answer with when the time is up: the last one met, if any.
    pub(crate) async fn next(&mut self) -> Result<Target, Rejected> {
        self.core.stir();
        loop {
            if self.left().is_zero() {
                return Err(self.last_refusal.take().unwrap_or(Rejected::NoLeader));
            }
            let (leader, stopped) = {
                let known = self.leadership.borrow_and_update();
                (known.leader, known.stopped.is_some())
            };
            if stopped {
                return Err(Rejected::Stopped);
            }
            match self.hint.take().or(leader) {
                Some(leader) if leader == self.core.node => return Ok(Target::Here),
                Some(leader) => return Ok(Target::There(leader)),
                None => self.wait().await,
            }
        }
    }

    /// Takes note of a refusal, and pauses before the next attempt unless it names somebody else to ask.
    pub(crate) async fn refused(&mut self, by: Target, cause: Rejected) {
        if let Rejected::NotLeader { leader: Some(leader) } = &cause {
            let asked = match by {
                Target::Here => self.core.node,
                Target::There(node) => node,
            };
            if *leader != asked {
                self.hint = Some(*leader);
            }
        }
        self.last_refusal = Some(cause);
        self.wait().await;
    }

    /// Waits for news about the leader, at most for the pause, which grows.
    async fn wait(&mut self) {
        let pause = self.pause.min(self.left());
        self.pause = (self.pause * 2).min(PAUSE.1);
        let news = std::pin::pin!(self.leadership.changed());
        match select(news, self.core.env.sleep(pause)).await {
            Either::Left((Err(_closed), sleep)) => sleep.await,
            Either::Left((Ok(()), _)) | Either::Right(_) => {}
        }
    }

    /// The time that the caller gave.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}
