//! Resources out of rows: the many rows of an account, so the loop in which a cold load spends
//! its time.

use std::sync::LazyLock;

use sqlx::{Row, SqliteConnection};

use super::error::store_error;
use super::read::text;
use crate::authz::model::{Attributes, Entity, Id, ResourceKey};
use crate::store::StoreError;
use crate::store::kinds::PAGE;
use crate::store::rows::{At, ResourceRow, attributes_of, not_json, parse_rows};

/// Resources with their attributes come in smaller pages: a page is one value of the database.
const PAGE_WITH_ATTRIBUTES: i64 = 200;

const RESOURCE: &str = "json_array(e.resource_type, e.resource_id, e.owning_team, e.partitioned,
    (SELECT json_group_array(user_id) FROM resource_owner AS o WHERE o.account_id = ?1
        AND o.resource_type = e.resource_type AND o.resource_id = e.resource_id),
    (SELECT json_group_array(json_array(principal_kind, principal_id, provenance, expires_at))
        FROM assignment AS a WHERE a.account_id = ?1
        AND a.resource_type = e.resource_type AND a.resource_id = e.resource_id)";

const ATTRIBUTES: &str =
    ", (SELECT attributes FROM resource_attributes AS t WHERE t.account_id = ?1
        AND t.resource_type = e.resource_type AND t.resource_id = e.resource_id)";

const PAGE_OF_RESOURCES: &str = "(SELECT * FROM resource WHERE account_id = ?1
    AND (resource_type, resource_id) > (?2, ?3) ORDER BY resource_type, resource_id LIMIT ?4) AS e";

static PAGE_SQL: LazyLock<String> =
    LazyLock::new(|| format!("SELECT json_group_array({RESOURCE})) FROM {PAGE_OF_RESOURCES}"));

static PAGE_WITH_ATTRIBUTES_SQL: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT json_group_array({RESOURCE}{ATTRIBUTES})) FROM {PAGE_OF_RESOURCES}")
});

static KEYED_SQL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT json_group_array({RESOURCE})) FROM json_each(?2) AS k
            CROSS JOIN resource AS e ON e.account_id = ?1
            AND e.resource_type = k.value ->> 0 AND e.resource_id = k.value ->> 1"
    )
});

/// Resources after a key, in byte order of (type, id): empty only past the last one.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    account: &Id,
    after: (&str, &str),
    with_attributes: bool,
) -> Result<Vec<Entity>, StoreError> {
    let (sql, limit) = if with_attributes {
        (PAGE_WITH_ATTRIBUTES_SQL.as_str(), PAGE_WITH_ATTRIBUTES)
    } else {
        (PAGE_SQL.as_str(), PAGE)
    };
    let row = sqlx::query(sql)
        .bind(account.as_str())
        .bind(after.0)
        .bind(after.1)
        .bind(limit)
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    let json: &[u8] = row.try_get(0).map_err(store_error)?;
    parse_rows("resource", after.1, json, |row: ResourceRow<'_>| {
        row.entity(with_attributes)
    })
}

/// Those of the named resources that exist, in the order of the names. No attributes.
pub(super) async fn keyed(
    connection: &mut SqliteConnection,
    account: &Id,
    keys: &[&ResourceKey],
) -> Result<Vec<Entity>, StoreError> {
    let row = sqlx::query(KEYED_SQL.as_str())
        .bind(account.as_str())
        .bind(pairs(keys)?)
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    let json: &[u8] = row.try_get(0).map_err(store_error)?;
    parse_rows(
        "resource",
        "of the changed ones",
        json,
        |row: ResourceRow<'_>| row.entity(false),
    )
}

/// Attributes of those of the named resources that have any.
pub(super) async fn attributes(
    connection: &mut SqliteConnection,
    account: &Id,
    keys: &[&ResourceKey],
) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
    let rows = sqlx::query(
        "SELECT t.resource_type, t.resource_id, t.attributes FROM json_each(?2) AS k
            CROSS JOIN resource_attributes AS t ON t.account_id = ?1
            AND t.resource_type = k.value ->> 0 AND t.resource_id = k.value ->> 1",
    )
    .bind(account.as_str())
    .bind(pairs(keys)?)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let resource_type = text(row, 0, "resource_attributes", "resource_type")?;
            let id = text(row, 1, "resource_attributes", "resource_id")?;
            let json: &[u8] = row.try_get(2).map_err(store_error)?;
            let at = At {
                table: "resource_attributes",
                row: id,
            };
            let key = ResourceKey {
                resource_type: at.id("resource_type", resource_type)?,
                id: at.id("resource_id", id)?,
            };
            Ok((key, attributes_of(id, json)?))
        })
        .collect()
}

fn pairs(keys: &[&ResourceKey]) -> Result<String, StoreError> {
    let pairs: Vec<(&str, &str)> = keys
        .iter()
        .map(|key| (key.resource_type.as_str(), key.id.as_str()))
        .collect();
    serde_json::to_string(&pairs).map_err(not_json)
}
