//! TLS between clients and servers.

use std::path::{Path, PathBuf};

use quorate_nodes::server::proto::GetRequest;
use quorate_nodes::server::proto::change_request::Change;
use quorate_nodes::server::{CallStream, Client, ClientTls, ClientsTls};

use crate::cluster::{Cluster, PATIENCE};

/// A client that trusts the authority in `dir`, and shows a certificate of it.
fn trusted(dir: &Path) -> ClientTls {
    let file = |name: &str| -> Option<PathBuf> { Some(dir.join(name)) };
    ClientTls { ca: file("ca.pem"), cert: file("node-1.pem"), key: file("node-1-key.pem") }
}

#[tokio::test]
async fn clients_are_answered_if_each_end_shows_a_certificate_that_the_other_trusts() {
    let mut cluster = Cluster::described(1);
    let certs = cluster.dir().join("certs");
    quorate_nodes::server::make_certs(&certs, &[1]).expect("certificates");
    let other = cluster.dir().join("other");
    quorate_nodes::server::make_certs(&other, &[1]).expect("certificates");
    cluster.reconfigure(|config| {
        config.clients_tls = Some(ClientsTls {
            cert: "certs/node-{node}.pem".into(),
            key: "certs/node-{node}-key.pem".into(),
            ca: Some("certs/ca.pem".into()),
        });
    });
    cluster.spawn(0);
    let tls = trusted(&certs);
    let join = cluster.with_tls(&tls, &["join", "g1=1", "--shards", "4"]);
    let servers = [cluster.address(0)];
    let client = Client::with_tls(&servers, &tls).expect("a client");
    let begun = std::time::Instant::now();
    while !join().status.success() && client.configuration(PATIENCE).await.is_ok_and(|config| config.number == 0) {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.log(0));
    }
    client.change("key", Change::Put("1".into()), PATIENCE).await.expect("a write");
    let stream = CallStream::new(&servers[0], &tls).expect("a stream");
    let get = GetRequest { key: "key".into(), max_staleness_ms: None, timeout_ms: 0 };
    assert_eq!(stream.get(get).await.expect("an answer").value.as_deref(), Some("1"));

    let brief = std::time::Duration::from_millis(500);
    let mut anonymous = tls.clone();
    (anonymous.cert, anonymous.key) = (None, None);
    for (who, tls) in
        [("in the clear", ClientTls::default()), ("of another authority", trusted(&other)), ("anonymous", anonymous)]
    {
        let client = Client::with_tls(&servers, &tls).expect("a client");
        assert!(client.get("key", None, brief).await.is_err(), "a client {who} was answered");
    }
    assert!(client.get("key", None, PATIENCE).await.is_ok());
}
