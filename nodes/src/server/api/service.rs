//! Each call that a server answers, and who carries it out.

use tonic::{Request, Response, Status, Streaming};

use super::{Api, cluster, keys, machines, replicas};
use crate::server::copy::PieceStream;
use crate::server::masters::PrimaryStream;
use crate::server::multiplex::{self, AnswerStream};
use crate::server::proto;
use crate::server::proto::quorate_server::Quorate;
use crate::server::queries::{self, QueryStream};
use crate::server::views::ViewStream;

#[tonic::async_trait]
impl Quorate for Api {
    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetReply>, Status> {
        keys::get(self, request.into_inner()).await.map(Response::new)
    }

    async fn change(&self, request: Request<proto::ChangeRequest>) -> Result<Response<proto::ChangeReply>, Status> {
        keys::change(self, request.into_inner()).await.map(Response::new)
    }

    async fn scan(&self, request: Request<proto::ScanRequest>) -> Result<Response<proto::ScanReply>, Status> {
        keys::scan(self, request.into_inner()).await.map(Response::new)
    }

    type MultiplexStream = AnswerStream;

    async fn multiplex(&self, calls: Request<Streaming<proto::Calls>>) -> Result<Response<AnswerStream>, Status> {
        Ok(Response::new(multiplex::answer_all(self.clone(), calls.into_inner())))
    }

    async fn master(&self, request: Request<proto::MasterRequest>) -> Result<Response<proto::MasterReply>, Status> {
        self.role()?.answer(request.into_inner()).await.map(Response::new)
    }

    type WatchPrimaryStream = PrimaryStream;

    async fn watch_primary(
        &self,
        request: Request<proto::WatchPrimaryRequest>,
    ) -> Result<Response<PrimaryStream>, Status> {
        let after = request.into_inner().after_epoch;
        self.role()?.watch(after, self.0.ending.subscribe()).await.map(Response::new)
    }

    async fn masters(&self, _: Request<proto::MastersRequest>) -> Result<Response<proto::MastersReply>, Status> {
        let (known, beginning) = (self.0.groups.memory().book(), self.0.groups.beginning());
        let book = if known.is_begun() { &*known } else { beginning };
        Ok(Response::new(self.role()?.described(book).await))
    }

    async fn open_session(&self, request: Request<proto::OpenSessionRequest>) -> Result<Response<proto::Done>, Status> {
        machines::open_session(self, request.into_inner()).await.map(Response::new)
    }

    async fn write(&self, request: Request<proto::WriteRequest>) -> Result<Response<proto::WriteReply>, Status> {
        machines::write(self, request.into_inner()).await.map(Response::new)
    }

    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<proto::ReadReply>, Status> {
        machines::read(self, request.into_inner()).await.map(Response::new)
    }

    async fn tables(&self, _: Request<proto::TablesRequest>) -> Result<Response<proto::TablesReply>, Status> {
        Ok(Response::new(proto::TablesReply { groups: self.0.groups.fixed().tables().to_vec() }))
    }

    type QueryStream = QueryStream;

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<QueryStream>, Status> {
        queries::answer(self.0.queries.as_ref(), &request.into_inner().body).await.map(Response::new)
    }

    type ViewStream = ViewStream;

    async fn view(&self, request: Request<proto::ViewRequest>) -> Result<Response<ViewStream>, Status> {
        machines::view(self, request.into_inner()).await.map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::Numbered>, Status> {
        cluster::join(self, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, request: Request<proto::LeaveRequest>) -> Result<Response<proto::Numbered>, Status> {
        cluster::leave(self, request.into_inner()).await.map(Response::new)
    }

    async fn r#move(&self, request: Request<proto::MoveRequest>) -> Result<Response<proto::Numbered>, Status> {
        cluster::r#move(self, request.into_inner()).await.map(Response::new)
    }

    async fn configuration(
        &self,
        _: Request<proto::ConfigurationRequest>,
    ) -> Result<Response<proto::ConfigurationReply>, Status> {
        cluster::configuration(self).await.map(Response::new)
    }

    async fn nodes(&self, _: Request<proto::NodesRequest>) -> Result<Response<proto::NodesReply>, Status> {
        cluster::nodes(self).await.map(Response::new)
    }

    async fn add_node(&self, request: Request<proto::Node>) -> Result<Response<proto::Done>, Status> {
        cluster::add_node(self, request.into_inner()).await.map(Response::new)
    }

    async fn move_node(&self, request: Request<proto::Node>) -> Result<Response<proto::Done>, Status> {
        cluster::move_node(self, request.into_inner()).await.map(Response::new)
    }

    async fn remove_node(&self, request: Request<proto::RemoveNodeRequest>) -> Result<Response<proto::Done>, Status> {
        cluster::remove_node(self, request.into_inner()).await.map(Response::new)
    }

    async fn replace_node(
        &self,
        request: Request<proto::ReplaceNodeRequest>,
    ) -> Result<Response<proto::Numbered>, Status> {
        cluster::replace_node(self, request.into_inner()).await.map(Response::new)
    }

    async fn place(&self, request: Request<proto::Group>) -> Result<Response<proto::Numbered>, Status> {
        cluster::place(self, request.into_inner()).await.map(Response::new)
    }

    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusReply>, Status> {
        Ok(Response::new(Api::status(self)))
    }

    async fn transfer(&self, request: Request<proto::TransferRequest>) -> Result<Response<proto::Done>, Status> {
        replicas::transfer(self, request.into_inner()).await.map(Response::new)
    }

    type CopyStream = PieceStream;

    async fn copy(&self, request: Request<proto::CopyRequest>) -> Result<Response<PieceStream>, Status> {
        replicas::copy(self, request.into_inner()).await.map(Response::new)
    }

    async fn snapshot(&self, request: Request<proto::SnapshotRequest>) -> Result<Response<proto::Done>, Status> {
        replicas::snapshot(self, request.into_inner()).await.map(Response::new)
    }
}
