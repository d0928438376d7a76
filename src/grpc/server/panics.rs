//! Keeps a panic to the call that it befell.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use crate::grpc::status::Failure;

/// A panic of one call is that call's error, and no other's on the connection.
#[derive(Debug, Clone, Copy)]
pub struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = PanicsCaught<S>;

    fn layer(&self, service: S) -> PanicsCaught<S> {
        PanicsCaught(service)
    }
}

#[derive(Debug, Clone)]
pub struct PanicsCaught<S>(S);

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

pub struct Guarded<F>(Pin<Box<F>>);

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
