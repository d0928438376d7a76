//! The values of an account as `domain.md` names them: plain data, no behaviour but parsing.
//!
//! Ids are opaque: compared bytewise, never folded, trimmed or split. Everything that reaches the
//! core has passed through [`Id::parse`], so the core never meets an id that a log line or a key
//! could be forged with.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::access_request::AccessRequest;

mod membership;
mod resource_rows;

pub use membership::{EMAIL_BYTES, EmailError, Membership, MembershipOf, check_email};
pub use resource_rows::{AssignmentRow, ResourceRow, ResourceRows, ResourceRowsBuilder, RowError};

/// Longest id, in bytes of UTF-8 (`api.md`, Conventions).
pub const ID_BYTES_MAX: usize = 256;

/// An opaque identifier or catalog name: 1 to 256 bytes of UTF-8 without control characters.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Id(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id must not be empty")]
    Empty,
    #[error("an id must be at most {ID_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("an id must not contain control characters, this one has {character:?} at byte {at}")]
    ControlCharacter { character: char, at: usize },
}

impl Id {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::validate(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The check of [`Id::parse`] without the allocation, for ids that are only looked up.
    pub fn validate(text: &str) -> Result<(), IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong { bytes: text.len() });
        }
        match text
            .char_indices()
            .find(|(_, character)| character.is_control())
        {
            Some((at, character)) => Err(IdError::ControlCharacter { character, at }),
            None => Ok(()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

impl FromStr for Id {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A moment, in microseconds since 1970-01-01T00:00:00Z: the precision that every store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a time of RFC 3339 between the years 1 and 9999, in steps of a microsecond, as 2026-11-22T00:00:00Z"
)]
pub struct TimestampError {
    pub text: String,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, the range of a protobuf `Timestamp`.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// `None` outside the years 1 to 9999.
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&micros)
            .then_some(Self(micros))
    }

    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// So many microseconds later, at most the last moment that there is.
    #[must_use]
    pub fn later_by(self, micros: u128) -> Self {
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_add(micros)).unwrap_or(Self::MAX)
    }

    /// So many microseconds earlier, at least the first moment that there is.
    #[must_use]
    pub fn earlier_by(self, micros: u128) -> Self {
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_sub(micros)).unwrap_or(Self::MIN)
    }

    /// Parses RFC 3339. A fraction finer than a microsecond is refused rather than rounded: a
    /// stored boundary must come back as it was written.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let wrong = || TimestampError {
            text: text.to_owned(),
        };
        let parsed =
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
                .map_err(|_| wrong())?;
        let nanos = parsed.unix_timestamp_nanos();
        if nanos % 1_000 != 0 {
            return Err(wrong());
        }
        i64::try_from(nanos / 1_000)
            .ok()
            .and_then(Self::from_unix_micros)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|moment| {
                moment
                    .format(&time::format_description::well_known::Rfc3339)
                    .ok()
            });
        match text {
            Some(text) => formatter.write_str(&text),
            None => write!(formatter, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}

/// An enum whose values are written in lower case in documents and SQL.
macro_rules! worded {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant),+
        }
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use worded;

worded! {
    /// Where a membership stands. `Removed` is a tombstone that denies like `Deactivated`.
    UserStatus { Invited = "invited", Active = "active", Deactivated = "deactivated", Removed = "removed" }
}
worded! {
    /// A partner user is one of a kind other than `Internal`.
    UserKind { Internal = "internal", PartnerEmployee = "partner_employee", Contractor = "contractor" }
}
worded! {
    PartnerRole { Admin = "admin", Employee = "employee", Contractor = "contractor" }
}
worded! {
    Partnership { Active = "active", Ended = "ended" }
}
worded! {
    /// Whether the account is itself a partner account (S4.3).
    PartnerProgram { None = "none", Solutions = "solutions", Provider = "provider" }
}
worded! {
    /// How far a grant reaches; ordered.
    Level { None = "none", Owned = "owned", Team = "team", Everything = "everything" }
}
worded! {
    /// C1: `Wall` limits a partitioned resource to its assignments, `Share` only adds reach.
    PartitionMode { Wall = "wall", Share = "share" }
}
worded! {
    /// P10: who reaches a resource that was never partitioned.
    UnpartitionedDefault { Everyone = "everyone", CreatorAndTeam = "creator_and_team", NoOne = "no_one" }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    User(Id),
    Team(Id),
    Group(Id),
}

impl Principal {
    pub fn kind(&self) -> PrincipalKind {
        match self {
            Self::User(_) => PrincipalKind::User,
            Self::Team(_) => PrincipalKind::Team,
            Self::Group(_) => PrincipalKind::Group,
        }
    }
    pub fn id(&self) -> &Id {
        match self {
            Self::User(id) | Self::Team(id) | Self::Group(id) => id,
        }
    }
    pub fn new(kind: PrincipalKind, id: Id) -> Self {
        match kind {
            PrincipalKind::User => Self::User(id),
            PrincipalKind::Team => Self::Team(id),
            PrincipalKind::Group => Self::Group(id),
        }
    }
}

/// `team:de`, split at the first colon when read.
impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind(), self.id())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    #[error("a principal is written user:ID, team:ID or group:ID, this is `{0}`")]
    Form(String),
    #[error(transparent)]
    Id(#[from] IdError),
}

impl FromStr for Principal {
    type Err = PrincipalError;
    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let form = || PrincipalError::Form(text.to_owned());
        let (kind, id) = text.split_once(':').ok_or_else(form)?;
        let kind = PrincipalKind::from_word(kind).ok_or_else(form)?;
        Ok(Self::new(kind, Id::parse(id)?))
    }
}

worded! {
    PrincipalKind { User = "user", Team = "team", Group = "group" }
}

/// Where a grant or an assignment comes from; written `manual`, `segment:ID`, `request:ID`, ...
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Provenance {
    #[default]
    Manual,
    Segment(Id),
    Import(Id),
    Form(Id),
    Default,
    Request(Id),
}

impl fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => formatter.write_str("manual"),
            Self::Segment(id) => write!(formatter, "segment:{id}"),
            Self::Import(id) => write!(formatter, "import:{id}"),
            Self::Form(id) => write!(formatter, "form:{id}"),
            Self::Default => formatter.write_str("default"),
            Self::Request(id) => write!(formatter, "request:{id}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvenanceError {
    #[error(
        "a provenance is manual, default, segment:ID, import:ID, form:ID or request:ID, this is `{0}`"
    )]
    Form(String),
    #[error(transparent)]
    Id(#[from] IdError),
}

impl FromStr for Provenance {
    type Err = ProvenanceError;
    fn from_str(text: &str) -> Result<Self, ProvenanceError> {
        match text {
            "manual" => return Ok(Self::Manual),
            "default" => return Ok(Self::Default),
            _ => {}
        }
        let form = || ProvenanceError::Form(text.to_owned());
        let (kind, id) = text.split_once(':').ok_or_else(form)?;
        let make = match kind {
            "segment" => Self::Segment,
            "import" => Self::Import,
            "form" => Self::Form,
            "request" => Self::Request,
            _ => return Err(form()),
        };
        Ok(make(Id::parse(id)?))
    }
}

/// `TYPE.ACTION` or `TYPE.PERMISSION`; a type may hold a dot, an action never does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionKey {
    pub resource_type: Id,
    /// An action, or a permission that bundles actions; the catalog knows which.
    pub permission: Id,
}

impl fmt::Display for PermissionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.resource_type, self.permission)
    }
}

/// A grant of one permission to the user or permission set that holds it. Live while
/// `not_before <= t < expires_at`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    pub key: PermissionKey,
    pub level: Level,
    /// Reaches resources without owner and partition too; false at `None` and `Everything`, where
    /// it would say nothing.
    pub include_unassigned: bool,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub provenance: Provenance,
    /// Who gave it. Kept after that user is gone, so it is not a reference.
    pub granted_by: Option<Id>,
}

/// A grant of one action on one resource: passes its wall, doesn't partition it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectGrant {
    pub resource: ResourceKey,
    pub action: Id,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub provenance: Provenance,
    pub granted_by: Option<Id>,
}

/// A resource is always named by type and id; ids of different types never mix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    pub resource_type: Id,
    pub id: Id,
}

/// `contact/c1`, split at the first slash when read.
impl fmt::Display for ResourceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.resource_type, self.id)
    }
}

/// Which catalog an account uses: the name of a built-in one, or the YAML text of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CatalogRef {
    BuiltIn(Id),
    /// The content of a catalog file, kept with the account.
    Custom(Arc<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: Id,
    pub catalog: CatalogRef,
    pub plan: Id,
    pub partner_program: PartnerProgram,
    pub payment_method_valid: bool,
    pub settings: Settings,
}

/// The word that stands for "every type without an entry of its own" in the per-type settings.
pub const DEFAULT_KEY: &str = "default";

/// A map from type to value, where the key `default` holds for every type without its own entry.
pub type PerType<T> = BTreeMap<Id, T>;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Wall where neither the type nor `default` is named (C1).
    pub partition_mode: PerType<PartitionMode>,
    /// Everyone where neither the type nor `default` is named (S2.12).
    pub unpartitioned: PerType<UnpartitionedDefault>,
    /// Seconds until a pending access request expires; 14 days when absent (R7).
    pub request_ttl_seconds: Option<u64>,
    /// Seconds after a denial in which the same request is refused; 24 hours when absent (R2).
    pub request_cool_down_seconds: Option<u64>,
    /// Pending requests that a user may have; 20 when absent (R2).
    pub request_limit_per_user: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    pub id: Id,
    pub parent: Option<Id>,
}

/// The partner side of a partner user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Partner {
    /// Account of the agency; another account, so not a reference within this one.
    pub account: Id,
    pub user: Id,
    pub role: PartnerRole,
    pub partnership: Partnership,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Id,
    pub status: UserStatus,
    pub kind: UserKind,
    pub account_owner: bool,
    pub super_admin: bool,
    pub partner_admin: bool,
    pub main_team: Option<Id>,
    /// Additional teams; for access they count like the main team.
    pub teams: BTreeSet<Id>,
    pub seats: BTreeSet<Id>,
    /// The human behind several users (R4).
    pub person: Option<Id>,
    /// Where mail about access requests goes; as [`check_email`] wants it.
    pub email: Option<String>,
    pub partner: Option<Partner>,
    pub permission_sets: BTreeSet<Id>,
    /// Who gave those of them of which that is known.
    pub set_givers: BTreeMap<Id, Id>,
    /// Further teams and permission sets, each with its reason and perhaps an end; one at most for
    /// each (of, provenance).
    pub memberships: BTreeSet<Membership>,
    pub grants: BTreeSet<Grant>,
    pub object_grants: BTreeSet<ObjectGrant>,
}

impl User {
    /// An active internal user without teams, seats or rights: the defaults of the document.
    pub fn new(id: Id) -> Self {
        Self {
            id,
            status: UserStatus::Active,
            kind: UserKind::Internal,
            account_owner: false,
            super_admin: false,
            partner_admin: false,
            main_team: None,
            teams: BTreeSet::new(),
            seats: BTreeSet::new(),
            person: None,
            email: None,
            partner: None,
            permission_sets: BTreeSet::new(),
            set_givers: BTreeMap::new(),
            memberships: BTreeSet::new(),
            grants: BTreeSet::new(),
            object_grants: BTreeSet::new(),
        }
    }

    pub fn is_partner_user(&self) -> bool {
        self.kind != UserKind::Internal
    }

    /// Of a partner user: the partnership has ended.
    pub fn is_cut_off(&self) -> bool {
        let is_ended = |partner: &Partner| partner.partnership == Partnership::Ended;
        self.is_partner_user() && self.partner.as_ref().is_some_and(is_ended)
    }

    /// Gets past step 1 of every check.
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active && !self.is_cut_off()
    }

    /// Main and additional teams, without those of [`User::memberships`].
    pub fn all_teams(&self) -> impl Iterator<Item = &Id> {
        self.main_team.iter().chain(self.teams.iter())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionSet {
    pub id: Id,
    pub grants: BTreeSet<Grant>,
}

/// A bucket of resources and, for each member (a user or a team), the actions allowed through it.
/// A mask may be empty: the member is then in the group, but without any action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGroup {
    pub id: Id,
    /// Keys are users and teams only, never groups.
    pub members: BTreeMap<Principal, BTreeSet<Id>>,
}

/// Why a resource is assigned to a principal; one pair may have several, one per provenance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    pub principal: Principal,
    pub provenance: Provenance,
    /// Live while t < expires_at.
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub key: ResourceKey,
    pub owners: BTreeSet<Id>,
    pub owning_team: Option<Id>,
    /// Sticky: once true, false only by an explicit unpartition (3.5).
    pub partitioned: bool,
    /// At most one for each (principal, provenance), sorted.
    pub assignments: BTreeSet<Assignment>,
}

/// Free-form attributes of a record, kept by the store and never by the graph.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub id: Id,
    pub resource_type: Id,
    //// A CEL expression over `resource.<attribute>` (P5).
    pub when: String,
    pub assign_to: BTreeSet<Principal>,
    pub enabled: bool,
    /// Whether it may assign records that nobody is assigned to yet, and so close them for everyone
    /// else: as whoever set it up might (P1).
    pub may_partition: bool,
}

/// One entity of an account, whole. Loading, exporting, the change feed and writes all speak in
/// these, so a fresh load and an incremental change can't differ in what they carry.
#[derive(Debug, Clone, PartialEq)]
pub enum Entity {
    Account(Account),
    Team(Team),
    PermissionSet(PermissionSet),
    User(User),
    AccessGroup(AccessGroup),
    /// `None` leaves stored attributes as they are, and is what a read without attributes gives.
    Resource(Resource, Option<Attributes>),
    Segment(Segment),
    /// In whatever state: a load gives only those that are pending.
    AccessRequest(AccessRequest),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKey {
    Account,
    Team(Id),
    PermissionSet(Id),
    User(Id),
    AccessGroup(Id),
    Resource(ResourceKey),
    Segment(Id),
    AccessRequest(Id),
}

impl Entity {
    pub fn key(&self) -> EntityKey {
        match self {
            Self::Account(_) => EntityKey::Account,
            Self::Team(team) => EntityKey::Team(team.id.clone()),
            Self::PermissionSet(set) => EntityKey::PermissionSet(set.id.clone()),
            Self::User(user) => EntityKey::User(user.id.clone()),
            Self::AccessGroup(group) => EntityKey::AccessGroup(group.id.clone()),
            Self::Resource(resource, _) => EntityKey::Resource(resource.key.clone()),
            Self::Segment(segment) => EntityKey::Segment(segment.id.clone()),
            Self::AccessRequest(request) => EntityKey::AccessRequest(request.id.clone()),
        }
    }
}

/// The state of one entity after a change.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most changes are puts, and a list of them is made once and read"
)]
pub enum EntityChange {
    Put(Entity),
    Delete(EntityKey),
}
