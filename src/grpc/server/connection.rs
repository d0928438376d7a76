//! One connection: the handshake, its calls, and how it ends.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::Service;

use super::Transport;
use super::linger::{self, Lent};
use super::preface::Prefaced;
use super::stall::{Calls, Noted};
use crate::authentication::PeerCertificate;
use crate::config::TransportSettings;
use crate::listening::{self, HandshakeError};
use crate::metrics::ConnectionEnd;
use crate::randomness::Randomness;
use crate::shutdown::Shutdown;
use crate::tls::{ClientChain, Tls};

/// Resets that a connection may cause before it is closed: what a client asks for and what the
/// server answers with an error of its own. Without the first a rapid reset costs nothing.
const LOCAL_RESETS_MAX: usize = 100;
const RESETS_BEFORE_ACCEPTED_MAX: usize = 20;

pub struct Connection<S> {
    transport: Transport,
    service: S,
    shutdown: Shutdown,
    /// The port is closed: whoever is told to go comes back to no socket that is about to be.
    closed: CancellationToken,
}

/// Counts a connection as open until it is dropped, however that comes.
struct Open<'a> {
    transport: &'a Transport,
    end: ConnectionEnd,
}

impl<'a> Open<'a> {
    fn new(transport: &'a Transport) -> Self {
        transport.metrics.accepted();
        Self {
            transport,
            // Dropped by force, it is cut.
            end: ConnectionEnd::Cut,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.transport.metrics.ended(self.end);
    }
}

impl<S> Connection<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    pub fn new(
        transport: Transport,
        service: S,
        shutdown: Shutdown,
        closed: CancellationToken,
    ) -> Self {
        Self {
            transport,
            service,
            shutdown,
            closed,
        }
    }

    pub async fn run(self, stream: TcpStream) {
        let mut open = Open::new(&self.transport);
        let (stream, returned) = linger::lend(stream);
        open.end = self.serve(stream).await;
        if open.end == ConnectionEnd::Closed {
            let hard = self.shutdown.hard();
            hard.run_until_cancelled(returned.linger()).await;
        }
    }

    async fn serve(&self, stream: Lent) -> ConnectionEnd {
        let Some(tls) = &self.transport.tls else {
            return self.speak(stream, None).await;
        };
        let Some(stream) = self.shake_hands(tls, stream).await else {
            return ConnectionEnd::Failed;
        };
        let peer = ClientChain::of(stream.get_ref().1);
        let peer = peer.map(|chain| Arc::new(PeerCertificate::new(chain)));
        self.speak(stream, peer).await
    }

    async fn shake_hands(&self, tls: &Tls, stream: Lent) -> Option<TlsStream<Lent>> {
        let timeout = self.transport.settings.handshake_timeout;
        match listening::shake_hands(tls.config(), stream, timeout, self.shutdown.soft()).await {
            Ok(stream) => Some(stream),
            Err(HandshakeError::Ended) => None,
            Err(error) => {
                self.transport.metrics.handshake_failed();
                tracing::debug!(error = %error, "a TLS handshake failed");
                None
            }
        }
    }

    /// HTTP/2 until both sides are done, or until we are.
    async fn speak<IO>(&self, stream: IO, peer: Option<Arc<PeerCertificate>>) -> ConnectionEnd
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = &self.transport.settings;
        let stream = Prefaced::new(stream, settings.handshake_timeout, &self.shutdown);
        // First of all a reader is told; one that does not read that either is cut off.
        let untaken_max = settings.stream_stall_timeout.saturating_mul(2);
        let calls = Calls::new(untaken_max, self.transport.metrics.clone());
        let service = self.service.clone();
        let begin = calls.clone();
        let serve = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            if let Some(peer) = &peer {
                request.extensions_mut().insert(Arc::clone(peer));
            }
            let taken = begin.begin();
            // At once, and not when the turn of its task comes: the call is in flight from here on.
            // All layers are ready always.
            let answering = service.clone().call(request);
            async move {
                let answer = answering.await?;
                Ok::<_, Infallible>(answer.map(|body| Noted::new(body, taken)))
            }
        });
        let speaking = protocol(settings, calls).serve_connection(TokioIo::new(stream), serve);
        let mut speaking = pin!(speaking);
        let age = settings
            .connection_age
            .map(|age| jittered(age, self.transport.randomness.as_ref()));
        let grace = tokio::select! {
            ended = speaking.as_mut() => return end_of(ended),
            () = self.closed.cancelled() => None,
            () = reached(age) => {
                self.transport.metrics.aged();
                Some(settings.connection_age_grace)
            }
        };
        // GOAWAY: the client makes its next calls elsewhere, and these end as they would have.
        speaking.as_mut().graceful_shutdown();
        tokio::select! {
            ended = speaking.as_mut() => end_of(ended),
            () = self.shutdown.hard().cancelled() => ConnectionEnd::Cut,
            () = reached(grace) => ConnectionEnd::Cut,
        }
    }
}

fn protocol(settings: &TransportSettings, calls: Calls) -> http2::Builder<Calls> {
    let mut protocol = http2::Builder::new(calls);
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_per_connection_max)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_BEFORE_ACCEPTED_MAX)
        .max_header_list_size(settings.header_bytes_max)
        .initial_stream_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .max_send_buf_size(settings.send_buffer_bytes_max)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout);
    protocol
}

/// Never, where there is no such time.
async fn reached(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

fn end_of(ended: Result<(), hyper::Error>) -> ConnectionEnd {
    match ended {
        Ok(()) => ConnectionEnd::Closed,
        Err(error) => {
            tracing::debug!(error = %error, "a gRPC connection failed");
            ConnectionEnd::Failed
        }
    }
}

/// A tenth more or less, so that clients that came at once do not all leave at once.
fn jittered(age: Duration, randomness: &dyn Randomness) -> Duration {
    let Ok([first, second, ..]) = randomness.bytes() else {
        // Without randomness an age is still an age.
        return age;
    };
    let part = u32::from(u16::from_be_bytes([first, second]));
    let least = age.saturating_sub(age / 10);
    least.saturating_add((age / 5).saturating_mul(part) / u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::SeededRandomness;

    #[test]
    fn ages_lie_within_a_tenth_and_apart() {
        let randomness = SeededRandomness::new(11);
        let age = Duration::from_secs(600);
        let ages: Vec<Duration> = (0..100).map(|_| jittered(age, &randomness)).collect();
        let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(540), "{least:?}");
        assert!(*most <= Duration::from_secs(660), "{most:?}");
        assert!(
            *most - *least > Duration::from_secs(60),
            "{least:?} {most:?}"
        );
    }
}
