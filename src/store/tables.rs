//! Entities as rows: the tables that every store has, and which rows an entity is made of.
//!
//! A row is a JSON array of its columns without `account_id`: what is compared with what is stored,
//! and what a store's statements take their values from. Times are Unix microseconds.

use serde::Serialize;

use super::StoreError;
use super::request_rows::request_columns;
use super::rows::{micros, not_json};
use crate::authz::model::{
    AccessGroup, Account, Attributes, CatalogRef, Entity, Grant, Id, ObjectGrant, PermissionSet,
    Principal, Resource, Segment, Team, User,
};

/// Tables in the order in which their rows can be put: what others refer to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    Account,
    Team,
    PermissionSet,
    AccessGroup,
    User,
    Segment,
    Resource,
    AccessRequest,
    // From here on: rows that belong to an entity, and go with it.
    AccountSetting,
    PermissionSetGrant,
    UserTeam,
    UserSeat,
    UserPermissionSet,
    UserMembership,
    UserGrant,
    AccessGroupMember,
    SegmentTarget,
    ResourceAttributes,
    ResourceOwner,
    Assignment,
    ObjectGrant,
}

impl Table {
    /// Whether its rows are the entities themselves: put over what is there, never removed for
    /// another state of the same entity.
    pub(super) fn is_entity(self) -> bool {
        self <= Self::AccessRequest
    }
}

/// Rows as they are gathered, each with its table.
pub(super) type Rows = Vec<(Table, String)>;

/// The rows of an entity. Attributes that are `None` or empty have no row.
pub(super) fn rows_of(entity: &Entity) -> Result<Rows, StoreError> {
    let mut rows = Rows::new();
    match entity {
        Entity::Account(account) => account_rows(account, &mut rows)?,
        Entity::Team(team) => push(&mut rows, Table::Team, &team_row(team))?,
        Entity::PermissionSet(set) => permission_set_rows(set, &mut rows)?,
        Entity::User(user) => user_rows(user, &mut rows)?,
        Entity::AccessGroup(group) => access_group_rows(group, &mut rows)?,
        Entity::Resource(resource, attributes) => {
            resource_rows(resource, attributes.as_ref(), &mut rows)?;
        }
        Entity::Segment(segment) => segment_rows(segment, &mut rows)?,
        Entity::AccessRequest(request) => {
            push(&mut rows, Table::AccessRequest, &request_columns(request))?;
        }
    }
    Ok(rows)
}

fn push(rows: &mut Rows, table: Table, row: &impl Serialize) -> Result<(), StoreError> {
    rows.push((table, serde_json::to_string(row).map_err(not_json)?));
    Ok(())
}

fn account_rows(account: &Account, rows: &mut Rows) -> Result<(), StoreError> {
    let (catalog, source) = match &account.catalog {
        CatalogRef::BuiltIn(name) => (Some(name), None),
        CatalogRef::Custom(source) => (None, Some(source)),
    };
    let row = (
        catalog,
        source,
        &account.plan,
        account.partner_program,
        account.payment_method_valid,
    );
    push(rows, Table::Account, &row)?;
    let settings = &account.settings;
    for (key, mode) in &settings.partition_mode {
        push(rows, Table::AccountSetting, &("partition_mode", key, mode))?;
    }
    for (key, default) in &settings.unpartitioned {
        push(
            rows,
            Table::AccountSetting,
            &("unpartitioned", key, default),
        )?;
    }
    let numbers = [
        ("request_ttl_seconds", settings.request_ttl_seconds),
        (
            "request_cool_down_seconds",
            settings.request_cool_down_seconds,
        ),
        (
            "request_limit_per_user",
            settings.request_limit_per_user.map(u64::from),
        ),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            push(rows, Table::AccountSetting, &(name, "", number.to_string()))?;
        }
    }
    Ok(())
}

pub(super) fn team_row(team: &Team) -> (&Id, Option<&Id>) {
    (&team.id, team.parent.as_ref())
}

fn grant_row<'a>(holder: &'a Id, grant: &'a Grant) -> impl Serialize + 'a {
    (
        holder,
        &grant.key.resource_type,
        &grant.key.permission,
        grant.level,
        grant.include_unassigned,
        micros(grant.not_before),
        micros(grant.expires_at),
        grant.provenance.to_string(),
        grant.granted_by.as_ref(),
    )
}

fn object_grant_row<'a>(holder: &'a Id, grant: &'a ObjectGrant) -> impl Serialize + 'a {
    (
        holder,
        &grant.resource.resource_type,
        &grant.resource.id,
        &grant.action,
        micros(grant.not_before),
        micros(grant.expires_at),
        grant.provenance.to_string(),
        grant.granted_by.as_ref(),
    )
}

fn permission_set_rows(set: &PermissionSet, rows: &mut Rows) -> Result<(), StoreError> {
    push(rows, Table::PermissionSet, &[&set.id])?;
    for grant in &set.grants {
        push(rows, Table::PermissionSetGrant, &grant_row(&set.id, grant))?;
    }
    Ok(())
}

fn user_rows(user: &User, rows: &mut Rows) -> Result<(), StoreError> {
    let id = &user.id;
    let partner = user.partner.as_ref();
    let row = (
        id,
        user.status,
        user.kind,
        user.account_owner,
        user.super_admin,
        user.partner_admin,
        user.main_team.as_ref(),
        user.person.as_ref(),
        partner.map(|partner| &partner.account),
        partner.map(|partner| &partner.user),
        partner.map(|partner| partner.role),
        partner.map(|partner| partner.partnership),
        user.email.as_ref(),
    );
    push(rows, Table::User, &row)?;
    for team in &user.teams {
        push(rows, Table::UserTeam, &(id, team))?;
    }
    for seat in &user.seats {
        push(rows, Table::UserSeat, &(id, seat))?;
    }
    for set in &user.permission_sets {
        push(
            rows,
            Table::UserPermissionSet,
            &(id, set, user.set_givers.get(set)),
        )?;
    }
    for membership in &user.memberships {
        let row = (
            id,
            membership.of.kind(),
            membership.of.id(),
            membership.provenance.to_string(),
            micros(membership.expires_at),
            membership.granted_by.as_ref(),
        );
        push(rows, Table::UserMembership, &row)?;
    }
    for grant in &user.grants {
        push(rows, Table::UserGrant, &grant_row(id, grant))?;
    }
    for grant in &user.object_grants {
        push(rows, Table::ObjectGrant, &object_grant_row(id, grant))?;
    }
    Ok(())
}

fn access_group_rows(group: &AccessGroup, rows: &mut Rows) -> Result<(), StoreError> {
    push(rows, Table::AccessGroup, &[&group.id])?;
    for (principal, actions) in &group.members {
        let actions = serde_json::to_string(actions).map_err(not_json)?;
        let row = (&group.id, principal.kind(), principal.id(), actions);
        push(rows, Table::AccessGroupMember, &row)?;
    }
    Ok(())
}

fn segment_rows(segment: &Segment, rows: &mut Rows) -> Result<(), StoreError> {
    let id = &segment.id;
    let row = (
        id,
        &segment.resource_type,
        &segment.when,
        segment.enabled,
        segment.may_partition,
    );
    push(rows, Table::Segment, &row)?;
    for target in &segment.assign_to {
        push(
            rows,
            Table::SegmentTarget,
            &(id, target.kind(), target.id()),
        )?;
    }
    Ok(())
}

fn resource_rows(
    resource: &Resource,
    attributes: Option<&Attributes>,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    let (kind, id) = (&resource.key.resource_type, &resource.key.id);
    let row = (
        kind,
        id,
        resource.owning_team.as_ref(),
        resource.partitioned,
    );
    push(rows, Table::Resource, &row)?;
    for owner in &resource.owners {
        push(rows, Table::ResourceOwner, &(kind, id, owner))?;
    }
    for assignment in &resource.assignments {
        let principal: &Principal = &assignment.principal;
        let row = (
            kind,
            id,
            principal.kind(),
            principal.id(),
            assignment.provenance.to_string(),
            micros(assignment.expires_at),
        );
        push(rows, Table::Assignment, &row)?;
    }
    if let Some(attributes) = attributes.filter(|attributes| !attributes.is_empty()) {
        let text = serde_json::to_string(attributes).map_err(not_json)?;
        push(rows, Table::ResourceAttributes, &(kind, id, text))?;
    }
    Ok(())
}
