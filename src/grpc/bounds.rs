//! What all calls together may take: how many run at a time, and for how long.
//!
//! Beyond the bound a call is refused at once, so that those that run go on as fast as before. The
//! health service is never refused: who asks it wants to know how a busy server is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

use super::services::{BULK_METHODS, STREAM_METHODS};
use super::status::{Failure, Reason};
use crate::config::TransportSettings;
use crate::metrics::{Running, TransportMetrics};

const HEALTH: &str = "/grpc.health.v1.Health/";

/// The header in which a client says how long it waits.
const CLIENT_TIMEOUT: &str = "grpc-timeout";

#[derive(Clone)]
pub struct Bounds {
    settings: Arc<TransportSettings>,
    metrics: TransportMetrics,
}

impl Bounds {
    pub fn new(settings: Arc<TransportSettings>, metrics: TransportMetrics) -> Self {
        Self { settings, metrics }
    }

    /// A place among the calls that run, and for a stream one among the open streams.
    fn admit(&self, path: &str) -> Result<Option<Admitted>, Failure> {
        if path.starts_with(HEALTH) {
            return Ok(None);
        }
        let refused = || {
            self.metrics.shed();
            Failure::new(
                Reason::Overloaded,
                "the server has as many calls as it takes at a time; try again, or at another one",
            )
        };
        let calls_max = self.settings.calls_max;
        let call = self.metrics.begin_call(calls_max).ok_or_else(refused)?;
        let stream = if STREAM_METHODS.contains(&method(path)) {
            let streams_max = self.settings.open_streams_max;
            Some(self.metrics.open_stream(streams_max).ok_or_else(refused)?)
        } else {
            None
        };
        Ok(Some(Admitted { call, stream }))
    }

    /// Until the answer begins: by the method and by the client, whichever is sooner.
    fn time_for(&self, path: &str, headers: &HeaderMap) -> Duration {
        let ours = if BULK_METHODS.contains(&method(path)) {
            self.settings.bulk_timeout
        } else {
            self.settings.request_timeout
        };
        let theirs = headers
            .get(CLIENT_TIMEOUT)
            .and_then(|value| client_timeout(value.to_str().ok()?));
        theirs.map_or(ours, |theirs| ours.min(theirs))
    }
}

/// Places that are free again when this is dropped.
struct Admitted {
    call: Running,
    stream: Option<Running>,
}

fn method(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// At most eight digits and a unit; anything else is as good as none.
fn client_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, service: S) -> Bounded<S> {
        Bounded {
            bounds: self.clone(),
            service,
        }
    }
}

#[derive(Clone)]
pub struct Bounded<S> {
    bounds: Bounds,
    service: S,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let admitted = match self.bounds.admit(path) {
            Ok(admitted) => admitted,
            Err(failure) => {
                let refused = Status::from(failure).into_http();
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let time = self.bounds.time_for(path, request.headers());
        let answering = self.service.call(request);
        Box::pin(async move {
            let Ok(answered) = tokio::time::timeout(time, answering).await else {
                let late = Failure::new(
                    Reason::Timeout,
                    format!("there was no answer within {} ms", time.as_millis()),
                );
                return Ok(Status::from(late).into_http());
            };
            let response = answered?;
            let Some(Admitted { call, stream }) = admitted else {
                return Ok(response);
            };
            drop(call);
            Ok(match stream {
                Some(place) => response.map(|body| {
                    Body::new(Held {
                        body,
                        _place: place,
                    })
                }),
                None => response,
            })
        })
    }
}

/// The body of a stream, which keeps its place until it is done with.
struct Held {
    body: Body,
    _place: Running,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_a_client_gives_is_read_as_grpc_has_it() {
        for (text, time) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("+1S", None),
            ("1", None),
            ("1é", None),
        ] {
            assert_eq!(client_timeout(text), time, "{text:?}");
        }
    }
}
