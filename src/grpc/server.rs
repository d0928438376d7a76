//! The transport of the gRPC port: accepting, limits of a connection, the end.
//!
//! An accept loop of our own over hyper, under tonic's services, since tonic's own leaves open what
//! is closed here: it spins when descriptors run out, sends no limit of streams, lifts hyper's
//! bound on resets, ends connections of an age without a word, and waits for open streams and for
//! the first word of a silent client for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tower::{Layer as _, Service};

use super::bounds::Bounds;
use super::observed::Observe;
use crate::access_requests::AccessRequests;
use crate::authentication::Authentication;
use crate::clock::Clock;
use crate::config::TransportSettings;
use crate::decision_log::DecisionLog;
use crate::directory::Directory;
use crate::listening;
use crate::metrics::{DecisionMetrics, TransportMetrics};
use crate::partitions::Partitions;
use crate::partitions::segments::Segments;
use crate::partners::Partners;
use crate::randomness::{Randomness, SystemRandomness};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::tls::Tls;

mod connection;
mod linger;
mod panics;
mod preface;
mod stall;

use connection::Connection;
use panics::CatchPanics;

/// What the services stand on.
#[derive(Clone)]
pub struct Backend {
    pub authentication: Authentication,
    pub directory: Directory,
    pub requests: AccessRequests,
    pub partitions: Partitions,
    pub segments: Segments,
    pub partners: Partners,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub shutdown: Shutdown,
    pub decisions: DecisionMetrics,
    pub decision_log: DecisionLog,
    /// How long a reader may leave a chunk of a stream waiting.
    pub stall_timeout: Duration,
}

/// What connections are served with; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    pub settings: Arc<TransportSettings>,
    pub tls: Option<Arc<Tls>>,
    pub metrics: TransportMetrics,
    pub randomness: Arc<dyn Randomness>,
}

impl Transport {
    /// For a server of a benchmark: without TLS, and with nobody to ask for its metrics.
    pub fn unseen(settings: TransportSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            tls: None,
            metrics: TransportMetrics::unseen(),
            randomness: Arc::new(SystemRandomness),
        }
    }
}

/// Serves until the shutdown begins and all connections are closed; the caller bounds that.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    routes: Routes,
    observe: Observe,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let bounds = Bounds::new(Arc::clone(&transport.settings), transport.metrics.clone());
    let bounded = bounds.layer(routes);
    let observed = observe.layer(bounded);
    accept(listener, transport, CatchPanics.layer(observed), shutdown).await;
    Ok(())
}

async fn accept<S>(listener: TcpListener, transport: Transport, service: S, shutdown: Shutdown)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let failed = || transport.metrics.accept_failed();
    let closed = CancellationToken::new();
    let serve = |stream| {
        let (transport, service) = (transport.clone(), service.clone());
        let connection = Connection::new(transport, service, shutdown.clone(), closed.clone());
        // Boxed: its states are large, and most of its time it is in one of them.
        Box::pin(connection.run(stream))
    };
    let connections_max = transport.settings.connections_max;
    let ending = shutdown.soft();
    listening::accept(listener, connections_max, ending, &closed, failed, serve).await;
}
