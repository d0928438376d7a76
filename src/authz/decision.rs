//! The question and the answer: values that explain themselves.

use super::model::{Id, Level, Timestamp, worded};

worded! {
    Effect { Allow = "allow", Deny = "deny" }
}

worded! {
    /// Why. The closed list of `domain.md` 3.2; allow codes first, then deny codes in the order of
    /// the steps that give them.
    ReasonCode {
        ReservedHolder = "RESERVED_HOLDER",
        AccountOwner = "ACCOUNT_OWNER",
        SuperAdmin = "SUPER_ADMIN",
        Always = "ALWAYS",
        /// A tool-level check passed; the level says how far the grant reaches.
        Tool = "TOOL",
        Owner = "OWNER",
        AssignedUser = "ASSIGNED_USER",
        ObjectGrant = "OBJECT_GRANT",
        Team = "TEAM",
        ParentTeam = "PARENT_TEAM",
        AccessGroup = "ACCESS_GROUP",
        Unassigned = "UNASSIGNED",
        Everything = "EVERYTHING",

        UserUnknown = "USER_UNKNOWN",
        UserPending = "USER_PENDING",
        UserDeactivated = "USER_DEACTIVATED",
        PartnershipInactive = "PARTNERSHIP_INACTIVE",
        NotEntitled = "NOT_ENTITLED",
        SeatRequired = "SEAT_REQUIRED",
        SeatReadOnly = "SEAT_READ_ONLY",
        PaymentMethodInvalid = "PAYMENT_METHOD_INVALID",
        OwnerOnly = "OWNER_ONLY",
        PartnerForbidden = "PARTNER_FORBIDDEN",
        Reserved = "RESERVED",
        ResourceNotFound = "RESOURCE_NOT_FOUND",
        GrantExpired = "GRANT_EXPIRED",
        MissingPrerequisite = "MISSING_PREREQUISITE",
        NoPermission = "NO_PERMISSION",
        NotInPartition = "NOT_IN_PARTITION",
        Orphaned = "ORPHANED",
        UnpartitionedRestricted = "UNPARTITIONED_RESTRICTED",
        ActionNotInGroup = "ACTION_NOT_IN_GROUP",
        NotOwner = "NOT_OWNER",
        NotInTeam = "NOT_IN_TEAM",
        UnassignedNotIncluded = "UNASSIGNED_NOT_INCLUDED",
    }
}

worded! {
    /// What kind of access request could turn a denial (3.4).
    Requestable { None = "none", Tool = "tool", Object = "object" }
}

worded! {
    /// How a front end should show the denied control (3.4).
    Presentation { None = "none", Lock = "lock", TooltipLink = "tooltip_link", BlockedPage = "blocked_page" }
}

/// The answer to one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub effect: Effect,
    pub reason: ReasonCode,
    /// The highest level among the passing grants; `Everything` for owner, super admin, reserved
    /// holder and ALWAYS; `Owned` for an object grant alone; `None` for a denial.
    pub level: Level,
    pub include_unassigned: bool,
    pub requestable: Requestable,
    pub presentation: Presentation,
    /// Writes aside, effect and reason hold at every moment in [at, valid_until). Absent if no
    /// boundary lies ahead.
    pub valid_until: Option<Timestamp>,
}

impl Decision {
    pub fn is_allow(&self) -> bool {
        self.effect == Effect::Allow
    }
}

/// A type or an action that the account's catalog does not have: an error, never a decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    #[error("the catalog has no resource type `{0}`")]
    ResourceType(String),
    #[error("the resource type `{resource_type}` has no action `{action}`")]
    Action {
        resource_type: String,
        action: String,
    },
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The tool as a whole: no resource id.
    Tool,
    /// A resource by its id, as it is in the graph.
    Resource(&'a str),
    /// A resource by its id, described by the caller; replaces what is stored whole.
    Described(&'a str, &'a ResourceFacts),
}

/// Inline facts of a resource (3.1). Users, teams and groups that the account doesn't have match
/// nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceFacts {
    pub owners: Vec<Id>,
    pub owning_team: Option<Id>,
    pub partitioned: bool,
    pub assigned_to: Vec<DescribedAssignment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedAssignment {
    pub principal: super::model::Principal,
    pub expires_at: Option<Timestamp>,
}
