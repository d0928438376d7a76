//! The HTTP port: `/healthz` and `/readyz`.
//!
//! Liveness says that the process serves, and nothing else: a database that is away must not get
//! it restarted. Readiness says that a question would be answered within the staleness bound.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::graph_cache::GraphCache;
use crate::shutdown::Shutdown;

#[derive(Clone)]
struct Health {
    graphs: GraphCache,
    shutdown: Shutdown,
}

/// Serves until told to end, which is after the shutdown has begun: until then whoever asks is
/// told that this server is on its way out.
pub async fn serve(
    listener: TcpListener,
    graphs: GraphCache,
    shutdown: Shutdown,
    ending: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(Health { graphs, shutdown });
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(error = %error, "no TCP_NODELAY on an HTTP connection");
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { ending.cancelled().await })
        .await
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.shutdown.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if health.graphs.is_fresh() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database can't be followed\n",
        )
    }
}
