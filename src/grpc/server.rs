//! The transport of the gRPC port: accepting, limits of a connection, the end.
//!
//! An accept loop of our own over hyper, under tonic's services, since tonic's own leaves open what
//! is closed here: it spins when descriptors run out, sends no limit of streams, lifts hyper's
//! bound on resets, ends connections of an age without a word, and waits for open streams and for
//! the first word of a silent client for ever.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::rustls::pki_types::CertificateDer;
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
use crate::directory::Directory;
use crate::metrics::{DecisionMetrics, TransportMetrics};
use crate::randomness::{Randomness, SystemRandomness};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::tls::Tls;

mod connection;
mod panics;
mod preface;
mod stall;

use connection::Connection;
use panics::CatchPanics;

/// Wait after accepting failed, e.g. without free descriptors: time for some to be closed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What the services stand on.
#[derive(Clone)]
pub struct Backend {
    pub authentication: Authentication,
    pub directory: Directory,
    pub requests: AccessRequests,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub shutdown: Shutdown,
    pub decisions: DecisionMetrics,
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

/// In the extensions of a request: the certificates that its client proved to own, its own first,
/// verified against `tls_client_ca_file`. Absent where the client showed none.
#[derive(Debug, Clone)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

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
    let permits = Arc::new(Semaphore::new(transport.settings.connections_max));
    // Dropped with this future, which ends what is left of them.
    let mut connections = JoinSet::new();
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = shutdown.soft().cancelled() => break,
            Some(ended) = connections.join_next() => {
                told(ended);
                continue;
            }
            accepted = accept_one(&listener, &permits, &transport.metrics) => accepted,
        };
        let connection = Connection::new(transport.clone(), service.clone(), shutdown.clone());
        connections.spawn(async move {
            // Boxed: its states are large, and most of its time it is in one of them.
            Box::pin(connection.run(stream)).await;
            drop(permit);
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        told(ended);
    }
}

/// A connection that ended in a panic has been logged by the panic hook, and is nobody else's end.
fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a connection ended in a panic");
    }
}

async fn accept_one(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    metrics: &TransportMetrics,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Fails only when the semaphore is closed, which nobody does.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Small answers must not wait for the peer's acknowledgements.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "no TCP_NODELAY on a gRPC connection");
                }
                return (stream, permit);
            }
            // The peer gave up in between: nothing is wrong here.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                metrics.accept_failed();
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}
