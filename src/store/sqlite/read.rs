//! Entities out of rows.
//!
//! A page of entities is one row of the result: SQLite gathers each entity with all that belongs
//! to it into JSON, which costs less than a row of the driver for each row of a table, and needs
//! one round trip where six would be. The statements differ only in which entities they read: a
//! page in the order of ids, or those of a list of keys.
//!
//! What can't be read as the model is [`StoreError::Inconsistent`] and names the row.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::error::{inconsistent, store_error};
use super::resources;
use crate::authz::model::{
    AccessGroup, Account, CatalogRef, Entity, EntityKey, Grant, Id, Level, ObjectGrant,
    PartitionMode, Partner, PartnerProgram, PartnerRole, Partnership, PermissionKey, PermissionSet,
    Principal, PrincipalKind, Provenance, ResourceKey, Segment, Settings, Team, Timestamp,
    UnpartitionedDefault, User, UserKind, UserStatus,
};
use crate::store::{Head, StoreError};

/// How many entities a page holds, and so a chunk of a snapshot.
pub(super) const PAGE: i64 = 1_000;

type Text<'a> = Cow<'a, str>;

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

/// Parses a gathered page; `near` says whereabouts, for the case that it can't even be parsed.
pub(super) fn parse_rows<'a, R: Deserialize<'a>, T>(
    table: &'static str,
    near: &str,
    json: &'a [u8],
    convert: impl Fn(R) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows: Vec<R> = serde_json::from_slice(json)
        .map_err(|error| inconsistent(table, "*", format!("after `{near}`"), error))?;
    rows.into_iter().map(convert).collect()
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

/// A row of a table, for the error that names it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a str,
}

impl At<'_> {
    fn wrong(self, column: &'static str, problem: impl std::fmt::Display) -> StoreError {
        inconsistent(self.table, column, self.row, problem)
    }

    pub(super) fn id(self, column: &'static str, text: &str) -> Result<Id, StoreError> {
        Id::parse(text).map_err(|error| self.wrong(column, error))
    }

    pub(super) fn optional_id(
        self,
        column: &'static str,
        text: Option<Text<'_>>,
    ) -> Result<Option<Id>, StoreError> {
        text.map(|text| self.id(column, &text)).transpose()
    }

    pub(super) fn ids(
        self,
        column: &'static str,
        texts: &[Text<'_>],
    ) -> Result<BTreeSet<Id>, StoreError> {
        texts.iter().map(|text| self.id(column, text)).collect()
    }

    pub(super) fn word<T>(
        self,
        column: &'static str,
        word: &str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        from_word(word)
            .ok_or_else(|| self.wrong(column, format!("`{word}` is not one of its words")))
    }

    pub(super) fn flag(self, column: &'static str, number: i64) -> Result<bool, StoreError> {
        match number {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(column, format!("{other} is neither 0 nor 1"))),
        }
    }

    pub(super) fn time(
        self,
        column: &'static str,
        micros: Option<i64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        micros
            .map(|micros| {
                Timestamp::from_unix_micros(micros).ok_or_else(|| {
                    self.wrong(column, format!("{micros} lies outside the years 1 to 9999"))
                })
            })
            .transpose()
    }

    pub(super) fn provenance(self, text: &str) -> Result<Provenance, StoreError> {
        Provenance::from_str(text).map_err(|error| self.wrong("provenance", error))
    }

    pub(super) fn principal(self, kind: &str, id: &str) -> Result<Principal, StoreError> {
        let kind = self.word("principal_kind", kind, PrincipalKind::from_word)?;
        Ok(Principal::new(kind, self.id("principal_id", id)?))
    }
}

#[derive(Deserialize)]
struct TeamRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    parent: Option<Text<'a>>,
}

impl TeamRow<'_> {
    fn team(self) -> Result<Team, StoreError> {
        let at = At {
            table: "team",
            row: &self.id,
        };
        Ok(Team {
            id: at.id("team_id", &self.id)?,
            parent: at.optional_id("parent", self.parent)?,
        })
    }
}

#[derive(Deserialize)]
struct GrantRow<'a> {
    #[serde(borrow)]
    resource_type: Text<'a>,
    permission: Text<'a>,
    level: Text<'a>,
    include_unassigned: i64,
    not_before: Option<i64>,
    expires_at: Option<i64>,
    provenance: Text<'a>,
    granted_by: Option<Text<'a>>,
}

impl GrantRow<'_> {
    fn grant(self, at: At<'_>) -> Result<Grant, StoreError> {
        Ok(Grant {
            key: PermissionKey {
                resource_type: at.id("resource_type", &self.resource_type)?,
                permission: at.id("permission", &self.permission)?,
            },
            level: at.word("level", &self.level, Level::from_word)?,
            include_unassigned: at.flag("include_unassigned", self.include_unassigned)?,
            not_before: at.time("not_before", self.not_before)?,
            expires_at: at.time("expires_at", self.expires_at)?,
            provenance: at.provenance(&self.provenance)?,
            granted_by: at.optional_id("granted_by", self.granted_by)?,
        })
    }
}

#[derive(Deserialize)]
struct PermissionSetRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    grants: Vec<GrantRow<'a>>,
}

impl PermissionSetRow<'_> {
    fn permission_set(self) -> Result<PermissionSet, StoreError> {
        let at = |table| At {
            table,
            row: &self.id,
        };
        Ok(PermissionSet {
            id: at("permission_set").id("permission_set_id", &self.id)?,
            grants: self
                .grants
                .into_iter()
                .map(|grant| grant.grant(at("permission_set_grant")))
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Deserialize)]
struct UserRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    status: Text<'a>,
    kind: Text<'a>,
    account_owner: i64,
    super_admin: i64,
    partner_admin: i64,
    main_team: Option<Text<'a>>,
    person: Option<Text<'a>>,
    partner_account: Option<Text<'a>>,
    partner_user: Option<Text<'a>>,
    partner_role: Option<Text<'a>>,
    partnership: Option<Text<'a>>,
    teams: Vec<Text<'a>>,
    seats: Vec<Text<'a>>,
    permission_sets: Vec<Text<'a>>,
    grants: Vec<GrantRow<'a>>,
    object_grants: Vec<ObjectGrantRow<'a>>,
}

impl UserRow<'_> {
    fn user(self) -> Result<User, StoreError> {
        let at = |table| At {
            table,
            row: &self.id,
        };
        let own = at("app_user");
        let partner = match (
            self.partner_account,
            self.partner_user,
            self.partner_role,
            self.partnership,
        ) {
            (None, None, None, None) => None,
            (Some(account), Some(user), Some(role), Some(partnership)) => Some(Partner {
                account: own.id("partner_account", &account)?,
                user: own.id("partner_user", &user)?,
                role: own.word("partner_role", &role, PartnerRole::from_word)?,
                partnership: own.word("partnership", &partnership, Partnership::from_word)?,
            }),
            _ => return Err(own.wrong("partner_account", "only part of the partner is there")),
        };
        Ok(User {
            id: own.id("user_id", &self.id)?,
            status: own.word("status", &self.status, UserStatus::from_word)?,
            kind: own.word("kind", &self.kind, UserKind::from_word)?,
            account_owner: own.flag("account_owner", self.account_owner)?,
            super_admin: own.flag("super_admin", self.super_admin)?,
            partner_admin: own.flag("partner_admin", self.partner_admin)?,
            main_team: own.optional_id("main_team", self.main_team)?,
            teams: at("user_team").ids("team_id", &self.teams)?,
            seats: at("user_seat").ids("seat", &self.seats)?,
            person: own.optional_id("person", self.person)?,
            partner,
            permission_sets: at("user_permission_set")
                .ids("permission_set_id", &self.permission_sets)?,
            grants: self
                .grants
                .into_iter()
                .map(|grant| grant.grant(at("user_grant")))
                .collect::<Result<_, _>>()?,
            object_grants: self
                .object_grants
                .into_iter()
                .map(|grant| grant.object_grant(at("object_grant")))
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Deserialize)]
struct ObjectGrantRow<'a> {
    #[serde(borrow)]
    resource_type: Text<'a>,
    resource_id: Text<'a>,
    action: Text<'a>,
    not_before: Option<i64>,
    expires_at: Option<i64>,
    provenance: Text<'a>,
    granted_by: Option<Text<'a>>,
}

impl ObjectGrantRow<'_> {
    fn object_grant(self, at: At<'_>) -> Result<ObjectGrant, StoreError> {
        Ok(ObjectGrant {
            resource: ResourceKey {
                resource_type: at.id("resource_type", &self.resource_type)?,
                id: at.id("resource_id", &self.resource_id)?,
            },
            action: at.id("action", &self.action)?,
            not_before: at.time("not_before", self.not_before)?,
            expires_at: at.time("expires_at", self.expires_at)?,
            provenance: at.provenance(&self.provenance)?,
            granted_by: at.optional_id("granted_by", self.granted_by)?,
        })
    }
}

#[derive(Deserialize)]
struct AccessGroupRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    members: Vec<MemberRow<'a>>,
}

#[derive(Deserialize)]
struct MemberRow<'a> {
    #[serde(borrow)]
    principal_kind: Text<'a>,
    principal_id: Text<'a>,
    /// A JSON array within the JSON: what isn't one must not spoil the page beyond recognition.
    actions: Text<'a>,
}

impl AccessGroupRow<'_> {
    fn access_group(self) -> Result<AccessGroup, StoreError> {
        let at = |table| At {
            table,
            row: &self.id,
        };
        let member = at("access_group_member");
        let mut members = BTreeMap::new();
        for row in self.members {
            let principal = member.principal(&row.principal_kind, &row.principal_id)?;
            if matches!(principal, Principal::Group(_)) {
                return Err(member.wrong("principal_kind", "a member is a user or a team"));
            }
            let actions = serde_json::from_str(&row.actions)
                .map_err(|error| member.wrong("actions", error))?;
            members.insert(principal, actions);
        }
        Ok(AccessGroup {
            id: at("access_group").id("access_group_id", &self.id)?,
            members,
        })
    }
}

#[derive(Deserialize)]
struct SegmentRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    resource_type: Text<'a>,
    criteria: Text<'a>,
    enabled: i64,
    targets: Vec<(Text<'a>, Text<'a>)>,
}

impl SegmentRow<'_> {
    fn segment(self) -> Result<Segment, StoreError> {
        let at = |table| At {
            table,
            row: &self.id,
        };
        let own = at("segment");
        Ok(Segment {
            id: own.id("segment_id", &self.id)?,
            resource_type: own.id("resource_type", &self.resource_type)?,
            when: self.criteria.into_owned(),
            assign_to: self
                .targets
                .iter()
                .map(|(kind, id)| at("segment_target").principal(kind, id))
                .collect::<Result<_, _>>()?,
            enabled: own.flag("enabled", self.enabled)?,
        })
    }
}

#[derive(Deserialize)]
struct AccountRow<'a> {
    #[serde(borrow)]
    catalog: Option<Text<'a>>,
    catalog_source: Option<Text<'a>>,
    plan: Text<'a>,
    partner_program: Text<'a>,
    payment_method_valid: i64,
    settings: Vec<(Text<'a>, Text<'a>, Text<'a>)>,
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
    let at = |table| At {
        table,
        row: account.as_str(),
    };
    let own = at("account");
    let row: AccountRow<'_> =
        serde_json::from_slice(json).map_err(|error| own.wrong("*", error))?;
    Ok(Some(Account {
        id: account.clone(),
        catalog: match (row.catalog, row.catalog_source) {
            (Some(name), None) => CatalogRef::BuiltIn(own.id("catalog", &name)?),
            (None, Some(source)) => CatalogRef::Custom(source.into()),
            _ => return Err(own.wrong("catalog", "neither or both of name and source are there")),
        },
        plan: own.id("plan", &row.plan)?,
        partner_program: own.word(
            "partner_program",
            &row.partner_program,
            PartnerProgram::from_word,
        )?,
        payment_method_valid: own.flag("payment_method_valid", row.payment_method_valid)?,
        settings: settings(at("account_setting"), row.settings)?,
    }))
}

fn settings(at: At<'_>, rows: Vec<(Text<'_>, Text<'_>, Text<'_>)>) -> Result<Settings, StoreError> {
    let mut settings = Settings::default();
    for (name, type_key, value) in rows {
        match &*name {
            "partition_mode" => {
                let mode = at.word("value", &value, PartitionMode::from_word)?;
                settings
                    .partition_mode
                    .insert(at.id("type_key", &type_key)?, mode);
            }
            "unpartitioned" => {
                let default = at.word("value", &value, UnpartitionedDefault::from_word)?;
                settings
                    .unpartitioned
                    .insert(at.id("type_key", &type_key)?, default);
            }
            "request_ttl_seconds" => settings.request_ttl_seconds = Some(number(at, &value)?),
            "request_cool_down_seconds" => {
                settings.request_cool_down_seconds = Some(number(at, &value)?);
            }
            "request_limit_per_user" => settings.request_limit_per_user = Some(number(at, &value)?),
            other => return Err(at.wrong("name", format!("`{other}` is no setting"))),
        }
    }
    Ok(settings)
}

fn number<T: FromStr<Err: std::fmt::Display>>(at: At<'_>, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| at.wrong("value", error))
}
