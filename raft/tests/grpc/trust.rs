//! TLS: who is let in, and who is not.

use std::path::Path;
use std::sync::Arc;

use quorate::transport::grpc::{CertFiles, GrpcServer, GrpcTransport, Tls, dev_certs};
use quorate::transport::{Answer, Envelope, Inbound, Reply};
use quorate::{NodeId, Term};

use crate::common::{Cluster, GROUP, Setting, config, eventually};
use crate::machine::Command;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn tls(dir: &Path, node: NodeId) -> Tls {
    CertFiles::of(dir, node).read().unwrap()
}

struct Anything;

#[async_trait::async_trait]
impl Inbound for Anything {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        let reply = Reply::Leader { leader: None, term: Term(1) };
        Some(Answer { incarnation: envelope.incarnation, id: envelope.id, reply })
    }
}

/// What becomes of a connection of `A` to `B`: how it fails, unless it does not.
async fn outcome(caller: Option<Tls>, callee: Option<Tls>) -> Result<(), String> {
    let (a, b) = (config(A, caller, Default::default()), config(B, callee, Default::default()));
    let (a, b) = (GrpcTransport::new(a), GrpcTransport::new(b));
    let server = GrpcServer::start(&b, "127.0.0.1:0".parse().unwrap(), Arc::new(Anything)).await.unwrap();
    a.add_peer(B, server.address().to_string());
    let status = || a.peers()[&B].clone();
    eventually("it succeeds or fails", || status().connected || status().last_error.is_some()).await;
    let outcome = status().last_error.map_or(Ok(()), Err);
    server.shutdown().await;
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_certificates_are_let_in() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    dev_certs(ours.path(), &[A, B, NodeId(3)]).unwrap();
    dev_certs(theirs.path(), &[A, B]).unwrap();
    let ours = |node| Some(tls(ours.path(), node));
    let theirs = |node| Some(tls(theirs.path(), node));

    assert_eq!(outcome(ours(A), ours(B)).await, Ok(()));
    assert_eq!(outcome(None, None).await, Ok(()));
    for (case, caller, callee) in [
        ("in the clear to TLS", None, ours(B)),
        ("TLS to one in the clear", ours(A), None),
        ("a caller of another authority", theirs(A), ours(B)),
        ("a callee of another authority", ours(A), theirs(B)),
        ("a callee with another node's certificate", ours(A), ours(NodeId(3))),
    ] {
        let error = outcome(caller, callee).await.expect_err(case);
        assert!(!error.is_empty(), "{case}");
    }
    let error = outcome(ours(NodeId(3)), ours(B)).await.unwrap_err();
    assert_eq!(error, "refused: the certificate shown is not n1's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_certificates_works_as_one_without() {
    let dir = tempfile::tempdir().unwrap();
    dev_certs(dir.path(), &[1, 2, 3].map(NodeId)).unwrap();
    let path = dir.path().to_owned();
    let setting = Setting { tls: Arc::new(move |node| Some(tls(&path, node))), ..Setting::default() };
    let mut cluster = Cluster::start(3, setting).await;
    let stopped = cluster.leader().await;
    cluster.stop_node(stopped).await;
    for via in cluster.running() {
        cluster.write(via, GROUP, Command::Add { key: 1, amount: 1 }).await;
    }
    cluster.start_node(stopped).await;
    assert_eq!(cluster.value(stopped, GROUP, 1).await, 2);
    cluster.shutdown().await;
}
