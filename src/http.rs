//! The HTTP port: `/healthz`, `/readyz` and `/metrics`, and the console under `/accounts/`.
//!
//! Liveness says that the process serves, and nothing else: a database that is away must not get
//! it restarted. Readiness says that a question would be answered within the staleness bound. None
//! of them asks the database: each answers at once, whatever state that is in.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::feed::FeedStatus;
use crate::graph_cache::GraphCache;
use crate::listening;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::tls::Tls;

mod console;

pub use console::{Console, LanguageError};

/// The text format of Prometheus.
const METRICS_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at a time: probes, scrapes and people, and no flood of them.
const CONNECTIONS_MAX: usize = 1_024;

/// How long a connection may be silent before or within the headers of a request.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

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

/// The port itself: where it listens, and how connections are encrypted.
pub struct Port {
    pub listener: TcpListener,
    /// `None`: not at all.
    pub tls: Option<Arc<Tls>>,
    pub handshake_timeout: Duration,
}

/// Serves from before the database is open, alive and not ready, until told to end, which is after
/// the shutdown has begun: until then whoever asks is told that this server is on its way out.
pub async fn serve(
    port: Port,
    telling: Arc<OnceLock<Telling>>,
    shutdown: Shutdown,
    ending: CancellationToken,
) -> Result<(), Infallible> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/accounts/{*page}", any(console))
        .with_state(Told { telling, shutdown });
    let (tls, timeout) = (port.tls, port.handshake_timeout);
    let closed = CancellationToken::new();
    let serve = |stream| {
        let (router, tls) = (router.clone(), tls.clone());
        let (ending, closed) = (ending.clone(), closed.clone());
        async move {
            let Some(tls) = tls else {
                return speak(stream, router, &closed).await;
            };
            match listening::shake_hands(tls.http_config(), stream, timeout, &ending).await {
                Ok(stream) => speak(stream, router, &closed).await,
                Err(error) => tracing::debug!(error = %error, "a TLS handshake failed"),
            }
        }
    };
    listening::accept(
        port.listener,
        CONNECTIONS_MAX,
        &ending,
        &closed,
        || {},
        serve,
    )
    .await;
    Ok(())
}

/// HTTP/1.1 until both sides are done, or until we are: then the answer that is under way is the
/// last.
async fn speak<IO>(stream: IO, router: Router, closed: &CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let speaking = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut speaking = pin!(speaking);
    let ended = tokio::select! {
        ended = speaking.as_mut() => ended,
        () = closed.cancelled() => {
            speaking.as_mut().graceful_shutdown();
            speaking.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "an HTTP connection failed");
    }
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
