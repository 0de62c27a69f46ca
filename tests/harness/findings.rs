//! What the checkers say of a run, in a form that reports can draw whatever the operations were.
//!
//! Promises: an operation is named by the place of its call among the run's events, which no two share.

use serde::Serialize;
use serde_json::{Value, json};

use crate::checker::jsonl::{Malformed, Operations, Textual, operations};
use crate::checker::{Counterexample, Limits, Outcome, Verdict, check, partial_orders};
use crate::run::Event;

/// So many orders are kept of an anomaly; more do not help a person.
const ORDERS: usize = 8;

/// So many things that are wrong are told to a person; programs are told all.
const SHOWN: usize = 5;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody could tell in the time given.
    Unknown,
}

impl Answer {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Answer::True => "true",
            Answer::False => "false",
            Answer::Unknown => "unknown",
        }
    }
}

/// All that the checkers said of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// One for each checker.
    pub checks: Vec<Check>,
}

/// What one checker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked for: `linearizability`, say.
    pub name: String,
    /// Whether it was so.
    pub answer: Answer,
    /// Why, in a sentence.
    pub reason: String,
    /// Figures for the results, or null.
    pub details: Value,
    /// What to look at first when it was not so.
    pub anomaly: Option<Anomaly>,
}

/// Operations that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The object that they concern; empty if there is only one.
    pub key: String,
    /// How far operations could be put into an order, the longest first. Empty if it is no question of order.
    pub orders: Vec<PartialOrder>,
    /// The calls that have no place, that which had to come next first.
    pub unplaced: Vec<usize>,
}

/// A partial linearization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialOrder {
    /// The calls, one after the other.
    pub calls: Vec<usize>,
    /// The state after each, for a person.
    pub states: Vec<String>,
}

impl Findings {
    /// False if any checker says so, true if all do.
    pub fn answer(&self) -> Answer {
        let any = |answer| self.checks.iter().any(|check| check.answer == answer);
        match () {
            () if any(Answer::False) => Answer::False,
            () if any(Answer::Unknown) => Answer::Unknown,
            () => Answer::True,
        }
    }

    /// The first thing to look at, and the checker that found it.
    pub fn anomaly(&self) -> Option<(&Check, &Anomaly)> {
        self.checks.iter().find_map(|check| Some((check, check.anomaly.as_ref()?)))
    }
}

impl Check {
    /// A checker's word, without anything to draw.
    pub fn new(name: impl Into<String>, answer: Answer, reason: impl Into<String>) -> Self {
        Check { name: name.into(), answer, reason: reason.into(), details: Value::Null, anomaly: None }
    }

    /// Good, for the reason given, if nothing is wrong; otherwise what is wrong are the reasons.
    pub fn of_wrongs(name: impl Into<String>, wrongs: Vec<String>, good: impl Into<String>) -> Self {
        if wrongs.is_empty() {
            return Check::new(name, Answer::True, good);
        }
        let more = wrongs.len().saturating_sub(SHOWN);
        let mut reason = wrongs.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            reason.push_str(&format!("; and {more} more"));
        }
        Check { details: wrongs.into(), ..Check::new(name, Answer::False, reason) }
    }

    /// Whether the events are a linearizable history of the model.
    ///
    /// # Errors
    /// [`Malformed`] when they are no history of it; the line is the number of the event, from 1.
    pub fn linearizability<M>(model: &M, events: &[Event], limits: Limits) -> Result<Check, Malformed>
    where
        M: Textual + Sync,
        M::Input: Sync,
        M::Output: Sync,
    {
        let history = operations(model, events)?;
        let verdict = check(model, &history, limits);
        Ok(Self::of_verdict(model, events, &history, verdict, limits))
    }

    /// A verdict on the operations that the events make, with what there is to draw of it.
    pub fn of_verdict<M: Textual>(
        model: &M,
        events: &[Event],
        history: &Operations<M>,
        verdict: Verdict,
        limits: Limits,
    ) -> Check {
        let call = |nth: usize| history[nth].called.0 as usize;
        let (answer, reason, anomaly) = match verdict {
            Verdict::Linearizable => {
                let reason = format!("{} operations have an order that explains every answer", history.len());
                (Answer::True, reason, None)
            }
            Verdict::Unknown(limit) => (Answer::Unknown, format!("{limit} before the search ended"), None),
            Verdict::NotLinearizable(found) => {
                let order = |places: Vec<usize>| {
                    let mut state = model.initial();
                    let states = places.iter().map(|nth| {
                        let operation = &history[*nth];
                        let output = match &operation.outcome {
                            Outcome::Returned { output, .. } => Some(output),
                            _ => None,
                        };
                        if let Some(next) = model.step(&state, &operation.input, output) {
                            state = next;
                        }
                        model.state_text(&state)
                    });
                    PartialOrder { states: states.collect(), calls: places.into_iter().map(call).collect() }
                };
                let mut orders = partial_orders(model, history, &found, limits);
                orders.truncate(ORDERS);
                let Counterexample { key, stuck, unplaced, .. } = found;
                let event = &events[call(stuck)];
                let reason = format!("key {key}: {} of process {} fits no order", event.f, event.process);
                let unplaced = std::iter::once(stuck).chain(unplaced).map(call).collect();
                (
                    Answer::False,
                    reason,
                    Some(Anomaly { key, orders: orders.into_iter().map(order).collect(), unplaced }),
                )
            }
        };
        let details = json!({ "operations": history.len() });
        Check { name: "linearizability".into(), answer, reason, details, anomaly }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::json::JsonRegister;
    use crate::checker::jsonl;

    #[test]
    fn one_checker_that_says_false_outweighs_the_others() {
        let of = |answers: &[Answer]| {
            let checks = answers.iter().map(|answer| Check::new("c", *answer, ""));
            Findings { checks: checks.collect() }.answer()
        };
        assert_eq!(of(&[]), Answer::True);
        assert_eq!(of(&[Answer::True, Answer::Unknown]), Answer::Unknown);
        assert_eq!(of(&[Answer::Unknown, Answer::False, Answer::True]), Answer::False);
    }

    #[test]
    fn a_person_is_told_some_of_what_is_wrong_and_a_program_all() {
        assert_eq!(Check::of_wrongs("c", vec![], "fine"), Check::new("c", Answer::True, "fine"));
        let check = Check::of_wrongs("c", (1..=7).map(|nth| format!("w{nth}")).collect(), "fine");
        assert_eq!((check.answer, check.reason.as_str()), (Answer::False, "w1; w2; w3; w4; w5; and 2 more"));
        assert_eq!(check.details.as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn an_anomaly_names_calls_by_their_events_and_says_what_was_held() {
        let text = r#"{"process":0,"type":"invoke","f":"write","key":"k","value":1}
{"process":0,"type":"ok","f":"write"}
{"process":1,"type":"invoke","f":"write","key":"k","value":2}
{"process":0,"type":"invoke","f":"read","key":"k"}
{"process":0,"type":"ok","f":"read","value":2}
{"process":0,"type":"invoke","f":"read","key":"k"}
{"process":0,"type":"ok","f":"read","value":1}"#;
        let events = jsonl::read(text.as_bytes()).unwrap().events;
        let register = JsonRegister::starting_with(Value::Null);
        let check = Check::linearizability(&register, &events, Limits::default()).unwrap();
        assert_eq!(
            (check.answer, check.reason.as_str()),
            (Answer::False, "key \"k\": read of process 0 fits no order")
        );
        let longest = PartialOrder { calls: vec![0, 2, 3], states: vec!["1".into(), "2".into(), "2".into()] };
        let anomaly = check.anomaly.unwrap();
        assert_eq!((anomaly.orders.first(), anomaly.unplaced), (Some(&longest), vec![5]));
    }
}
