//! Why there is no answer. None of these is a decision.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::grpc::status::DOMAIN;

/// Why a call has no answer: never an allow, never a deny.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client is set up wrongly, or what was asked can't be sent; nothing was.
    #[error("{0}")]
    Configuration(String),
    /// There is no credential to send; nothing was sent.
    #[error("there is no credential: {0}")]
    Credential(String),
    /// The server can't be reached, or the connection broke before the answer was whole. A write may
    /// have been made or not.
    #[error("the server can't be reached: {0}")]
    Unreachable(String),
    /// The time that the call may take is over. A write may have been made or not.
    #[error("no answer came within {0:?}")]
    Timeout(Duration),
    /// The server answered an error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The server answered something that this client can't read; it may be newer.
    #[error("the server's answer can't be read: {0}")]
    Unreadable(String),
}

/// An error that the server answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} [{}]", named(.reason, *.code))]
#[non_exhaustive]
pub struct Refusal {
    pub code: Code,
    /// One of the closed list of `docs/api.md`, such as `UNKNOWN_ACTION`; empty where something
    /// between here and the server answered in its place.
    pub reason: String,
    /// For people; names the field.
    pub message: String,
    /// The wire path of the field that is wrong.
    pub field: Option<String>,
    /// When the server asks to be called again.
    pub retry_after: Option<Duration>,
}

impl ClientError {
    /// The reason that the server gave; `None` where it gave none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) if !refusal.reason.is_empty() => Some(&refusal.reason),
            Self::Refused(_)
            | Self::Configuration(_)
            | Self::Credential(_)
            | Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::Unreadable(_) => None,
        }
    }

    /// What a status means; `allowed` is the time that the call was given.
    pub(super) fn of_status(status: &Status, allowed: Duration) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        if info.is_none() {
            if is_over(status) {
                return Self::Timeout(allowed);
            }
            if is_broken(status) {
                return Self::Unreachable(status.source().map_or_else(
                    || status.message().to_owned(),
                    |source| innermost(source).to_string(),
                ));
            }
        }
        Self::Refused(Box::new(Refusal {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: if status.message().is_empty() {
                status.code().description().to_owned()
            } else {
                status.message().to_owned()
            },
            field: details
                .bad_request()
                .and_then(|bad| bad.field_violations.first())
                .map(|violation| violation.field.clone()),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }))
    }

    /// What lies under an error of the stack: the sentence that says what happened.
    pub(super) fn innermost_of(error: &(dyn std::error::Error + 'static)) -> String {
        innermost(error).to_string()
    }

    pub(super) fn unreadable(what: impl Into<String>) -> Self {
        Self::Unreadable(what.into())
    }
}

/// The reason, or the code of whoever answered without one.
fn named(reason: &str, code: Code) -> String {
    if reason.is_empty() {
        format!("{code:?}")
    } else {
        reason.to_owned()
    }
}

/// Whether the time was over on this side.
fn is_over(status: &Status) -> bool {
    match status.code() {
        Code::DeadlineExceeded => true,
        // What tonic makes of a time limit that it kept itself.
        Code::Cancelled => status
            .source()
            .is_some_and(|source| innermost(source).is::<tonic::TimeoutExpired>()),
        _ => false,
    }
}

/// Whether a status was made on this side, or on the way, because the connection is gone.
fn is_broken(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

fn innermost<'a>(
    mut error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::status::{Failure, Reason};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_error_of_the_server_keeps_its_reason_and_its_field() {
        let status = Status::from(Failure::invalid("user_id", "an id must not be empty"));
        let error = ClientError::of_status(&status, SECOND);
        assert_eq!(error.reason(), Some("INVALID_FIELD"));
        let ClientError::Refused(refusal) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(refusal.field.as_deref(), Some("user_id"));
        assert_eq!(
            error.to_string(),
            "user_id: an id must not be empty [INVALID_FIELD]"
        );
    }

    #[test]
    fn what_no_server_of_ours_answered_is_unreachable_or_late() {
        let proxy = Status::unavailable("upstream connect error");
        assert!(matches!(
            ClientError::of_status(&proxy, SECOND),
            ClientError::Unreachable(text) if text == "upstream connect error"
        ));
        let late = Status::deadline_exceeded("");
        assert_eq!(
            ClientError::of_status(&late, SECOND),
            ClientError::Timeout(SECOND)
        );
        let ours = Status::from(Failure::new(Reason::Stale, "behind"));
        assert_eq!(
            ClientError::of_status(&ours, SECOND).reason(),
            Some("STALE")
        );
    }
}
