//! Changes that a caller asks for, and the pure function that turns them into whole entities.

use super::model::{
    Attributes, CatalogRef, Grant, Id, ObjectGrant, PartitionMode, Partner, PartnerProgram,
    PermissionKey, Principal, Provenance, ResourceKey, Timestamp, UnpartitionedDefault, UserKind,
    UserStatus,
};
use std::collections::BTreeSet;

/// One change to one account. In a patch, `None` leaves a field of an existing entity as it is and
/// gives a new one its default; for a field that may be empty, `Some(None)` empties it.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Creates the account where it is absent; then catalog and plan are required.
    PutAccount(AccountPatch),
    PutTeam(TeamPatch),
    /// Children move to the team's parent (P11); members, assignments and stamps of it go.
    DeleteTeam(Id),
    PutPermissionSet(Id),
    DeletePermissionSet(Id),
    PutUser(Box<UserPatch>),
    /// The user's ownership, memberships, grants and assignments go.
    DeleteUser(Id),
    /// Sets all grants of one key and provenance that a holder has: an empty list removes them.
    SetGrants {
        holder: GrantHolder,
        key: PermissionKey,
        provenance: Provenance,
        grants: Vec<Grant>,
    },
    /// Sets or, with `None`, removes the grant of (user, resource, action, provenance).
    SetObjectGrant {
        user: Id,
        resource: ResourceKey,
        action: Id,
        provenance: Provenance,
        grant: Option<ObjectGrant>,
    },
    PutAccessGroup(Id),
    DeleteAccessGroup(Id),
    /// Sets or, with `None`, removes a member's mask. The principal is a user or a team.
    SetGroupMember {
        group: Id,
        principal: Principal,
        actions: Option<BTreeSet<Id>>,
    },
    PutResource(ResourcePatch),
    DeleteResource(ResourceKey),
    /// Sets an assignment and, with the first one, the partition (3.5).
    PutAssignment {
        resource: ResourceKey,
        principal: Principal,
        provenance: Provenance,
        expires_at: Option<Timestamp>,
    },
    /// Removes an assignment; the last one gone leaves the resource partitioned (3.5).
    DeleteAssignment {
        resource: ResourceKey,
        principal: Principal,
        provenance: Provenance,
    },
    PutSegment(SegmentPatch),
    DeleteSegment(Id),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantHolder {
    User(Id),
    PermissionSet(Id),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccountPatch {
    pub catalog: Option<CatalogRef>,
    pub plan: Option<Id>,
    pub partner_program: Option<PartnerProgram>,
    pub payment_method_valid: Option<bool>,
    /// By type or `default`; an inner `None` removes the entry.
    pub partition_mode: Vec<(Id, Option<PartitionMode>)>,
    pub unpartitioned: Vec<(Id, Option<UnpartitionedDefault>)>,
    pub request_ttl_seconds: Option<Option<u64>>,
    pub request_cool_down_seconds: Option<Option<u64>>,
    pub request_limit_per_user: Option<Option<u32>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TeamPatch {
    pub id: Id,
    pub parent: Option<Option<Id>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct UserPatch {
    pub id: Id,
    pub status: Option<UserStatus>,
    pub kind: Option<UserKind>,
    pub account_owner: Option<bool>,
    pub super_admin: Option<bool>,
    pub partner_admin: Option<bool>,
    pub main_team: Option<Option<Id>>,
    pub teams: Option<BTreeSet<Id>>,
    pub seats: Option<BTreeSet<Id>>,
    pub person: Option<Option<Id>>,
    pub partner: Option<Option<Partner>>,
    pub permission_sets: Option<BTreeSet<Id>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ResourcePatch {
    pub key: ResourceKey,
    pub owners: Option<BTreeSet<Id>>,
    pub owning_team: Option<Option<Id>>,
    /// `Some(false)` unpartitions: all assignments go, and one in the same list of changes for the
    /// same resource is an error.
    pub partitioned: Option<bool>,
    pub attributes: Option<Attributes>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SegmentPatch {
    pub id: Id,
    pub resource_type: Option<Id>,
    pub when: Option<String>,
    pub assign_to: Option<BTreeSet<Principal>>,
    pub enabled: Option<bool>,
}

use super::graph::AccountGraph;
use super::model::EntityChange;

/// What a list of changes comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeSet {
    /// Each touched entity once, in an order in which a store can write it: puts of what others
    /// refer to first, deletions last.
    pub changes: Vec<EntityChange>,
    /// What it does, a line an entity (`create`, `update`, `delete`), for `--dry-run` and logs.
    pub summary: Vec<ChangeLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeLine {
    pub verb: &'static str,
    pub entity: super::model::EntityKey,
    /// The fields that change, e.g. `grants`, `main_team`; empty for create and delete.
    pub fields: Vec<&'static str>,
}

/// Why a list of changes can't be made. `index` counts changes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change {index}: {problem}")]
pub struct ChangeError {
    pub index: usize,
    /// Wire path of the field, e.g. `user.main_team`.
    pub field: String,
    pub problem: ChangeProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeProblem {
    #[error("there is no such account, and the changes don't create one")]
    NoAccount,
    #[error("there is no {what} `{id}` in the account")]
    Dangling { what: &'static str, id: String },
    #[error("{0}")]
    Invalid(String),
    #[error("team `{0}` would be its own ancestor")]
    TeamCycle(String),
    #[error("the plan does not let resources of type `{0}` be partitioned")]
    NotEntitled(String),
    #[error("the account would be left without an active super admin")]
    LastSuperAdmin,
}

/// Pure: the changes in their order, on top of the graph (`None`: no such account), to whole entities.
pub fn plan(
    _account: &super::model::Id,
    _graph: Option<&AccountGraph>,
    _changes: &[Change],
) -> Result<ChangeSet, ChangeError> {
    todo!()
}
