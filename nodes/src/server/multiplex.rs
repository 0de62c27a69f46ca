//! Many calls over one stream: what a call costs beside its work is shared by all that travel together.
//!
//! Promises: each call is answered once, as if it had come alone; a caller that does not take its answers is not read from.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Request, Status, Streaming};

use super::api::Api;
use super::outcome::is_unknown;
use super::proto::quorate_server::Quorate;
use super::proto::{self, Answer, Answers, Call, Calls, Failure, answer, call};

/// Calls of one stream that are being answered, at most.
const UNDER_WAY_MAX: usize = 4096;

/// Answers in one message, at most.
const TOGETHER_MAX: usize = 256;

/// A call's answer, and its place among those under way, which it gives back when it is sent.
type Done = (Answer, OwnedSemaphorePermit);

pub(super) type AnswerStream = Pin<Box<dyn Stream<Item = Result<Answers, Status>> + Send>>;

/// Answers `calls` until they end.
pub(super) fn answer_all(api: Api, calls: Streaming<Calls>) -> AnswerStream {
    let (done, answers) = mpsc::unbounded_channel();
    tokio::spawn(read(api, calls, done));
    let together = |mut answers: mpsc::UnboundedReceiver<Done>| async move {
        let mut taken = Vec::new();
        (answers.recv_many(&mut taken, TOGETHER_MAX).await > 0).then(|| {
            let answers_taken = taken.into_iter().map(|(answer, _)| answer).collect();
            (Ok(Answers { answers: answers_taken }), answers)
        })
    };
    Box::pin(stream::unfold(answers, together))
}

async fn read(api: Api, mut calls: Streaming<Calls>, done: mpsc::UnboundedSender<Done>) {
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    while let Ok(Some(message)) = calls.message().await {
        for Call { id, call } in message.calls {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            if done.is_closed() {
                return;
            }
            let (api, done) = (api.clone(), done.clone());
            tokio::spawn(async move {
                let answer = Some(answer_one(&api, call).await);
                // Whoever asked may be gone.
                let _ = done.send((Answer { id, answer }, place));
            });
        }
    }
}

async fn answer_one(api: &Api, call: Option<call::Call>) -> answer::Answer {
    let answered = match call {
        Some(call::Call::Get(get)) => {
            api.get(Request::new(get)).await.map(|reply| answer::Answer::Get(reply.into_inner()))
        }
        Some(call::Call::Change(change)) => {
            api.change(Request::new(change)).await.map(|reply| answer::Answer::Change(reply.into_inner()))
        }
        Some(call::Call::Scan(scan)) => {
            api.scan(Request::new(scan)).await.map(|reply| answer::Answer::Scan(reply.into_inner()))
        }
        None => {
            let message = "a call of nothing".to_owned();
            return answer::Answer::Failure(Failure {
                code: tonic::Code::InvalidArgument.into(),
                message,
                unknown: false,
            });
        }
    };
    answered.unwrap_or_else(|status| answer::Answer::Failure(failure(&status)))
}

fn failure(status: &Status) -> proto::Failure {
    Failure { code: status.code().into(), message: status.message().to_owned(), unknown: is_unknown(status) }
}
