//! What only the whole list can break, checked after it.

use std::collections::HashSet;

use super::super::graph::AccountGraph;
use super::super::model::{
    Assignment, EntityKey, Id, Resource, ResourceKey, Timestamp, User, UserStatus,
};
use super::overlay::{Claim, Link, Need, ResourceSlot, Slot, describe};
use super::planner::Planner;
use super::{ChangeError, ChangeProblem};

impl Planner<'_> {
    pub fn verify(&self) -> Result<(), ChangeError> {
        self.verify_references()?;
        self.verify_team_tree()?;
        self.verify_account_owner()?;
        self.verify_entitlement()?;
        self.verify_super_admin()?;
        match (self.terms.catalog_changed_by, self.overlay.graph) {
            (Some(index), Some(graph)) => self.revalidate(index, graph),
            _ => Ok(()),
        }
    }

    /// The first reference, by index of its change, to what isn't there.
    fn verify_references(&self) -> Result<(), ChangeError> {
        let needs = self
            .needs()
            .map(|(need, key)| (need.index, need.field, key));
        let claims = self
            .overlay
            .claims
            .iter()
            .filter(|claim| !self.may_be_named(&claim.to) && self.overlay.holds(claim))
            .map(|claim| (claim.index, claim.link.field(), claim.to.clone()));
        let Some((index, field, key)) = needs.chain(claims).min_by_key(|(index, ..)| *index) else {
            return Ok(());
        };
        let (what, id) = describe(&key);
        Err(problem(index, field, ChangeProblem::Dangling { what, id }))
    }

    /// What is there; but nothing is given to the tombstone of a user who was removed.
    fn may_be_named(&self, key: &EntityKey) -> bool {
        let is_tombstone = |user: &User| user.status == UserStatus::Removed;
        let is_removed = |id: &Id| match self.overlay.users.contains_key(id) {
            true => self.user_is(id, is_tombstone),
            false => self.user_was(id, is_tombstone),
        };
        self.overlay.is_there(key) && !matches!(key, EntityKey::User(id) if is_removed(id))
    }

    /// Entities of which the list names a part, and which it leaves absent.
    fn needs(&self) -> impl Iterator<Item = (Need, EntityKey)> {
        let users = self
            .overlay
            .users
            .iter()
            .filter_map(|(id, slot)| Some((slot.need()?, EntityKey::User(id.clone()))));
        let sets = self
            .overlay
            .permission_sets
            .iter()
            .filter_map(|(id, slot)| Some((slot.need()?, EntityKey::PermissionSet(id.clone()))));
        let groups = self
            .overlay
            .access_groups
            .iter()
            .filter_map(|(id, slot)| Some((slot.need()?, EntityKey::AccessGroup(id.clone()))));
        let resources = self.overlay.resources.iter().filter_map(|(key, slot)| {
            Some((slot.resource.need()?, EntityKey::Resource(key.clone())))
        });
        users.chain(sets).chain(groups).chain(resources)
    }

    /// No team is its own ancestor (P11). Only where a change gave a team a parent can a cycle
    /// have come about, so the walk starts there, and no team is walked over twice. A cycle that
    /// was stored before, and that no change made, is no fault of the list.
    fn verify_team_tree(&self) -> Result<(), ChangeError> {
        let mut walked: HashSet<Id> = HashSet::new();
        for claim in self.parent_claims() {
            let EntityKey::Team(start) = &claim.from else {
                continue;
            };
            let mut path: Vec<Id> = Vec::new();
            let mut on_path: HashSet<Id> = HashSet::new();
            let mut next = Some(start.clone());
            while let Some(team) = next {
                if walked.contains(&team) {
                    break;
                }
                if !on_path.insert(team.clone()) {
                    let cycle = path.iter().skip_while(|walked| **walked != team);
                    self.verify_cycle(&cycle.collect())?;
                    break;
                }
                next = self.parent_of(&team);
                path.push(team);
            }
            walked.extend(path);
        }
        Ok(())
    }

    /// The change that closed the cycle is the last one that made a link of it.
    fn verify_cycle(&self, cycle: &HashSet<&Id>) -> Result<(), ChangeError> {
        let closing = self
            .parent_claims()
            .filter_map(|claim| match &claim.from {
                EntityKey::Team(team) if cycle.contains(team) => Some((claim.index, team)),
                _ => None,
            })
            .max_by_key(|(index, _)| *index);
        match closing {
            Some((index, team)) => Err(problem(
                index,
                Link::Parent.field(),
                ChangeProblem::TeamCycle(team.to_string()),
            )),
            None => Ok(()),
        }
    }

    fn parent_claims(&self) -> impl Iterator<Item = &Claim> {
        self.overlay
            .claims
            .iter()
            .filter(|claim| claim.link == Link::Parent && self.overlay.holds(claim))
    }

    fn parent_of(&self, team: &Id) -> Option<Id> {
        match self.overlay.teams.get(team) {
            Some(slot) => slot.get()?.parent.clone(),
            None => self.overlay.graph?.team(team.as_str())?.parent.clone(),
        }
    }

    /// At most one account owner.
    fn verify_account_owner(&self) -> Result<(), ChangeError> {
        let new_owner = self.owners_made.iter().rev().find(|(_, user)| {
            self.user_is(user, |user| user.account_owner)
                && !self.user_was(user, |user| user.account_owner)
        });
        let Some((index, user)) = new_owner else {
            return Ok(());
        };
        match self
            .users()
            .find(|other| other.account_owner && other.id != *user)
        {
            Some(other) => Err(problem(
                *index,
                "user.account_owner",
                ChangeProblem::Invalid(format!(
                    "`{}` is the account owner already, and an account has at most one",
                    other.id
                )),
            )),
            None => Ok(()),
        }
    }

    /// D9: where there was an active super admin there still is one, or an active account owner
    /// where the catalog lets the owner stand alone.
    fn verify_super_admin(&self) -> Result<(), ChangeError> {
        let is_admin = |user: &User| user.super_admin && user.is_active();
        let is_owner = |user: &User| user.account_owner && user.is_active();
        let lost =
            self.super_admins_lost.iter().rev().find(|(_, _, user)| {
                self.user_was(user, is_admin) && !self.user_is(user, is_admin)
            });
        let Some((index, field, _)) = lost else {
            return Ok(());
        };
        if self.users().any(is_admin)
            || (self.terms.catalog.owner_may_stand_alone && self.users().any(is_owner))
        {
            return Ok(());
        }
        Err(problem(*index, field, ChangeProblem::LastSuperAdmin))
    }

    /// S2.4, S2.5, C12: a type that the plan does not let be partitioned gets no new wall and no
    /// new assignment; walls that are there stay, and may be narrowed or taken down.
    fn verify_entitlement(&self) -> Result<(), ChangeError> {
        let first = self
            .overlay
            .resources
            .iter()
            .filter(|(key, _)| !self.terms.may_be_partitioned(&key.resource_type))
            .filter_map(|(key, slot)| Some((self.widened_by(key, slot)?, key)))
            .filter(|(by, key)| {
                !self
                    .terms
                    .could_be_partitioned_at(by.index, &key.resource_type)
            })
            .min_by_key(|(by, _)| by.index);
        match first {
            Some((by, key)) => Err(problem(
                by.index,
                by.field,
                ChangeProblem::NotEntitled(key.resource_type.to_string()),
            )),
            None => Ok(()),
        }
    }

    /// The change that partitioned a resource or gave its wall an assignment that it didn't have.
    fn widened_by(&self, key: &ResourceKey, slot: &ResourceSlot) -> Option<Need> {
        let now = slot.resource.get()?;
        let before = self.overlay.graph.and_then(|graph| graph.resource(key));
        let last = Need {
            index: self.overlay.at,
            field: "resource.partitioned",
        };
        if now.partitioned && !before.as_ref().is_some_and(|before| before.partitioned) {
            return Some(slot.partitioned_by.unwrap_or(last));
        }
        let new = now
            .assignments
            .iter()
            .find(|assignment| !covers(before.as_ref(), assignment))?;
        let from = EntityKey::Resource(key.clone());
        let to = super::overlay::entity_of(&new.principal);
        let claim =
            self.overlay.claims.iter().rfind(|claim| {
                claim.link == Link::Assignment && claim.from == from && claim.to == to
            });
        Some(claim.map_or(last, |claim| Need {
            index: claim.index,
            field: claim.link.field(),
        }))
    }

    /// The users as the list leaves them.
    pub(super) fn users(&self) -> impl Iterator<Item = &User> {
        let touched = &self.overlay.users;
        let stored = self.overlay.graph.into_iter().flat_map(AccountGraph::users);
        touched
            .values()
            .filter_map(Slot::get)
            .chain(stored.filter(|user| !touched.contains_key(&user.id)))
    }

    fn user_is(&self, id: &Id, is: impl FnOnce(&User) -> bool) -> bool {
        self.overlay
            .users
            .get(id)
            .and_then(Slot::get)
            .is_some_and(is)
    }

    fn user_was(&self, id: &Id, was: impl Fn(&User) -> bool) -> bool {
        self.overlay
            .graph
            .and_then(|graph| graph.user(id.as_str()))
            .is_some_and(was)
    }
}

/// Whether an assignment was there before, for at least as long.
fn covers(before: Option<&Resource>, assignment: &Assignment) -> bool {
    before.is_some_and(|before| {
        before.assignments.iter().any(|old| {
            old.principal == assignment.principal
                && old.provenance == assignment.provenance
                && !ends_later(assignment.expires_at, old.expires_at)
        })
    })
}

fn ends_later(new: Option<Timestamp>, old: Option<Timestamp>) -> bool {
    match (new, old) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    }
}

pub(super) fn problem(index: usize, field: &str, problem: ChangeProblem) -> ChangeError {
    ChangeError {
        index,
        field: field.to_owned(),
        problem,
    }
}
