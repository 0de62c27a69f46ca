//! What a test may rely on when it sets faults.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use super::*;
use crate::env::{Env, VirtualEnv};
use crate::transport::{Append, Reply, Request};
use crate::types::{ClusterId, GroupId, Incarnation, Term, Vote};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const TIMEOUT: Duration = Duration::from_millis(500);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Notes what it gets and when, takes its time, and answers.
struct Recorder {
    env: Arc<dyn Env>,
    work: Duration,
    seen: Mutex<Vec<(u64, Duration)>>,
    finished: Mutex<Vec<u64>>,
}

impl Recorder {
    fn ids(&self) -> Vec<u64> {
        self.seen.lock().unwrap().iter().map(|(id, _)| *id).collect()
    }

    fn finished(&self) -> Vec<u64> {
        self.finished.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Inbound for Recorder {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        self.seen.lock().unwrap().push((envelope.id, self.env.now().0));
        if !self.work.is_zero() {
            self.env.sleep(self.work).await;
        }
        self.finished.lock().unwrap().push(envelope.id);
        let reply = Reply::Leader { leader: Some(envelope.from), term: Term(envelope.id) };
        Some(Answer { incarnation: envelope.incarnation, id: envelope.id, reply })
    }
}

/// Three nodes and a network between them.
struct Cluster {
    env: Arc<dyn Env>,
    network: MemoryNetwork,
    nodes: Vec<Arc<Recorder>>,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        Self::working(seed, Duration::ZERO)
    }

    fn working(seed: u64, work: Duration) -> Self {
        let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(seed));
        let network = MemoryNetwork::new(Arc::clone(&env), seed);
        let mut cluster = Cluster { env, network, nodes: Vec::new() };
        for node in [A, B, C] {
            let recorder = cluster.recorder(work);
            cluster.network.register(node, &recorder);
            cluster.nodes.push(recorder);
        }
        cluster
    }

    fn recorder(&self, work: Duration) -> Arc<Recorder> {
        let env = Arc::clone(&self.env);
        Arc::new(Recorder { env, work, seen: Mutex::default(), finished: Mutex::default() })
    }

    fn at(&self, node: NodeId) -> &Recorder {
        &self.nodes[node.0 as usize - 1]
    }

    fn call(&self, from: NodeId, to: NodeId, id: u64) -> BoxFuture<'static, Result<u64, TransportError>> {
        self.ask(from, to, id, Request::WhoLeads)
    }

    fn ask(
        &self,
        from: NodeId,
        to: NodeId,
        id: u64,
        request: Request,
    ) -> BoxFuture<'static, Result<u64, TransportError>> {
        let transport = self.network.transport(from);
        let envelope =
            Envelope { cluster: ClusterId(1), from, incarnation: Incarnation(7), id, group: GroupId(1), request };
        async move { transport.call(to, envelope, TIMEOUT).await.map(|answer| answer.id) }.boxed()
    }

    /// Calls of these numbers, sent in this order.
    fn calls(
        &self,
        from: NodeId,
        to: NodeId,
        ids: std::ops::Range<u64>,
    ) -> impl Future<Output = Vec<Result<u64, TransportError>>> + use<> {
        join_all(ids.map(|id| self.call(from, to, id)).collect::<Vec<_>>())
    }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn a_clean_link_answers_within_the_first_poll_and_takes_no_time() {
    let cluster = Cluster::new(1);
    assert_eq!(cluster.call(A, B, 5).now_or_never(), Some(Ok(5)));
    assert_eq!(cluster.call(A, A, 6).now_or_never(), Some(Ok(6)), "a node reaches itself");
}

#[tokio::test(start_paused = true)]
async fn messages_stay_in_order_under_random_delays_and_each_answer_is_its_own() {
    let cluster = Cluster::working(2, ms(3));
    cluster.network.set_faults(Link::ALL, LinkFaults::delayed(ms(1), ms(40)));
    let answers = cluster.calls(A, B, 0..100).await;
    assert_eq!(cluster.at(B).ids(), (0..100).collect::<Vec<_>>());
    assert_eq!(answers, (0..100).map(Ok).collect::<Vec<_>>());
    assert!(cluster.env.now().0 > ms(40), "there and back takes time");
}

#[tokio::test(start_paused = true)]
async fn order_survives_the_moment_at_which_faults_begin_and_end() {
    let cluster = Cluster::new(3);
    let mut calls = Vec::new();
    for round in 0..6 {
        let delay = if round % 2 == 0 { LinkFaults::delayed(ms(1), ms(30)) } else { LinkFaults::none() };
        cluster.network.set_faults(Link::one(A, B), delay);
        for id in round * 10..round * 10 + 10 {
            calls.push(tokio::spawn(cluster.call(A, B, id)));
            tokio::task::yield_now().await;
        }
    }
    join_all(calls).await;
    assert_eq!(cluster.at(B).ids(), (0..60).collect::<Vec<_>>());
    assert_eq!(cluster.call(A, B, 60).now_or_never(), Some(Ok(60)), "the link is clean again");
}

#[tokio::test(start_paused = true)]
async fn messages_overtake_each_other_only_when_reordering_is_asked_for() {
    let cluster = Cluster::new(4);
    let faults = LinkFaults { reorder: true, ..LinkFaults::delayed(ms(1), ms(40)) };
    cluster.network.set_faults(Link::one(A, B), faults);
    let answers = cluster.calls(A, B, 0..50).await;
    assert_ne!(cluster.at(B).ids(), (0..50).collect::<Vec<_>>());
    assert_eq!(sorted(cluster.at(B).ids()), (0..50).collect::<Vec<_>>());
    assert_eq!(answers, (0..50).map(Ok).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_loses_requests_in_one_direction_and_answers_in_the_other() {
    let cluster = Cluster::new(5);
    cluster.network.cut(Link::one(A, B));
    assert_eq!(cluster.call(A, B, 1).await, Err(TransportError::NoAnswer(B)));
    assert_eq!(cluster.env.now().0.as_millis(), TIMEOUT.as_millis(), "a silent cut is found out by waiting");
    assert_eq!(cluster.at(B).ids(), []);
    assert_eq!(cluster.call(B, A, 2).await, Err(TransportError::NoAnswer(A)));
    assert_eq!(cluster.at(A).ids(), [2], "the request arrived, its answer did not");
    assert_eq!(cluster.call(A, C, 3).await, Ok(3));
    cluster.network.heal(Link::one(A, B));
    assert_eq!(cluster.call(A, B, 4).await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn a_message_on_its_way_is_lost_when_the_link_is_cut_before_it_arrives() {
    let cluster = Cluster::new(6);
    cluster.network.set_faults(Link::one(A, B), LinkFaults::delayed(ms(20), ms(20)));
    let call = tokio::spawn(cluster.call(A, B, 1));
    cluster.env.sleep(ms(10)).await;
    cluster.network.cut(Link::one(A, B));
    assert_eq!(call.await.unwrap(), Err(TransportError::NoAnswer(B)));
    assert_eq!(cluster.at(B).ids(), []);
}

#[tokio::test(start_paused = true)]
async fn only_those_who_cannot_be_reached_for_certain_are_called_unreachable() {
    let cluster = Cluster::new(7);
    let unreachable = |node| Some(Err(TransportError::Unreachable(node)));
    assert_eq!(cluster.call(A, NodeId(9), 1).now_or_never(), unreachable(NodeId(9)), "never registered");
    cluster.network.refuse(Link::into(B));
    assert_eq!(cluster.call(A, B, 2).now_or_never(), unreachable(B), "refused");
    cluster.network.heal_all();
    cluster.network.stop(B);
    assert_eq!(cluster.call(A, B, 3).now_or_never(), unreachable(B), "stopped");
    assert_eq!(cluster.call(B, A, 4).now_or_never(), unreachable(A), "a stopped node sends nothing");
    cluster.network.start(B);
    assert_eq!(cluster.call(A, B, 5).await, Ok(5));
    cluster.network.unregister(B);
    assert_eq!(cluster.call(A, B, 6).now_or_never(), unreachable(B), "unregistered");
    assert_eq!(cluster.at(B).ids(), [5]);
    let short_lived = cluster.recorder(Duration::ZERO);
    cluster.network.register(B, &short_lived);
    assert_eq!(cluster.call(A, B, 7).await, Ok(7));
    drop(short_lived);
    assert_eq!(cluster.call(A, B, 8).now_or_never(), unreachable(B), "dropped");
}

#[tokio::test(start_paused = true)]
async fn a_duplicated_request_is_carried_out_twice_and_answered_once() {
    let cluster = Cluster::new(8);
    cluster.network.set_faults(Link::one(A, B), LinkFaults { duplicate: 1.0, ..LinkFaults::none() });
    assert_eq!(cluster.calls(A, B, 0..3).await, [Ok(0), Ok(1), Ok(2)]);
    cluster.env.sleep(ms(1)).await;
    assert_eq!(cluster.at(B).ids(), [0, 0, 1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_reply_leaves_the_request_carried_out_and_a_dropped_request_does_not() {
    let cluster = Cluster::new(9);
    cluster.network.set_faults(Link::one(B, A), LinkFaults { drop_replies: 1.0, ..LinkFaults::none() });
    assert_eq!(cluster.call(A, B, 1).await, Err(TransportError::NoAnswer(B)));
    assert_eq!(cluster.at(B).finished(), [1]);
    assert_eq!(cluster.call(B, A, 2).await, Ok(2), "requests on that link are not replies");
    cluster.network.set_faults(Link::one(A, B), LinkFaults { drop_requests: 1.0, ..LinkFaults::none() });
    cluster.network.set_faults(Link::one(B, A), LinkFaults::none());
    assert_eq!(cluster.call(A, B, 3).await, Err(TransportError::NoAnswer(B)));
    assert_eq!(cluster.at(B).finished(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_gets_and_sends_nothing_until_it_resumes_and_then_all_of_it_in_order() {
    let cluster = Cluster::working(10, ms(5));
    let underway = tokio::spawn(cluster.call(A, B, 100));
    cluster.env.sleep(ms(1)).await;
    cluster.network.pause(B);
    let to_b = tokio::spawn(cluster.calls(A, B, 0..20));
    let from_b = tokio::spawn(cluster.calls(B, C, 0..20));
    cluster.env.sleep(ms(300)).await;
    assert_eq!(cluster.at(B).ids(), [100]);
    assert_eq!(cluster.at(C).ids(), []);
    assert!(!underway.is_finished(), "its answer is held, too");
    cluster.network.resume(B);
    assert_eq!(underway.await.unwrap(), Ok(100));
    assert_eq!(to_b.await.unwrap(), (0..20).map(Ok).collect::<Vec<_>>());
    assert_eq!(from_b.await.unwrap(), (0..20).map(Ok).collect::<Vec<_>>());
    assert_eq!(cluster.at(B).ids()[1..], (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.at(C).ids(), (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_paused_node_time_out_and_their_messages_still_arrive_unless_it_is_stopped() {
    let cluster = Cluster::new(11);
    cluster.network.pause(B);
    cluster.network.pause(C);
    assert_eq!(cluster.call(A, B, 1).await, Err(TransportError::NoAnswer(B)));
    assert_eq!(cluster.call(A, C, 2).await, Err(TransportError::NoAnswer(C)));
    assert_eq!(cluster.call(C, A, 3).await, Err(TransportError::NoAnswer(A)));
    cluster.network.resume(B);
    cluster.network.stop(C);
    cluster.network.start(C);
    cluster.env.sleep(ms(1)).await;
    assert_eq!((cluster.at(B).ids(), cluster.at(C).ids(), cluster.at(A).ids()), (vec![1], vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_isolated_node_reaches_itself_only_and_rejoining_leaves_other_cuts() {
    let cluster = Cluster::new(12);
    cluster.network.cut(Link::one(A, C));
    cluster.network.isolate(A);
    assert_eq!(cluster.call(A, A, 1).await, Ok(1));
    for (from, to) in [(A, B), (B, A), (C, A)] {
        assert_eq!(cluster.call(from, to, 2).await, Err(TransportError::NoAnswer(to)));
    }
    assert_eq!(cluster.call(B, C, 3).await, Ok(3));
    cluster.network.rejoin(A);
    assert_eq!(cluster.call(A, B, 4).await, Ok(4));
    assert_eq!(cluster.call(A, C, 5).await, Err(TransportError::NoAnswer(C)));
}

#[tokio::test(start_paused = true)]
async fn a_partition_cuts_both_ways_between_its_sides_only() {
    let cluster = Cluster::new(13);
    cluster.network.partition(&[BTreeSet::from([A]), BTreeSet::from([B, C])]);
    for (from, to) in [(A, B), (B, A), (A, C), (C, A)] {
        assert_eq!(cluster.call(from, to, 1).await, Err(TransportError::NoAnswer(to)));
    }
    assert_eq!(cluster.call(B, C, 2).await, Ok(2));
    cluster.network.heal_all();
    assert_eq!(cluster.call(A, B, 3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_message_handed_over_is_carried_out_though_its_caller_gives_up() {
    for faults in [LinkFaults::none(), LinkFaults::delayed(ms(5), ms(5))] {
        let cluster = Cluster::working(14, ms(50));
        cluster.network.set_faults(Link::ALL, faults);
        let mut call = cluster.call(A, B, 1);
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        cluster.env.sleep(ms(60)).await;
        assert_eq!(cluster.at(B).finished(), [1], "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_an_earlier_life_never_arrives() {
    for faults in [LinkFaults::none(), LinkFaults::delayed(ms(5), ms(5))] {
        let cluster = Cluster::working(15, ms(50));
        cluster.network.set_faults(Link::ALL, faults);
        let call = tokio::spawn(cluster.call(A, B, 1));
        cluster.env.sleep(ms(20)).await;
        cluster.network.stop(B);
        let successor = cluster.recorder(Duration::ZERO);
        cluster.network.register(B, &successor);
        assert_eq!(call.await.unwrap(), Err(TransportError::NoAnswer(B)), "{faults:?}");
        assert_eq!(cluster.call(A, B, 2).await, Ok(2));
        assert_eq!(successor.ids(), [2]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_fates_and_another_seed_others() {
    async fn fates(seed: u64) -> Vec<Vec<(u64, Duration)>> {
        let cluster = Cluster::new(seed);
        let faults = LinkFaults {
            drop_requests: 0.2,
            drop_replies: 0.2,
            duplicate: 0.2,
            reorder: true,
            ..LinkFaults::delayed(ms(1), ms(50))
        };
        cluster.network.set_faults(Link::ALL, faults);
        let calls = [(A, B), (B, C), (C, A), (B, A)].map(|(from, to)| cluster.calls(from, to, 0..40));
        join_all(calls).await;
        cluster.nodes.iter().map(|node| node.seen.lock().unwrap().clone()).collect()
    }
    let first = fates(16).await;
    assert_eq!(first, fates(16).await);
    assert_ne!(first, fates(17).await);
    let delivered: usize = first.iter().map(Vec::len).sum();
    assert!((120..200).contains(&delivered), "about as many lost as doubled of 160: {delivered}");
}

#[tokio::test(start_paused = true)]
async fn traffic_is_counted_by_kind_and_sender_whatever_becomes_of_it() {
    let cluster = Cluster::new(18);
    let entry = |index| crate::log::Entry {
        id: crate::types::LogId { term: Term(1), index: crate::types::Index(index) },
        payload: crate::log::Payload::Blank,
    };
    let append = |entries| Request::Append(Append { vote: Vote::default(), previous: None, entries, committed: None });
    let before = cluster.network.traffic();
    cluster.ask(A, B, 1, append(vec![])).await.unwrap();
    cluster.ask(A, B, 2, append(vec![entry(0), entry(1)])).await.unwrap();
    cluster.ask(B, C, 3, Request::ReadIndex).await.unwrap();
    cluster.network.cut(Link::ALL);
    cluster.ask(A, B, 4, append(vec![])).await.unwrap_err();
    let sent = cluster.network.traffic().since(&before);
    let messages = [RequestKind::Heartbeat, RequestKind::Append, RequestKind::ReadIndex, RequestKind::Vote];
    assert_eq!(messages.map(|kind| sent.of(kind).messages), [2, 1, 1, 0]);
    assert!(sent.of(RequestKind::Append).bytes > 64, "entries weigh");
    assert_eq!((sent.messages(), cluster.network.traffic_of(B).messages()), (4, 1));
}
