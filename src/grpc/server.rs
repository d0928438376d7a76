//! The transport of the gRPC port: accepting, limits of a connection, the end.
//!
//! What tonic leaves open is closed here: its accept loop spins when descriptors run out, it sends
//! no limit of streams, it lifts hyper's bound on resets, it waits for open streams for ever, and
//! for ever too for the first word of a client that connects and is silent.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::{Layer, Service};

use super::status::Failure;
use crate::access_requests::AccessRequests;
use crate::authentication::Authentication;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// A peer that does not answer pings is gone: without this a cut cable holds its streams open.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Resets that a connection may cause before it is closed; tonic would lift hyper's bound.
const LOCAL_RESETS_MAX: usize = 100;

/// Bytes that a client of HTTP/2 begins with, and the time that it has for them.
const PREFACE_BYTES: usize = 24;
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

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
}

#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Calls at a time on one connection.
    pub streams_per_connection_max: u32,
    /// Longest time until a call has its answer, or a stream its first item.
    pub request_timeout: Duration,
}

/// Serves until the shutdown begins and all connections are closed; the caller bounds that.
pub async fn serve(
    listener: TcpListener,
    limits: ServerLimits,
    routes: Routes,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let connections = accept(listener, limits.connections_max, shutdown.clone());
    Server::builder()
        .layer(CatchPanics)
        .timeout(limits.request_timeout)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, shutdown.soft().cancelled())
        .await
}

/// Accepts connections in a task of its own until the shutdown begins.
fn accept(
    listener: TcpListener,
    connections_max: usize,
    shutdown: Shutdown,
) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(16);
    let permits = Arc::new(Semaphore::new(connections_max));
    tokio::spawn(async move {
        let ending = shutdown.soft().clone();
        ending
            .run_until_cancelled(async {
                while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
                    let stream = accept_one(&listener).await;
                    let connection = Connection {
                        stream,
                        preface: Some(Preface::awaited(&shutdown)),
                        _permit: permit,
                    };
                    if accepted.send(Ok(connection)).await.is_err() {
                        break;
                    }
                }
            })
            .await;
    });
    ReceiverStream::new(connections)
}

async fn accept_one(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Small answers must not wait for the peer's acknowledgements.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "no TCP_NODELAY on a gRPC connection");
                }
                return stream;
            }
            // The peer gave up in between: nothing is wrong here.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// An accepted connection, which counts as one until it is dropped.
struct Connection {
    stream: TcpStream,
    /// While the client has not begun to speak.
    preface: Option<Preface>,
    _permit: OwnedSemaphorePermit,
}

/// A client that has connected and owes its first bytes. After them hyper's pings tell whether it
/// is still there, and a shutdown reaches it; before them nothing would.
struct Preface {
    bytes_missing: usize,
    over: Pin<Box<dyn Future<Output = &'static str> + Send>>,
}

impl Preface {
    fn awaited(shutdown: &Shutdown) -> Self {
        let ending = shutdown.soft().clone().cancelled_owned();
        Self {
            bytes_missing: PREFACE_BYTES,
            over: Box::pin(async move {
                tokio::select! {
                    () = ending => "the server is shutting down",
                    () = tokio::time::sleep(PREFACE_TIMEOUT) => "the client did not begin to speak",
                }
            }),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(preface) = &mut self.preface else {
            return read;
        };
        let bytes = buffer.filled().len() - filled_before;
        preface.bytes_missing = preface.bytes_missing.saturating_sub(bytes);
        if preface.bytes_missing == 0 {
            self.preface = None;
        } else if read.is_pending()
            && let Poll::Ready(why) = preface.over.as_mut().poll(context)
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A panic of one call is that call's error, and no other's on the connection.
#[derive(Debug, Clone, Copy)]
struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = PanicsCaught<S>;

    fn layer(&self, service: S) -> PanicsCaught<S> {
        PanicsCaught(service)
    }
}

#[derive(Debug, Clone)]
struct PanicsCaught<S>(S);

impl<S> Service<Request<Body>> for PanicsCaught<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Guarded<S::Future> {
        Guarded(Box::pin(self.0.call(request)))
    }
}

struct Guarded<F>(Pin<Box<F>>);

impl<F, E> Future for Guarded<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // The future is dropped after a panic and never polled again, so nobody sees a state that
        // it left half made; what it shares with others is behind locks and atomics of their own.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        match polled {
            Ok(poll) => Poll::Ready(ready!(poll)),
            // The hook of `telemetry` has logged what and where.
            Err(_panic) => Poll::Ready(Ok(Status::from(Failure::internal()).into_http())),
        }
    }
}
