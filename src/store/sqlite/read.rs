//! Entities out of rows.
//!
//! A page of entities is one row of the result: SQLite gathers each entity with all that belongs
//! to it into JSON, which costs less than a row of the driver for each row of a table, and needs
//! one round trip where six would be. The statements differ only in which entities they read: a
//! page in the order of ids, or those of a list of keys.
//!
//! What can't be read as the model is [`StoreError::Inconsistent`] and names the row.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::error::store_error;
use super::requests;
use super::resources;
use crate::authz::model::{Account, Entity, EntityKey, Id};
use crate::store::kinds::{Kind, PAGE, Sought, in_order};
use crate::store::rows::{self, AccountRow, At, inconsistent, not_json};
use crate::store::{Head, StoreError};

/// Where an account stands, in the transaction of the connection.
pub(super) async fn head(
    connection: &mut SqliteConnection,
    account: &Id,
) -> Result<Option<Head>, StoreError> {
    sqlx::query("SELECT revision, nonce FROM account_head WHERE account_id = ?1")
        .bind(account.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?
        .map(|row| head_of(&row, account.as_str()))
        .transpose()
}

/// From a row that begins with revision and nonce.
pub(super) fn head_of(row: &SqliteRow, account: &str) -> Result<Head, StoreError> {
    let revision: i64 = row.try_get(0).map_err(store_error)?;
    let nonce: &[u8] = row.try_get(1).map_err(store_error)?;
    rows::head(account, revision, nonce)
}

/// A column of text, which a plain writer may have made of bytes that are none.
pub(super) fn text<'r>(
    row: &'r SqliteRow,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> Result<&'r str, StoreError> {
    let bytes: &[u8] = row.try_get(index).map_err(store_error)?;
    std::str::from_utf8(bytes)
        .map_err(|error| inconsistent(table, column, String::from_utf8_lossy(bytes), error))
}

/// The present state of the named entities, those that exist, in the order of a snapshot. No
/// attributes.
pub(super) async fn entities(
    connection: &mut SqliteConnection,
    account: &Id,
    keys: &[EntityKey],
) -> Result<Vec<Entity>, StoreError> {
    static SQL: LazyLock<[String; 6]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let ((table, id), entity) = (kind.table(), gathered(kind));
            format!(
                "SELECT json_group_array({entity}) FROM json_each(?2) AS k \
                 CROSS JOIN {table} AS e ON e.account_id = ?1 AND e.{id} = k.value"
            )
        })
    });
    let sought = Sought::new(keys);
    let mut found = Vec::with_capacity(keys.len());
    if sought.account {
        let entity = self::account(connection, account).await?;
        found.extend(entity.map(Entity::Account));
    }
    for (kind, ids) in Kind::ALL.into_iter().zip(&sought.by_kind) {
        if ids.is_empty() {
            continue;
        }
        let row = sqlx::query(kind.of(&SQL))
            .bind(account.as_str())
            .bind(serde_json::to_string(ids).map_err(not_json)?)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let json: &[u8] = row.try_get(0).map_err(store_error)?;
        found.extend(in_order(kind, kind.parse(json, "of the changed ones")?));
    }
    if !sought.resources.is_empty() {
        found.extend(resources::keyed(connection, account, &sought.resources).await?);
    }
    Ok(found)
}

/// The JSON of an entity `e` of a kind.
fn gathered(kind: Kind) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        Kind::AccessRequest => return Cow::Owned(requests::gathered_request("e")),
        Kind::Team => "json_array(e.team_id, e.parent)",
        Kind::PermissionSet => {
            "json_array(e.permission_set_id, (SELECT json_group_array(json_array(
                resource_type, permission, level, include_unassigned, not_before, expires_at,
                provenance, granted_by)) FROM permission_set_grant AS g
                WHERE g.account_id = ?1 AND g.permission_set_id = e.permission_set_id))"
        }
        Kind::User => {
            "json_array(e.user_id, e.status, e.kind, e.account_owner, e.super_admin,
                e.partner_admin, e.main_team, e.person, e.partner_account, e.partner_user,
                e.partner_role, e.partnership, e.email,
                (SELECT json_group_array(team_id) FROM user_team AS t
                    WHERE t.account_id = ?1 AND t.user_id = e.user_id),
                (SELECT json_group_array(seat) FROM user_seat AS s
                    WHERE s.account_id = ?1 AND s.user_id = e.user_id),
                (SELECT json_group_array(json_array(permission_set_id, granted_by))
                    FROM user_permission_set AS p
                    WHERE p.account_id = ?1 AND p.user_id = e.user_id),
                (SELECT json_group_array(json_array(kind, id, provenance, expires_at, granted_by))
                    FROM user_membership AS m
                    WHERE m.account_id = ?1 AND m.user_id = e.user_id),
                (SELECT json_group_array(json_array(
                    resource_type, permission, level, include_unassigned, not_before,
                    expires_at, provenance, granted_by)) FROM user_grant AS g
                    WHERE g.account_id = ?1 AND g.user_id = e.user_id),
                (SELECT json_group_array(json_array(
                    resource_type, resource_id, action, not_before, expires_at, provenance,
                    granted_by)) FROM object_grant AS o
                    WHERE o.account_id = ?1 AND o.user_id = e.user_id))"
        }
        Kind::AccessGroup => {
            "json_array(e.access_group_id, (SELECT json_group_array(json_array(
                principal_kind, principal_id, actions)) FROM access_group_member AS m
                WHERE m.account_id = ?1 AND m.access_group_id = e.access_group_id))"
        }
        Kind::Segment => {
            "json_array(e.segment_id, e.resource_type, e.criteria, e.enabled, e.may_partition,
                (SELECT json_group_array(json_array(principal_kind, principal_id))
                    FROM segment_target AS t
                    WHERE t.account_id = ?1 AND t.segment_id = e.segment_id))"
        }
    })
}

/// Entities after an id, in byte order, at most a [`PAGE`].
pub(super) async fn page(
    kind: Kind,
    connection: &mut SqliteConnection,
    account: &Id,
    after: &str,
) -> Result<Vec<Entity>, StoreError> {
    static SQL: LazyLock<[String; 6]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let ((table, id), entity) = (kind.table(), gathered(kind));
            format!(
                "SELECT json_group_array({entity}) FROM (SELECT * FROM {table} \
                 WHERE {}account_id = ?1 AND {id} > ?2 ORDER BY {id} LIMIT ?3) AS e",
                kind.loaded()
            )
        })
    });
    let row = sqlx::query(kind.of(&SQL))
        .bind(account.as_str())
        .bind(after)
        .bind(PAGE)
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    let json: &[u8] = row.try_get(0).map_err(store_error)?;
    kind.parse(json, after)
}

/// The account entity, or `None`.
pub(super) async fn account(
    connection: &mut SqliteConnection,
    account: &Id,
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query(
        "SELECT json_array(catalog, catalog_source, plan, partner_program, payment_method_valid,
            (SELECT json_group_array(json_array(name, type_key, value)) FROM account_setting
                WHERE account_id = ?1))
        FROM account WHERE account_id = ?1",
    )
    .bind(account.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let json: &[u8] = row.try_get(0).map_err(store_error)?;
    let at = At {
        table: "account",
        row: account.as_str(),
    };
    let row: AccountRow<'_> = serde_json::from_slice(json).map_err(|error| at.wrong("*", error))?;
    row.account(account).map(Some)
}
