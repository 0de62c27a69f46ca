//! Those who have no business here: other clusters' nodes, wrong addresses, garbage.

use std::sync::Arc;

use quorate::transport::grpc::{GrpcConfig, GrpcServer, GrpcTransport};
use quorate::transport::{Answer, Envelope, Inbound, Transport, TransportError};
use quorate::{ClusterId, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::calls::envelope;
use crate::common::{CALL, CLUSTER, Cluster, GROUP, Setting, config, eventually};
use crate::machine::Command;

/// Nobody may get through to it.
struct Nobody;

#[async_trait::async_trait]
impl Inbound for Nobody {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        panic!("a stranger's message was handed on: {envelope:?}")
    }
}

async fn refused(caller: GrpcConfig, as_whom: NodeId) -> String {
    let own = GrpcTransport::new(config(NodeId(2), None, Default::default()));
    let server = GrpcServer::start(&own, "127.0.0.1:0".parse().unwrap(), Arc::new(Nobody)).await.unwrap();
    let stranger = GrpcTransport::new(caller);
    stranger.add_peer(as_whom, server.address().to_string());
    eventually("it is refused", || server.status().refused > 0 && stranger.peers()[&as_whom].last_error.is_some())
        .await;
    let call = stranger.call(as_whom, envelope(1), CALL).await;
    assert_eq!(call.unwrap_err(), TransportError::Unreachable(as_whom));
    stranger.peers()[&as_whom].last_error.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_and_told_why() {
    let mut other = config(NodeId(1), None, Default::default());
    other.cluster = ClusterId(CLUSTER.0 + 1);
    let error = refused(other, NodeId(2)).await;
    assert_eq!(error, "refused: n1 belongs to another cluster: c8, not c7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_is_noticed() {
    let error = refused(config(NodeId(1), None, Default::default()), NodeId(3)).await;
    assert_eq!(error, "refused: a wrong address: n3 is wanted, n2 is here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_one_name_are_noticed() {
    let error = refused(config(NodeId(2), None, Default::default()), NodeId(2)).await;
    assert_eq!(error, "refused: n2 and this node have one name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banished_node_is_cut_off_and_refused_from_then_on() {
    let cluster = Cluster::start(3, Setting::default()).await;
    cluster.connected().await;
    let banished = cluster.followers().await[0];
    let others: Vec<_> = cluster.running().into_iter().filter(|node| *node != banished).collect();
    for other in &others {
        cluster.life(*other).transport.banish(banished);
    }
    let alone = &cluster.life(banished).transport;
    let refused = || {
        let peers = alone.peers();
        let error = |node| peers[node].last_error.as_deref();
        others.iter().all(|node| !peers[node].connected && error(node).is_some_and(|text| text.contains("was removed")))
    };
    eventually("its connections are ended, and it is told why", refused).await;
    for other in &others {
        let transport = &cluster.life(*other).transport;
        // To make it known again is of no use.
        transport.add_peer(banished, cluster.life(banished).server.address().to_string());
        assert!(!transport.peers().contains_key(&banished));
        assert_eq!(
            transport.call(banished, envelope(1), CALL).await.unwrap_err(),
            TransportError::Unreachable(banished)
        );
    }
    cluster.write(others[0], GROUP, Command::Push { value: 1 }).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_sent_to_the_port_does_no_harm() {
    let cluster = Cluster::start(3, Setting::default()).await;
    let leader = cluster.leader().await;
    let address = cluster.life(leader).server.address();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let random: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
    let garbage: Vec<Vec<u8>> = vec![
        random.clone(),
        [&preface[..], &random].concat(),
        // A HEADERS frame of which nothing else is true.
        [&preface[..], &[0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 4, 1, 4, 0, 0, 0, 1], &random[..4]].concat(),
        b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    let mut silent = Vec::new();
    for bytes in &garbage {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other side may hang up in the middle of it.
        let _ = stream.write_all(bytes).await;
        if bytes.is_empty() {
            silent.push(stream);
        } else {
            let _ = tokio::time::timeout(CALL / 10, stream.read_to_end(&mut Vec::new())).await;
        }
    }
    for via in cluster.running() {
        cluster.write(via, GROUP, Command::Push { value: 1 }).await;
    }
    assert_eq!(cluster.leader().await, leader, "nobody took notice");
    assert!(cluster.life(leader).server.status().connections >= 2 + garbage.len() as u64);
    cluster.shutdown().await;
}
