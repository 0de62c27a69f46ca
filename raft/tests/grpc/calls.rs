//! Single calls: when they fail, how soon, and with what.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::transport::grpc::{GrpcServer, GrpcTransport};
use quorate::transport::{Answer, Envelope, Inbound, Reply, Request, Transport, TransportError};
use quorate::types::Incarnation;
use quorate::{GroupId, NodeId, Term};
use tokio::sync::Notify;

use crate::common::{CALL, CLUSTER, config, eventually};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

pub(crate) fn envelope(id: u64) -> Envelope {
    let (from, group) = (A, GroupId(id));
    Envelope { cluster: CLUSTER, from, incarnation: Incarnation(5), id, group, request: Request::WhoLeads }
}

fn answer_to(envelope: &Envelope) -> Answer {
    let reply = Reply::Leader { leader: None, term: Term(envelope.id) };
    Answer { incarnation: envelope.incarnation, id: envelope.id, reply }
}

/// Notes what comes, in its order; answers odd ids at once, even ones when it is told to.
#[derive(Default)]
pub(crate) struct Notes {
    came: Mutex<Vec<u64>>,
    go: Notify,
}

#[async_trait::async_trait]
impl Inbound for Notes {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        self.came.lock().unwrap().push(envelope.id);
        if envelope.id.is_multiple_of(2) {
            self.go.notified().await;
        }
        Some(answer_to(&envelope))
    }
}

/// A transport that is connected to a server, and what the server was asked.
async fn noted_pair() -> (Arc<GrpcTransport>, Arc<GrpcTransport>, GrpcServer, Arc<Notes>) {
    let [a, b] = [A, B].map(|node| GrpcTransport::new(config(node, None, Default::default())));
    let notes = Arc::<Notes>::default();
    let inbound = Arc::clone(&notes) as Arc<dyn Inbound>;
    let server = GrpcServer::start(&b, "127.0.0.1:0".parse().unwrap(), inbound).await.unwrap();
    a.add_peer(B, server.address().to_string());
    eventually("they are connected", || a.peers()[&B].connected).await;
    (a, b, server, notes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_in_the_order_of_their_calls_and_do_not_wait_for_each_other() {
    let (a, _b, _server, notes) = noted_pair().await;
    // The first is not answered until all the others are.
    let mut slow = a.call(B, envelope(0), CALL);
    assert!(futures::poll!(&mut slow).is_pending());
    let calls = (0..500).map(|n| a.call(B, envelope(2 * n + 1), CALL));
    let answers = futures::future::join_all(calls).await;
    assert!((0..).zip(answers).all(|(n, answer)| answer.unwrap().id == 2 * n + 1));
    notes.go.notify_one();
    assert_eq!(slow.await.unwrap().id, 0);
    let came = notes.came.lock().unwrap().clone();
    assert!(came.len() == 501 && came.is_sorted(), "{came:?}");
    assert_eq!(a.peers()[&B].messages_sent, 501);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_dropped() {
    let (a, _b, _server, notes) = noted_pair().await;
    let late = a.call(B, envelope(2), Duration::from_millis(30)).await;
    assert_eq!(late.unwrap_err(), TransportError::NoAnswer(B));
    notes.go.notify_one();
    // The stream goes on; the answer that comes now is nobody's.
    assert_eq!(a.call(B, envelope(3), CALL).await.unwrap().id, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_peer_that_is_not_there_fail_at_once_and_certainly() {
    let (a, _b, server, _notes) = noted_pair().await;
    let waiting = {
        let a = Arc::clone(&a);
        tokio::spawn(async move { a.call(B, envelope(4), CALL).await })
    };
    eventually("it has come", || a.peers()[&B].messages_sent == 1).await;
    let began = Instant::now();
    server.shutdown().await;
    // It was sent: nobody knows what became of it.
    assert_eq!(waiting.await.unwrap().unwrap_err(), TransportError::NoAnswer(B));
    eventually("the loss is noticed", || !a.peers()[&B].connected).await;
    assert_eq!(a.call(B, envelope(5), CALL).await.unwrap_err(), TransportError::Unreachable(B));
    assert_eq!(a.call(NodeId(9), envelope(6), CALL).await.unwrap_err(), TransportError::Unreachable(NodeId(9)));
    assert!(began.elapsed() < CALL, "nobody waited for the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_calls_is_called_back_at_once() {
    let (a, b, server, notes) = noted_pair().await;
    // Nobody listens where `b` looks for `a`, so it waits, soon for a minute at a time.
    let patient = GrpcTransport::new({
        let mut config = config(B, None, Default::default());
        config.limits.backoff = (Duration::from_secs(600), Duration::from_secs(600));
        config
    });
    drop((b, server));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    patient.add_peer(A, free.to_string());
    eventually("it has been tried", || patient.peers()[&A].last_error.is_some()).await;
    let inbound = Arc::clone(&notes) as Arc<dyn Inbound>;
    let _listening = GrpcServer::start(&a, free, inbound).await.unwrap();
    let inbound = Arc::clone(&notes) as Arc<dyn Inbound>;
    let server = GrpcServer::start(&patient, "127.0.0.1:0".parse().unwrap(), inbound).await.unwrap();
    a.add_peer(B, server.address().to_string());
    eventually("it is connected", || patient.peers()[&A].connected).await;
}
