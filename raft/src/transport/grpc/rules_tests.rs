//! A peer that introduces itself well and then breaks the rules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::config::{GrpcConfig, GrpcLimits};
use super::hello::hello;
use super::proto::{Batch, Content, Frame, MESSAGES};
use super::server::GrpcServer;
use super::transport::GrpcTransport;
use crate::transport::wire::{encode_answer, encode_envelope};
use crate::transport::{Answer, Envelope, Inbound, Reply, Request as Question};
use crate::types::{ClusterId, GroupId, Incarnation, NodeId, Term};

const PEER: NodeId = NodeId(1);
const NODE: NodeId = NodeId(2);
const PATIENCE: Duration = Duration::from_secs(30);

fn config(node: NodeId) -> GrpcConfig {
    let limits = GrpcLimits { connect_timeout: Duration::from_secs(10), ..GrpcLimits::default() };
    GrpcConfig { node, cluster: ClusterId(1), incarnation: Incarnation(7), tls: None, limits }
}

struct Echo;

#[async_trait::async_trait]
impl Inbound for Echo {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        assert_eq!((envelope.from, envelope.cluster), (PEER, ClusterId(1)));
        Some(answer(envelope.id))
    }
}

fn answer(id: u64) -> Answer {
    Answer { incarnation: Incarnation(7), id, reply: Reply::Leader { leader: None, term: Term(1) } }
}

fn envelope(id: u64) -> Envelope {
    let (cluster, from, incarnation, group) = (ClusterId(1), PEER, Incarnation(7), GroupId(1));
    Envelope { cluster, from, incarnation, id, group, request: Question::WhoLeads }
}

fn batch(records: impl IntoIterator<Item = Bytes>) -> Frame {
    Batch { records: records.into_iter().collect() }.into()
}

/// Opens a stream by hand and sends `frames` on it, which stays open.
async fn send(server: &GrpcServer, frames: Vec<Frame>) -> Result<Streaming<Frame>, Status> {
    let channel = Endpoint::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (sender, receiver) = mpsc::channel(frames.len());
    for frame in frames {
        sender.try_send(frame).unwrap();
    }
    // The sender goes with the stream that it would end.
    let frames = stream::unfold((receiver, sender), |(mut receiver, sender)| async {
        receiver.recv().await.map(|frame| (frame, (receiver, sender)))
    });
    let path = PathAndQuery::from_static(MESSAGES);
    let codec = ProstCodec::<Frame, Frame>::default();
    Ok(client.streaming(Request::new(frames.boxed()), path, codec).await?.into_inner())
}

/// The answers until the node ends the stream.
async fn answers(mut frames: Streaming<Frame>) -> usize {
    assert!(matches!(frames.message().await.unwrap().unwrap().content, Some(Content::Hello(_))));
    let mut count = 0;
    let counting = async {
        while let Ok(Some(frame)) = frames.message().await {
            let Some(Content::Batch(batch)) = frame.content else { panic!("{frame:?}") };
            count += batch.records.len();
        }
    };
    tokio::time::timeout(PATIENCE, counting).await.expect("the node ends the stream");
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_the_rules_is_ended_and_nothing_of_it_handed_on() {
    let node = GrpcTransport::new(config(NODE));
    let server = GrpcServer::start(&node, "127.0.0.1:0".parse().unwrap(), Arc::new(Echo)).await.unwrap();
    let hello = || Frame::from(hello(&config(PEER), NODE));
    let good = || encode_envelope(&envelope(1));

    let error = send(&server, vec![batch([good()])]).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "the stream does not begin with a hello"));

    let damaged: Bytes = good().iter().map(|byte| byte ^ 1).collect();
    let strangers = encode_envelope(&Envelope { from: NodeId(3), ..envelope(2) });
    let elsewhere = encode_envelope(&Envelope { cluster: ClusterId(2), ..envelope(2) });
    for bad in [damaged, strangers, elsewhere, encode_answer(&answer(1)), Bytes::new()] {
        let frames = vec![hello(), batch([good(), bad, good()]), batch([good()])];
        let answers = answers(send(&server, frames).await.unwrap()).await;
        // What came before it has been carried out; its answer may be lost with the stream.
        assert!(answers <= 1, "{answers} answers");
    }
    // What says nothing is no offence.
    let frames = vec![hello(), Frame { content: None }, hello(), batch([]), batch([good()])];
    let mut stream = send(&server, frames).await.unwrap();
    stream.message().await.unwrap();
    let Some(Content::Batch(batch)) = stream.message().await.unwrap().unwrap().content else { panic!() };
    assert_eq!(batch.records, [encode_answer(&answer(1))]);
    server.shutdown().await;
}
