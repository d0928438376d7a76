//! From the overlay to the change set: what differs from the snapshot, in an order in which a
//! store can write it.

use std::collections::{BTreeMap, HashSet};

use super::super::graph::AccountGraph;
use super::super::model::{
    AccessGroup, Account, Attributes, Entity, EntityChange, EntityKey, Id, PermissionSet, Resource,
    ResourceKey, Segment, Team, User,
};
use super::overlay::Slot;
use super::planner::Planner;
use super::{ChangeLine, ChangeSet};

const CREATE: &str = "create";
const UPDATE: &str = "update";
const DELETE: &str = "delete";
const ATTRIBUTES: &str = "attributes";

impl ChangeSet {
    fn push(&mut self, change: EntityChange, verb: &'static str, fields: Vec<&'static str>) {
        let entity = match &change {
            EntityChange::Put(entity) => entity.key(),
            EntityChange::Delete(key) => key.clone(),
        };
        self.changes.push(change);
        self.summary.push(ChangeLine {
            verb,
            entity,
            fields,
        });
    }

    fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.summary.extend(other.summary);
    }

    /// After some of its users and permission sets were made others: what is now as it was is left
    /// out, and lines say what differs.
    pub(in crate::authz) fn settle_lines(&mut self, before: &AccountGraph) {
        let planned = std::mem::take(self);
        for (change, line) in planned.changes.into_iter().zip(planned.summary) {
            let fields = match &change {
                EntityChange::Put(Entity::User(user)) => before
                    .user(user.id.as_str())
                    .map(|before| user_fields(before, user)),
                EntityChange::Put(Entity::PermissionSet(set)) => before
                    .permission_set(set.id.as_str())
                    .map(|before| set_fields(before, set)),
                _ => None,
            };
            match fields {
                Some(fields) if fields.is_empty() => {}
                Some(fields) => self.push(change, line.verb, fields),
                None => {
                    self.changes.push(change);
                    self.summary.push(line);
                }
            }
        }
    }

    /// The resources that exist and are given attributes. The graph holds none, so [`super::plan`]
    /// can't tell whether they differ from what is stored: see [`ChangeSet::settle_attributes`].
    pub fn attribute_keys(&self) -> Vec<ResourceKey> {
        let lines = self.changes.iter().zip(&self.summary);
        lines
            .filter_map(|(change, line)| match change {
                EntityChange::Put(Entity::Resource(resource, Some(_))) if line.verb == UPDATE => {
                    Some(resource.key.clone())
                }
                _ => None,
            })
            .collect()
    }

    /// Leaves out attributes that are stored just so, and the resources that nothing else changes.
    /// `stored` is what the store has for [`ChangeSet::attribute_keys`], without those that have
    /// none.
    pub fn settle_attributes(&mut self, stored: Vec<(ResourceKey, Attributes)>) {
        let stored: BTreeMap<ResourceKey, Attributes> = stored.into_iter().collect();
        let none = Attributes::new();
        let planned = std::mem::take(self);
        for (mut change, mut line) in planned.changes.into_iter().zip(planned.summary) {
            if line.verb == UPDATE
                && let EntityChange::Put(Entity::Resource(resource, attributes)) = &mut change
                && attributes.is_some()
                && attributes.as_ref() == Some(stored.get(&resource.key).unwrap_or(&none))
            {
                *attributes = None;
                line.fields.retain(|field| *field != ATTRIBUTES);
                if line.fields.is_empty() {
                    continue;
                }
            }
            self.changes.push(change);
            self.summary.push(line);
        }
    }
}

impl Planner<'_> {
    pub fn outcome(self) -> ChangeSet {
        let graph = self.overlay.graph;
        let mut puts = ChangeSet::default();
        // In the order of the puts; turned round at the end.
        let mut deletions = ChangeSet::default();
        let account = Some(&self.terms.account);
        let before = graph.map(AccountGraph::account);
        difference(&mut puts, before, account, Entity::Account, account_fields);

        self.team_outcome(&mut puts, &mut deletions);
        for (id, slot) in &self.overlay.permission_sets {
            let before = graph.and_then(|graph| graph.permission_set(id.as_str()));
            let key = || EntityKey::PermissionSet(id.clone());
            difference(
                &mut puts,
                before,
                slot.get(),
                Entity::PermissionSet,
                set_fields,
            );
            deletion(&mut deletions, before, slot.get(), key);
        }
        for (id, slot) in &self.overlay.users {
            let before = graph.and_then(|graph| graph.user(id.as_str()));
            let key = || EntityKey::User(id.clone());
            difference(&mut puts, before, slot.get(), Entity::User, user_fields);
            deletion(&mut deletions, before, slot.get(), key);
        }
        for (id, slot) in &self.overlay.access_groups {
            let before = graph.and_then(|graph| graph.access_group(id.as_str()));
            let key = || EntityKey::AccessGroup(id.clone());
            difference(
                &mut puts,
                before,
                slot.get(),
                Entity::AccessGroup,
                group_fields,
            );
            deletion(&mut deletions, before, slot.get(), key);
        }
        for (id, slot) in &self.overlay.segments {
            let before = graph.and_then(|graph| graph.segment(id.as_str()));
            let key = || EntityKey::Segment(id.clone());
            difference(
                &mut puts,
                before,
                slot.get(),
                Entity::Segment,
                segment_fields,
            );
            deletion(&mut deletions, before, slot.get(), key);
        }
        self.resource_outcome(&mut puts, &mut deletions);

        deletions.changes.reverse();
        deletions.summary.reverse();
        puts.append(deletions);
        puts
    }

    /// A parent is written before its children, and deleted after them.
    fn team_outcome(&self, puts: &mut ChangeSet, deletions: &mut ChangeSet) {
        let graph = self.overlay.graph;
        let before = |id: &Id| graph.and_then(|graph| graph.team(id.as_str()));
        let teams = &self.overlay.teams;
        let parent_now = |id: &Id| teams.get(id).and_then(Slot::get)?.parent.as_ref();
        for id in parents_first(teams.keys(), parent_now) {
            let now = teams.get(id).and_then(Slot::get);
            difference(puts, before(id), now, Entity::Team, team_fields);
        }
        let gone = |id: &Id| teams.get(id).is_some_and(|slot| slot.get().is_none());
        let parent_before = |id: &Id| {
            before(id)?
                .parent
                .as_ref()
                .and_then(|parent| teams.get_key_value(parent))
                .map(|(parent, _)| parent)
                .filter(|parent| gone(parent))
        };
        for id in parents_first(teams.keys().filter(|id| gone(id)), parent_before) {
            deletion(deletions, before(id), None, || EntityKey::Team(id.clone()));
        }
    }

    fn resource_outcome(&self, puts: &mut ChangeSet, deletions: &mut ChangeSet) {
        for (key, slot) in &self.overlay.resources {
            let before = self.overlay.graph.and_then(|graph| graph.resource(key));
            let Some(resource) = slot.resource.get() else {
                deletion(deletions, before.as_ref(), None, || {
                    EntityKey::Resource(key.clone())
                });
                continue;
            };
            let new_without = before.is_none()
                && slot
                    .attributes
                    .as_ref()
                    .is_some_and(serde_json::Map::is_empty);
            let attributes = slot.attributes.clone().filter(|_| !new_without);
            let (verb, mut fields) = match &before {
                Some(before) => (UPDATE, resource_fields(before, resource)),
                None => (CREATE, Vec::new()),
            };
            if verb == UPDATE && attributes.is_some() {
                fields.push(ATTRIBUTES);
            }
            if verb == CREATE || !fields.is_empty() {
                let entity = Entity::Resource(resource.clone(), attributes);
                puts.push(EntityChange::Put(entity), verb, fields);
            }
        }
    }
}

fn difference<T: Clone>(
    puts: &mut ChangeSet,
    before: Option<&T>,
    now: Option<&T>,
    entity: fn(T) -> Entity,
    changed_fields: fn(&T, &T) -> Vec<&'static str>,
) {
    let Some(now) = now else {
        return;
    };
    let (verb, fields) = match before {
        Some(before) => (UPDATE, changed_fields(before, now)),
        None => (CREATE, Vec::new()),
    };
    if verb == CREATE || !fields.is_empty() {
        puts.push(EntityChange::Put(entity(now.clone())), verb, fields);
    }
}

fn deletion<T>(
    deletions: &mut ChangeSet,
    before: Option<&T>,
    now: Option<&T>,
    key: impl FnOnce() -> EntityKey,
) {
    if before.is_some() && now.is_none() {
        deletions.push(EntityChange::Delete(key()), DELETE, Vec::new());
    }
}

/// The teams, each after its parent where that is among them. Without recursion: a chain may be as
/// long as an account has teams. A cycle that was stored before is cut anywhere.
fn parents_first<'a>(
    teams: impl Iterator<Item = &'a Id>,
    parent: impl Fn(&Id) -> Option<&'a Id>,
) -> Vec<&'a Id> {
    let teams: Vec<&Id> = teams.collect();
    let among: HashSet<&Id> = teams.iter().copied().collect();
    let mut seen: HashSet<&Id> = HashSet::new();
    let mut ordered = Vec::with_capacity(teams.len());
    for team in teams {
        let mut chain = Vec::new();
        let mut next = Some(team);
        while let Some(team) = next {
            if !among.contains(team) || !seen.insert(team) {
                break;
            }
            chain.push(team);
            next = parent(team);
        }
        ordered.extend(chain.into_iter().rev());
    }
    ordered
}

/// The names of those that differ.
fn named<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
}

fn account_fields(old: &Account, new: &Account) -> Vec<&'static str> {
    named([
        ("catalog", old.catalog != new.catalog),
        ("plan", old.plan != new.plan),
        (
            "partner_program",
            old.partner_program != new.partner_program,
        ),
        (
            "payment_method_valid",
            old.payment_method_valid != new.payment_method_valid,
        ),
        ("settings", old.settings != new.settings),
    ])
}

fn team_fields(old: &Team, new: &Team) -> Vec<&'static str> {
    named([("parent", old.parent != new.parent)])
}

fn set_fields(old: &PermissionSet, new: &PermissionSet) -> Vec<&'static str> {
    named([("grants", old.grants != new.grants)])
}

fn user_fields(old: &User, new: &User) -> Vec<&'static str> {
    named([
        ("status", old.status != new.status),
        ("kind", old.kind != new.kind),
        ("account_owner", old.account_owner != new.account_owner),
        ("super_admin", old.super_admin != new.super_admin),
        ("partner_admin", old.partner_admin != new.partner_admin),
        ("main_team", old.main_team != new.main_team),
        ("teams", old.teams != new.teams),
        ("seats", old.seats != new.seats),
        ("person", old.person != new.person),
        ("email", old.email != new.email),
        ("partner", old.partner != new.partner),
        (
            "permission_sets",
            old.permission_sets != new.permission_sets,
        ),
        ("memberships", old.memberships != new.memberships),
        ("grants", old.grants != new.grants),
        ("object_grants", old.object_grants != new.object_grants),
    ])
}

fn group_fields(old: &AccessGroup, new: &AccessGroup) -> Vec<&'static str> {
    named([("members", old.members != new.members)])
}

fn segment_fields(old: &Segment, new: &Segment) -> Vec<&'static str> {
    named([
        ("type", old.resource_type != new.resource_type),
        ("when", old.when != new.when),
        ("assign_to", old.assign_to != new.assign_to),
        ("enabled", old.enabled != new.enabled),
        ("may_partition", old.may_partition != new.may_partition),
    ])
}

fn resource_fields(old: &Resource, new: &Resource) -> Vec<&'static str> {
    named([
        ("owners", old.owners != new.owners),
        ("owning_team", old.owning_team != new.owning_team),
        ("partitioned", old.partitioned != new.partitioned),
        ("assigned_to", old.assignments != new.assignments),
    ])
}
