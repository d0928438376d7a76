//! The statements that put and remove rows of a table.
//!
//! Rows travel to SQLite as one JSON array bound to one parameter, so that no write comes near the
//! limit of bound values.

use crate::store::tables::Table;

/// Puts rows: `?1` the account, `?2` the JSON array of rows.
#[expect(
    clippy::too_many_lines,
    reason = "one statement a table, read by its arms"
)]
pub(super) fn put_sql(table: Table) -> &'static str {
    match table {
        Table::Account => {
            "INSERT INTO account (account_id, catalog, catalog_source, plan, partner_program,
                payment_method_valid)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
            FROM json_each(?2) WHERE true ON CONFLICT (account_id) DO UPDATE SET
                catalog = excluded.catalog, catalog_source = excluded.catalog_source,
                plan = excluded.plan, partner_program = excluded.partner_program,
                payment_method_valid = excluded.payment_method_valid"
        }
        Table::Team => {
            "INSERT INTO team (account_id, team_id, parent)
            SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2) WHERE true
            ON CONFLICT (account_id, team_id) DO UPDATE SET parent = excluded.parent"
        }
        Table::PermissionSet => {
            "INSERT INTO permission_set (account_id, permission_set_id)
            SELECT ?1, value ->> 0 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING"
        }
        Table::AccessGroup => {
            "INSERT INTO access_group (account_id, access_group_id)
            SELECT ?1, value ->> 0 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING"
        }
        Table::User => {
            "INSERT INTO app_user (account_id, user_id, status, kind, account_owner,
                super_admin, partner_admin, main_team, person, partner_account, partner_user,
                partner_role, partnership, email)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
                value ->> 10, value ->> 11, value ->> 12
            FROM json_each(?2) WHERE true ON CONFLICT (account_id, user_id) DO UPDATE SET
                status = excluded.status, kind = excluded.kind,
                account_owner = excluded.account_owner, super_admin = excluded.super_admin,
                partner_admin = excluded.partner_admin, main_team = excluded.main_team,
                person = excluded.person, partner_account = excluded.partner_account,
                partner_user = excluded.partner_user, partner_role = excluded.partner_role,
                partnership = excluded.partnership, email = excluded.email"
        }
        Table::Segment => {
            "INSERT INTO segment (account_id, segment_id, resource_type, criteria, enabled,
                may_partition)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
            FROM json_each(?2) WHERE true ON CONFLICT (account_id, segment_id) DO UPDATE SET
                resource_type = excluded.resource_type, criteria = excluded.criteria,
                enabled = excluded.enabled, may_partition = excluded.may_partition"
        }
        Table::Resource => {
            "INSERT INTO resource (account_id, resource_type, resource_id, owning_team,
                partitioned)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3
            FROM json_each(?2) WHERE true
            ON CONFLICT (account_id, resource_type, resource_id) DO UPDATE SET
                owning_team = excluded.owning_team, partitioned = excluded.partitioned"
        }
        Table::AccessRequest => {
            "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action, resource_id, reason,
                denied_as, wanted_seconds, origin_url, filed_at, expires_at, state, closed_at,
                closed_by, closing_note, resolution, resolution_id, resolution_type,
                resolution_permission, resolution_level, resolution_unassigned,
                resolution_expires_at)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
                value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11,
                value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->>
                17, value ->> 18, value ->> 19, value ->> 20, value ->> 21
            FROM json_each(?2) WHERE true
            ON CONFLICT (account_id, access_request_id) DO UPDATE SET
                user_id = excluded.user_id, resource_type = excluded.resource_type, action =
                excluded.action, resource_id = excluded.resource_id, reason = excluded.reason,
                denied_as = excluded.denied_as, wanted_seconds = excluded.wanted_seconds,
                origin_url = excluded.origin_url, filed_at = excluded.filed_at, expires_at =
                excluded.expires_at, state = excluded.state, closed_at = excluded.closed_at,
                closed_by = excluded.closed_by, closing_note = excluded.closing_note, resolution
                = excluded.resolution, resolution_id = excluded.resolution_id, resolution_type =
                excluded.resolution_type, resolution_permission =
                excluded.resolution_permission, resolution_level = excluded.resolution_level,
                resolution_unassigned = excluded.resolution_unassigned, resolution_expires_at =
                excluded.resolution_expires_at"
        }
        Table::AccountSetting => {
            "INSERT INTO account_setting (account_id, name, type_key, value)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
        }
        Table::PermissionSetGrant => {
            "INSERT INTO permission_set_grant (account_id, permission_set_id, resource_type,
                permission, level, include_unassigned, not_before, expires_at, provenance,
                granted_by)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                value ->> 5, value ->> 6, value ->> 7, value ->> 8 FROM json_each(?2)"
        }
        Table::UserTeam => {
            "INSERT INTO user_team (account_id, user_id, team_id)
            SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)"
        }
        Table::UserSeat => {
            "INSERT INTO user_seat (account_id, user_id, seat)
            SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2)"
        }
        Table::UserPermissionSet => {
            "INSERT INTO user_permission_set (account_id, user_id, permission_set_id, granted_by)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
        }
        Table::UserMembership => {
            "INSERT INTO user_membership (account_id, user_id, kind, id, provenance, expires_at,
                granted_by)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                value ->> 5 FROM json_each(?2)"
        }
        Table::UserGrant => {
            "INSERT INTO user_grant (account_id, user_id, resource_type, permission, level,
                include_unassigned, not_before, expires_at, provenance, granted_by)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                value ->> 5, value ->> 6, value ->> 7, value ->> 8 FROM json_each(?2)"
        }
        Table::AccessGroupMember => {
            "INSERT INTO access_group_member (account_id, access_group_id, principal_kind,
                principal_id, actions)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?2)"
        }
        Table::SegmentTarget => {
            "INSERT INTO segment_target (account_id, segment_id, principal_kind, principal_id)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
        }
        Table::ResourceAttributes => {
            "INSERT INTO resource_attributes (account_id, resource_type, resource_id,
                attributes)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
        }
        Table::ResourceOwner => {
            "INSERT INTO resource_owner (account_id, resource_type, resource_id, user_id)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"
        }
        Table::Assignment => {
            "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind,
                principal_id, provenance, expires_at)
            SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
                value ->> 5 FROM json_each(?2)"
        }
        Table::ObjectGrant => {
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
pub(super) fn remove_sql(table: Table) -> &'static str {
    match table {
        Table::Account => "DELETE FROM account WHERE account_id = ?1 AND ?2 IS NOT NULL",
        Table::Team => {
            "DELETE FROM team WHERE account_id = ?1
                AND team_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::PermissionSet => {
            "DELETE FROM permission_set WHERE account_id = ?1
                AND permission_set_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::AccessGroup => {
            "DELETE FROM access_group WHERE account_id = ?1
                AND access_group_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::User => {
            "DELETE FROM app_user WHERE account_id = ?1
                AND user_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::Segment => {
            "DELETE FROM segment WHERE account_id = ?1
                AND segment_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::Resource => {
            "DELETE FROM resource WHERE account_id = ?1 AND (resource_type, resource_id) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::AccessRequest => {
            "DELETE FROM access_request WHERE account_id = ?1
                AND access_request_id IN (SELECT value ->> 0 FROM json_each(?2))"
        }
        Table::AccountSetting => {
            "DELETE FROM account_setting WHERE account_id = ?1 AND (name, type_key) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::PermissionSetGrant => {
            "DELETE FROM permission_set_grant WHERE rowid IN (
                SELECT g.rowid FROM json_each(?2) AS k CROSS JOIN permission_set_grant AS g
                ON g.account_id = ?1 AND g.permission_set_id = k.value ->> 0
                AND g.resource_type = k.value ->> 1 AND g.permission = k.value ->> 2
                AND g.level = k.value ->> 3 AND g.include_unassigned = k.value ->> 4
                AND g.not_before IS k.value ->> 5 AND g.expires_at IS k.value ->> 6
                AND g.provenance = k.value ->> 7 AND g.granted_by IS k.value ->> 8)"
        }
        Table::UserTeam => {
            "DELETE FROM user_team WHERE account_id = ?1 AND (user_id, team_id) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::UserSeat => {
            "DELETE FROM user_seat WHERE account_id = ?1 AND (user_id, seat) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::UserPermissionSet => {
            "DELETE FROM user_permission_set WHERE account_id = ?1
                AND (user_id, permission_set_id) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::UserMembership => {
            "DELETE FROM user_membership WHERE account_id = ?1
                AND (user_id, kind, id, provenance) IN
                (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?2))"
        }
        Table::UserGrant => {
            "DELETE FROM user_grant WHERE rowid IN (
                SELECT g.rowid FROM json_each(?2) AS k CROSS JOIN user_grant AS g
                ON g.account_id = ?1 AND g.user_id = k.value ->> 0
                AND g.resource_type = k.value ->> 1 AND g.permission = k.value ->> 2
                AND g.level = k.value ->> 3 AND g.include_unassigned = k.value ->> 4
                AND g.not_before IS k.value ->> 5 AND g.expires_at IS k.value ->> 6
                AND g.provenance = k.value ->> 7 AND g.granted_by IS k.value ->> 8)"
        }
        Table::AccessGroupMember => {
            "DELETE FROM access_group_member WHERE account_id = ?1
                AND (access_group_id, principal_kind, principal_id) IN
                (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
        }
        Table::SegmentTarget => {
            "DELETE FROM segment_target WHERE account_id = ?1
                AND (segment_id, principal_kind, principal_id) IN
                (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
        }
        Table::ResourceAttributes => {
            "DELETE FROM resource_attributes WHERE account_id = ?1
                AND (resource_type, resource_id) IN
                (SELECT value ->> 0, value ->> 1 FROM json_each(?2))"
        }
        Table::ResourceOwner => {
            "DELETE FROM resource_owner WHERE account_id = ?1
                AND (resource_type, resource_id, user_id) IN
                (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2))"
        }
        Table::Assignment => {
            "DELETE FROM assignment WHERE account_id = ?1 AND
                (resource_type, resource_id, principal_kind, principal_id, provenance) IN
                (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
                    FROM json_each(?2))"
        }
        Table::ObjectGrant => {
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
