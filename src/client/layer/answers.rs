//! The answers to requests that may not go on.

use std::collections::HashMap;

use serde::Serialize;
use tonic::codegen::http::header::{CONTENT_TYPE, RETRY_AFTER};
use tonic::codegen::http::{HeaderValue, Response, StatusCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::authz::decision::{Presentation, Requestable};
use crate::client::decision::Deny;
use crate::client::error::ClientError;
use crate::client::question::Question;
use crate::grpc::status::DOMAIN;

/// When to come back after a failed check, in seconds, where the server did not say.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request may not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stopped {
    /// The request holds no question that could be asked.
    Unasked(Unasked),
    /// The check of the question was answered with DENY.
    Denied(Question, Box<Deny>),
    /// The check has no answer.
    Failed(ClientError),
}

/// What keeps a request from being checked at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    status: StatusCode,
    detail: String,
}

impl Unasked {
    /// Nobody is signed in: 401, UNAUTHENTICATED.
    pub fn unauthenticated() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            detail: "sign in first".to_owned(),
        }
    }

    /// There is nothing at the path: 404, NOT_FOUND.
    pub fn not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            detail: "there is nothing here".to_owned(),
        }
    }

    /// The request can't be what it should be: 400, INVALID_ARGUMENT.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            detail: detail.into(),
        }
    }
}

/// Makes the answer to a request that may not go on.
pub trait Respond<Body> {
    fn respond(&self, stopped: Stopped) -> Response<Body>;
}

impl<Body, F: Fn(Stopped) -> Response<Body>> Respond<Body> for F {
    fn respond(&self, stopped: Stopped) -> Response<Body> {
        self(stopped)
    }
}

/// Answers as `application/problem+json` (RFC 9457): 403 for a denial, with what a front end needs to
/// show it; 503 where the check failed; 400, 401 or 404 where there was no question.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProblemJson;

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    denial: Option<Denial<'a>>,
}

#[derive(Serialize)]
struct Denial<'a> {
    reason: &'a str,
    requestable: Requestable,
    presentation: Presentation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_access_request_id: Option<&'a str>,
}

impl<Body: From<String>> Respond<Body> for ProblemJson {
    fn respond(&self, stopped: Stopped) -> Response<Body> {
        match &stopped {
            Stopped::Unasked(unasked) => problem(unasked.status, &unasked.detail, None),
            Stopped::Denied(_, deny) => problem(
                StatusCode::FORBIDDEN,
                "the user may not do this",
                Some(Denial {
                    reason: &deny.reason,
                    requestable: deny.requestable,
                    presentation: deny.presentation,
                    pending_access_request_id: deny.pending_access_request.as_deref(),
                }),
            ),
            Stopped::Failed(error) => {
                let mut response = problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "whether the user may do this can't be told just now",
                    None,
                );
                let seconds = retry_after_seconds(error);
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
        }
    }
}

/// Whole seconds, rounded up.
fn retry_after_seconds(error: &ClientError) -> u64 {
    let asked = match error {
        ClientError::Refused(refusal) => refusal.retry_after,
        ClientError::Configuration(_)
        | ClientError::Credential(_)
        | ClientError::Unreachable(_)
        | ClientError::Timeout(_)
        | ClientError::Unreadable(_) => None,
    };
    asked.map_or(RETRY_AFTER_SECONDS, |after| {
        after.as_secs() + u64::from(after.subsec_nanos() > 0)
    })
}

fn problem<Body: From<String>>(
    status: StatusCode,
    detail: &str,
    denial: Option<Denial<'_>>,
) -> Response<Body> {
    let problem = Problem {
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail,
        denial,
    };
    // Strings and words always serialise; without a body the status still says it.
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}

/// Answers as a gRPC status: PERMISSION_DENIED for a denial, with the reason and what a front end
/// needs in an `ErrorInfo`; UNAVAILABLE where the check failed; INVALID_ARGUMENT, UNAUTHENTICATED or
/// NOT_FOUND where there was no question.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcStatus;

impl<Body: Default> Respond<Body> for GrpcStatus {
    fn respond(&self, stopped: Stopped) -> Response<Body> {
        let status = match stopped {
            Stopped::Unasked(unasked) => {
                let code = match unasked.status {
                    StatusCode::UNAUTHORIZED => Code::Unauthenticated,
                    StatusCode::NOT_FOUND => Code::NotFound,
                    _ => Code::InvalidArgument,
                };
                Status::new(code, unasked.detail)
            }
            Stopped::Denied(_, deny) => denied(*deny),
            Stopped::Failed(_) => {
                Status::unavailable("whether the user may do this can't be told just now")
            }
        };
        status.into_http()
    }
}

fn denied(deny: Deny) -> Status {
    let mut metadata = HashMap::from([
        ("requestable".to_owned(), deny.requestable.to_string()),
        ("presentation".to_owned(), deny.presentation.to_string()),
    ]);
    if let Some(pending) = deny.pending_access_request {
        metadata.insert("pending_access_request_id".to_owned(), pending);
    }
    Status::with_error_details(
        Code::PermissionDenied,
        "the user may not do this",
        ErrorDetails::with_error_info(deny.reason, DOMAIN, metadata),
    )
}
