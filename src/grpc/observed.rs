//! Sees every call of the gRPC port from its head to the end of its answer: how long it took, and
//! with which code it ended. A call that is traced is a span.
//!
//! The code of an answer is in its trailers, after the last message, so the body is followed to its
//! end. A call that nobody waits for any more ends as `CANCELLED`, one that panics as `INTERNAL`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing::span::Entered;

use super::wire;
use crate::clock::Clock;
use crate::metrics::{CODES, CallMetrics, MethodId};
use crate::telemetry::trace_context::{TRACEPARENT, TraceId, TraceParent};
use crate::telemetry::{SAMPLED, Sampling};

/// The layer; cheap to clone.
#[derive(Clone)]
pub struct Observe(Option<Arc<Observer>>);

struct Observer {
    calls: CallMetrics,
    clock: Arc<dyn Clock>,
    sampling: Sampling,
}

impl Observe {
    pub fn new(calls: CallMetrics, clock: Arc<dyn Clock>, sampling: Sampling) -> Self {
        Self(Some(Arc::new(Observer {
            calls,
            clock,
            sampling,
        })))
    }

    /// Nothing is looked at.
    pub fn off() -> Self {
        Self(None)
    }
}

/// The full names of all methods of the port, as `ambit.v1.DecisionService/Check`.
pub fn methods() -> Vec<String> {
    let sets = [
        wire::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets
        .iter()
        // Descriptors that can't be read have no methods; a test holds that these can.
        .filter_map(|set| prost_types::FileDescriptorSet::decode(*set).ok())
        .flat_map(|set| set.file);
    let mut names: Vec<String> = files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let full = format!("{package}.{}", service.name());
                let named = service.method.into_iter();
                named.map(move |method| format!("{full}/{}", method.name()))
            })
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, service: S) -> Observed<S> {
        Observed {
            service,
            observe: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Observed<S> {
    service: S,
    observe: Observe,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let call = self.observe.0.as_ref().map(|observer| {
            let method = observer.calls.method(request.uri().path());
            let began = observer.clock.monotonic();
            let traced = observer.traced(method, request.headers());
            Call {
                method,
                began,
                span: traced.map(|(trace, span)| {
                    request.extensions_mut().insert(trace);
                    span
                }),
                observer: Arc::clone(observer),
                has_ended: false,
            }
        });
        let entered = call.as_ref().and_then(Call::enter);
        let answering = Box::pin(self.service.call(request));
        drop(entered);
        Answering { call, answering }
    }
}

impl Observer {
    /// The span of a call that is exported, or whose trace the log is to name.
    fn traced(&self, method: MethodId, headers: &HeaderMap) -> Option<(TraceId, Span)> {
        let parent = headers
            .get(TRACEPARENT)
            .and_then(|header| TraceParent::parse(header.as_bytes()));
        if self.sampling.takes(parent.as_ref()) {
            let span = self.exported(method);
            if let Some(parent) = &parent {
                parent.adopt(&span);
            }
            let trace = TraceId::of(&span);
            span.record("trace_id", display(trace));
            return Some((trace, span));
        }
        let trace = parent?.trace_id;
        let method = self.calls.name(method);
        let span =
            tracing::info_span!(parent: None, "call", trace_id = %trace, rpc.method = method);
        Some((trace, span))
    }

    /// With what is known when the call begins, and room for what comes to be known.
    fn exported(&self, method: MethodId) -> Span {
        let name = self.calls.name(method);
        tracing::info_span!(
            target: SAMPLED,
            parent: None,
            "call",
            trace_id = Empty,
            otel.name = name,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = name,
            rpc.response.status_code = Empty,
            ambit.account_id = Empty,
            ambit.action = Empty,
            ambit.resource_type = Empty,
            ambit.decision = Empty,
            ambit.reason = Empty,
            ambit.revision = Empty,
            ambit.cache = Empty,
        )
    }
}

/// Codes that say that the server failed, not that the caller asked for what it can't have.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A call that is under way.
struct Call {
    observer: Arc<Observer>,
    method: MethodId,
    began: Duration,
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    fn enter(&self) -> Option<Entered<'_>> {
        self.span.as_ref().map(Span::enter)
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let took = self.observer.clock.monotonic().saturating_sub(self.began);
        let number = usize::try_from(i32::from(code)).unwrap_or(usize::MAX);
        self.observer.calls.ended(self.method, number, took);
        if let Some(span) = &self.span {
            span.record("rpc.response.status_code", CODES.get(number).copied());
            if is_fault(code) {
                span.record("otel.status_code", "ERROR");
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(if std::thread::panicking() {
            Code::Internal
        } else {
            Code::Cancelled
        });
    }
}

pub struct Answering<F> {
    call: Option<Call>,
    answering: Pin<Box<F>>,
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let entered = this.call.as_ref().and_then(Call::enter);
        let polled = this.answering.as_mut().poll(context);
        drop(entered);
        let answered = ready!(polled);
        let Some(mut call) = this.call.take() else {
            return Poll::Ready(answered);
        };
        Poll::Ready(match answered {
            Err(error) => {
                call.end(Code::Unknown);
                Err(error)
            }
            Ok(response) => match code_in(response.headers()) {
                // An answer that is only a status has no trailers.
                Some(code) => {
                    call.end(code);
                    Ok(response)
                }
                None => Ok(response.map(|body| Body::new(Followed { body, call }))),
            },
        })
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// The body of an answer, followed to its end.
struct Followed {
    body: Body,
    call: Call,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.call.end(code);
                }
            }
            Some(Err(status)) => self.call.end(status.code()),
            // Without a status nobody knows how it ended.
            None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
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
    use crate::metrics::CODES;

    #[test]
    fn the_methods_are_those_of_all_services() {
        let methods = methods();
        for expected in [
            "ambit.v1.DecisionService/Check",
            "ambit.v1.DirectoryService/ApplyChanges",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(
                methods.iter().any(|name| name == expected),
                "{expected} in {methods:?}"
            );
        }
    }

    #[test]
    fn the_names_of_the_codes_are_at_their_numbers() {
        for (number, name) in CODES.iter().enumerate() {
            let code = Code::from(i32::try_from(number).unwrap());
            let spelt = format!("{code:?}");
            assert_eq!(name.replace('_', "").to_lowercase(), spelt.to_lowercase());
        }
    }
}
