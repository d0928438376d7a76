//! Changes that a caller asks for, and the pure function that turns them into whole entities.
//!
//! [`plan`] lays the changes, in their order, over the present snapshot (`overlay`) and answers
//! the new state of each touched entity. How a list of changes is read:
//!
//! - **Later wins.** Changes see each other. Where two contradict, the later one holds; the one
//!   exception is `partitioned: false` beside an assignment of the same resource, which is refused
//!   wherever the two stand (`account-document.md`).
//! - **References are checked at the end.** A change may refer to an entity that a later change of
//!   the list creates, and may set a part of it (a grant, a member, an assignment). The error names
//!   the change that made the reference.
//! - **The account first.** Catalog and plan are those that stand after the whole list. A wall may
//!   also be raised under a plan that the list names before it and replaces later (C12).
//! - **Segments last.** What the rules of segments say of a record goes by the attributes that it
//!   has after the list, and by the rules that stand after it (P6).
//! - **Twice is once.** Deleting what isn't there is no error, and an entity that comes out as it
//!   was is left out: no revision is spent on it.
//!
//! Time is proportional to the touched entities. Three rules look further: a new catalog
//! revalidates the account, a deletion walks the directory for what refers to it (and visits the
//! resources that do), and the last super admin or a second account owner is looked for among all
//! users.

use super::graph::AccountGraph;
use super::model::{
    Attributes, CatalogRef, EntityChange, EntityKey, Grant, Id, Membership, MembershipOf,
    ObjectGrant, PartitionMode, Partner, PartnerProgram, PermissionKey, Principal, Provenance,
    ResourceKey, Timestamp, UnpartitionedDefault, UserKind, UserStatus,
};
use std::collections::BTreeSet;

mod access_group;
mod account;
mod creation;
mod grant;
mod membership;
mod outcome;
mod overlay;
mod planner;
mod refusal;
mod removal;
mod resource;
mod revalidate;
mod segment;
mod team;
mod user;
mod verify;

pub use refusal::ActorRefusal;

mod tests;

/// Most changes in one list.
pub const CHANGES_MAX: usize = 1_000_000;
/// Most owners of one resource.
pub const OWNERS_MAX: usize = 1_000;
/// Most assignments of one resource.
pub const ASSIGNMENTS_MAX: usize = 1_000;
/// Most grants that one user or permission set holds.
pub const GRANTS_MAX: usize = 10_000;
/// Most object grants that one user holds.
pub const OBJECT_GRANTS_MAX: usize = 10_000;
/// Most additional teams of one user, and by a membership.
pub const TEAMS_OF_USER_MAX: usize = 10_000;
/// Most permission sets of one user, and by a membership.
pub const PERMISSION_SETS_OF_USER_MAX: usize = 1_000;
/// Most members of one access group.
pub const GROUP_MEMBERS_MAX: usize = 100_000;
/// Most targets of one segment.
pub const SEGMENT_TARGETS_MAX: usize = 1_000;
/// Longest expression of a segment, in bytes.
pub const SEGMENT_WHEN_BYTES_MAX: usize = 4_096;
/// Largest attributes of one resource, in bytes of compact JSON.
pub const ATTRIBUTES_BYTES_MAX: usize = 65_536;
/// Longest time in the settings, in seconds: ten thousand years, as of a protobuf `Duration`.
pub const SETTING_SECONDS_MAX: u64 = 315_576_000_000;

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
    /// Sets the user's membership of one (team or set, provenance).
    PutMembership {
        user: Id,
        membership: Membership,
    },
    /// Removes the user's membership of (team or set, provenance).
    DeleteMembership {
        user: Id,
        of: MembershipOf,
        provenance: Provenance,
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
    pub email: Option<Option<String>>,
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
    /// Who makes it; matters where it is not there yet and its type is kept to creator and team
    /// (P10), and is not kept.
    pub creator: Option<Id>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SegmentPatch {
    pub id: Id,
    pub resource_type: Option<Id>,
    pub when: Option<String>,
    pub assign_to: Option<BTreeSet<Principal>>,
    pub enabled: Option<bool>,
    pub may_partition: Option<bool>,
}

/// What a list of changes comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeSet {
    /// Each touched entity once: the account, teams (a parent before its children), permission
    /// sets, users, access groups, segments, resources; then deletions in the opposite order. Users
    /// and resources refer to each other (owners, object grants), and one user may be account owner
    /// where the one before is deleted: what a store checks of these it checks at the end.
    pub changes: Vec<EntityChange>,
    /// What it does, a line an entity in the same order, for `--dry-run` and logs.
    pub summary: Vec<ChangeLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeLine {
    /// `create`, `update` or `delete`.
    pub verb: &'static str,
    pub entity: EntityKey,
    /// The fields that change, e.g. `grants`, `main_team`; empty for create and delete.
    pub fields: Vec<&'static str>,
}

/// Why a list of changes can't be made. `index` counts changes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change {index}, {field}: {problem}")]
pub struct ChangeError {
    pub index: usize,
    /// Path of the field, e.g. `user.main_team`.
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
    #[error(
        "the account would be left without an active super admin; make another user one first (D9)"
    )]
    LastSuperAdmin,
    /// Of a write in the name of a user.
    #[error("{0}")]
    Forbidden(String),
    #[error(transparent)]
    Refused(ActorRefusal),
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

/// Pure: the changes in their order, on top of the graph (`None`: no such account), to whole
/// entities.
///
/// # Errors
/// The first change that can't be made, by index and field. Rules that only the whole list can
/// break are checked after it: references, team cycles, one account owner, entitled partitions
/// (S2.4, S2.5, C12) and the last super admin (D9).
pub fn plan(
    account: &Id,
    graph: Option<&AccountGraph>,
    changes: &[Change],
) -> Result<ChangeSet, ChangeError> {
    if changes.len() > CHANGES_MAX {
        return Err(ChangeError {
            index: CHANGES_MAX,
            field: "changes".to_owned(),
            problem: ChangeProblem::TooMany {
                what: "changes in one list",
                limit: CHANGES_MAX,
            },
        });
    }
    let terms = account::Terms::settle(account, graph, changes)?;
    let mut planner = planner::Planner::new(graph, terms);
    for (index, change) in changes.iter().enumerate() {
        planner.overlay.at = index;
        planner.make(change)?;
    }
    planner.assign_by_default()?;
    planner.run_segments();
    planner.verify()?;
    Ok(planner.outcome())
}
