//! A tower layer that checks before a handler runs: for axum, tonic, and whatever else is a service
//! over HTTP requests.
//!
//! A function of the caller's reads the question out of the request. On ALLOW the inner service runs,
//! with a [`Permit`] in the extensions of the request; on DENY a responder answers in its place; where
//! there is no answer it is 503, and the inner service does not run.
//!
//! ```
//! use ambit::client::layer::{CheckLayer, ProblemJson, Unasked};
//! use ambit::client::{Client, Permit, Question};
//! use axum::extract::Request;
//! use axum::{Extension, Router, routing};
//!
//! /// Whoever authenticates the users of the service puts this into the extensions.
//! #[derive(Clone)]
//! struct SignedIn(String);
//!
//! fn view_contact(request: &Request) -> Result<Question, Unasked> {
//!     let user = request.extensions().get::<SignedIn>().ok_or_else(Unasked::unauthenticated)?;
//!     let id = request.uri().path().strip_prefix("/contacts/").ok_or_else(Unasked::not_found)?;
//!     Ok(Question::new("northwind", &user.0, "contact", "view").on(id))
//! }
//!
//! /// Can't run without a check, and acts on what was checked.
//! async fn show(Extension(permit): Extension<Permit>) -> String {
//!     permit.question().resource().unwrap_or_default().to_owned()
//! }
//!
//! fn routes(client: Client) -> Router {
//!     let check = CheckLayer::new(client, view_contact, ProblemJson);
//!     Router::new().route("/contacts/{id}", routing::get(show).layer(check))
//! }
//! ```
//!
//! For a tonic service use [`GrpcStatus`] in place of [`ProblemJson`]. A [`Session`] in the
//! extensions of the request is the one that the check is made in.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::decision::{Blocked, Permit};
use super::{Client, Question, Session};

mod answers;

pub use answers::{GrpcStatus, ProblemJson, Respond, Stopped, Unasked};

/// Checks each request before the inner service gets it.
///
/// `Ask` is a function from a request to its question; `Answer` makes the answer to a request that
/// may not go on.
#[derive(Debug, Clone)]
pub struct CheckLayer<Ask, Answer> {
    client: Client,
    ask: Ask,
    answer: Answer,
}

impl<Ask, Answer> CheckLayer<Ask, Answer> {
    pub fn new(client: Client, ask: Ask, answer: Answer) -> Self {
        Self {
            client,
            ask,
            answer,
        }
    }
}

impl<Inner, Ask: Clone, Answer: Clone> Layer<Inner> for CheckLayer<Ask, Answer> {
    type Service = Checked<Inner, Ask, Answer>;

    fn layer(&self, inner: Inner) -> Self::Service {
        Checked {
            inner,
            client: self.client.clone(),
            ask: self.ask.clone(),
            answer: self.answer.clone(),
        }
    }
}

/// A service whose requests are checked first; made by [`CheckLayer`].
#[derive(Debug, Clone)]
pub struct Checked<Inner, Ask, Answer> {
    inner: Inner,
    client: Client,
    ask: Ask,
    answer: Answer,
}

impl<Inner, Ask, Answer, Asked, Answered> Service<Request<Asked>> for Checked<Inner, Ask, Answer>
where
    Inner: Service<Request<Asked>, Response = Response<Answered>> + Clone + Send + 'static,
    Inner::Future: Send,
    Inner::Error: Send,
    Ask: Fn(&Request<Asked>) -> Result<Question, Unasked>,
    Answer: Respond<Answered> + Clone + Send + 'static,
    Asked: Send + 'static,
    Answered: Send + 'static,
{
    type Response = Response<Answered>;
    type Error = Inner::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Asked>) -> Self::Future {
        // A permit that was there before this check is none of this check's.
        request.extensions_mut().remove::<Permit>();
        let asked = (self.ask)(&request).and_then(|question| match question.validate() {
            Ok(()) => Ok(question),
            Err(error) => Err(Unasked::malformed(error.to_string())),
        });
        let answer = self.answer.clone();
        let question = match asked {
            Ok(question) => question,
            Err(unasked) => {
                return Box::pin(async move { Ok(answer.respond(Stopped::Unasked(unasked))) });
            }
        };
        let client = match request.extensions().get::<Session>() {
            Some(session) => self.client.in_session(session),
            None => self.client.clone(),
        };
        // The clone that is left behind has not been made ready, so the ready one goes along.
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        Box::pin(async move {
            match client.permit(&question).await {
                Ok(permit) => {
                    request.extensions_mut().insert(permit);
                    inner.call(request).await
                }
                Err(Blocked::Denied(deny)) => Ok(answer.respond(Stopped::Denied(question, deny))),
                Err(Blocked::Failed(error)) => {
                    tracing::warn!(%error, "a request could not be checked, and is not let through");
                    Ok(answer.respond(Stopped::Failed(error)))
                }
            }
        })
    }
}
