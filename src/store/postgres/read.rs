//! Entities out of rows.
//!
//! As in the embedded store, a page of entities is one value of the result: the database gathers
//! each entity with all that belongs to it into JSON. The statements differ only in which entities
//! they read: a page in the order of ids, or those of a list of keys.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::{LARGE, bounded};
use super::error::store_error;
use super::requests;
use super::resources;
use super::session::Session;
use crate::authz::model::{Account, Entity, EntityKey, Id};
use crate::store::kinds::{Kind, PAGE, Sought, in_order};
use crate::store::rows::{self, AccountRow, At};
use crate::store::{Head, StoreError};

/// Where an account stands, in the transaction of the connection.
pub(super) async fn head(
    connection: &mut Session,
    account: &Id,
) -> Result<Option<Head>, StoreError> {
    sqlx::query("SELECT revision, nonce FROM ambit.account_head WHERE account_id = $1")
        .bind(account.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?
        .map(|row| head_of(&row, account.as_str()))
        .transpose()
}

/// From a row that begins with revision and nonce.
pub(super) fn head_of(row: &PgRow, account: &str) -> Result<Head, StoreError> {
    let revision: i64 = row.try_get(0).map_err(store_error)?;
    let nonce: &[u8] = row.try_get(1).map_err(store_error)?;
    rows::head(account, revision, nonce)
}

/// The present state of the named entities, those that exist, in the order of a snapshot. No
/// attributes.
pub(super) async fn entities(
    connection: &mut Session,
    account: &Id,
    keys: &[EntityKey],
) -> Result<Vec<Entity>, StoreError> {
    static SQL: LazyLock<[String; 6]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let ((table, id), entity) = (kind.table(), gathered(kind));
            format!(
                "SELECT coalesce(json_agg({entity}), '[]')::text FROM ambit.{table} AS e \
                 WHERE e.account_id = $1 AND e.{id} = ANY($2)"
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
        for ids in ids.chunks(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(kind.of(&SQL)))
                .bind(account.as_str())
                .bind(ids)
                .fetch_one(&mut *connection);
            let json: String = bounded(LARGE, async { query.await.map_err(store_error) }).await?;
            found.extend(kind.parse(json.as_bytes(), "of the changed ones")?);
        }
    }
    let (teams, others): (Vec<Entity>, Vec<Entity>) = found
        .into_iter()
        .partition(|entity| matches!(entity, Entity::Team(_)));
    let mut found = others;
    let after_account = found.len().min(usize::from(matches!(
        found.first(),
        Some(Entity::Account(_))
    )));
    found.splice(after_account..after_account, in_order(Kind::Team, teams));
    if !sought.resources.is_empty() {
        found.extend(resources::keyed(connection, account, &sought.resources).await?);
    }
    Ok(found)
}

/// Unix microseconds of a time, exactly.
macro_rules! micros {
    ($column:literal) => {
        concat!("(extract(epoch FROM ", $column, ") * 1000000)::int8")
    };
}
pub(super) use micros;

/// The JSON of an entity `e` of a kind.
fn gathered(kind: Kind) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        Kind::AccessRequest => return Cow::Owned(requests::gathered_request("e")),
        Kind::Team => "json_build_array(e.team_id, e.parent)",
        Kind::PermissionSet => concat!(
            "json_build_array(e.permission_set_id, (SELECT coalesce(json_agg(json_build_array(
                resource_type, permission, level, include_unassigned, ",
            micros!("not_before"),
            ", ",
            micros!("expires_at"),
            ", provenance, granted_by)), '[]') FROM ambit.permission_set_grant AS g
                WHERE g.account_id = $1 AND g.permission_set_id = e.permission_set_id))"
        ),
        Kind::User => concat!(
            "json_build_array(e.user_id, e.status, e.kind, e.account_owner, e.super_admin,
                e.partner_admin, e.main_team, e.person, e.partner_account, e.partner_user,
                e.partner_role, e.partnership, e.email,
                (SELECT coalesce(json_agg(team_id), '[]') FROM ambit.user_team AS t
                    WHERE t.account_id = $1 AND t.user_id = e.user_id),
                (SELECT coalesce(json_agg(seat), '[]') FROM ambit.user_seat AS s
                    WHERE s.account_id = $1 AND s.user_id = e.user_id),
                (SELECT coalesce(json_agg(json_build_array(permission_set_id, granted_by)), '[]')
                    FROM ambit.user_permission_set AS p
                    WHERE p.account_id = $1 AND p.user_id = e.user_id),
                (SELECT coalesce(json_agg(json_build_array(kind, id, provenance, ",
            micros!("expires_at"),
            ", granted_by)), '[]') FROM ambit.user_membership AS m
                    WHERE m.account_id = $1 AND m.user_id = e.user_id),
                (SELECT coalesce(json_agg(json_build_array(
                    resource_type, permission, level, include_unassigned, ",
            micros!("not_before"),
            ", ",
            micros!("expires_at"),
            ", provenance, granted_by)), '[]') FROM ambit.user_grant AS g
                    WHERE g.account_id = $1 AND g.user_id = e.user_id),
                (SELECT coalesce(json_agg(json_build_array(
                    resource_type, resource_id, action, ",
            micros!("not_before"),
            ", ",
            micros!("expires_at"),
            ", provenance, granted_by)), '[]') FROM ambit.object_grant AS o
                    WHERE o.account_id = $1 AND o.user_id = e.user_id))"
        ),
        Kind::AccessGroup => {
            "json_build_array(e.access_group_id, (SELECT coalesce(json_agg(json_build_array(
                principal_kind, principal_id, to_json(actions)::text)), '[]')
                FROM ambit.access_group_member AS m
                WHERE m.account_id = $1 AND m.access_group_id = e.access_group_id))"
        }
        Kind::Segment => {
            "json_build_array(e.segment_id, e.resource_type, e.criteria, e.enabled, e.may_partition,
                (SELECT coalesce(json_agg(json_build_array(principal_kind, principal_id)), '[]')
                    FROM ambit.segment_target AS t
                    WHERE t.account_id = $1 AND t.segment_id = e.segment_id))"
        }
    })
}

/// Entities after an id, in byte order, at most a [`PAGE`].
pub(super) async fn page(
    kind: Kind,
    connection: &mut Session,
    account: &Id,
    after: &str,
) -> Result<Vec<Entity>, StoreError> {
    static SQL: LazyLock<[String; 6]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let ((table, id), entity) = (kind.table(), gathered(kind));
            format!(
                "SELECT coalesce(json_agg({entity} ORDER BY e.{id}), '[]')::text \
                 FROM (SELECT * FROM ambit.{table} WHERE {}account_id = $1 AND {id} > $2 \
                 ORDER BY {id} LIMIT $3) AS e",
                kind.loaded()
            )
        })
    });
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(kind.of(&SQL)))
        .bind(account.as_str())
        .bind(after)
        .bind(PAGE)
        .fetch_one(connection);
    let json: String = bounded(LARGE, async { query.await.map_err(store_error) }).await?;
    kind.parse(json.as_bytes(), after)
}

/// The account entity, or `None`.
pub(super) async fn account(
    connection: &mut Session,
    account: &Id,
) -> Result<Option<Account>, StoreError> {
    let json: Option<String> = sqlx::query_scalar(
        "SELECT json_build_array(catalog, catalog_source, plan, partner_program,
            payment_method_valid, (SELECT coalesce(json_agg(json_build_array(name, type_key, value)),
                '[]') FROM ambit.account_setting WHERE account_id = $1))::text
        FROM ambit.account WHERE account_id = $1",
    )
    .bind(account.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let Some(json) = json else { return Ok(None) };
    let at = At {
        table: "account",
        row: account.as_str(),
    };
    let row: AccountRow<'_> = serde_json::from_str(&json).map_err(|error| at.wrong("*", error))?;
    row.account(account).map(Some)
}
