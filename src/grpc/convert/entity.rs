//! Whole entities, as reads and watches give them.

use std::collections::BTreeMap;

use super::{Path, id, principal_to_wire, timestamp_to_wire};
use crate::authz::model::{
    AccessGroup, Account, Assignment, Attributes, CatalogRef, Entity, EntityChange, EntityKey,
    Grant, Id, Membership, MembershipOf, ObjectGrant, PartitionMode, Partner, PartnerProgram,
    PartnerRole, Partnership, PerType, PermissionSet, Resource, Segment, Settings, Team,
    UnpartitionedDefault, User, UserKind, UserStatus,
};
use crate::grpc::status::Failure;
use crate::grpc::wire;

/// An optional id, as the empty string where there is none.
fn text(id: Option<&Id>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a Id>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

pub fn catalog_to_wire(catalog: &CatalogRef) -> wire::CatalogRef {
    let catalog = match catalog {
        CatalogRef::BuiltIn(name) => wire::catalog_ref::Catalog::BuiltIn(name.to_string()),
        CatalogRef::Custom(source) => wire::catalog_ref::Catalog::Source(source.to_string()),
    };
    wire::CatalogRef {
        catalog: Some(catalog),
    }
}

pub fn catalog_from_wire(
    catalog: Option<&wire::CatalogRef>,
    path: Path<'_>,
) -> Result<CatalogRef, Failure> {
    match catalog.and_then(|catalog| catalog.catalog.as_ref()) {
        Some(wire::catalog_ref::Catalog::BuiltIn(name)) => {
            Ok(CatalogRef::BuiltIn(id(name, path.field("built_in"))?))
        }
        Some(wire::catalog_ref::Catalog::Source(source)) => {
            Ok(CatalogRef::Custom(source.as_str().into()))
        }
        None => Err(Failure::invalid(
            path,
            "a catalog is required: set built_in or source",
        )),
    }
}

/// `None`: not said.
pub fn partner_program_from_wire(
    value: i32,
    path: Path<'_>,
) -> Result<Option<PartnerProgram>, Failure> {
    Ok(match known(wire::PartnerProgram::try_from(value), path)? {
        wire::PartnerProgram::Unspecified => None,
        wire::PartnerProgram::None => Some(PartnerProgram::None),
        wire::PartnerProgram::Solutions => Some(PartnerProgram::Solutions),
        wire::PartnerProgram::Provider => Some(PartnerProgram::Provider),
    })
}

pub fn partner_program_to_wire(program: PartnerProgram) -> wire::PartnerProgram {
    match program {
        PartnerProgram::None => wire::PartnerProgram::None,
        PartnerProgram::Solutions => wire::PartnerProgram::Solutions,
        PartnerProgram::Provider => wire::PartnerProgram::Provider,
    }
}

/// A number that the enum doesn't have is an error: a newer client means something by it.
pub fn known<T>(value: Result<T, prost::UnknownEnumValue>, path: Path<'_>) -> Result<T, Failure> {
    value.map_err(|unknown| {
        Failure::invalid(path, format_args!("the enum has no value {}", unknown.0))
    })
}

pub fn partition_mode_to_wire(mode: PartitionMode) -> wire::PartitionMode {
    match mode {
        PartitionMode::Wall => wire::PartitionMode::Wall,
        PartitionMode::Share => wire::PartitionMode::Share,
    }
}

pub fn unpartitioned_to_wire(default: UnpartitionedDefault) -> wire::UnpartitionedDefault {
    match default {
        UnpartitionedDefault::Everyone => wire::UnpartitionedDefault::Everyone,
        UnpartitionedDefault::CreatorAndTeam => wire::UnpartitionedDefault::CreatorAndTeam,
        UnpartitionedDefault::NoOne => wire::UnpartitionedDefault::NoOne,
    }
}

/// Entries by type; an inner `None` stands for unspecified.
pub fn partition_mode_from_wire(
    map: &BTreeMap<String, i32>,
    path: &Path<'_>,
) -> Result<Vec<(Id, Option<PartitionMode>)>, Failure> {
    per_type(map, path, |value, path| {
        Ok(match known(wire::PartitionMode::try_from(value), path)? {
            wire::PartitionMode::Unspecified => None,
            wire::PartitionMode::Wall => Some(PartitionMode::Wall),
            wire::PartitionMode::Share => Some(PartitionMode::Share),
        })
    })
}

/// Entries by type; an inner `None` stands for unspecified.
pub fn unpartitioned_from_wire(
    map: &BTreeMap<String, i32>,
    path: &Path<'_>,
) -> Result<Vec<(Id, Option<UnpartitionedDefault>)>, Failure> {
    per_type(map, path, |value, path| {
        Ok(
            match known(wire::UnpartitionedDefault::try_from(value), path)? {
                wire::UnpartitionedDefault::Unspecified => None,
                wire::UnpartitionedDefault::Everyone => Some(UnpartitionedDefault::Everyone),
                wire::UnpartitionedDefault::CreatorAndTeam => {
                    Some(UnpartitionedDefault::CreatorAndTeam)
                }
                wire::UnpartitionedDefault::NoOne => Some(UnpartitionedDefault::NoOne),
            },
        )
    })
}

fn per_type<T>(
    map: &BTreeMap<String, i32>,
    path: &Path<'_>,
    value: impl Fn(i32, Path<'_>) -> Result<T, Failure>,
) -> Result<Vec<(Id, T)>, Failure> {
    map.iter()
        .map(|(resource_type, entry)| {
            let resource_type = id(resource_type, *path)?;
            let entry = value(*entry, path.field(resource_type.as_str()))?;
            Ok((resource_type, entry))
        })
        .collect()
}

/// Whole settings, as a new account gets them.
pub fn settings_from_wire(
    settings: &wire::AccountSettings,
    path: &Path<'_>,
) -> Result<Settings, Failure> {
    let required = |path: &Path<'_>| Failure::invalid(*path, "the value is required");
    let mode_path = path.field("partition_mode");
    let default_path = path.field("unpartitioned");
    Ok(Settings {
        partition_mode: partition_mode_from_wire(&settings.partition_mode, &mode_path)?
            .into_iter()
            .map(|(resource_type, mode)| {
                Ok((resource_type, mode.ok_or_else(|| required(&mode_path))?))
            })
            .collect::<Result<PerType<PartitionMode>, Failure>>()?,
        unpartitioned: unpartitioned_from_wire(&settings.unpartitioned, &default_path)?
            .into_iter()
            .map(|(resource_type, default)| {
                Ok((
                    resource_type,
                    default.ok_or_else(|| required(&default_path))?,
                ))
            })
            .collect::<Result<PerType<UnpartitionedDefault>, Failure>>()?,
        request_ttl_seconds: settings.request_ttl_seconds,
        request_cool_down_seconds: settings.request_cool_down_seconds,
        request_limit_per_user: settings.request_limit_per_user,
    })
}

fn settings_to_wire(settings: &Settings) -> wire::AccountSettings {
    wire::AccountSettings {
        partition_mode: settings
            .partition_mode
            .iter()
            .map(|(resource_type, mode)| {
                (
                    resource_type.to_string(),
                    partition_mode_to_wire(*mode).into(),
                )
            })
            .collect(),
        unpartitioned: settings
            .unpartitioned
            .iter()
            .map(|(resource_type, default)| {
                (
                    resource_type.to_string(),
                    unpartitioned_to_wire(*default).into(),
                )
            })
            .collect(),
        request_ttl_seconds: settings.request_ttl_seconds,
        request_cool_down_seconds: settings.request_cool_down_seconds,
        request_limit_per_user: settings.request_limit_per_user,
    }
}

pub fn account_to_wire(account: &Account) -> wire::Account {
    wire::Account {
        id: account.id.to_string(),
        catalog: Some(catalog_to_wire(&account.catalog)),
        plan: account.plan.to_string(),
        partner_program: partner_program_to_wire(account.partner_program).into(),
        payment_method_valid: account.payment_method_valid,
        settings: Some(settings_to_wire(&account.settings)),
    }
}

pub fn team_to_wire(team: &Team) -> wire::Team {
    wire::Team {
        id: team.id.to_string(),
        parent: text(team.parent.as_ref()),
    }
}

pub fn grant_terms_to_wire(grant: &Grant) -> wire::GrantTerms {
    wire::GrantTerms {
        level: super::level_to_wire(grant.level).into(),
        include_unassigned: grant.include_unassigned,
        not_before: grant.not_before.map(timestamp_to_wire),
        expires_at: grant.expires_at.map(timestamp_to_wire),
        granted_by: text(grant.granted_by.as_ref()),
    }
}

fn grant_to_wire(grant: &Grant) -> wire::Grant {
    wire::Grant {
        resource_type: grant.key.resource_type.to_string(),
        permission: grant.key.permission.to_string(),
        provenance: grant.provenance.to_string(),
        terms: Some(grant_terms_to_wire(grant)),
    }
}

pub fn object_grant_terms_to_wire(grant: &ObjectGrant) -> wire::ObjectGrantTerms {
    wire::ObjectGrantTerms {
        not_before: grant.not_before.map(timestamp_to_wire),
        expires_at: grant.expires_at.map(timestamp_to_wire),
        granted_by: text(grant.granted_by.as_ref()),
    }
}

fn object_grant_to_wire(grant: &ObjectGrant) -> wire::ObjectGrant {
    wire::ObjectGrant {
        resource_type: grant.resource.resource_type.to_string(),
        resource_id: grant.resource.id.to_string(),
        action: grant.action.to_string(),
        provenance: grant.provenance.to_string(),
        terms: Some(object_grant_terms_to_wire(grant)),
    }
}

pub fn permission_set_to_wire(set: &PermissionSet) -> wire::PermissionSet {
    wire::PermissionSet {
        id: set.id.to_string(),
        grants: set.grants.iter().map(grant_to_wire).collect(),
    }
}

pub fn user_status_to_wire(status: UserStatus) -> wire::UserStatus {
    match status {
        UserStatus::Invited => wire::UserStatus::Invited,
        UserStatus::Active => wire::UserStatus::Active,
        UserStatus::Deactivated => wire::UserStatus::Deactivated,
        UserStatus::Removed => wire::UserStatus::Removed,
    }
}

pub fn user_kind_to_wire(kind: UserKind) -> wire::UserKind {
    match kind {
        UserKind::Internal => wire::UserKind::Internal,
        UserKind::PartnerEmployee => wire::UserKind::PartnerEmployee,
        UserKind::Contractor => wire::UserKind::Contractor,
    }
}

pub fn partner_role_to_wire(role: PartnerRole) -> wire::PartnerRole {
    match role {
        PartnerRole::Admin => wire::PartnerRole::Admin,
        PartnerRole::Employee => wire::PartnerRole::Employee,
        PartnerRole::Contractor => wire::PartnerRole::Contractor,
    }
}

pub fn partnership_to_wire(partnership: Partnership) -> wire::Partnership {
    match partnership {
        Partnership::Active => wire::Partnership::Active,
        Partnership::Ended => wire::Partnership::Ended,
    }
}

pub fn partner_to_wire(partner: &Partner) -> wire::Partner {
    wire::Partner {
        account: partner.account.to_string(),
        user: partner.user.to_string(),
        role: partner_role_to_wire(partner.role).into(),
        partnership: partnership_to_wire(partner.partnership).into(),
    }
}

pub fn membership_to_wire(membership: &Membership) -> wire::Membership {
    use wire::membership::Of;
    wire::Membership {
        of: Some(match &membership.of {
            MembershipOf::Team(team) => Of::TeamId(team.to_string()),
            MembershipOf::PermissionSet(set) => Of::PermissionSetId(set.to_string()),
        }),
        provenance: membership.provenance.to_string(),
        expires_at: membership.expires_at.map(timestamp_to_wire),
        granted_by: text(membership.granted_by.as_ref()),
    }
}

pub fn user_to_wire(user: &User) -> wire::User {
    wire::User {
        id: user.id.to_string(),
        status: user_status_to_wire(user.status).into(),
        kind: user_kind_to_wire(user.kind).into(),
        account_owner: user.account_owner,
        super_admin: user.super_admin,
        partner_admin: user.partner_admin,
        main_team: text(user.main_team.as_ref()),
        teams: texts(&user.teams),
        seats: texts(&user.seats),
        person: text(user.person.as_ref()),
        partner: user.partner.as_ref().map(partner_to_wire),
        permission_sets: texts(&user.permission_sets),
        permission_set_givers: user
            .set_givers
            .iter()
            .map(|(set, giver)| (set.to_string(), giver.to_string()))
            .collect(),
        grants: user.grants.iter().map(grant_to_wire).collect(),
        object_grants: user
            .object_grants
            .iter()
            .map(object_grant_to_wire)
            .collect(),
        memberships: user.memberships.iter().map(membership_to_wire).collect(),
        email: user.email.clone().unwrap_or_default(),
    }
}

pub fn access_group_to_wire(group: &AccessGroup) -> wire::AccessGroup {
    wire::AccessGroup {
        id: group.id.to_string(),
        members: group
            .members
            .iter()
            .map(|(principal, actions)| wire::GroupMember {
                principal: Some(principal_to_wire(principal)),
                actions: texts(actions),
            })
            .collect(),
    }
}

fn assignment_to_wire(assignment: &Assignment) -> wire::Assignment {
    wire::Assignment {
        principal: Some(principal_to_wire(&assignment.principal)),
        provenance: assignment.provenance.to_string(),
        expires_at: assignment.expires_at.map(timestamp_to_wire),
    }
}

pub fn attributes_to_wire(attributes: &Attributes) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    serde_json::Value::Object(attributes.clone()).to_string()
}

pub fn resource_to_wire(resource: &Resource, attributes: Option<&Attributes>) -> wire::Resource {
    wire::Resource {
        resource_type: resource.key.resource_type.to_string(),
        id: resource.key.id.to_string(),
        owners: texts(&resource.owners),
        owning_team: text(resource.owning_team.as_ref()),
        partitioned: resource.partitioned,
        assigned_to: resource
            .assignments
            .iter()
            .map(assignment_to_wire)
            .collect(),
        attributes_json: attributes.map(attributes_to_wire).unwrap_or_default(),
    }
}

pub fn segment_to_wire(segment: &Segment) -> wire::Segment {
    wire::Segment {
        id: segment.id.to_string(),
        resource_type: segment.resource_type.to_string(),
        when: segment.when.clone(),
        assign_to: segment.assign_to.iter().map(principal_to_wire).collect(),
        enabled: segment.enabled,
        may_partition: Some(segment.may_partition),
    }
}

pub fn entity_key_to_wire(key: &EntityKey) -> wire::EntityKey {
    let (kind, id, resource_type) = match key {
        EntityKey::Account => (wire::EntityKind::Account, None, None),
        EntityKey::Team(id) => (wire::EntityKind::Team, Some(id), None),
        EntityKey::PermissionSet(id) => (wire::EntityKind::PermissionSet, Some(id), None),
        EntityKey::User(id) => (wire::EntityKind::User, Some(id), None),
        EntityKey::AccessGroup(id) => (wire::EntityKind::AccessGroup, Some(id), None),
        EntityKey::Resource(key) => (
            wire::EntityKind::Resource,
            Some(&key.id),
            Some(&key.resource_type),
        ),
        EntityKey::Segment(id) => (wire::EntityKind::Segment, Some(id), None),
        EntityKey::AccessRequest(id) => (wire::EntityKind::AccessRequest, Some(id), None),
    };
    wire::EntityKey {
        kind: kind.into(),
        id: text(id),
        resource_type: text(resource_type),
    }
}

pub fn entity_change_to_wire(change: &EntityChange) -> wire::EntityChange {
    use wire::entity_change::Change;
    let change = match change {
        EntityChange::Put(Entity::Account(account)) => Change::Account(account_to_wire(account)),
        EntityChange::Put(Entity::Team(team)) => Change::Team(team_to_wire(team)),
        EntityChange::Put(Entity::PermissionSet(set)) => {
            Change::PermissionSet(permission_set_to_wire(set))
        }
        EntityChange::Put(Entity::User(user)) => Change::User(user_to_wire(user)),
        EntityChange::Put(Entity::AccessGroup(group)) => {
            Change::AccessGroup(access_group_to_wire(group))
        }
        EntityChange::Put(Entity::Resource(resource, _)) => {
            Change::Resource(resource_to_wire(resource, None))
        }
        EntityChange::Put(Entity::Segment(segment)) => Change::Segment(segment_to_wire(segment)),
        // Its reason is for those whom AccessRequestService answers.
        EntityChange::Put(Entity::AccessRequest(request)) => Change::AccessRequest(
            entity_key_to_wire(&EntityKey::AccessRequest(request.id.clone())),
        ),
        EntityChange::Delete(key) => Change::Deleted(entity_key_to_wire(key)),
    };
    wire::EntityChange {
        change: Some(change),
    }
}
