//! Entities out of rows.
//!
//! A page of entities is one row of the result: SQLite gathers each entity with all that belongs
//! to it into JSON, which costs less than a row of the driver for each row of a table, and needs
//! one round trip where six would be. The statements differ only in which entities they read: a
//! page in the order of ids, or those of a list of keys.
//!
//! What can't be read as the model is [`StoreError::Inconsistent`] and names the row.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::error::{inconsistent, store_error};
use super::resources;
use super::rows::{
    AccessGroupRow, AccountRow, At, PermissionSetRow, SegmentRow, TeamRow, UserRow, parse_rows,
};
use crate::authz::model::{Account, Entity, EntityKey, Id, Team};
use crate::store::{Head, StoreError};

/// How many entities a page holds, and so a chunk of a snapshot.
pub(super) const PAGE: i64 = 1_000;

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
    let wrong = |column, problem| inconsistent("account_head", column, account, problem);
    Ok(Head {
        revision: u64::try_from(revision).map_err(|_| wrong("revision", "negative"))?,
        nonce: nonce
            .try_into()
            .map_err(|_| wrong("nonce", "not of 8 bytes"))?,
    })
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
    let mut found = Vec::with_capacity(keys.len());
    let mut by_kind: [Vec<&str>; 5] = Default::default();
    let [teams, sets, users, groups, segments] = &mut by_kind;
    let mut resource_keys = Vec::new();
    for key in keys {
        match key {
            EntityKey::Account => found.extend(
                self::account(connection, account)
                    .await?
                    .map(Entity::Account),
            ),
            EntityKey::Team(id) => teams.push(id.as_str()),
            EntityKey::PermissionSet(id) => sets.push(id.as_str()),
            EntityKey::User(id) => users.push(id.as_str()),
            EntityKey::AccessGroup(id) => groups.push(id.as_str()),
            EntityKey::Segment(id) => segments.push(id.as_str()),
            EntityKey::Resource(key) => resource_keys.push(key),
        }
    }
    let mut changed_teams = Vec::new();
    for (kind, ids) in Kind::ALL.into_iter().zip(&by_kind) {
        if ids.is_empty() {
            continue;
        }
        let bytes = sqlx::query(kind.keyed_sql())
            .bind(account.as_str())
            .bind(serde_json::to_string(ids).map_err(not_json)?)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        let json: &[u8] = bytes.try_get(0).map_err(store_error)?;
        for entity in kind.parse(json, "of the changed ones")? {
            match entity {
                Entity::Team(team) => changed_teams.push(team),
                other => found.push(other),
            }
        }
        found.extend(parents_first(std::mem::take(&mut changed_teams)).map(Entity::Team));
    }
    if !resource_keys.is_empty() {
        found.extend(resources::keyed(connection, account, &resource_keys).await?);
    }
    Ok(found)
}

pub(super) fn not_json(error: serde_json::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// The kinds of entities that are read alike, in the order of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Team,
    PermissionSet,
    User,
    AccessGroup,
    Segment,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Team,
        Self::PermissionSet,
        Self::User,
        Self::AccessGroup,
        Self::Segment,
    ];

    fn page_sql(self) -> &'static str {
        static SQL: LazyLock<[String; 5]> = LazyLock::new(|| {
            Kind::ALL.map(|kind| {
                let (table, id, entity) = kind.gathered();
                format!(
                    "SELECT json_group_array({entity}) FROM (SELECT * FROM {table} \
                     WHERE account_id = ?1 AND {id} > ?2 ORDER BY {id} LIMIT ?3) AS e"
                )
            })
        });
        let [team, set, user, group, segment] = &*SQL;
        match self {
            Self::Team => team,
            Self::PermissionSet => set,
            Self::User => user,
            Self::AccessGroup => group,
            Self::Segment => segment,
        }
    }

    fn keyed_sql(self) -> &'static str {
        static SQL: LazyLock<[String; 5]> = LazyLock::new(|| {
            Kind::ALL.map(|kind| {
                let (table, id, entity) = kind.gathered();
                format!(
                    "SELECT json_group_array({entity}) FROM json_each(?2) AS k \
                     CROSS JOIN {table} AS e ON e.account_id = ?1 AND e.{id} = k.value"
                )
            })
        });
        let [team, set, user, group, segment] = &*SQL;
        match self {
            Self::Team => team,
            Self::PermissionSet => set,
            Self::User => user,
            Self::AccessGroup => group,
            Self::Segment => segment,
        }
    }

    /// Table, id column, and the JSON of an entity `e` of it.
    fn gathered(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Team => ("team", "team_id", "json_array(e.team_id, e.parent)"),
            Self::PermissionSet => (
                "permission_set",
                "permission_set_id",
                "json_array(e.permission_set_id, (SELECT json_group_array(json_array(
                    resource_type, permission, level, include_unassigned, not_before, expires_at,
                    provenance, granted_by)) FROM permission_set_grant AS g
                    WHERE g.account_id = ?1 AND g.permission_set_id = e.permission_set_id))",
            ),
            Self::User => (
                "app_user",
                "user_id",
                "json_array(e.user_id, e.status, e.kind, e.account_owner, e.super_admin,
                    e.partner_admin, e.main_team, e.person, e.partner_account, e.partner_user,
                    e.partner_role, e.partnership,
                    (SELECT json_group_array(team_id) FROM user_team AS t
                        WHERE t.account_id = ?1 AND t.user_id = e.user_id),
                    (SELECT json_group_array(seat) FROM user_seat AS s
                        WHERE s.account_id = ?1 AND s.user_id = e.user_id),
                    (SELECT json_group_array(permission_set_id) FROM user_permission_set AS p
                        WHERE p.account_id = ?1 AND p.user_id = e.user_id),
                    (SELECT json_group_array(json_array(
                        resource_type, permission, level, include_unassigned, not_before,
                        expires_at, provenance, granted_by)) FROM user_grant AS g
                        WHERE g.account_id = ?1 AND g.user_id = e.user_id),
                    (SELECT json_group_array(json_array(
                        resource_type, resource_id, action, not_before, expires_at, provenance,
                        granted_by)) FROM object_grant AS o
                        WHERE o.account_id = ?1 AND o.user_id = e.user_id))",
            ),
            Self::AccessGroup => (
                "access_group",
                "access_group_id",
                "json_array(e.access_group_id, (SELECT json_group_array(json_array(
                    principal_kind, principal_id, actions)) FROM access_group_member AS m
                    WHERE m.account_id = ?1 AND m.access_group_id = e.access_group_id))",
            ),
            Self::Segment => (
                "segment",
                "segment_id",
                "json_array(e.segment_id, e.resource_type, e.criteria, e.enabled,
                    (SELECT json_group_array(json_array(principal_kind, principal_id))
                        FROM segment_target AS t
                        WHERE t.account_id = ?1 AND t.segment_id = e.segment_id))",
            ),
        }
    }

    fn table(self) -> &'static str {
        self.gathered().0
    }

    fn parse(self, json: &[u8], near: &str) -> Result<Vec<Entity>, StoreError> {
        let table = self.table();
        match self {
            Self::Team => parse_rows(table, near, json, |row: TeamRow| {
                row.team().map(Entity::Team)
            }),
            Self::PermissionSet => parse_rows(table, near, json, |row: PermissionSetRow| {
                row.permission_set().map(Entity::PermissionSet)
            }),
            Self::User => parse_rows(table, near, json, |row: UserRow| {
                row.user().map(Entity::User)
            }),
            Self::AccessGroup => parse_rows(table, near, json, |row: AccessGroupRow| {
                row.access_group().map(Entity::AccessGroup)
            }),
            Self::Segment => parse_rows(table, near, json, |row: SegmentRow| {
                row.segment().map(Entity::Segment)
            }),
        }
    }

    /// Entities after an id, in byte order, at most a [`PAGE`].
    pub(super) async fn page(
        self,
        connection: &mut SqliteConnection,
        account: &Id,
        after: &str,
    ) -> Result<Vec<Entity>, StoreError> {
        let row = sqlx::query(self.page_sql())
            .bind(account.as_str())
            .bind(after)
            .bind(PAGE)
            .fetch_one(connection)
            .await
            .map_err(store_error)?;
        let json: &[u8] = row.try_get(0).map_err(store_error)?;
        self.parse(json, after)
    }
}

/// Orders teams so that a parent comes before its children where both are there; those of a cycle,
/// which only a writer that switched the rules off can have stored, come last.
pub(super) fn parents_first(teams: Vec<Team>) -> impl Iterator<Item = Team> {
    let mut children: HashMap<Id, Vec<usize>> = HashMap::new();
    let present: BTreeSet<Id> = teams.iter().map(|team| team.id.clone()).collect();
    let mut order = Vec::with_capacity(teams.len());
    for (index, team) in teams.iter().enumerate() {
        match &team.parent {
            Some(parent) if present.contains(parent) => {
                children.entry(parent.clone()).or_default().push(index);
            }
            _ => order.push(index),
        }
    }
    let mut next = 0;
    while let Some(index) = order.get(next) {
        if let Some(mut below) = teams.get(*index).and_then(|team| children.remove(&team.id)) {
            order.append(&mut below);
        }
        next += 1;
    }
    let mut slots: Vec<Option<Team>> = teams.into_iter().map(Some).collect();
    let mut ordered: Vec<Team> = order
        .into_iter()
        .filter_map(|index| slots.get_mut(index).and_then(Option::take))
        .collect();
    ordered.extend(slots.into_iter().flatten());
    ordered.into_iter()
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
