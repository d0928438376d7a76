//! What a deletion takes along (P11): everything that refers to the entity lets go of it.

use std::collections::{HashMap, HashSet};

use super::super::graph::AccountGraph;
use super::super::model::{EntityKey, Id, Principal, Provenance, Resource, User};
use super::membership;
use super::overlay::{Link, Overlay, entity_of, principal};
use super::planner::Planner;

/// Most records that lose their rows in the transaction that deletes a segment.
const ROWS_GONE_AT_ONCE_MAX: usize = 1_000;

/// Who refers to whom within the snapshot's directory, read only when something is deleted, and
/// then once for the whole list. Resources that refer to a user, a team, a group or a segment are
/// not here: the graph keeps those.
#[derive(Debug, Default)]
pub(super) struct SnapshotReferrers {
    by_target: HashMap<EntityKey, Vec<EntityKey>>,
    teams_read: bool,
    users_read: bool,
    principals_read: bool,
}

impl SnapshotReferrers {
    fn of(&mut self, graph: &AccountGraph, gone: &EntityKey) -> Vec<EntityKey> {
        let resources = match gone {
            // Nothing refers to a request but by provenance, which outlives it.
            EntityKey::Account | EntityKey::AccessRequest(_) => Vec::new(),
            EntityKey::Team(id) => {
                self.read_teams(graph);
                self.read_users(graph);
                self.read_principals(graph);
                graph.resources_of_team(id.as_str())
            }
            EntityKey::User(id) => {
                self.read_principals(graph);
                graph.resources_of_user(id.as_str())
            }
            EntityKey::AccessGroup(id) => {
                self.read_principals(graph);
                graph.resources_of_group(id.as_str())
            }
            EntityKey::PermissionSet(_) | EntityKey::Resource(_) => {
                self.read_users(graph);
                Vec::new()
            }
            // More of them go in the background, in transactions that hold up nobody for long.
            EntityKey::Segment(id) => {
                let mut rows = graph.resources_of_segment(id.as_str());
                if rows.len() > ROWS_GONE_AT_ONCE_MAX {
                    rows.clear();
                }
                rows
            }
        };
        let mut referrers = self.by_target.remove(gone).unwrap_or_default();
        referrers.extend(resources.into_iter().map(EntityKey::Resource));
        referrers
    }

    fn note(&mut self, from: &EntityKey, to: EntityKey) {
        self.by_target.entry(to).or_default().push(from.clone());
    }

    fn read_teams(&mut self, graph: &AccountGraph) {
        if std::mem::replace(&mut self.teams_read, true) {
            return;
        }
        for team in graph.teams() {
            if let Some(parent) = &team.parent {
                let from = EntityKey::Team(team.id.clone());
                self.note(&from, EntityKey::Team(parent.clone()));
            }
        }
    }

    fn read_users(&mut self, graph: &AccountGraph) {
        if std::mem::replace(&mut self.users_read, true) {
            return;
        }
        for user in graph.users() {
            let from = EntityKey::User(user.id.clone());
            for team in user.all_teams() {
                self.note(&from, EntityKey::Team(team.clone()));
            }
            for set in &user.permission_sets {
                self.note(&from, EntityKey::PermissionSet(set.clone()));
            }
            for held in &user.memberships {
                self.note(&from, membership::entity_of(&held.of));
            }
            for grant in &user.object_grants {
                self.note(&from, EntityKey::Resource(grant.resource.clone()));
            }
        }
    }

    fn read_principals(&mut self, graph: &AccountGraph) {
        if std::mem::replace(&mut self.principals_read, true) {
            return;
        }
        for group in graph.access_groups() {
            let from = EntityKey::AccessGroup(group.id.clone());
            for member in group.members.keys() {
                self.note(&from, entity_of(member));
            }
        }
        for segment in graph.segments() {
            let from = EntityKey::Segment(segment.id.clone());
            for target in &segment.assign_to {
                self.note(&from, entity_of(target));
            }
        }
    }
}

impl Planner<'_> {
    /// Lets everything go of an entity that is deleted; `heir` is the parent of a deleted team. An
    /// entity that isn't there is let go of too: the list may have referred to it before.
    pub(super) fn forget(&mut self, gone: &EntityKey, heir: Option<&Id>) {
        let mut referrers: HashSet<EntityKey> =
            self.overlay.referrers.remove(gone).unwrap_or_default();
        if let Some(graph) = self.overlay.graph
            && self.forgotten.insert(gone.clone())
        {
            referrers.extend(self.snapshot_referrers.of(graph, gone));
        }
        // Sorted, so that the claims of children that move are in a fixed order.
        let mut referrers: Vec<EntityKey> = referrers.into_iter().collect();
        referrers.sort();
        for from in referrers {
            match &from {
                EntityKey::Account | EntityKey::PermissionSet(_) | EntityKey::AccessRequest(_) => {}
                EntityKey::Team(id) => move_child(&mut self.overlay, id, gone, heir),
                EntityKey::User(id) => {
                    if let Some(user) = self.overlay.user(id).get_mut() {
                        let_go_user(user, gone);
                    }
                }
                EntityKey::AccessGroup(id) => {
                    if let Some((group, member)) =
                        self.overlay.access_group(id).get_mut().zip(principal(gone))
                    {
                        group.members.remove(&member);
                    }
                }
                EntityKey::Segment(id) => {
                    if let Some((segment, target)) =
                        self.overlay.segment(id).get_mut().zip(principal(gone))
                        && segment.assign_to.remove(&target)
                    {
                        // P5: a rule that assigns to nobody doesn't run; its text is kept.
                        segment.enabled &= !segment.assign_to.is_empty();
                    }
                }
                EntityKey::Resource(key) => {
                    if let Some(resource) = self.overlay.resource(key).resource.get_mut() {
                        let_go_resource(resource, gone);
                    }
                }
            }
        }
    }
}

/// A child of a deleted team moves to the team's parent.
fn move_child(overlay: &mut Overlay<'_>, child: &Id, gone: &EntityKey, heir: Option<&Id>) {
    let Some(team) = overlay.team(child).get_mut() else {
        return;
    };
    let is_child = team
        .parent
        .as_ref()
        .is_some_and(|parent| *gone == EntityKey::Team(parent.clone()));
    if !is_child {
        return;
    }
    team.parent = heir.filter(|heir| *heir != child).cloned();
    if let Some(parent) = team.parent.clone() {
        let from = EntityKey::Team(child.clone());
        overlay.claim(Link::Parent, &from, EntityKey::Team(parent));
    }
}

fn let_go_user(user: &mut User, gone: &EntityKey) {
    user.memberships
        .retain(|held| membership::entity_of(&held.of) != *gone);
    match gone {
        EntityKey::Team(team) => {
            user.main_team.take_if(|main| main == team);
            user.teams.remove(team);
        }
        EntityKey::PermissionSet(set) => {
            user.permission_sets.remove(set);
            user.set_givers.remove(set);
        }
        EntityKey::Resource(key) => user.object_grants.retain(|grant| grant.resource != *key),
        EntityKey::Account
        | EntityKey::User(_)
        | EntityKey::AccessGroup(_)
        | EntityKey::Segment(_)
        | EntityKey::AccessRequest(_) => {}
    }
}

/// Only references go: `partitioned` stays as it is (3.5).
fn let_go_resource(resource: &mut Resource, gone: &EntityKey) {
    let dropped: Option<Principal> = principal(gone);
    match gone {
        EntityKey::User(user) => {
            resource.owners.remove(user);
        }
        EntityKey::Team(team) => {
            resource.owning_team.take_if(|stamp| stamp == team);
        }
        EntityKey::Segment(segment) => {
            let rows = Provenance::Segment(segment.clone());
            resource
                .assignments
                .retain(|assignment| assignment.provenance != rows);
        }
        EntityKey::Account
        | EntityKey::PermissionSet(_)
        | EntityKey::AccessGroup(_)
        | EntityKey::Resource(_)
        | EntityKey::AccessRequest(_) => {}
    }
    if let Some(dropped) = dropped {
        resource
            .assignments
            .retain(|assignment| assignment.principal != dropped);
    }
}
