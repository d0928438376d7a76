//! What a form asks for, and what its refusals mean to a browser.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;

use super::answer::Refused;
use super::decision_form::{FormError, approval_of};
use super::language::{Language, Sentence};
use super::visit::Fields;
use crate::access_requests::{AccessRequestError, Act};
use crate::authz::access_request::RequestRefusal;
use crate::authz::model::{Id, Timestamp};
use crate::directory::DirectoryError;
use crate::graph_cache::ReadError;
use crate::store::StoreError;

/// Largest form, in bytes: a note of 1,000 characters, escaped, with room.
const FORM_BYTES_MAX: usize = 16 * 1_024;

/// Longest that a browser may take to send a form.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// The form that a browser sent.
pub(super) async fn read_form(body: Body) -> Result<Fields, Refused> {
    let read = axum::body::to_bytes(body, FORM_BYTES_MAX);
    match tokio::time::timeout(FORM_TIMEOUT, read).await {
        Ok(Ok(bytes)) => Ok(Fields::parse(&bytes)),
        // Too long, too slow, or broken off: then nobody reads the answer.
        Ok(Err(_)) | Err(_) => Err(Refused::TooLarge),
    }
}

/// What a form asks for, and the word for it once it is done; `None`: nothing that a page of ours
/// asks for.
pub(super) fn act_of(
    form: &Fields,
    approver: &Id,
    now: Timestamp,
) -> Result<Option<(Act, &'static str)>, FormError> {
    let approver = approver.clone();
    let note = form.words("note");
    Ok(match form.get("do") {
        Some("approve") => {
            let approval = approval_of(form, now)?;
            let act = Act::Approve {
                approver,
                approval,
                note,
            };
            Some((act, "approved"))
        }
        // That a reason must be given is a rule of the core.
        Some("deny") => {
            let reason = note.unwrap_or_default();
            Some((Act::Deny { approver, reason }, "denied"))
        }
        Some("revoke") => Some((Act::Revoke { approver, note }, "revoked")),
        _ => None,
    })
}

/// The status and the words of what was not done; else why there is no page.
pub(super) fn refused_with(
    t: &Language,
    error: AccessRequestError,
) -> Result<(StatusCode, Sentence), Refused> {
    match error {
        AccessRequestError::Refusal(refusal) => {
            let status = match &refusal {
                RequestRefusal::NotPending { .. } => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Ok((status, t.refusal(&refusal)))
        }
        AccessRequestError::Directory(DirectoryError::Contended) => {
            Ok((StatusCode::CONFLICT, t.say("refusal.contended", &[])))
        }
        AccessRequestError::UnknownRequest(_) => Err(Refused::Gone),
        AccessRequestError::Directory(DirectoryError::Read(error)) => Err(unreadable(&error)),
        AccessRequestError::Directory(DirectoryError::Store(error)) => Err(stored(error)),
        other => {
            tracing::error!(error = %other, "a request can't be resolved from the console");
            Err(Refused::Internal)
        }
    }
}

pub(super) fn unreadable(error: &ReadError) -> Refused {
    match error {
        ReadError::UnknownAccount(_) => Refused::Gone,
        ReadError::Graph(_) | ReadError::Internal => {
            tracing::error!(error = %error, "an account can't be read for the console");
            Refused::Internal
        }
        ReadError::Revision(_)
        | ReadError::Store(_)
        | ReadError::Timeout { .. }
        | ReadError::Stale { .. } => {
            tracing::warn!(error = %error, "an account can't be read for the console");
            Refused::Unavailable
        }
    }
}

pub(super) fn stored(error: StoreError) -> Refused {
    unreadable(&error.into())
}
