//! The service of `raft.proto` at its listening end: what a generator would make of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::proto::{Frame, MESSAGES, SNAPSHOTS};
use super::receive::{AnswerFrames, Receiver};

/// Calls by their paths.
#[derive(Clone)]
pub(super) struct RaftService {
    pub(super) receiver: Arc<Receiver>,
    pub(super) frame_bytes_max: usize,
}

impl Service<http::Request<Body>> for RaftService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if ![MESSAGES, SNAPSHOTS].contains(&request.uri().path()) {
            return Box::pin(async { Ok(Status::unimplemented("no such call").into_http()) });
        }
        let (stream, frame_bytes_max) = (OneStream(Arc::clone(&self.receiver)), self.frame_bytes_max);
        Box::pin(async move {
            let codec = ProstCodec::<Frame, Frame>::default();
            let mut server = tonic::server::Grpc::new(codec).max_decoding_message_size(frame_bytes_max);
            Ok(server.streaming(stream, request).await)
        })
    }
}

/// One stream of either kind.
struct OneStream(Arc<Receiver>);

impl Service<Request<Streaming<Frame>>> for OneStream {
    type Response = Response<WithStatus<AnswerFrames>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Frame>>) -> Self::Future {
        let receiver = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(WithStatus(receiver.accept(request).await?))) })
    }
}

/// Frames as tonic wants them: any of them could have been an error.
pub(super) struct WithStatus<S>(S);

impl<S: Stream<Item = Frame> + Unpin> Stream for WithStatus<S> {
    type Item = Result<Frame, Status>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.0).poll_next(cx).map(|frame| frame.map(Ok))
    }
}
