//! Answers kept for lines that are delivered twice.
//!
//! Promises: as long as an answer is kept, the same message gets it again and is not carried out again. Two deliveries
//! of one message are in one client's queue, so the first is always answered before the second one's turn.
//! Leaves out: retries after a restart or after many other requests; those need a session.

use std::collections::{HashMap, VecDeque};

use super::digest::Digest;
use super::reply::Answer;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeLimits {
    /// Answers.
    pub answers: usize,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Bytes of one answer. A longer one is not kept: only reads have so long ones, and a read may be repeated.
    pub answer_bytes: usize,
}

impl Default for DedupeLimits {
    fn default() -> Self {
        DedupeLimits { answers: 64 * 1024, bytes: 32 * 1024 * 1024, answer_bytes: 1024 * 1024 }
    }
}

/// The newest answers by what they answer.
#[derive(Debug)]
pub(crate) struct Dedupe {
    limits: DedupeLimits,
    answers: HashMap<Digest, Answer>,
    oldest_first: VecDeque<Digest>,
    bytes: usize,
}

impl Dedupe {
    pub(crate) fn new(limits: DedupeLimits) -> Self {
        Dedupe { limits, answers: HashMap::new(), oldest_first: VecDeque::new(), bytes: 0 }
    }

    /// The answer that this message had, if it is still kept.
    pub(crate) fn get(&self, message: Digest) -> Option<&Answer> {
        self.answers.get(&message)
    }

    /// Keeps the first answer to a message, and forgets the oldest ones beyond the limits.
    pub(crate) fn keep(&mut self, message: Digest, answer: &Answer) {
        if answer.tail.len() > self.limits.answer_bytes || self.answers.contains_key(&message) {
            return;
        }
        self.bytes += answer.tail.len();
        self.answers.insert(message, answer.clone());
        self.oldest_first.push_back(message);
        while self.answers.len() > self.limits.answers || self.bytes > self.limits.bytes {
            let Some(oldest) = self.oldest_first.pop_front() else { break };
            if let Some(answer) = self.answers.remove(&oldest) {
                self.bytes -= answer.tail.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::digest;
    use crate::stdio::reply::Reply;

    fn message(number: u64) -> Digest {
        digest::of_message("c", "n", &serde_json::json!({ "msg_id": number }).as_object().unwrap().clone())
    }

    fn answer(bytes: usize) -> Answer {
        Answer::new("get", Ok(Reply::new().field("v", "x".repeat(bytes - 7))))
    }

    fn kept(dedupe: &Dedupe) -> Vec<u64> {
        (0..10).filter(|number| dedupe.get(message(*number)).is_some()).collect()
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let mut dedupe = Dedupe::new(DedupeLimits { answers: 3, bytes: 100, answer_bytes: 50 });
        (0..5).for_each(|number| dedupe.keep(message(number), &answer(10)));
        assert_eq!(kept(&dedupe), [2, 3, 4]);
        (5..8).for_each(|number| dedupe.keep(message(number), &answer(49)));
        assert_eq!((kept(&dedupe), dedupe.bytes), (vec![6, 7], 98));
        dedupe.keep(message(8), &answer(51));
        assert_eq!(kept(&dedupe), [6, 7]);
    }
}
