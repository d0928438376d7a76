//! Why a call about an access request is refused: a closed list, one sentence each.

use super::RequestState;
use crate::authz::change::{ChangeError, ChangeProblem};
use crate::authz::decision::{ReasonCode, UnknownName};
use crate::authz::model::Timestamp;

/// A refusal changes nothing. Who may not resolve a request is told so before anything about the
/// request's present state is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// R1.
    #[error("the check is ALLOW with {reason}, so there is nothing to request")]
    AlreadyAllowed { reason: ReasonCode },
    /// R1, R8, S1.9, S1.11. `tool` is what to request instead, where an object was asked for although
    /// the tool itself is denied.
    #[error("{}", not_requestable(*.reason, .tool.as_deref()))]
    NotRequestable {
        reason: ReasonCode,
        tool: Option<String>,
    },
    /// R2.
    #[error("the same request was denied lately; file it again from {until} on")]
    CoolingDown { until: Timestamp },
    /// R2.
    #[error(
        "the user has {limit} pending requests, which is the limit; cancel one or wait for an answer"
    )]
    TooManyPending { limit: u32 },
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    #[error("{field}: {problem}")]
    InvalidField {
        field: &'static str,
        problem: String,
    },
    /// Terminal states never change. A pending request whose time is over counts as expired from
    /// that moment on, whether or not that is written yet.
    #[error("the request is {state}, and what has ended never changes")]
    NotPending { state: RequestState },
    /// R4.
    #[error("nobody resolves a request of their own")]
    SelfApproval,
    /// R4.
    #[error("requester and approver are the same person")]
    SamePerson,
    /// R4.
    #[error("the approver's right to manage users comes from the requester")]
    RightFromRequester,
    /// R4.
    #[error(
        "only active account owners, super admins and users who may edit users (user_management.edit) resolve requests"
    )]
    NotAnApprover,
    /// R4, D3.
    #[error("the approver can't give or take {what}, which is beyond the approver's own rights")]
    BeyondOwnRights { what: String },
    /// R4, P1.
    #[error(
        "the approver may not assign the resource to {target}; that needs partition.assign, or the right to assign on the type and the resource or a team of it"
    )]
    NoAssignAuthority { target: String },
    /// R7, R8.
    #[error("the account's plan does not include what is asked for any more")]
    NotEntitled,
    /// R7.
    #[error("the requester is no active user of the account")]
    RequesterInactive,
    /// R7.
    #[error("the resource is gone")]
    ResourceGone,
    /// R7.
    #[error("the check is ALLOW with {reason} by now, so nothing is left to give")]
    NoLongerDenied { reason: ReasonCode },
    /// R5.
    #[error("with this resolution the check would still be DENY with {reason}; choose another one")]
    InsufficientResolution { reason: ReasonCode },
    /// R5, R6.
    #[error(
        "assigning the resource would take it from others who have it now; choose another resolution"
    )]
    WouldTakeAway,
    #[error("only the requester cancels a request")]
    NotTheRequester,
    #[error("nothing of what the request gave is left to take back")]
    NothingToRevoke,
    /// A limit is an error, never a shortened answer.
    #[error("{what} would take too long; the limit is {limit}")]
    TooMuch { what: &'static str, limit: u64 },
    /// The change can't be made; in the words of [`crate::authz::change`].
    #[error("{field}: {problem}")]
    NotPlannable { field: String, problem: String },
}

fn not_requestable(reason: ReasonCode, tool: Option<&str>) -> String {
    match tool {
        Some(tool) => format!(
            "the denial {reason} concerns `{tool}` as a whole; request that, without a resource id"
        ),
        None => format!("no access request could turn the denial {reason}"),
    }
}

impl From<ChangeError> for RequestRefusal {
    fn from(error: ChangeError) -> Self {
        match error.problem {
            ChangeProblem::NotEntitled(_) => Self::NotEntitled,
            problem @ (ChangeProblem::NoAccount
            | ChangeProblem::Dangling { .. }
            | ChangeProblem::Invalid(_)
            | ChangeProblem::TeamCycle(_)
            | ChangeProblem::LastSuperAdmin
            | ChangeProblem::Forbidden(_)
            | ChangeProblem::Refused(_)
            | ChangeProblem::TooMany { .. }) => Self::NotPlannable {
                field: error.field,
                problem: problem.to_string(),
            },
        }
    }
}
