//! The layer in front of all services: finds the credential of a call, and lets the call through
//! with an [`Admission`], or refuses it.
//!
//! A call that goes on for long, such as a watch, is looked at again while it does: a token that is
//! revoked or expires meanwhile ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service, ServiceExt as _};

use super::admission::Admission;
use super::methods::{self, Needs};
use super::status::{Failure, Reason};
use crate::authentication::{Authentication, Known, PeerCertificate, Refusal, Standing};

/// What the scheme of a credential is called, in any case.
const BEARER: &str = "bearer ";

#[derive(Clone)]
pub struct Authenticate(pub Authentication);

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, service: S) -> Authenticated<S> {
        Authenticated {
            service,
            authentication: self.0.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Authenticated<S> {
    service: S,
    authentication: Authentication,
}

impl<S, Asked, Answered> Service<Request<Asked>> for Authenticated<S>
where
    S: Service<Request<Asked>, Response = Response<Answered>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Asked: Send + 'static,
    Answered: HttpBody<Data = tonic::codegen::Bytes> + Send + 'static,
    Answered::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Asked>) -> Self::Future {
        let authentication = self.authentication.clone();
        match authentication.admit(&request) {
            Ok(admitted) => {
                admitted.0.put_into(&mut request);
                let answering = self.service.call(request);
                Box::pin(async move { Ok(attended(answering.await?, authentication, admitted.1)) })
            }
            // Its issuer may have made the key since.
            Err(Refused::ForKey(token)) => {
                let mut service = self.service.clone();
                Box::pin(async move {
                    authentication.look_for_keys(&token).await;
                    match authentication.admit(&request) {
                        Ok(admitted) => {
                            admitted.0.put_into(&mut request);
                            // A clone is not ready because its origin was.
                            let answer = service.ready().await?.call(request).await?;
                            Ok(attended(answer, authentication, admitted.1))
                        }
                        Err(refused) => Ok(Status::from(refused.failure()).into_http()),
                    }
                })
            }
            Err(refused @ Refused::For(_)) => {
                let refused = Status::from(refused.failure()).into_http();
                Box::pin(async move { Ok(refused) })
            }
        }
    }
}

/// An answer that ends when its caller is no longer known.
fn attended<B>(
    response: Response<B>,
    authentication: Authentication,
    standing: Option<Standing>,
) -> Response<Body>
where
    B: HttpBody<Data = tonic::codegen::Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    match standing {
        None => response.map(Body::new),
        Some(standing) => {
            response.map(|body| Body::new(Attended::new(body, authentication, standing)))
        }
    }
}

impl Admission {
    /// For the handlers, and the caller for whoever looks at requests on their way: logs, the audit,
    /// fairness.
    fn put_into<B>(&self, request: &mut Request<B>) {
        if let Some(caller) = self.caller() {
            request.extensions_mut().insert(caller.clone());
        }
        request.extensions_mut().insert(self.clone());
    }
}

/// A call that is not let through.
enum Refused {
    For(Failure),
    /// The token names a key that is not known, which may be there when it is asked for anew.
    ForKey(String),
}

impl Refused {
    fn failure(self) -> Failure {
        match self {
            Self::For(failure) => failure,
            Self::ForKey(_) => Failure::unauthenticated(),
        }
    }
}

type Admitted = (Admission, Option<Standing>);

impl Authentication {
    fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, Refused> {
        let path = request.uri().path();
        let needs = methods::needs(path);
        // First of all what is for everybody, so that probes go on whatever else fails.
        if !self.is_required() || needs == Some(Needs::Nothing) {
            return Ok((Admission::of_anybody(), None));
        }
        let token = bearer(request.headers());
        let known = match (token, request.extensions().get::<Arc<PeerCertificate>>()) {
            (Err(refusal), _) => Err(refusal),
            // A token is of this call and says more closely who makes it: a gateway with a
            // certificate of its own passes on those of others. One that is not good is no caller,
            // whatever the certificate.
            (Ok(Some(token)), _) => self.bearer(token),
            (Ok(None), Some(peer)) => self.certificate(peer),
            (Ok(None), None) => Err(Refusal::Unknown("there is no credential")),
        };
        let Known { caller, standing } = match (known, token) {
            (Ok(known), _) => known,
            (Err(Refusal::UnknownKey), Ok(Some(token))) => {
                return Err(Refused::ForKey(token.to_owned()));
            }
            (Err(refusal), _) => {
                if let Refusal::Unknown(why) = refusal {
                    tracing::debug!(path, why, "a call was refused");
                }
                return Err(Refused::For(refusal.into()));
            }
        };
        match needs {
            Some(Needs::Role(role)) if !caller.roles.allow(role) => {
                Err(Refused::For(Failure::role_missing(role)))
            }
            Some(Needs::Role(_) | Needs::Caller | Needs::Nothing) => {
                Ok((Admission::of_caller(caller), Some(standing)))
            }
            None => Err(Refused::For(Failure::new(
                Reason::UnknownMethod,
                "the server has no such service or method",
            ))),
        }
    }
}

/// The bearer credential of a request, of which there is one or none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut credentials = headers.get_all(AUTHORIZATION).iter();
    match (credentials.next(), credentials.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Refusal::Unknown("there are two credentials")),
        (Some(credential), None) => {
            let text = credential
                .to_str()
                .map_err(|_| Refusal::Unknown("the credential is no text"))?;
            match text.split_at_checked(BEARER.len()) {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => {
                    Ok(Some(token.trim()))
                }
                _ => Err(Refusal::Unknown("the credential is no bearer token")),
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(_) | Refusal::UnknownKey => Self::unauthenticated(),
            Refusal::Unsure => Self::new(
                Reason::Stale,
                "the server can't tell at the moment whether the credential is good: try again",
            ),
        }
    }
}

/// The body of an answer, ended once its caller is no longer known.
struct Attended<B> {
    /// `None` once it was ended.
    body: Option<Pin<Box<B>>>,
    authentication: Authentication,
    standing: Arc<Standing>,
    looked_at: Duration,
    /// Wakes a body that waits; made when one does.
    look: Option<Pin<Box<Sleep>>>,
}

impl<B> Attended<B> {
    fn new(body: B, authentication: Authentication, standing: Standing) -> Self {
        Self {
            body: Some(Box::pin(body)),
            looked_at: authentication.clock().monotonic(),
            authentication,
            standing: Arc::new(standing),
            look: None,
        }
    }

    /// Fails where it is time to look, and the caller is gone.
    fn look(&mut self) -> Result<(), Refusal> {
        let now = self.authentication.clock().monotonic();
        if now.saturating_sub(self.looked_at) < self.authentication.look_interval() {
            return Ok(());
        }
        self.looked_at = now;
        self.authentication.look_again(&self.standing)
    }
}

/// The last frame of a body whose caller is gone.
fn ended<E>(refusal: Refusal) -> Option<Result<Frame<tonic::codegen::Bytes>, E>> {
    let mut trailers = HeaderMap::new();
    match Status::from(Failure::from(refusal)).add_header(&mut trailers) {
        Ok(()) => Some(Ok(Frame::trailers(trailers))),
        // Without a status the call is broken off, which is an end too.
        Err(status) => {
            tracing::error!(status = ?status, "a status could not be written");
            None
        }
    }
}

impl<B> HttpBody for Attended<B>
where
    B: HttpBody<Data = tonic::codegen::Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.body.is_none() {
                return Poll::Ready(None);
            }
            if let Err(refusal) = this.look() {
                this.body = None;
                return Poll::Ready(ended(refusal));
            }
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                return Poll::Ready(frame);
            }
            let interval = this.authentication.look_interval();
            let look = this
                .look
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
            if look.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.look = None;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
