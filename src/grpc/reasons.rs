//! Gives the errors that tonic makes itself (a message over its limit, an unknown method) a reason
//! of ours, where they leave as headers.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

use super::status::with_reason;

#[derive(Debug, Clone, Copy)]
pub struct GiveReasons;

impl<S> Layer<S> for GiveReasons {
    type Service = Reasoned<S>;

    fn layer(&self, service: S) -> Reasoned<S> {
        Reasoned(service)
    }
}

#[derive(Debug, Clone)]
pub struct Reasoned<S>(S);

impl<S, Asked, Answered> Service<Request<Asked>> for Reasoned<S>
where
    S: Service<Request<Asked>, Response = Response<Answered>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    Answered: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let answering = self.0.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            give_reason(response.headers_mut());
            Ok(response)
        })
    }
}

/// An answer that is only a status has it in its headers; what ends a stream is in its trailers, and
/// made by the handlers.
fn give_reason(headers: &mut HeaderMap) {
    if !headers.contains_key(Status::GRPC_STATUS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    if status.code() == tonic::Code::Ok {
        return;
    }
    for name in [
        Status::GRPC_STATUS,
        Status::GRPC_MESSAGE,
        Status::GRPC_STATUS_DETAILS,
    ] {
        headers.remove(name);
    }
    // Fails only for a message that is no header value, and tonic encodes it to one.
    if let Err(status) = with_reason(status).add_header(headers) {
        tracing::error!(status = ?status, "a status could not be written");
    }
}
