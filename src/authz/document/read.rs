//! From the YAML form to checked parts: ids, times, provenance, and every name of the catalog.
//! References between entities are judged elsewhere, since what they may name depends on the use.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;

use serde::de::IgnoredAny;

use super::DocumentError;
use super::part::{
    AccessGroupPart, AccountPart, MemberPart, Parts, PermissionSetPart, ResourcePart, SegmentPart,
    SettingsPart, TeamPart, UserPart,
};
use super::source::{
    AccessGroupSource, AssignmentSource, MemberSource, PartnerSource, PermissionSetSource,
    ResourceSource, SegmentSource, SettingsSource, TeamSource, UserSource,
};
use crate::authz::catalog::Catalog;
use crate::authz::change::SETTING_SECONDS_MAX;
use crate::authz::model::{
    Assignment, DEFAULT_KEY, Id, Partner, Partnership, Principal, Provenance, ResourceKey,
    Timestamp,
};
use crate::authz::yaml::{At, Entries, Field, Form, Place, one_line, shown};

mod grants;
mod memberships;

type Read<T> = Result<T, DocumentError>;

/// A mask that is left out (S5.8).
const DEFAULT_MASK: [&str; 3] = ["view", "edit", "communicate"];

/// Reads against one catalog; without one, names of the catalog are left to be judged later.
#[derive(Clone, Copy)]
pub(super) struct Reader<'c> {
    pub catalog: Option<&'c Catalog>,
}

/// The lists that a document and the `given` of a case have in common.
pub(super) struct Lists<'s> {
    pub teams: &'s Field<Vec<At<TeamSource>>>,
    pub permission_sets: &'s Field<Vec<At<PermissionSetSource>>>,
    pub users: &'s Field<Vec<At<UserSource>>>,
    pub access_groups: &'s Field<Vec<At<AccessGroupSource>>>,
    pub resources: &'s Field<Vec<At<ResourceSource>>>,
    pub segments: &'s Field<Vec<At<SegmentSource>>>,
}

pub(super) fn wrong<T>(place: Place, problem: impl Into<String>) -> Read<T> {
    Err(DocumentError::at(place, problem))
}

fn items<T>(field: &Field<Vec<T>>) -> &[T] {
    match field {
        Field::Given(items) => items,
        Field::Absent | Field::Empty => &[],
    }
}

/// `Some` of an empty list where the key is there without a value.
fn listed<S, T>(
    field: &Field<Vec<S>>,
    mut read: impl FnMut(&S) -> Read<T>,
) -> Read<Option<Vec<T>>> {
    match field {
        Field::Absent => Ok(None),
        Field::Empty => Ok(Some(Vec::new())),
        Field::Given(items) => items
            .iter()
            .map(&mut read)
            .collect::<Read<Vec<T>>>()
            .map(Some),
    }
}

fn optional<S, T>(field: &Field<S>, read: impl FnOnce(&S) -> Read<T>) -> Read<Option<Option<T>>> {
    match field {
        Field::Absent => Ok(None),
        Field::Empty => Ok(Some(None)),
        Field::Given(value) => read(value).map(|value| Some(Some(value))),
    }
}

/// A text by one of the model's parsers; the error names the field.
fn parsed<T, E: fmt::Display>(
    at: &At<String>,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Read<T> {
    parse(&at.value).map_err(|error| {
        DocumentError::at(
            at.place,
            format!("{what}: {}", one_line(&error.to_string())),
        )
    })
}

pub(super) fn id(at: &At<String>, what: &str) -> Read<Id> {
    parsed(at, what, Id::parse)
}

fn at_id(at: &At<String>, what: &str) -> Read<At<Id>> {
    Ok(At {
        value: id(at, what)?,
        place: at.place,
    })
}

pub(super) fn time(at: &At<String>, what: &str) -> Read<Timestamp> {
    parsed(at, what, Timestamp::parse)
}

fn optional_time(at: Option<&At<String>>, what: &str) -> Read<Option<Timestamp>> {
    at.map(|at| time(at, what)).transpose()
}

fn provenance(at: Option<&At<String>>) -> Read<Provenance> {
    at.map_or(Ok(Provenance::Manual), |at| {
        parsed(at, "provenance", str::parse)
    })
}

fn at_principal(at: &At<String>, what: &str) -> Read<At<Principal>> {
    Ok(At {
        value: parsed(at, what, str::parse)?,
        place: at.place,
    })
}

/// Refuses a second entity of one id.
fn once<K: Hash + Eq>(
    seen: &mut HashSet<K>,
    key: K,
    place: Place,
    name: impl fmt::Display,
) -> Read<()> {
    if seen.insert(key) {
        Ok(())
    } else {
        wrong(place, format!("{name} is there twice"))
    }
}

fn id_once(seen: &mut HashSet<Id>, id: &At<Id>, what: &str) -> Read<()> {
    once(
        seen,
        id.value.clone(),
        id.place,
        format_args!("the {what} `{}`", id.value),
    )
}

/// `14d`, `24h`, `30m` or `90s`, in seconds.
fn duration(at: &At<String>) -> Read<u64> {
    let unit_seconds = match at.value.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3_600,
        Some('m') => 60,
        Some('s') => 1,
        _ => 0,
    };
    let digits = at
        .value
        .get(..at.value.len().saturating_sub(1))
        .unwrap_or("");
    let number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse::<u64>().ok())
        .flatten();
    number
        .and_then(|number| number.checked_mul(unit_seconds))
        .filter(|seconds| unit_seconds > 0 && *seconds <= SETTING_SECONDS_MAX)
        .ok_or_else(|| {
            DocumentError::at(
                at.place,
                format!(
                    "`{}` is not a duration of at most ten thousand years, as 14d, 24h, 30m or 90s",
                    shown(&at.value)
                ),
            )
        })
}

impl Reader<'_> {
    pub fn parts(self, account: AccountPart, lists: &Lists<'_>) -> Read<Parts> {
        let mut parts = Parts {
            account,
            ..Parts::default()
        };
        let mut seen = HashSet::new();
        for team in items(lists.teams) {
            let part = TeamPart {
                id: at_id(&team.value.id, "team id")?,
                parent: optional(&team.value.parent, |parent| at_id(parent, "parent"))?,
            };
            id_once(&mut seen, &part.id, "team")?;
            parts.teams.push(part);
        }
        let mut seen = HashSet::new();
        for set in items(lists.permission_sets) {
            let part = PermissionSetPart {
                id: at_id(&set.value.id, "permission set id")?,
                grants: self.grants(&set.value.grants)?,
            };
            id_once(&mut seen, &part.id, "permission set")?;
            parts.permission_sets.push(part);
        }
        let mut seen = HashSet::new();
        for user in items(lists.users) {
            let part = self.user(&user.value)?;
            id_once(&mut seen, &part.id, "user")?;
            parts.users.push(part);
        }
        let mut seen = HashSet::new();
        for group in items(lists.access_groups) {
            let part = self.access_group(&group.value)?;
            id_once(&mut seen, &part.id, "access group")?;
            parts.access_groups.push(part);
        }
        let mut seen = HashSet::new();
        for resource in items(lists.resources) {
            let part = self.resource(&resource.value)?;
            once(
                &mut seen,
                part.key.clone(),
                part.place,
                format_args!("the resource `{}`", part.key),
            )?;
            parts.resources.push(part);
        }
        let mut seen = HashSet::new();
        for segment in items(lists.segments) {
            let part = self.segment(&segment.value)?;
            id_once(&mut seen, &part.id, "segment")?;
            parts.segments.push(part);
        }
        Ok(parts)
    }

    pub fn plan(self, at: &At<String>) -> Read<Id> {
        let plan = id(at, "plan")?;
        match self.catalog {
            Some(catalog) if catalog.plan(plan.as_str()).is_none() => {
                let plans: Vec<&str> = catalog
                    .plans
                    .iter()
                    .map(|plan| plan.name.as_str())
                    .collect();
                wrong(
                    at.place,
                    format!(
                        "the catalog `{}` has no plan `{}`; it has {}",
                        catalog.name,
                        shown(&at.value),
                        plans.join(", ")
                    ),
                )
            }
            _ => Ok(plan),
        }
    }

    pub fn settings(self, source: Option<&SettingsSource>) -> Read<SettingsPart> {
        let Some(source) = source else {
            return Ok(SettingsPart::default());
        };
        Ok(SettingsPart {
            partition_mode: self.per_type(&source.partition_mode)?,
            unpartitioned: self.per_type(&source.unpartitioned)?,
            request_ttl_seconds: optional(&source.request_ttl, duration)?,
            request_cool_down_seconds: optional(&source.request_cool_down, duration)?,
            request_limit_per_user: optional(&source.request_limit_per_user, |limit| Ok(*limit))?,
        })
    }

    fn per_type<T: Copy>(self, field: &Field<Entries<Option<T>>>) -> Read<Vec<(Id, Option<T>)>> {
        let Field::Given(Entries(entries)) = field else {
            return Ok(Vec::new());
        };
        let read = |(key, value): &(At<String>, Option<T>)| {
            let name = id(key, "resource type")?;
            if key.value != DEFAULT_KEY {
                self.resource_type(key)?;
            }
            Ok((name, *value))
        };
        entries.iter().map(read).collect()
    }

    pub fn resource_type(self, at: &At<String>) -> Read<Id> {
        let name = id(at, "type")?;
        match self.catalog {
            Some(catalog) if catalog.type_ix(&at.value).is_none() => wrong(
                at.place,
                format!(
                    "the catalog `{}` has no resource type `{}`",
                    catalog.name,
                    shown(&at.value)
                ),
            ),
            _ => Ok(name),
        }
    }

    fn user(self, source: &UserSource) -> Read<UserPart> {
        let seats = listed(&source.seats, |seat| self.seat(seat))?;
        Ok(UserPart {
            id: at_id(&source.id, "user id")?,
            status: source.status,
            kind: source.kind,
            account_owner: source.account_owner,
            super_admin: source.super_admin,
            partner_admin: source.partner_admin,
            main_team: optional(&source.main_team, |team| at_id(team, "main_team"))?,
            teams: listed(&source.teams, |team| at_id(team, "teams"))?,
            seats: seats.map(|seats| seats.into_iter().collect()),
            person: optional(&source.person, |person| id(person, "person"))?,
            email: optional(&source.email, memberships::email)?,
            partner: optional(&source.partner, partner)?,
            permission_sets: listed(&source.permission_sets, |set| at_id(set, "permission_sets"))?,
            memberships: memberships::memberships(&source.memberships)?,
            grants: self.grants(&source.grants)?,
            object_grants: self.object_grants(&source.object_grants)?,
        })
    }

    fn seat(self, at: &At<String>) -> Read<Id> {
        let seat = id(at, "seats")?;
        match self.catalog {
            Some(catalog) if catalog.seat_ix(seat.as_str()).is_none() => wrong(
                at.place,
                format!(
                    "the catalog `{}` has no seat `{}`",
                    catalog.name,
                    shown(&at.value)
                ),
            ),
            _ => Ok(seat),
        }
    }

    fn access_group(self, source: &AccessGroupSource) -> Read<AccessGroupPart> {
        let group = at_id(&source.id, "access group id")?;
        let rows = listed(&source.members, |member| self.member(member))?;
        let members = rows.map(|rows| {
            let mut members: Vec<MemberPart> = Vec::with_capacity(rows.len());
            let mut places = HashMap::new();
            for row in rows {
                let ix = *places
                    .entry(row.principal.value.clone())
                    .or_insert(members.len());
                match members.get_mut(ix) {
                    Some(member) => member.actions.extend(row.actions),
                    None => members.push(row),
                }
            }
            members
        });
        Ok(AccessGroupPart { id: group, members })
    }

    fn member(self, member: &At<MemberSource>) -> Read<MemberPart> {
        let principal = match (&member.value.user, &member.value.team) {
            (Some(user), None) => At {
                value: Principal::User(id(user, "user")?),
                place: user.place,
            },
            (None, Some(team)) => At {
                value: Principal::Team(id(team, "team")?),
                place: team.place,
            },
            _ => return wrong(member.place, "a member is either a `user` or a `team`"),
        };
        let actions = match listed(&member.value.actions, |action| self.any_action(action))? {
            Some(actions) => actions.into_iter().collect(),
            None => self.default_mask(),
        };
        Ok(MemberPart { principal, actions })
    }

    /// A mask may name any action of the catalog, whatever its type.
    fn any_action(self, at: &At<String>) -> Read<Id> {
        let action = id(at, "actions")?;
        match self.catalog {
            Some(catalog) if catalog.action_ix(action.as_str()).is_none() => wrong(
                at.place,
                format!(
                    "the catalog `{}` has no action `{}`",
                    catalog.name,
                    shown(&at.value)
                ),
            ),
            _ => Ok(action),
        }
    }

    fn default_mask(self) -> BTreeSet<Id> {
        let known = |action: &&str| {
            self.catalog
                .is_none_or(|catalog| catalog.action_ix(action).is_some())
        };
        DEFAULT_MASK
            .iter()
            .copied()
            .filter(known)
            .filter_map(|action| Id::parse(action).ok())
            .collect()
    }

    fn resource(self, source: &ResourceSource) -> Read<ResourcePart> {
        let key = ResourceKey {
            resource_type: self.resource_type(&source.resource_type)?,
            id: id(&source.id, "resource id")?,
        };
        let place = source.id.place;
        let assigned_to = listed(&source.assigned_to, assignment)?;
        if source.partitioned == Some(false)
            && assigned_to.as_ref().is_some_and(|rows| !rows.is_empty())
        {
            return wrong(
                place,
                format!(
                    "the resource `{key}` has `partitioned: false` together with assignments; leave one out"
                ),
            );
        }
        let mut rows = HashMap::new();
        for At { value: row, place } in assigned_to.iter().flatten() {
            let expiry = rows.insert((&row.principal, &row.provenance), row.expires_at);
            if expiry.is_some_and(|other| other != row.expires_at) {
                return wrong(
                    *place,
                    format!(
                        "the assignment of `{key}` to `{}` with provenance {} is there twice, with different expiries",
                        row.principal, row.provenance
                    ),
                );
            }
        }
        Ok(ResourcePart {
            key,
            place,
            owners: listed(&source.owners, |owner| at_id(owner, "owners"))?,
            owning_team: optional(&source.owning_team, |team| at_id(team, "owning_team"))?,
            partitioned: source.partitioned,
            assigned_to,
            attributes: match &source.attributes {
                Field::Absent => None,
                Field::Empty => Some(serde_json::Map::new()),
                Field::Given(attributes) => Some(attributes.clone()),
            },
        })
    }

    fn segment(self, source: &SegmentSource) -> Read<SegmentPart> {
        Ok(SegmentPart {
            id: at_id(&source.id, "segment id")?,
            resource_type: source
                .resource_type
                .as_ref()
                .map(|name| self.resource_type(name))
                .transpose()?,
            when: source.when.clone(),
            assign_to: listed(&source.assign_to, |target| {
                at_principal(target, "assign_to")
            })?,
            enabled: source.enabled,
            may_partition: source.may_partition,
        })
    }
}

/// `TYPE.NAME`, split at the last dot.
pub(super) fn split_key(at: &At<String>) -> Read<(Id, Id)> {
    let Some((resource_type, name)) = at.value.rsplit_once('.') else {
        return wrong(
            at.place,
            format!(
                "`{}` must be TYPE.ACTION or TYPE.PERMISSION",
                shown(&at.value)
            ),
        );
    };
    let part = |text: &str| {
        Id::parse(text).map_err(|error| {
            DocumentError::at(at.place, format!("`{}`: {error}", shown(&at.value)))
        })
    };
    Ok((part(resource_type)?, part(name)?))
}

fn partner(source: &PartnerSource) -> Read<Partner> {
    Ok(Partner {
        account: id(&source.account, "partner account")?,
        user: id(&source.user, "partner user")?,
        role: source.role,
        partnership: source.partnership.unwrap_or(Partnership::Active),
    })
}

fn assignment(at: &At<Form<AssignmentSource, IgnoredAny>>) -> Read<At<Assignment>> {
    let row = match &at.value {
        Form::Text(text) => Assignment {
            principal: parsed(
                &At {
                    value: text.clone(),
                    place: at.place,
                },
                "assigned_to",
                str::parse,
            )?,
            provenance: Provenance::Manual,
            expires_at: None,
        },
        Form::Map(source) => Assignment {
            principal: at_principal(&source.to, "to")?.value,
            provenance: provenance(source.provenance.as_ref())?,
            expires_at: optional_time(source.expires_at.as_ref(), "expires_at")?,
        },
        Form::List(_) => {
            return wrong(
                at.place,
                "an assignment is user:ID, team:ID or group:ID, or a map with `to`, this is a list",
            );
        }
    };
    Ok(At {
        value: row,
        place: at.place,
    })
}
