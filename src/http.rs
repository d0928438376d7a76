//! The HTTP port: `/healthz`, `/readyz` and `/metrics`, and the console under `/accounts/`.
//!
//! Liveness says that the process serves, and nothing else: a database that is away must not get
//! it restarted. Readiness says that a question would be answered within the staleness bound. None
//! of them asks the database: each answers at once, whatever state that is in.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::feed::FeedStatus;
use crate::graph_cache::GraphCache;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

mod console;

pub use console::{Console, LanguageError};

/// The text format of Prometheus.
const METRICS_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const NO_DATABASE: &str = "the database could not be reached yet\n";

/// What is told over HTTP once there is a database to tell of; cheap to clone.
#[derive(Clone)]
pub struct Telling {
    pub graphs: GraphCache,
    pub feed: Arc<FeedStatus>,
    pub metrics: Arc<Metrics>,
    pub console: Console,
}

#[derive(Clone)]
struct Told {
    telling: Arc<OnceLock<Telling>>,
    shutdown: Shutdown,
}

/// Serves from before the database is open, alive and not ready, until told to end, which is after the shutdown has begun: until then whoever asks is
/// told that this server is on its way out.
pub async fn serve(
    listener: TcpListener,
    telling: Arc<OnceLock<Telling>>,
    shutdown: Shutdown,
    ending: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/accounts/{*page}", any(console))
        .with_state(Told { telling, shutdown });
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(error = %error, "no TCP_NODELAY on an HTTP connection");
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { ending.cancelled().await })
        .await
}

async fn metrics(State(told): State<Told>) -> Response {
    let Some(telling) = told.telling.get().cloned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, NO_DATABASE).into_response();
    };
    let Telling {
        graphs,
        feed,
        metrics,
        ..
    } = telling;
    let is_ready = !told.shutdown.has_begun() && graphs.is_fresh();
    let text = metrics.render(&graphs, &feed, is_ready).await;
    ([(header::CONTENT_TYPE, METRICS_FORMAT)], text).into_response()
}

async fn console(State(told): State<Told>, request: Request) -> Response {
    match told.telling.get() {
        Some(telling) => telling.console.answer(request).await,
        None => (StatusCode::SERVICE_UNAVAILABLE, NO_DATABASE).into_response(),
    }
}

async fn readyz(State(told): State<Told>) -> (StatusCode, &'static str) {
    let not_ready = |why| (StatusCode::SERVICE_UNAVAILABLE, why);
    if told.shutdown.has_begun() {
        return not_ready("shutting down\n");
    }
    match told.telling.get() {
        None => not_ready(NO_DATABASE),
        Some(telling) if telling.graphs.is_fresh() => (StatusCode::OK, "ready\n"),
        Some(_) => not_ready("the database can't be followed\n"),
    }
}
