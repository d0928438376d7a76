//! The judgement of a document that stands alone: every reference is met inside it.

use std::collections::{HashMap, HashSet};

use super::part::{Parts, ResourcePart, SegmentPart, TeamPart};
use super::{Document, DocumentError};
use crate::authz::catalog::Catalog;
use crate::authz::model::{
    Account, Assignment, Id, Membership, MembershipOf, PartnerProgram, Principal, ResourceKey,
    Settings,
};
use crate::authz::segment::Expression;
use crate::authz::yaml::{At, Place};

/// Checks the document and the `given` of its cases; gives the account with its defaults.
pub(super) fn check(document: &Document) -> Result<Account, DocumentError> {
    let start = document.account.place;
    let Some((reference, catalog)) = &document.catalog else {
        return Err(DocumentError::at(start, "the key `catalog` is missing"));
    };
    let parts = &document.parts;
    let Some(plan) = &parts.account.plan else {
        let plans: Vec<&str> = catalog
            .plans
            .iter()
            .map(|plan| plan.name.as_str())
            .collect();
        return Err(DocumentError::at(
            start,
            format!(
                "the key `plan` is missing; the catalog has {}",
                plans.join(", ")
            ),
        ));
    };
    let known = Known::new(None, parts);
    known.check(parts, catalog)?;
    one_owner(
        parts
            .users
            .iter()
            .map(|user| (&user.id, user.account_owner)),
    )?;
    no_cycle(&parts.teams)?;
    parts.segments.iter().try_for_each(check_segment)?;
    for case in &document.cases {
        if let Some(given) = case.given.as_deref() {
            check_given(parts, given, &known, catalog)?;
        }
    }
    let mut settings = Settings::default();
    parts.account.settings.apply_to(&mut settings);
    Ok(Account {
        id: document.account.value.clone(),
        catalog: reference.clone(),
        plan: plan.clone(),
        partner_program: parts
            .account
            .partner_program
            .unwrap_or(PartnerProgram::None),
        payment_method_valid: parts.account.payment_method_valid.unwrap_or(true),
        settings,
    })
}

/// A segment of its own says of what type, when and to whom (P5).
fn check_segment(segment: &SegmentPart) -> Result<(), DocumentError> {
    let id = &segment.id.value;
    let targets = segment.assign_to.as_ref().map_or(0, Vec::len);
    let problem = if segment.resource_type.is_none() {
        format!("the segment `{id}` has no `type`")
    } else if let Err(error) = Expression::parse(segment.when.as_deref().unwrap_or_default()) {
        format!("the `when` of the segment `{id}`: {error}")
    } else if targets == 0 && segment.enabled != Some(false) {
        format!("the segment `{id}` is enabled, so it needs a target in `assign_to`")
    } else {
        return Ok(());
    };
    Err(DocumentError::at(segment.id.place, problem))
}

/// The account of a case is the document's with what is given laid over it.
fn check_given(
    parts: &Parts,
    given: &Parts,
    known: &Known<'_>,
    catalog: &Catalog,
) -> Result<(), DocumentError> {
    Known::new(Some(known), given).check(given, catalog)?;
    if !given.teams.is_empty() {
        no_cycle(&merged_teams(parts, given))?;
    }
    if given.users.iter().any(|user| user.account_owner.is_some()) {
        let named: HashMap<&Id, Option<bool>> = given
            .users
            .iter()
            .map(|user| (&user.id.value, user.account_owner))
            .collect();
        let present = parts.users.iter().map(|user| {
            let listed = named.get(&user.id.value).copied().flatten();
            (&user.id, listed.or(user.account_owner))
        });
        let present_ids: HashSet<&Id> = parts.users.iter().map(|user| &user.id.value).collect();
        let added = given
            .users
            .iter()
            .filter(|user| !present_ids.contains(&user.id.value))
            .map(|user| (&user.id, user.account_owner));
        one_owner(present.chain(added))?;
    }
    Ok(())
}

fn merged_teams(parts: &Parts, given: &Parts) -> Vec<TeamPart> {
    let mut teams = parts.teams.clone();
    for team in &given.teams {
        match teams.iter_mut().find(|old| old.id.value == team.id.value) {
            Some(old) => old.overlay(team),
            None => teams.push(team.clone()),
        }
    }
    teams
}

/// The ids that a reference may name; those of a case stand before those of its document.
struct Known<'p> {
    document: Option<&'p Known<'p>>,
    teams: HashSet<&'p Id>,
    permission_sets: HashSet<&'p Id>,
    users: HashSet<&'p Id>,
    access_groups: HashSet<&'p Id>,
    resources: HashSet<&'p ResourceKey>,
}

impl<'p> Known<'p> {
    fn new(document: Option<&'p Known<'p>>, parts: &'p Parts) -> Self {
        Self {
            document,
            teams: parts.teams.iter().map(|team| &team.id.value).collect(),
            permission_sets: parts
                .permission_sets
                .iter()
                .map(|set| &set.id.value)
                .collect(),
            users: parts.users.iter().map(|user| &user.id.value).collect(),
            access_groups: parts
                .access_groups
                .iter()
                .map(|group| &group.id.value)
                .collect(),
            resources: parts
                .resources
                .iter()
                .map(|resource| &resource.key)
                .collect(),
        }
    }

    fn has(&self, is_in: &impl Fn(&Known<'_>) -> bool) -> bool {
        is_in(self) || self.document.is_some_and(|document| document.has(is_in))
    }

    fn team(&self, at: &At<Id>) -> Result<(), DocumentError> {
        let met = self.has(&|known| known.teams.contains(&at.value));
        met_or_dangling(met, at.place, "team", &at.value)
    }

    fn user(&self, at: &At<Id>) -> Result<(), DocumentError> {
        let met = self.has(&|known| known.users.contains(&at.value));
        met_or_dangling(met, at.place, "user", &at.value)
    }

    fn permission_set(&self, at: &At<Id>) -> Result<(), DocumentError> {
        let met = self.has(&|known| known.permission_sets.contains(&at.value));
        met_or_dangling(met, at.place, "permission set", &at.value)
    }

    fn membership(&self, membership: &At<Membership>) -> Result<(), DocumentError> {
        let at = At {
            value: membership.value.of.id().clone(),
            place: membership.place,
        };
        match membership.value.of {
            MembershipOf::Team(_) => self.team(&at),
            MembershipOf::PermissionSet(_) => self.permission_set(&at),
        }
    }

    fn principal(&self, principal: &Principal, place: Place) -> Result<(), DocumentError> {
        let id = |id: &Id| At {
            value: id.clone(),
            place,
        };
        match principal {
            Principal::User(user) => self.user(&id(user)),
            Principal::Team(team) => self.team(&id(team)),
            Principal::Group(group) => {
                let met = self.has(&|known| known.access_groups.contains(group));
                met_or_dangling(met, place, "access group", group)
            }
        }
    }

    fn resource(&self, key: &ResourceKey, place: Place) -> Result<(), DocumentError> {
        let met = self.has(&|known| known.resources.contains(key));
        met_or_dangling(met, place, "resource", key)
    }

    fn check(&self, parts: &Parts, catalog: &Catalog) -> Result<(), DocumentError> {
        for parent in parts.teams.iter().filter_map(|team| team.parent.as_ref()) {
            parent.iter().try_for_each(|parent| self.team(parent))?;
        }
        for user in &parts.users {
            let main_team = user.main_team.iter().flatten();
            main_team
                .chain(user.teams.iter().flatten())
                .try_for_each(|team| self.team(team))?;
            user.permission_sets
                .iter()
                .flatten()
                .try_for_each(|set| self.permission_set(set))?;
            user.memberships
                .iter()
                .flatten()
                .try_for_each(|membership| self.membership(membership))?;
            user.object_grants
                .iter()
                .flatten()
                .try_for_each(|grant| self.resource(&grant.value.resource, grant.place))?;
        }
        for member in parts
            .access_groups
            .iter()
            .flat_map(|group| group.members.iter().flatten())
        {
            self.principal(&member.principal.value, member.principal.place)?;
        }
        for resource in &parts.resources {
            self.check_resource(resource, catalog)?;
        }
        for target in parts
            .segments
            .iter()
            .flat_map(|segment| segment.assign_to.iter().flatten())
        {
            self.principal(&target.value, target.place)?;
        }
        Ok(())
    }

    fn check_resource(
        &self,
        resource: &ResourcePart,
        catalog: &Catalog,
    ) -> Result<(), DocumentError> {
        for owner in resource.owners.iter().flatten() {
            self.user(owner)?;
        }
        for team in resource.owning_team.iter().flatten() {
            self.team(team)?;
        }
        for At { value, place } in resource.assigned_to.iter().flatten() {
            let Assignment { principal, .. } = value;
            self.principal(principal, *place)?;
        }
        let name = resource.key.resource_type.as_str();
        let partitionable = catalog
            .type_ix(name)
            .and_then(|ix| catalog.resource_type(ix))
            .is_some_and(|resource_type| resource_type.partitionable);
        if resource.partitioned() && !partitionable {
            return Err(DocumentError::at(
                resource.place,
                format!(
                    "the resource `{}` is partitioned, but no plan of the catalog `{}` lets its type be",
                    resource.key, catalog.name
                ),
            ));
        }
        Ok(())
    }
}

fn met_or_dangling(
    met: bool,
    place: Place,
    what: &str,
    id: impl std::fmt::Display,
) -> Result<(), DocumentError> {
    if met {
        Ok(())
    } else {
        Err(DocumentError::at(
            place,
            format!("there is no {what} `{id}` in the document"),
        ))
    }
}

pub(super) fn one_owner<'p>(
    users: impl Iterator<Item = (&'p At<Id>, Option<bool>)>,
) -> Result<(), DocumentError> {
    let mut owners = users.filter(|(_, owner)| *owner == Some(true));
    match (owners.next(), owners.next()) {
        (Some((first, _)), Some((second, _))) => {
            let (first, second) = if first.place <= second.place {
                (first, second)
            } else {
                (second, first)
            };
            Err(DocumentError::at(
                second.place,
                format!(
                    "`{}` is a second account owner beside `{}`; an account has at most one",
                    second.value, first.value
                ),
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn no_cycle(teams: &[TeamPart]) -> Result<(), DocumentError> {
    let parents: HashMap<&Id, &At<Id>> = teams
        .iter()
        .filter_map(|team| Some((&team.id.value, team.parent.as_ref()?.as_ref()?)))
        .collect();
    let mut clear: HashSet<&Id> = HashSet::new();
    for team in teams {
        let mut path: HashSet<&Id> = HashSet::new();
        let mut at = &team.id.value;
        while !clear.contains(at) {
            path.insert(at);
            let Some(parent) = parents.get(at) else {
                break;
            };
            if path.contains(&parent.value) {
                return Err(cycle_error(&parents, &parent.value));
            }
            at = &parent.value;
        }
        clear.extend(path);
    }
    Ok(())
}

/// Names the link of the cycle that was written last, which is the likely mistake.
fn cycle_error(parents: &HashMap<&Id, &At<Id>>, start: &Id) -> DocumentError {
    let mut team = start;
    let mut last: Option<(&Id, Place)> = None;
    while let Some(parent) = parents.get(team) {
        if last.is_none_or(|(_, place)| place < parent.place) {
            last = Some((team, parent.place));
        }
        team = &parent.value;
        if team == start {
            break;
        }
    }
    let (team, place) = last.unwrap_or((start, Place::default()));
    DocumentError::at(
        place,
        format!("the team `{team}` would be its own ancestor"),
    )
}
