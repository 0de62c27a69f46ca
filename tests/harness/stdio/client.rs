//! A client: asks one thing at a time, and knows which answer is to what it asked last.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::errors::Refusal;
use super::message::{Body, Message};
use super::network::{Arrival, Network};

/// A client of the network.
pub struct Client {
    name: String,
    network: Network,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    next: u64,
    timeout: Duration,
    told: Vec<Message>,
}

impl Client {
    /// A client of this name, which waits so long for an answer.
    pub fn new(network: &Network, name: impl Into<String>, timeout: Duration) -> Client {
        let name = name.into();
        let arrivals = network.add_client(&name);
        Client { name, network: network.clone(), arrivals, next: 0, timeout, told: Vec::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it waits for an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks a node, and waits for the answer. What comes too late is dropped.
    ///
    /// # Errors
    /// [`Refusal`] when none comes, or an error, or something that is no answer to that.
    pub async fn ask(&mut self, node: &str, kind: &str, fields: Value) -> Result<Body, Refusal> {
        self.ask_within(self.timeout, node, kind, fields).await
    }

    /// As [`Client::ask`], with a limit of its own.
    ///
    /// # Errors
    /// [`Refusal`] when no answer comes, or an error, or something that is no answer to that.
    pub async fn ask_within(
        &mut self,
        limit: Duration,
        node: &str,
        kind: &str,
        fields: Value,
    ) -> Result<Body, Refusal> {
        let msg_id = self.next;
        self.next += 1;
        let mut body = Body::from_iter([("type".to_owned(), kind.into()), ("msg_id".to_owned(), msg_id.into())]);
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        self.hear_out();
        self.network.expect(&self.name, Some((node, msg_id)));
        let sent = self.network.send(Message::from_body(&self.name, node, &body));
        let answer = match sent {
            Ok(()) => self.answer_to(msg_id, Instant::now() + limit).await,
            Err(_) => Err(Refusal::Down),
        };
        self.network.expect(&self.name, None);
        let answer = answer?;
        let is_meant = answer.get("type").and_then(Value::as_str).and_then(|it| it.strip_suffix("_ok")) == Some(kind);
        if is_meant { Ok(answer) } else { Err(Refusal::Error { code: u64::MAX, body: answer }) }
    }

    /// What it was told without having asked, since the last time.
    pub fn take_told(&mut self) -> Vec<Message> {
        self.hear_out();
        std::mem::take(&mut self.told)
    }

    async fn answer_to(&mut self, msg_id: u64, until: Instant) -> Result<Body, Refusal> {
        loop {
            match timeout_at(until, self.arrivals.recv()).await {
                Err(_) | Ok(None) => return Err(Refusal::Timeout),
                Ok(Some(Arrival::Down)) => return Err(Refusal::Down),
                Ok(Some(Arrival::Died)) => return Err(Refusal::Died),
                Ok(Some(Arrival::Message(message))) if message.in_reply_to == Some(msg_id) => {
                    let body = message.fields();
                    return Refusal::of(&body).map_or(Ok(body), Err);
                }
                Ok(Some(Arrival::Message(message))) => self.note(message),
            }
        }
    }

    /// Empties the line before something new is asked.
    fn hear_out(&mut self) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            if let Arrival::Message(message) = arrival {
                self.note(message);
            }
        }
    }

    fn note(&mut self, message: Message) {
        if message.in_reply_to.is_none() {
            self.told.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stdio::network::{Standing, Weather};

    fn start(timeout_ms: u64) -> (Network, Client) {
        let network = Network::new(Weather::default(), 1, 100);
        network.add_node("n1", "c0");
        network.set_standing("n1", Standing::Up);
        let client = Client::new(&network, "c0", Duration::from_millis(timeout_ms));
        (network, client)
    }

    fn reply(network: &Network, body: Value) {
        network.send(Message::from_body("n1", "c0", body.as_object().unwrap())).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_too_late_is_not_taken_for_the_next_one() {
        let (network, mut client) = start(1000);
        assert_eq!(client.ask("n1", "read", json!({})).await, Err(Refusal::Timeout));
        let answering = async {
            for _ in 0..2 {
                network.receive("n1").await;
            }
            reply(&network, json!({ "type": "read_ok", "in_reply_to": 0, "value": "late" }));
            reply(&network, json!({ "type": "primary_changed" }));
            reply(&network, json!({ "type": "read_ok", "in_reply_to": 1, "value": "right" }));
        };
        let (answer, ()) = tokio::join!(client.ask("n1", "read", json!({})), answering);
        assert_eq!(answer.unwrap()["value"], "right");
        assert_eq!(client.take_told().len(), 1);
    }

    #[tokio::test]
    async fn an_error_is_no_answer_and_neither_is_that_to_something_else() {
        let (network, mut client) = start(1000);
        let answering = async {
            for answer in [json!({ "type": "error", "code": 20 }), json!({ "type": "write_ok" })] {
                let request = network.receive("n1").await.unwrap();
                let mut answer = answer;
                answer["in_reply_to"] = request.msg_id.into();
                reply(&network, answer);
            }
        };
        let asking = async { [client.ask("n1", "read", json!({})).await, client.ask("n1", "read", json!({})).await] };
        let (answers, ()) = tokio::join!(asking, answering);
        let [refused, strange] = answers.map(Result::unwrap_err);
        assert_eq!((refused.code(), refused.is_definite()), (Some(20), true));
        assert!(!strange.is_definite());
        network.set_standing("n1", Standing::Down);
        assert_eq!(client.ask("n1", "read", json!({})).await, Err(Refusal::Down));
        assert_eq!(client.ask("n7", "read", json!({})).await, Err(Refusal::Down));
    }
}
