//! Resources out of rows, where they are few: those of a list of keys, and pages with attributes.

use std::sync::LazyLock;

use sqlx::Row;

use super::connect::{LARGE, bounded};
use super::error::store_error;
use super::read::micros;
use super::session::Session;
use crate::authz::model::{Attributes, Entity, Id, ResourceKey};
use crate::store::StoreError;
use crate::store::rows::{At, ResourceRow, attributes_of, parse_rows};

/// Resources in a page: a page is one value of the database, and holds attributes too.
const PAGE: i64 = 200;
/// Keys that are looked up in one statement.
const KEYS_AT_ONCE: usize = 5_000;

const RESOURCE: &str = concat!(
    "json_build_array(e.resource_type, e.resource_id, e.owning_team, e.partitioned,
    (SELECT coalesce(json_agg(user_id), '[]') FROM ambit.resource_owner AS o
        WHERE o.account_id = $1 AND o.resource_type = e.resource_type
        AND o.resource_id = e.resource_id),
    (SELECT coalesce(json_agg(json_build_array(principal_kind, principal_id, provenance, ",
    micros!("expires_at"),
    ")), '[]') FROM ambit.assignment AS a WHERE a.account_id = $1
        AND a.resource_type = e.resource_type AND a.resource_id = e.resource_id)"
);

static PAGE_SQL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT coalesce(json_agg({RESOURCE}, (SELECT t.attributes::text
            FROM ambit.resource_attributes AS t WHERE t.account_id = $1
            AND t.resource_type = e.resource_type AND t.resource_id = e.resource_id))
            ORDER BY e.resource_type, e.resource_id), '[]')::text
        FROM (SELECT * FROM ambit.resource WHERE account_id = $1
            AND (resource_type, resource_id) > ($2, $3)
            ORDER BY resource_type, resource_id LIMIT $4) AS e"
    )
});

static KEYED_SQL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT coalesce(json_agg({RESOURCE})), '[]')::text
            FROM unnest($2::text[], $3::text[]) AS k(resource_type, resource_id)
            JOIN ambit.resource AS e ON e.account_id = $1
            AND e.resource_type = k.resource_type AND e.resource_id = k.resource_id"
    )
});

/// Resources after a key with their attributes, in byte order of (type, id): empty only past the
/// last one.
pub(super) async fn page(
    connection: &mut Session,
    account: &Id,
    after: (&str, &str),
) -> Result<Vec<Entity>, StoreError> {
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(PAGE_SQL.as_str()))
        .bind(account.as_str())
        .bind(after.0)
        .bind(after.1)
        .bind(PAGE)
        .fetch_one(connection);
    let json: String = bounded(LARGE, async { query.await.map_err(store_error) }).await?;
    parse_rows(
        "resource",
        after.1,
        json.as_bytes(),
        |row: ResourceRow<'_>| row.entity(true),
    )
}

/// Those of the named resources that exist. No attributes.
pub(super) async fn keyed(
    connection: &mut Session,
    account: &Id,
    keys: &[&ResourceKey],
) -> Result<Vec<Entity>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let (types, ids) = columns(keys);
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(KEYED_SQL.as_str()))
            .bind(account.as_str())
            .bind(types)
            .bind(ids)
            .fetch_one(&mut *connection);
        let json: String = bounded(LARGE, async { query.await.map_err(store_error) }).await?;
        let rows = parse_rows(
            "resource",
            "of the changed ones",
            json.as_bytes(),
            |row: ResourceRow<'_>| row.entity(false),
        )?;
        found.extend(rows);
    }
    Ok(found)
}

/// Attributes of those of the named resources that have any.
pub(super) async fn attributes(
    connection: &mut Session,
    account: &Id,
    keys: &[&ResourceKey],
) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
    let mut found = Vec::new();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let (types, ids) = columns(keys);
        let query = sqlx::query(
            "SELECT t.resource_type, t.resource_id, t.attributes::text
                FROM unnest($2::text[], $3::text[]) AS k(resource_type, resource_id)
                JOIN ambit.resource_attributes AS t ON t.account_id = $1
                AND t.resource_type = k.resource_type AND t.resource_id = k.resource_id",
        )
        .bind(account.as_str())
        .bind(types)
        .bind(ids)
        .fetch_all(&mut *connection);
        for row in bounded(LARGE, async { query.await.map_err(store_error) }).await? {
            let id: &str = row.try_get(1).map_err(store_error)?;
            let at = At {
                table: "resource_attributes",
                row: id,
            };
            let key = ResourceKey {
                resource_type: at.id("resource_type", row.try_get(0).map_err(store_error)?)?,
                id: at.id("resource_id", id)?,
            };
            let json: &str = row.try_get(2).map_err(store_error)?;
            found.push((key, attributes_of(id, json.as_bytes())?));
        }
    }
    Ok(found)
}

fn columns<'a>(keys: &[&'a ResourceKey]) -> (Vec<&'a str>, Vec<&'a str>) {
    keys.iter()
        .map(|key| (key.resource_type.as_str(), key.id.as_str()))
        .unzip()
}
