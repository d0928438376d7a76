//! What all calls together may take: how many run at a time, and for how long.
//!
//! A call arrives, which takes a core and no time, until its account is known; then it runs. Beyond
//! the bound a call is refused at once, so that those that run go on as fast as before; and
//! so is a call of an account that has its share of the places already, so that others find some.
//! The health service is never refused: who asks it wants to know how a busy server is.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service, ServiceExt as _};

use super::services::{BULK_METHODS, STREAM_METHODS};
use super::shares::{Kind, Shares};
use super::status::{Failure, Reason};
use crate::authz::model::Id;
use crate::config::TransportSettings;
use crate::metrics::{Running, TransportMetrics};

const HEALTH: &str = "/grpc.health.v1.Health/";

/// So many calls may arrive at a time, however few may run: to see whose they are takes next to no
/// time.
const ARRIVING_MIN: u64 = 1_024;

/// The header in which a client says how long it waits.
const CLIENT_TIMEOUT: &str = "grpc-timeout";

/// Cheap to clone; all clones count the same calls.
#[derive(Clone)]
pub struct Bounds(Arc<Inner>);

struct Inner {
    settings: Arc<TransportSettings>,
    metrics: TransportMetrics,
    shares: Shares,
}

impl Bounds {
    pub fn new(settings: Arc<TransportSettings>, metrics: TransportMetrics) -> Self {
        Self(Arc::new(Inner {
            shares: Shares::new(settings.account_share_percent),
            settings,
            metrics,
        }))
    }

    /// A place among the calls that arrive.
    fn let_in(&self, path: &str) -> Result<Option<Running>, Failure> {
        if path.starts_with(HEALTH) {
            return Ok(None);
        }
        let Inner {
            settings, metrics, ..
        } = self.0.as_ref();
        let most = settings.calls_max.max(ARRIVING_MIN);
        let arriving = metrics.arrive(most).ok_or_else(|| self.refused())?;
        Ok(Some(arriving))
    }

    /// For a stream a place among those that are open; for any other call the one that it has, until
    /// its account is known.
    fn admit(&self, path: &str, arriving: Running) -> Result<AccountShare, Failure> {
        let Inner {
            settings, metrics, ..
        } = self.0.as_ref();
        let (kind, place) = if STREAM_METHODS.contains(&method(path)) {
            let stream = metrics.open_stream(settings.open_streams_max);
            (Kind::Stream, stream.ok_or_else(|| self.refused())?)
        } else {
            (Kind::Call, arriving)
        };
        let place = Place {
            place,
            account: None,
        };
        Ok(AccountShare(Arc::new(Share {
            bounds: self.clone(),
            kind,
            place: Mutex::new(place),
        })))
    }

    fn refused(&self) -> Failure {
        self.0.metrics.shed();
        Failure::new(
            Reason::Overloaded,
            "the server has as many calls as it takes at a time; try again, or at another one",
        )
    }

    fn account_refused(&self) -> Failure {
        self.0.metrics.account_shed();
        Failure::new(
            Reason::AccountOverloaded,
            "the account has as many calls as it may have at a time beside other accounts; try again a little later",
        )
    }

    /// Until the answer begins: by the method and by the client, whichever is sooner.
    fn time_for(&self, path: &str, headers: &HeaderMap) -> Duration {
        let ours = if BULK_METHODS.contains(&method(path)) {
            self.0.settings.bulk_timeout
        } else {
            self.0.settings.request_timeout
        };
        let theirs = headers
            .get(CLIENT_TIMEOUT)
            .and_then(|value| client_timeout(value.to_str().ok()?));
        theirs.map_or(ours, |theirs| ours.min(theirs))
    }
}

/// In the extensions of a request: its place, which becomes one of its account's once somebody knows
/// which that is. Free again with the last clone.
#[derive(Clone)]
pub struct AccountShare(Arc<Share>);

struct Share {
    bounds: Bounds,
    kind: Kind,
    place: Mutex<Place>,
}

struct Place {
    place: Running,
    account: Option<Id>,
}

impl AccountShare {
    /// Counts the call as one of an account, until it has ended.
    ///
    /// # Errors
    /// Where as many calls run as may, or the account has as many as it may have beside others.
    pub fn count(&self, account: &Id) -> Result<(), Failure> {
        let Share {
            bounds,
            kind,
            place,
        } = self.0.as_ref();
        let Inner {
            settings,
            metrics,
            shares,
        } = bounds.0.as_ref();
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.account.is_some() {
            return Ok(());
        }
        let (running, free) = match kind {
            Kind::Call => {
                let running = metrics.begin_call(settings.calls_max);
                let running = running.ok_or_else(|| bounds.refused())?;
                (Some(running), metrics.free_calls(settings.calls_max))
            }
            Kind::Stream => (None, metrics.free_streams(settings.open_streams_max)),
        };
        if !shares.take(account, *kind, free) {
            return Err(bounds.account_refused());
        }
        place.account = Some(account.clone());
        if let Some(running) = running {
            place.place = running;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = &place.account {
            self.bounds.0.shares.give_back(account, self.kind);
        }
    }
}

impl fmt::Debug for AccountShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccountShare({:?})", self.0.kind)
    }
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
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    /// Where too many calls arrive, another one is refused before it waits for a core; all the rest is
    /// done when its turn has come.
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let arriving = match self.bounds.let_in(request.uri().path()) {
            Ok(arriving) => arriving,
            Err(failure) => {
                let refused = Status::from(failure).into_http();
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let bounds = self.bounds.clone();
        let service = self.service.clone();
        Box::pin(async move {
            let admitted = arriving.map(|place| bounds.admit(request.uri().path(), place));
            let share = match admitted.transpose() {
                Ok(share) => share,
                Err(failure) => return Ok(Status::from(failure).into_http()),
            };
            if let Some(share) = &share {
                request.extensions_mut().insert(share.clone());
            }
            let time = bounds.time_for(request.uri().path(), request.headers());
            let answering = service.oneshot(request);
            let Ok(answered) = tokio::time::timeout(time, answering).await else {
                let late = Failure::new(
                    Reason::Timeout,
                    format!("there was no answer within {} ms", time.as_millis()),
                );
                return Ok(Status::from(late).into_http());
            };
            let response = answered?;
            Ok(match share {
                Some(share) => response.map(|body| {
                    Body::new(Held {
                        body,
                        place: Some(share),
                    })
                }),
                None => response,
            })
        })
    }
}

/// The body of an answer, which keeps the place of its call until it is done with.
struct Held {
    body: Body,
    place: Option<AccountShare>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.place = None,
            Poll::Ready(None | Some(Err(_))) => self.place = None,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
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
