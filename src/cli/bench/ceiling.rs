//! The ceiling: the same service on the same stack, answering constants of the sizes that the real
//! one answers. What it reaches is what the transport and the codec leave to be reached.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::grpc::wire;
use crate::grpc::wire::decision_service_server::DecisionService;

/// Answers without looking at the question.
#[derive(Debug, Clone)]
pub struct Ceiling {
    pub check: wire::CheckResponse,
    pub batch: wire::BatchCheckResponse,
    pub list: ConstantList,
}

/// A list in chunks: the first, and the one that comes again and again after it.
#[derive(Debug, Clone, Default)]
pub struct ConstantList {
    pub first: wire::ListAccessibleResponse,
    pub repeated: wire::ListAccessibleResponse,
    pub repetitions: usize,
}

type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DecisionService for Ceiling {
    async fn check(
        &self,
        _request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        Ok(Response::new(self.check.clone()))
    }

    async fn batch_check(
        &self,
        _request: Request<wire::BatchCheckRequest>,
    ) -> Result<Response<wire::BatchCheckResponse>, Status> {
        Ok(Response::new(self.batch.clone()))
    }

    type ListAccessibleStream = Chunks<wire::ListAccessibleResponse>;

    async fn list_accessible(
        &self,
        _request: Request<wire::ListAccessibleRequest>,
    ) -> Result<Response<Self::ListAccessibleStream>, Status> {
        let list = self.list.clone();
        let first = std::iter::once(list.first);
        let rest = std::iter::repeat_n(list.repeated, list.repetitions);
        let chunks = tokio_stream::iter(first.chain(rest).map(Ok));
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn filter_accessible(
        &self,
        _request: Request<wire::FilterAccessibleRequest>,
    ) -> Result<Response<wire::FilterAccessibleResponse>, Status> {
        Err(not_measured())
    }

    type FilterAccessibleStreamStream = Chunks<wire::FilterAccessibleStreamResponse>;

    async fn filter_accessible_stream(
        &self,
        _request: Request<Streaming<wire::FilterAccessibleStreamRequest>>,
    ) -> Result<Response<Self::FilterAccessibleStreamStream>, Status> {
        Err(not_measured())
    }

    type ListUsersWithAccessStream = Chunks<wire::ListUsersWithAccessResponse>;

    async fn list_users_with_access(
        &self,
        _request: Request<wire::ListUsersWithAccessRequest>,
    ) -> Result<Response<Self::ListUsersWithAccessStream>, Status> {
        Err(not_measured())
    }

    async fn list_actions(
        &self,
        _request: Request<wire::ListActionsRequest>,
    ) -> Result<Response<wire::ListActionsResponse>, Status> {
        Err(not_measured())
    }

    async fn explain(
        &self,
        _request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        Err(not_measured())
    }
}

fn not_measured() -> Status {
    Status::unimplemented("the ceiling answers Check, BatchCheck and ListAccessible")
}
