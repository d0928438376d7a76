//! Resources out of rows: the many rows of an account, so the loop in which a cold load spends
//! its time.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Deserialize;
use sqlx::{Row, SqliteConnection};

use super::error::{inconsistent, store_error};
use super::read::{PAGE, not_json, text};
use super::rows::{At, parse_rows};
use crate::authz::model::{Assignment, Attributes, Entity, Id, Resource, ResourceKey};
use crate::store::StoreError;

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

/// A row gathered by SQL. Without attributes asked for, the last element is not there.
#[derive(Deserialize)]
struct ResourceRow<'a> {
    #[serde(borrow)]
    resource_type: Cow<'a, str>,
    id: Cow<'a, str>,
    owning_team: Option<Cow<'a, str>>,
    partitioned: i64,
    owners: Vec<Cow<'a, str>>,
    assignments: Vec<AssignmentRow<'a>>,
    #[serde(default)]
    attributes: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct AssignmentRow<'a> {
    #[serde(borrow)]
    principal_kind: Cow<'a, str>,
    principal_id: Cow<'a, str>,
    provenance: Cow<'a, str>,
    expires_at: Option<i64>,
}

impl AssignmentRow<'_> {
    fn assignment(self, at: At<'_>) -> Result<Assignment, StoreError> {
        Ok(Assignment {
            principal: at.principal(&self.principal_kind, &self.principal_id)?,
            provenance: at.provenance(&self.provenance)?,
            expires_at: at.time("expires_at", self.expires_at)?,
        })
    }
}

impl ResourceRow<'_> {
    /// `with_attributes`: a resource without any has an empty map, not `None`.
    fn entity(self, with_attributes: bool) -> Result<Entity, StoreError> {
        let at = |table| At {
            table,
            row: &self.id,
        };
        let own = at("resource");
        let resource = Resource {
            key: ResourceKey {
                resource_type: own.id("resource_type", &self.resource_type)?,
                id: own.id("resource_id", &self.id)?,
            },
            owners: at("resource_owner").ids("user_id", &self.owners)?,
            owning_team: own.optional_id("owning_team", self.owning_team)?,
            partitioned: own.flag("partitioned", self.partitioned)?,
            assignments: self
                .assignments
                .into_iter()
                .map(|row| row.assignment(at("assignment")))
                .collect::<Result<_, _>>()?,
        };
        let attributes = match self.attributes {
            _ if !with_attributes => None,
            None => Some(Attributes::new()),
            Some(text) => Some(attributes_of(&self.id, text.as_bytes())?),
        };
        Ok(Entity::Resource(resource, attributes))
    }
}

fn attributes_of(row: &str, json: &[u8]) -> Result<Attributes, StoreError> {
    serde_json::from_slice(json)
        .map_err(|error| inconsistent("resource_attributes", "attributes", row, error))
}

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
