//! The rows as SQL gathers them into JSON, and the core's values that they are read as.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;

use super::{Head, IdempotencyKey, StoreError};
use crate::authz::model::{
    AccessGroup, Account, Assignment, Attributes, CatalogRef, Entity, Grant, Id, Level, Membership,
    MembershipOf, ObjectGrant, PartitionMode, Partner, PartnerProgram, PartnerRole, Partnership,
    PermissionKey, PermissionSet, Principal, PrincipalKind, Provenance, Resource, ResourceKey,
    Segment, Settings, Team, Timestamp, UnpartitionedDefault, User, UserKind, UserStatus,
    check_email,
};

pub(super) type Text<'a> = Cow<'a, str>;

pub(super) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::unix_micros)
}

pub(super) fn inconsistent(
    table: &'static str,
    column: &'static str,
    row: impl Into<String>,
    problem: impl std::fmt::Display,
) -> StoreError {
    StoreError::Inconsistent {
        table,
        column,
        row: row.into(),
        problem: problem.to_string(),
    }
}

/// Where an account stands, out of the columns of its head.
pub(super) fn head(account: &str, revision: i64, nonce: &[u8]) -> Result<Head, StoreError> {
    let wrong = |column, problem| inconsistent("account_head", column, account, problem);
    Ok(Head {
        revision: u64::try_from(revision).map_err(|_| wrong("revision", "negative"))?,
        nonce: nonce
            .try_into()
            .map_err(|_| wrong("nonce", "not of 8 bytes"))?,
    })
}

/// The answer that a write is remembered with.
pub(super) fn answered(
    key: IdempotencyKey<'_>,
    answer: Option<&str>,
) -> Result<Option<Id>, StoreError> {
    answer
        .map(|answer| {
            Id::parse(answer)
                .map_err(|error| inconsistent("idempotency", "answer", key.key.as_str(), error))
        })
        .transpose()
}

pub(super) fn unavailable(problem: &'static str) -> StoreError {
    StoreError::Unavailable(problem.into())
}

pub(super) fn not_json(error: serde_json::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// A flag as a database has it: a truth value, or a number, which may be any.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(from = "WrittenFlag")]
pub(super) enum Flag {
    Is(bool),
    Number(i64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenFlag {
    Truth(bool),
    Number(i64),
}

impl From<WrittenFlag> for Flag {
    fn from(written: WrittenFlag) -> Self {
        match written {
            WrittenFlag::Truth(truth) => Self::Is(truth),
            WrittenFlag::Number(0) => Self::Is(false),
            WrittenFlag::Number(1) => Self::Is(true),
            WrittenFlag::Number(other) => Self::Number(other),
        }
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

/// A row of a table, for the error that names it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a str,
}

impl At<'_> {
    pub(super) fn wrong(self, column: &'static str, problem: impl std::fmt::Display) -> StoreError {
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

    pub(super) fn flag(self, column: &'static str, flag: Flag) -> Result<bool, StoreError> {
        match flag {
            Flag::Is(flag) => Ok(flag),
            Flag::Number(other) => Err(self.wrong(column, format!("{other} is neither 0 nor 1"))),
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

    fn email(self, text: Option<Text<'_>>) -> Result<Option<String>, StoreError> {
        let Some(text) = text else { return Ok(None) };
        check_email(&text).map_err(|error| self.wrong("email", error))?;
        Ok(Some(text.into_owned()))
    }

    pub(super) fn provenance(self, text: &str) -> Result<Provenance, StoreError> {
        Provenance::from_str(text).map_err(|error| self.wrong("provenance", error))
    }

    pub(super) fn principal(self, kind: &str, id: &str) -> Result<Principal, StoreError> {
        self.principal_of(kind, self.id("principal_id", id)?)
    }

    pub(super) fn principal_of(self, kind: &str, id: Id) -> Result<Principal, StoreError> {
        let kind = self.word("principal_kind", kind, PrincipalKind::from_word)?;
        Ok(Principal::new(kind, id))
    }
}

#[derive(Deserialize)]
pub(super) struct TeamRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    parent: Option<Text<'a>>,
}

impl TeamRow<'_> {
    pub(super) fn team(self) -> Result<Team, StoreError> {
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
    include_unassigned: Flag,
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
pub(super) struct PermissionSetRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    grants: Vec<GrantRow<'a>>,
}

impl PermissionSetRow<'_> {
    pub(super) fn permission_set(self) -> Result<PermissionSet, StoreError> {
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
pub(super) struct UserRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    status: Text<'a>,
    kind: Text<'a>,
    account_owner: Flag,
    super_admin: Flag,
    partner_admin: Flag,
    main_team: Option<Text<'a>>,
    person: Option<Text<'a>>,
    partner_account: Option<Text<'a>>,
    partner_user: Option<Text<'a>>,
    partner_role: Option<Text<'a>>,
    partnership: Option<Text<'a>>,
    email: Option<Text<'a>>,
    teams: Vec<Text<'a>>,
    seats: Vec<Text<'a>>,
    permission_sets: Vec<(Text<'a>, Option<Text<'a>>)>,
    memberships: Vec<MembershipRow<'a>>,
    grants: Vec<GrantRow<'a>>,
    object_grants: Vec<ObjectGrantRow<'a>>,
}

impl UserRow<'_> {
    pub(super) fn user(self) -> Result<User, StoreError> {
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
        let mut permission_sets = BTreeSet::new();
        let mut set_givers = BTreeMap::new();
        for (set, giver) in self.permission_sets {
            let of = at("user_permission_set");
            let set = of.id("permission_set_id", &set)?;
            if let Some(giver) = of.optional_id("granted_by", giver)? {
                set_givers.insert(set.clone(), giver);
            }
            permission_sets.insert(set);
        }
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
            email: own.email(self.email)?,
            partner,
            permission_sets,
            set_givers,
            memberships: self
                .memberships
                .into_iter()
                .map(|membership| membership.membership(at("user_membership")))
                .collect::<Result<_, _>>()?,
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
struct MembershipRow<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    id: Text<'a>,
    provenance: Text<'a>,
    expires_at: Option<i64>,
    granted_by: Option<Text<'a>>,
}

impl MembershipRow<'_> {
    fn membership(self, at: At<'_>) -> Result<Membership, StoreError> {
        let id = at.id("id", &self.id)?;
        Ok(Membership {
            of: at.word("kind", &self.kind, |kind| {
                MembershipOf::from_kind(kind, id.clone())
            })?,
            provenance: at.provenance(&self.provenance)?,
            expires_at: at.time("expires_at", self.expires_at)?,
            granted_by: at.optional_id("granted_by", self.granted_by)?,
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
pub(super) struct AccessGroupRow<'a> {
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
    pub(super) fn access_group(self) -> Result<AccessGroup, StoreError> {
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
pub(super) struct SegmentRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    resource_type: Text<'a>,
    criteria: Text<'a>,
    enabled: Flag,
    may_partition: Flag,
    targets: Vec<(Text<'a>, Text<'a>)>,
}

impl SegmentRow<'_> {
    pub(super) fn segment(self) -> Result<Segment, StoreError> {
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
            may_partition: own.flag("may_partition", self.may_partition)?,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct AccountRow<'a> {
    #[serde(borrow)]
    catalog: Option<Text<'a>>,
    catalog_source: Option<Text<'a>>,
    plan: Text<'a>,
    partner_program: Text<'a>,
    payment_method_valid: Flag,
    settings: Vec<(Text<'a>, Text<'a>, Text<'a>)>,
}

impl AccountRow<'_> {
    pub(super) fn account(self, account: &Id) -> Result<Account, StoreError> {
        let at = |table| At {
            table,
            row: account.as_str(),
        };
        let own = at("account");
        Ok(Account {
            id: account.clone(),
            catalog: match (self.catalog, self.catalog_source) {
                (Some(name), None) => CatalogRef::BuiltIn(own.id("catalog", &name)?),
                (None, Some(source)) => CatalogRef::Custom(source.into()),
                _ => {
                    return Err(
                        own.wrong("catalog", "neither or both of name and source are there")
                    );
                }
            },
            plan: own.id("plan", &self.plan)?,
            partner_program: own.word(
                "partner_program",
                &self.partner_program,
                PartnerProgram::from_word,
            )?,
            payment_method_valid: own.flag("payment_method_valid", self.payment_method_valid)?,
            settings: settings(at("account_setting"), self.settings)?,
        })
    }
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

/// A row gathered by SQL. Without attributes asked for, the last element is not there.
#[derive(Deserialize)]
pub(super) struct ResourceRow<'a> {
    #[serde(borrow)]
    resource_type: Text<'a>,
    id: Text<'a>,
    owning_team: Option<Text<'a>>,
    partitioned: Flag,
    owners: Vec<Text<'a>>,
    assignments: Vec<AssignmentRow<'a>>,
    #[serde(default)]
    attributes: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct AssignmentRow<'a> {
    #[serde(borrow)]
    principal_kind: Text<'a>,
    principal_id: Text<'a>,
    provenance: Text<'a>,
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
    pub(super) fn entity(self, with_attributes: bool) -> Result<Entity, StoreError> {
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

pub(super) fn attributes_of(row: &str, json: &[u8]) -> Result<Attributes, StoreError> {
    serde_json::from_slice(json)
        .map_err(|error| inconsistent("resource_attributes", "attributes", row, error))
}
