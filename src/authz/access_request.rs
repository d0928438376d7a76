//! Access requests: the wish for what was denied, and what became of it (`domain.md` 6).
//!
//! Plain data here; the rules are in the modules below. A request is PENDING until one transition
//! ends it, and what ended never changes. Each transition is a [`RequestEvent`], written with it in
//! one transaction: the audit trail, and what admins and requesters are told of.

use super::decision::ReasonCode;
use super::model::{Id, Level, PermissionKey, ResourceKey, Timestamp, worded};

mod approval;
mod approver;
mod ceiling;
mod filing;
mod lifecycle;
mod opening;
mod refusal;
mod resolution;
mod revocation;
mod suggestion;
mod text;

mod tests;

pub use approval::approve;
pub(in crate::authz) use approver::same_human;
pub use approver::{approvers, may_resolve};
pub use filing::{Filing, WANTED_SECONDS_MAX, Wish, canonical, file};
pub use lifecycle::{Transition, cancel, deny, settle};
pub use opening::{OPENED_MAX, Opened, Opening};
pub use refusal::RequestRefusal;
pub use revocation::revoke;
pub use suggestion::{Suggestion, suggest, suggest_for};
pub use text::{ORIGIN_URL_BYTES_MAX, TEXT_CHARS_MAX};

worded! {
    /// Where a request stands; all but `Pending` are terminal.
    RequestState {
        Pending = "pending",
        Approved = "approved",
        Denied = "denied",
        /// By the requester, or because the requester is no active user any more.
        Cancelled = "cancelled",
        Expired = "expired",
        /// Already allowed by other means, or the resource is gone.
        Obsolete = "obsolete",
    }
}

impl RequestState {
    pub fn is_terminal(self) -> bool {
        self != Self::Pending
    }
}

worded! {
    /// What happened to a request.
    RequestEventKind {
        Filed = "filed",
        Approved = "approved",
        Denied = "denied",
        Cancelled = "cancelled",
        Expired = "expired",
        Obsolete = "obsolete",
        /// What an approval gave was taken back as a unit; the request stays approved.
        Revoked = "revoked",
    }
}

/// The denied action that is asked for. Without a resource id it is a TOOL request, whose check is
/// the tool-level one; with one an OBJECT request (R1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestTarget {
    pub resource_type: Id,
    pub action: Id,
    pub resource_id: Option<Id>,
}

impl RequestTarget {
    pub fn resource(&self) -> Option<ResourceKey> {
        let id = self.resource_id.clone()?;
        Some(ResourceKey {
            resource_type: self.resource_type.clone(),
            id,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    pub id: Id,
    /// The requester. Kept after that user is gone, so it is not a reference.
    pub user: Id,
    pub target: RequestTarget,
    /// Why, in the requester's words: 1 to 1,000 characters (R1).
    pub reason: String,
    /// Why the check was denied when the request was filed.
    pub denied_as: ReasonCode,
    /// How long the requester wants the access for, in seconds.
    pub wanted_seconds: Option<u64>,
    /// The page of the product where the denial happened.
    pub origin_url: Option<String>,
    pub filed_at: Timestamp,
    /// When it expires if it is still pending then (R7).
    pub expires_at: Timestamp,
    pub state: RequestState,
    /// Of a terminal one: when, by whom, why, and with what.
    pub closing: Option<Closing>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub at: Timestamp,
    /// The approver or the requester; `None`: Ambit itself.
    pub by: Option<Id>,
    /// The approver's or the requester's words.
    pub note: Option<String>,
    /// Of an approved one.
    pub approval: Option<Approval>,
}

/// What an approval gives, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub resolution: Resolution,
    /// When what was given ends; `None`: it stays.
    pub expires_at: Option<Timestamp>,
}

worded! {
    /// The kinds of resolution (R5), in the order that breaks ties (R6).
    ResolutionKind {
        ObjectGrant = "object_grant",
        AssignToUser = "assign_to_user",
        DirectGrant = "direct_grant",
        AssignToTeam = "assign_to_team",
        PermissionSet = "permission_set",
        AddToTeam = "add_to_team",
        RaiseLevel = "raise_level",
    }
}

/// A change that answers a request. Whatever it writes carries the provenance `request:ID`, so that
/// it can be taken back as a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The requested action on the requested resource alone.
    ObjectGrant,
    /// The requested resource is assigned to the requester.
    AssignToUser,
    /// A grant of its own, e.g. of a permission that bundles the action, or that a derived one
    /// follows from.
    DirectGrant(GrantOffer),
    /// The requested resource is assigned to a team of the requester.
    AssignToTeam(Id),
    /// The requester gets a permission set.
    PermissionSet(Id),
    /// The requester becomes a member of an additional team.
    AddToTeam(Id),
    /// A grant that the requester has, once more at a higher level or for unassigned resources too.
    RaiseLevel(GrantOffer),
}

/// What a grant of a resolution says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantOffer {
    pub key: PermissionKey,
    pub level: Level,
    pub include_unassigned: bool,
}

impl Resolution {
    pub fn kind(&self) -> ResolutionKind {
        match self {
            Self::ObjectGrant => ResolutionKind::ObjectGrant,
            Self::AssignToUser => ResolutionKind::AssignToUser,
            Self::DirectGrant(_) => ResolutionKind::DirectGrant,
            Self::AssignToTeam(_) => ResolutionKind::AssignToTeam,
            Self::PermissionSet(_) => ResolutionKind::PermissionSet,
            Self::AddToTeam(_) => ResolutionKind::AddToTeam,
            Self::RaiseLevel(_) => ResolutionKind::RaiseLevel,
        }
    }
}

/// One entry of a request's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEvent {
    pub request: Id,
    /// Counts a request's events from 0, which is the filing.
    pub ordinal: u32,
    pub kind: RequestEventKind,
    pub at: Timestamp,
    /// The user who did it; `None`: Ambit itself.
    pub actor: Option<Id>,
    /// `None` for the filing.
    pub from: Option<RequestState>,
    pub to: RequestState,
    pub note: Option<String>,
    /// What was written, or taken back.
    pub approval: Option<Approval>,
    /// The check that led to it, as it was answered before.
    pub before: ReasonCode,
    /// The check as it is answered after an approval or a revocation.
    pub after: Option<ReasonCode>,
}
