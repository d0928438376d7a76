//! `DecisionService`: questions in, answers out. All of them ask the one access set of the core, at
//! one snapshot a call.

mod lists;
mod many;
mod pending;
mod question;
mod single;

use tonic::{Request, Response, Status, Streaming};

pub use self::lists::PAGE_IDS_MAX;
pub use self::many::BATCH_ITEMS_MAX;
use super::asker::Asker;
use super::chunks::Chunks;
use super::convert::Path;
use super::reading::Reading;
use super::wire;
use crate::decision_log::DecisionLog;
use crate::metrics::DecisionMetrics;

const REQUEST: Path<'static> = Path::root("");

#[derive(Clone)]
pub struct DecisionHandlers {
    reading: Reading,
    metrics: DecisionMetrics,
    log: DecisionLog,
}

impl DecisionHandlers {
    pub fn new(reading: Reading, metrics: DecisionMetrics, log: DecisionLog) -> Self {
        Self {
            reading,
            metrics,
            log,
        }
    }
}

/// Exact: no memory holds more.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl wire::decision_service_server::DecisionService for DecisionHandlers {
    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.check(&asker, &request).await?))
    }

    async fn batch_check(
        &self,
        request: Request<wire::BatchCheckRequest>,
    ) -> Result<Response<wire::BatchCheckResponse>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.batch_check(asker, request).await?))
    }

    type ListAccessibleStream = Chunks<wire::ListAccessibleResponse>;

    async fn list_accessible(
        &self,
        request: Request<wire::ListAccessibleRequest>,
    ) -> Result<Response<Self::ListAccessibleStream>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.list_accessible(asker, request).await?))
    }

    async fn filter_accessible(
        &self,
        request: Request<wire::FilterAccessibleRequest>,
    ) -> Result<Response<wire::FilterAccessibleResponse>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(
            self.filter_accessible(&asker, request).await?,
        ))
    }

    type FilterAccessibleStreamStream = Chunks<wire::FilterAccessibleStreamResponse>;

    async fn filter_accessible_stream(
        &self,
        request: Request<Streaming<wire::FilterAccessibleStreamRequest>>,
    ) -> Result<Response<Self::FilterAccessibleStreamStream>, Status> {
        let handlers = self.clone();
        let (asker, messages) = Asker::of(request)?;
        Ok(Response::new(self.reading.chunks(
            move |sender| async move { handlers.filter_stream(&asker, messages, sender).await },
        )))
    }

    type ListUsersWithAccessStream = Chunks<wire::ListUsersWithAccessResponse>;

    async fn list_users_with_access(
        &self,
        request: Request<wire::ListUsersWithAccessRequest>,
    ) -> Result<Response<Self::ListUsersWithAccessStream>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(
            self.list_users_with_access(&asker, request).await?,
        ))
    }

    async fn list_actions(
        &self,
        request: Request<wire::ListActionsRequest>,
    ) -> Result<Response<wire::ListActionsResponse>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.list_actions(&asker, &request).await?))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.explain(&asker, &request).await?))
    }
}
