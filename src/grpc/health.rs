//! `grpc.health.v1`: whether a question would be answered within the staleness bound.
//!
//! The same for the server as a whole and for each service, since all stand on the same graphs.
//! Watches end with the shutdown, after they have said NOT_SERVING.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::graph_cache::GraphCache;
use crate::shutdown::Shutdown;

/// How often a watch looks whether the status has changed.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct HealthService {
    graphs: GraphCache,
    shutdown: Shutdown,
    /// Full names of the services that are served, and the empty one for the server as a whole.
    names: &'static [&'static str],
}

impl HealthService {
    pub fn server(
        graphs: GraphCache,
        shutdown: Shutdown,
        names: &'static [&'static str],
    ) -> HealthServer<Self> {
        HealthServer::new(Self {
            graphs,
            shutdown,
            names,
        })
    }

    fn status(&self, service: &str) -> ServingStatus {
        if !service.is_empty() && !self.names.contains(&service) {
            ServingStatus::ServiceUnknown
        } else if self.shutdown.has_begun() || !self.graphs.is_fresh() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }

    async fn follow(self, service: String, answers: mpsc::Sender<WatchItem>) {
        let mut last = None;
        loop {
            // Read before the status, so that the last answer is the one of the end.
            let ending = self.shutdown.has_begun();
            let status = self.status(&service);
            if last != Some(status) {
                last = Some(status);
                if answers.send(Ok(answer(status))).await.is_err() {
                    return;
                }
            }
            if ending {
                return;
            }
            tokio::select! {
                () = answers.closed() => return,
                () = self.shutdown.soft().cancelled() => {}
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    }
}

type WatchItem = Result<HealthCheckResponse, Status>;

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            status @ (ServingStatus::Unknown
            | ServingStatus::Serving
            | ServingStatus::NotServing) => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = ReceiverStream<WatchItem>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let service = request.into_inner().service;
        tokio::spawn(self.clone().follow(service, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
