//! Accepting connections, alike on each port: so many at a time, on when descriptors run out, and the
//! TLS handshake within a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Wait after accepting failed, e.g. without free descriptors: time for some to be closed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Why a connection is not encrypted.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the server was told to end")]
    Ended,
    #[error("the client did not finish it in time")]
    Late,
    #[error(transparent)]
    Failed(io::Error),
}

/// Accepts until told to end, then waits for the connections that stand; whoever calls bounds that,
/// and dropping the future ends what is left of them. `failed` is told of each attempt that fails.
///
/// `closed` is cancelled once the port is: a connection that ends before would have its client come
/// back to a port that is about to close, where nobody takes it in any more and it is reset.
pub async fn accept<Serving>(
    listener: TcpListener,
    connections_max: usize,
    ending: &CancellationToken,
    closed: &CancellationToken,
    failed: impl Fn() + Sync,
    serve: impl Fn(TcpStream) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            Some(ended) = connections.join_next() => {
                told(ended);
                continue;
            }
            accepted = accept_one(&listener, &permits, &failed) => accepted,
        };
        let serving = serve(stream);
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
    drop(listener);
    closed.cancel();
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
    failed: &(impl Fn() + Sync),
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Fails only when the semaphore is closed, which nobody does.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Small answers must not wait for the peer's acknowledgements.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "no TCP_NODELAY on a connection");
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
                failed();
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// The handshake of one connection. Told to end, the server owes nothing to who has not asked yet.
pub async fn shake_hands<IO: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    stream: IO,
    timeout: Duration,
    ending: &CancellationToken,
) -> Result<TlsStream<IO>, HandshakeError> {
    let shaking = tokio::time::timeout(timeout, TlsAcceptor::from(config).accept(stream));
    match ending.run_until_cancelled(shaking).await {
        Some(Ok(shaken)) => shaken.map_err(HandshakeError::Failed),
        Some(Err(_elapsed)) => Err(HandshakeError::Late),
        None => Err(HandshakeError::Ended),
    }
}
