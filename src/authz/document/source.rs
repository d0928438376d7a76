//! The YAML form of an account document, key by key as `docs/account-document.md` describes it.
//! Nothing is judged here but the shape.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::authz::model::{
    Attributes, PartitionMode, PartnerProgram, PartnerRole, Partnership, UnpartitionedDefault,
    UserKind, UserStatus,
};
use crate::authz::yaml::{At, Entries, Field, Form};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentSource {
    pub account: Option<At<String>>,
    pub catalog: Option<At<String>>,
    pub plan: Option<At<String>>,
    pub partner_program: Option<PartnerProgram>,
    pub payment_method_valid: Option<bool>,
    pub settings: Option<SettingsSource>,
    #[serde(default)]
    pub teams: Field<Vec<At<TeamSource>>>,
    #[serde(default)]
    pub permission_sets: Field<Vec<At<PermissionSetSource>>>,
    #[serde(default)]
    pub users: Field<Vec<At<UserSource>>>,
    #[serde(default)]
    pub access_groups: Field<Vec<At<AccessGroupSource>>>,
    #[serde(default)]
    pub resources: Field<Vec<At<ResourceSource>>>,
    #[serde(default)]
    pub segments: Field<Vec<At<SegmentSource>>>,
    #[serde(default)]
    pub cases: Field<Vec<At<CaseSource>>>,
}

/// An entry without a value takes a setting back to its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsSource {
    #[serde(default)]
    pub partition_mode: Field<Entries<Option<PartitionMode>>>,
    #[serde(default)]
    pub unpartitioned: Field<Entries<Option<UnpartitionedDefault>>>,
    #[serde(default)]
    pub request_ttl: Field<At<String>>,
    #[serde(default)]
    pub request_cool_down: Field<At<String>>,
    #[serde(default)]
    pub request_limit_per_user: Field<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TeamSource {
    pub id: At<String>,
    #[serde(default)]
    pub parent: Field<At<String>>,
}

/// The grants of a holder by `TYPE.ACTION` or `TYPE.PERMISSION`: a level, a map, or a list of them.
pub(super) type GrantsSource = Entries<At<Form<GrantSource, Form<GrantSource, IgnoredAny>>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantSource {
    pub level: At<String>,
    #[serde(default)]
    pub unassigned: bool,
    pub not_before: Option<At<String>>,
    pub expires_at: Option<At<String>>,
    pub provenance: Option<At<String>>,
    pub granted_by: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionSetSource {
    pub id: At<String>,
    #[serde(default)]
    pub grants: Field<GrantsSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserSource {
    pub id: At<String>,
    pub status: Option<UserStatus>,
    pub kind: Option<UserKind>,
    pub account_owner: Option<bool>,
    pub super_admin: Option<bool>,
    pub partner_admin: Option<bool>,
    #[serde(default)]
    pub main_team: Field<At<String>>,
    #[serde(default)]
    pub teams: Field<Vec<At<String>>>,
    #[serde(default)]
    pub seats: Field<Vec<At<String>>>,
    #[serde(default)]
    pub person: Field<At<String>>,
    #[serde(default)]
    pub email: Field<At<String>>,
    #[serde(default)]
    pub partner: Field<PartnerSource>,
    #[serde(default)]
    pub permission_sets: Field<Vec<At<String>>>,
    #[serde(default)]
    pub memberships: Field<Vec<At<MembershipSource>>>,
    #[serde(default)]
    pub grants: Field<GrantsSource>,
    #[serde(default)]
    pub object_grants: Field<Vec<At<ObjectGrantSource>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartnerSource {
    pub account: At<String>,
    pub user: At<String>,
    pub role: PartnerRole,
    pub partnership: Option<Partnership>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipSource {
    pub team: Option<At<String>>,
    pub permission_set: Option<At<String>>,
    pub expires_at: Option<At<String>>,
    pub provenance: Option<At<String>>,
    pub granted_by: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectGrantSource {
    pub resource: At<String>,
    pub action: At<String>,
    pub not_before: Option<At<String>>,
    pub expires_at: Option<At<String>>,
    pub provenance: Option<At<String>>,
    pub granted_by: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessGroupSource {
    pub id: At<String>,
    #[serde(default)]
    pub members: Field<Vec<At<MemberSource>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberSource {
    pub user: Option<At<String>>,
    pub team: Option<At<String>>,
    #[serde(default)]
    pub actions: Field<Vec<At<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceSource {
    #[serde(rename = "type")]
    pub resource_type: At<String>,
    pub id: At<String>,
    #[serde(default)]
    pub owners: Field<Vec<At<String>>>,
    #[serde(default)]
    pub owning_team: Field<At<String>>,
    pub partitioned: Option<bool>,
    #[serde(default)]
    pub assigned_to: Field<Vec<At<Form<AssignmentSource, IgnoredAny>>>>,
    #[serde(default)]
    pub attributes: Field<Attributes>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssignmentSource {
    pub to: At<String>,
    pub provenance: Option<At<String>>,
    pub expires_at: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentSource {
    pub id: At<String>,
    #[serde(rename = "type")]
    pub resource_type: Option<At<String>>,
    pub when: Option<String>,
    #[serde(default)]
    pub assign_to: Field<Vec<At<String>>>,
    pub enabled: Option<bool>,
    pub may_partition: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseSource {
    pub name: At<String>,
    pub user: Option<At<String>>,
    pub check: Option<At<String>>,
    pub list: Option<At<String>>,
    pub who: Option<At<String>>,
    pub at: Option<At<String>>,
    pub given: Option<GivenSource>,
    pub apply: Option<ApplySource>,
    pub withheld: Option<Vec<At<String>>>,
    pub kept: Option<Vec<At<String>>>,
    pub expect: At<Form<ExpectSource, String>>,
}

/// What a case changes for itself. Segments are not run by cases, so they can't be given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenSource {
    pub plan: Option<At<String>>,
    pub partner_program: Option<PartnerProgram>,
    pub payment_method_valid: Option<bool>,
    pub settings: Option<SettingsSource>,
    #[serde(default)]
    pub teams: Field<Vec<At<TeamSource>>>,
    #[serde(default)]
    pub permission_sets: Field<Vec<At<PermissionSetSource>>>,
    #[serde(default)]
    pub users: Field<Vec<At<UserSource>>>,
    #[serde(default)]
    pub access_groups: Field<Vec<At<AccessGroupSource>>>,
    #[serde(default)]
    pub resources: Field<Vec<At<ResourceSource>>>,
}

/// What a user writes before a case asks. Whoever it is changes neither the account itself nor
/// segments by a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplySource {
    #[serde(rename = "as")]
    pub actor: At<String>,
    #[serde(default)]
    pub teams: Field<Vec<At<TeamSource>>>,
    #[serde(default)]
    pub permission_sets: Field<Vec<At<PermissionSetSource>>>,
    #[serde(default)]
    pub users: Field<Vec<At<UserSource>>>,
    #[serde(default)]
    pub access_groups: Field<Vec<At<AccessGroupSource>>>,
    #[serde(default)]
    pub resources: Field<Vec<At<ResourceSource>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectSource {
    pub decision: Option<At<String>>,
    pub reason: Option<At<String>>,
    pub requestable: Option<At<String>>,
    pub presentation: Option<At<String>>,
}
