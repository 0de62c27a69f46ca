//! A peer that says nothing any more, without having hung up: a cut cable, a stopped process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::NodeId;
use quorate::transport::grpc::{GrpcLimits, GrpcServer, GrpcTransport};
use quorate::transport::{Transport, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::calls::{Notes, envelope};
use crate::common::{CALL, config, eventually};

const PEER: NodeId = NodeId(2);

/// Carries bytes to `to` and back, unless it is cut; it takes connections all the same.
async fn cable(to: SocketAddr, cut: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, cut.clone()));
            tokio::spawn(carry(far_in, near_out, cut.clone()));
        }
    });
    address
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if cut.wait_for(|cut| !cut).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_given_up_and_found_again() {
    let limits = GrpcLimits {
        keepalive_interval: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_secs(1),
        ..GrpcLimits::default()
    };
    let [a, b] = [NodeId(1), PEER].map(|node| GrpcTransport::new(config(node, None, limits.clone())));
    let server = GrpcServer::start(&b, "127.0.0.1:0".parse().unwrap(), Arc::<Notes>::default()).await.unwrap();
    let (cut, is_cut) = watch::channel(false);
    a.add_peer(PEER, cable(server.address(), is_cut).await.to_string());
    eventually("they are connected", || a.peers()[&PEER].connected).await;
    assert_eq!(a.call(PEER, envelope(1), CALL).await.unwrap().id, 1);
    cut.send_replace(true);
    let began = Instant::now();
    assert_eq!(a.call(PEER, envelope(3), CALL).await.unwrap_err(), TransportError::NoAnswer(PEER));
    assert!(began.elapsed() < CALL, "nobody waited for the deadline");
    eventually("it is given up", || !a.peers()[&PEER].connected).await;
    assert_eq!(a.call(PEER, envelope(5), CALL).await.unwrap_err(), TransportError::Unreachable(PEER));
    cut.send_replace(false);
    eventually("it is found again", || a.peers()[&PEER].connected).await;
    assert_eq!(a.call(PEER, envelope(7), CALL).await.unwrap().id, 7);
}
