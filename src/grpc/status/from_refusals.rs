//! From the refusals of access requests to what a caller is told: each has a reason of its own.

use super::{Failure, Reason};
use crate::access_requests::AccessRequestError;
use crate::authz::access_request::RequestRefusal;

impl From<AccessRequestError> for Failure {
    fn from(error: AccessRequestError) -> Self {
        match error {
            AccessRequestError::Refusal(refusal) => refusal.into(),
            AccessRequestError::UnknownRequest(_) => {
                Self::field(Reason::AccessRequestNotFound, "access_request_id", &error)
            }
            AccessRequestError::UnknownNotification { .. } => {
                Self::field(Reason::NotificationNotFound, "destination", &error)
            }
            AccessRequestError::Randomness(_) | AccessRequestError::Id(_) => {
                tracing::error!(error = %error, "an access request could not be named");
                Self::internal()
            }
            AccessRequestError::Directory(error) => error.into(),
        }
    }
}

impl From<RequestRefusal> for Failure {
    fn from(refusal: RequestRefusal) -> Self {
        let reason = match &refusal {
            RequestRefusal::UnknownName(error) => return Self::unknown_name(error),
            RequestRefusal::InvalidField { field, problem } => {
                return Self::invalid(field, problem);
            }
            RequestRefusal::NotPlannable { .. } => {
                return Self::invalid("resolution", &refusal);
            }
            RequestRefusal::AlreadyAllowed { .. } => Reason::AlreadyAllowed,
            RequestRefusal::NotRequestable { .. } => Reason::NotRequestable,
            RequestRefusal::CoolingDown { .. } => Reason::RequestCoolingDown,
            RequestRefusal::TooManyPending { .. } => Reason::TooManyPendingRequests,
            RequestRefusal::NotPending { .. } => Reason::RequestNotPending,
            RequestRefusal::SelfApproval => Reason::SelfApproval,
            RequestRefusal::SamePerson => Reason::SamePerson,
            RequestRefusal::RightFromRequester => Reason::RightFromRequester,
            RequestRefusal::NotAnApprover => Reason::NotAnApprover,
            RequestRefusal::BeyondOwnRights { .. } => Reason::BeyondOwnRights,
            RequestRefusal::NoAssignAuthority { .. } => Reason::NoAssignAuthority,
            RequestRefusal::NotEntitled => Reason::NotEntitled,
            RequestRefusal::RequesterInactive => Reason::RequesterInactive,
            RequestRefusal::ResourceGone => Reason::ResourceGone,
            RequestRefusal::NoLongerDenied { .. } => Reason::NoLongerDenied,
            RequestRefusal::InsufficientResolution { .. } => Reason::InsufficientResolution,
            RequestRefusal::WouldTakeAway => Reason::WouldTakeAway,
            RequestRefusal::NotTheRequester => Reason::NotTheRequester,
            RequestRefusal::NothingToRevoke => Reason::NothingToRevoke,
            RequestRefusal::TooMuch { .. } => Reason::TooMuchWork,
        };
        Self::new(reason, refusal.to_string())
    }
}
