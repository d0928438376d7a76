//! What a list deletes, and what entities that refer to it look like without it: what follows from a
//! deletion is judged with the deletion.

use std::collections::BTreeSet;

use crate::authz::model::{
    AccessGroup, EntityChange, EntityKey, Id, MembershipOf, Principal, Provenance, Resource,
    Segment, User,
};

pub(super) struct Gone(BTreeSet<EntityKey>);

impl Gone {
    pub(super) fn of(changes: &[EntityChange]) -> Self {
        let gone = changes.iter().filter_map(|change| match change {
            EntityChange::Delete(key) => Some(key.clone()),
            // C11: removal clears what refers to a user.
            EntityChange::Put(crate::authz::model::Entity::User(user))
                if user.status == crate::authz::model::UserStatus::Removed =>
            {
                Some(EntityKey::User(user.id.clone()))
            }
            EntityChange::Put(_) => None,
        });
        Self(gone.collect())
    }

    pub(super) fn has_team(&self, team: &Id) -> bool {
        self.0.contains(&EntityKey::Team(team.clone()))
    }

    fn has_set(&self, set: &Id) -> bool {
        self.0.contains(&EntityKey::PermissionSet(set.clone()))
    }

    fn has(&self, principal: &Principal) -> bool {
        self.0.contains(&match principal {
            Principal::User(id) => EntityKey::User(id.clone()),
            Principal::Team(id) => EntityKey::Team(id.clone()),
            Principal::Group(id) => EntityKey::AccessGroup(id.clone()),
        })
    }

    pub(super) fn user(&self, user: &User) -> User {
        let mut user = user.clone();
        if self.0.is_empty() {
            return user;
        }
        user.main_team = user.main_team.filter(|team| !self.has_team(team));
        user.teams.retain(|team| !self.has_team(team));
        user.permission_sets.retain(|set| !self.has_set(set));
        user.set_givers.retain(|set, _| !self.has_set(set));
        user.memberships.retain(|membership| match &membership.of {
            MembershipOf::Team(team) => !self.has_team(team),
            MembershipOf::PermissionSet(set) => !self.has_set(set),
        });
        let there = |key: &EntityKey| !self.0.contains(key);
        user.object_grants
            .retain(|grant| there(&EntityKey::Resource(grant.resource.clone())));
        user
    }

    pub(super) fn group(&self, group: &AccessGroup) -> AccessGroup {
        let mut group = group.clone();
        group.members.retain(|member, _| !self.has(member));
        group
    }

    pub(super) fn segment(&self, segment: &Segment) -> Segment {
        let mut segment = segment.clone();
        segment.assign_to.retain(|target| !self.has(target));
        segment
    }

    pub(super) fn resource(&self, resource: &Resource) -> Resource {
        let mut resource = resource.clone();
        let is_gone = |user: &Id| self.0.contains(&EntityKey::User(user.clone()));
        resource.owners.retain(|owner| !is_gone(owner));
        resource.owning_team = resource.owning_team.filter(|team| !self.has_team(team));
        resource.assignments.retain(|assignment| {
            let of_segment = match &assignment.provenance {
                Provenance::Segment(id) => self.0.contains(&EntityKey::Segment(id.clone())),
                _ => false,
            };
            !of_segment && !self.has(&assignment.principal)
        });
        resource
    }
}
