//! A process as its clients see it: one that may be stopped or paused while they wait for it.
//!
//! Promises: a stopped process refuses; one that is stopped while it works leaves the outcome open; a paused one says
//! nothing until it goes on.

use std::future::Future;

use quorate::watch;
use tokio::time::{Instant, timeout_at};

use crate::embedded::{Life, Power};
use crate::stdio::ErrorReply;

/// Carries `call` out inside the process that lives this `life`.
pub async fn inside<T>(
    mut life: watch::Receiver<Life>,
    deadline: Instant,
    call: impl Future<Output = Result<T, ErrorReply>>,
) -> Result<T, ErrorReply> {
    let begun = *life.borrow_and_update();
    if begun.power == Power::Stopped {
        return Err(ErrorReply::unavailable("it is stopped").reason("node_stopped"));
    }
    let mut awake = life.clone();
    let answered = async move {
        goes_on(&mut awake, deadline).await?;
        let outcome = call.await;
        goes_on(&mut awake, deadline).await?;
        outcome
    };
    tokio::select! {
        biased;
        Ok(_) = life.wait_for(|now| now.ended != begun.ended) => {
            Err(ErrorReply::crash("it was stopped meanwhile").reason("node_stopped"))
        }
        outcome = answered => outcome,
    }
}

/// Waits while the process is paused.
async fn goes_on(life: &mut watch::Receiver<Life>, deadline: Instant) -> Result<(), ErrorReply> {
    match timeout_at(deadline, life.wait_for(|now| now.power != Power::Paused)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(ErrorReply::timeout("it is paused").reason("node_paused")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    fn life(power: Power) -> (watch::Sender<Life>, watch::Receiver<Life>) {
        watch::channel(Life { power, ended: 0 })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    fn code(outcome: Result<(), ErrorReply>) -> Option<u64> {
        outcome.err().map(|error| error.code.number())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_refuses_and_one_that_is_stopped_at_work_leaves_it_open() {
        let (sender, receiver) = life(Power::Stopped);
        assert_eq!(code(inside(receiver.clone(), soon(), ready(Ok(()))).await), Some(11));
        sender.modify(|life| life.go_on(Power::Running));
        assert_eq!(code(inside(receiver.clone(), soon(), ready(Ok(()))).await), None);
        let crash = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            sender.modify(|life| life.go_on(Power::Stopped));
            // Back before anybody looked.
            sender.modify(|life| life.go_on(Power::Running));
        };
        let (outcome, ()) = tokio::join!(inside(receiver, soon(), pending()), crash);
        assert_eq!(code(outcome), Some(13));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_process_says_nothing_until_it_goes_on() {
        let (sender, receiver) = life(Power::Paused);
        assert_eq!(code(inside(receiver.clone(), soon(), ready(Ok(()))).await), Some(0));
        let resume = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            sender.modify(|life| life.go_on(Power::Running));
        };
        let (outcome, ()) = tokio::join!(inside(receiver.clone(), soon(), ready(Ok(()))), resume);
        assert_eq!(code(outcome), None);
        // It is paused between its work and its answer.
        let work = async {
            sender.modify(|life| life.go_on(Power::Paused));
            Ok(())
        };
        assert_eq!(code(inside(receiver, soon(), work).await), Some(0));
    }
}
