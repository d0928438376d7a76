//! Entities as rows: which rows an entity is made of, and how rows of a table are put and removed.
//!
//! A row is a JSON array of its columns without `account_id`. Rows travel to SQLite as one JSON
//! array bound to one parameter, so that no write comes near the limit of bound values.

use serde::Serialize;

use super::read::not_json;
use crate::authz::model::{
    AccessGroup, Account, Attributes, CatalogRef, Entity, Grant, Id, ObjectGrant, PermissionSet,
    Principal, Resource, Segment, Team, Timestamp, User,
};
use crate::store::StoreError;

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
    // From here on: rows that belong to an entity, and go with it.
    AccountSetting,
    PermissionSetGrant,
    UserTeam,
    UserSeat,
    UserPermissionSet,
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
        self <= Self::Resource
    }

    /// Puts rows: `?1` the account, `?2` the JSON array of rows.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement a table, read by its arms"
    )]
    pub(super) fn put_sql(self) -> &'static str {
        match self {
            Self::Account => {
                "INSERT INTO account (account_id, catalog, catalog_source, plan, partner_program,
                    payment_method_valid)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
                FROM json_each(?2) WHERE true ON CONFLICT (account_id) DO UPDATE SET
                    catalog = excluded.catalog, catalog_source = excluded.catalog_source,
                    plan = excluded.plan, partner_program = excluded.partner_program,
                    payment_method_valid = excluded.payment_method_valid"
            }
            Self::Team => {
                "INSERT INTO team (account_id, team_id, parent)
                SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2) WHERE true
                ON CONFLICT (account_id, team_id) DO UPDATE SET parent = excluded.parent"
            }
            Self::PermissionSet => {
                "INSERT INTO permission_set (account_id, permission_set_id)
                SELECT ?1, value ->> 0 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING"
            }
            Self::AccessGroup => {
                "INSERT INTO access_group (account_id, access_group_id)
                SELECT ?1, value ->> 0 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING"
            }
            Self::User => {
                "INSERT INTO app_user (account_id, user_id, status, kind, account_owner,
                    super_admin, partner_admin, main_team, person, partner_account, partner_user,
                    partner_role, partnership)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                    value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
                    value ->> 10, value ->> 11
                FROM json_each(?2) WHERE true ON CONFLICT (account_id, user_id) DO UPDATE SET
                    status = excluded.status, kind = excluded.kind,
                    account_owner = excluded.account_owner, super_admin = excluded.super_admin,
                    partner_admin = excluded.partner_admin, main_team = excluded.main_team,
                    person = excluded.person, partner_account = excluded.partner_account,
                    partner_user = excluded.partner_user, partner_role = excluded.partner_role,
                    partnership = excluded.partnership"
            }
            Self::Segment => {
                "INSERT INTO segment (account_id, segment_id, resource_type, criteria, enabled)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3
                FROM json_each(?2) WHERE true ON CONFLICT (account_id, segment_id) DO UPDATE SET
                    resource_type = excluded.resource_type, criteria = excluded.criteria,
                    enabled = excluded.enabled"
            }
            Self::Resource => {
                "INSERT INTO resource (account_id, resource_type, resource_id, owning_team,
                    partitioned)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3
                FROM json_each(?2) WHERE true
                ON CONFLICT (account_id, resource_type, resource_id) DO UPDATE SET
                    owning_team = excluded.owning_team, partitioned = excluded.partitioned"
            }
            Self::AccountSetting => {
                "INSERT INTO account_setting (account_id, name, type_key, value)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
            }
            Self::PermissionSetGrant => {
                "INSERT INTO permission_set_grant (account_id, permission_set_id, resource_type,
                    permission, level, include_unassigned, not_before, expires_at, provenance,
                    granted_by)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                    value ->> 5, value ->> 6, value ->> 7, value ->> 8 FROM json_each(?2)"
            }
            Self::UserTeam => {
                "INSERT INTO user_team (account_id, user_id, team_id)
                SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)"
            }
            Self::UserSeat => {
                "INSERT INTO user_seat (account_id, user_id, seat)
                SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)"
            }
            Self::UserPermissionSet => {
                "INSERT INTO user_permission_set (account_id, user_id, permission_set_id)
                SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)"
            }
            Self::UserGrant => {
                "INSERT INTO user_grant (account_id, user_id, resource_type, permission, level,
                    include_unassigned, not_before, expires_at, provenance, granted_by)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                    value ->> 5, value ->> 6, value ->> 7, value ->> 8 FROM json_each(?2)"
            }
            Self::AccessGroupMember => {
                "INSERT INTO access_group_member (account_id, access_group_id, principal_kind,
                    principal_id, actions)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?2)"
            }
            Self::SegmentTarget => {
                "INSERT INTO segment_target (account_id, segment_id, principal_kind, principal_id)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
            }
            Self::ResourceAttributes => {
                "INSERT INTO resource_attributes (account_id, resource_type, resource_id,
                    attributes)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
            }
            Self::ResourceOwner => {
                "INSERT INTO resource_owner (account_id, resource_type, resource_id, user_id)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
            }
            Self::Assignment => {
                "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
                    principal_id, provenance, expires_at)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                    value ->> 5 FROM json_each(?2)"
            }
            Self::ObjectGrant => {
                "INSERT INTO object_grant (account_id, user_id, resource_type, resource_id, action,
                    not_before, expires_at, provenance, granted_by)
                SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                    value ->> 5, value ->> 6, value ->> 7 FROM json_each(?2)"
            }
        }
    }

    /// Removes rows, with the same parameters; of the columns, those that tell a row from others.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement a table, read by its arms"
    )]
    pub(super) fn remove_sql(self) -> &'static str {
        match self {
            Self::Account => "DELETE FROM account WHERE account_id = ?1 AND ?2 IS NOT NULL",
            Self::Team => {
                "DELETE FROM team WHERE account_id = ?1
                    AND team_id IN (SELECT value ->> 0 FROM json_each(?2))"
            }
            Self::PermissionSet => {
                "DELETE FROM permission_set WHERE account_id = ?1
                    AND permission_set_id IN (SELECT value ->> 0 FROM json_each(?2))"
            }
            Self::AccessGroup => {
                "DELETE FROM access_group WHERE account_id = ?1
                    AND access_group_id IN (SELECT value ->> 0 FROM json_each(?2))"
            }
            Self::User => {
                "DELETE FROM app_user WHERE account_id = ?1
                    AND user_id IN (SELECT value ->> 0 FROM json_each(?2))"
            }
            Self::Segment => {
                "DELETE FROM segment WHERE account_id = ?1
                    AND segment_id IN (SELECT value ->> 0 FROM json_each(?2))"
            }
            Self::Resource => {
                "DELETE FROM resource WHERE account_id = ?1 AND (resource_type, resource_id) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::AccountSetting => {
                "DELETE FROM account_setting WHERE account_id = ?1 AND (name, type_key) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::PermissionSetGrant => {
                "DELETE FROM permission_set_grant WHERE rowid IN (
                    SELECT g.rowid FROM json_each(?2) AS k CROSS JOIN permission_set_grant AS g
                    ON g.account_id = ?1 AND g.permission_set_id = k.value ->> 0
                    AND g.resource_type = k.value ->> 1 AND g.permission = k.value ->> 2
                    AND g.level = k.value ->> 3 AND g.include_unassigned = k.value ->> 4
                    AND g.not_before IS k.value ->> 5 AND g.expires_at IS k.value ->> 6
                    AND g.provenance = k.value ->> 7 AND g.granted_by IS k.value ->> 8)"
            }
            Self::UserTeam => {
                "DELETE FROM user_team WHERE account_id = ?1 AND (user_id, team_id) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::UserSeat => {
                "DELETE FROM user_seat WHERE account_id = ?1 AND (user_id, seat) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::UserPermissionSet => {
                "DELETE FROM user_permission_set WHERE account_id = ?1
                    AND (user_id, permission_set_id) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::UserGrant => {
                "DELETE FROM user_grant WHERE rowid IN (
                    SELECT g.rowid FROM json_each(?2) AS k CROSS JOIN user_grant AS g
                    ON g.account_id = ?1 AND g.user_id = k.value ->> 0
                    AND g.resource_type = k.value ->> 1 AND g.permission = k.value ->> 2
                    AND g.level = k.value ->> 3 AND g.include_unassigned = k.value ->> 4
                    AND g.not_before IS k.value ->> 5 AND g.expires_at IS k.value ->> 6
                    AND g.provenance = k.value ->> 7 AND g.granted_by IS k.value ->> 8)"
            }
            Self::AccessGroupMember => {
                "DELETE FROM access_group_member WHERE account_id = ?1
                    AND (access_group_id, principal_kind, principal_id) IN
                    (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
            }
            Self::SegmentTarget => {
                "DELETE FROM segment_target WHERE account_id = ?1
                    AND (segment_id, principal_kind, principal_id) IN
                    (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
            }
            Self::ResourceAttributes => {
                "DELETE FROM resource_attributes WHERE account_id = ?1
                    AND (resource_type, resource_id) IN
                    (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
            }
            Self::ResourceOwner => {
                "DELETE FROM resource_owner WHERE account_id = ?1
                    AND (resource_type, resource_id, user_id) IN
                    (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
            }
            Self::Assignment => {
                "DELETE FROM assignment WHERE account_id = ?1 AND
                    (resource_type, resource_id, principal_kind, principal_id, provenance) IN
                    (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
                        FROM json_each(?2))"
            }
            Self::ObjectGrant => {
                "DELETE FROM object_grant WHERE rowid IN (
                    SELECT g.rowid FROM json_each(?2) AS k CROSS JOIN object_grant AS g
                    ON g.account_id = ?1 AND g.user_id = k.value ->> 0
                    AND g.resource_type = k.value ->> 1 AND g.resource_id = k.value ->> 2
                    AND g.action = k.value ->> 3
                    AND g.not_before IS k.value ->> 4 AND g.expires_at IS k.value ->> 5
                    AND g.provenance = k.value ->> 6 AND g.granted_by IS k.value ->> 7)"
            }
        }
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
    }
    Ok(rows)
}

fn push(rows: &mut Rows, table: Table, row: &impl Serialize) -> Result<(), StoreError> {
    rows.push((table, serde_json::to_string(row).map_err(not_json)?));
    Ok(())
}

fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::unix_micros)
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
    );
    push(rows, Table::User, &row)?;
    for team in &user.teams {
        push(rows, Table::UserTeam, &(id, team))?;
    }
    for seat in &user.seats {
        push(rows, Table::UserSeat, &(id, seat))?;
    }
    for set in &user.permission_sets {
        push(rows, Table::UserPermissionSet, &(id, set))?;
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
    let row = (id, &segment.resource_type, &segment.when, segment.enabled);
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
