//! Random accounts that a store takes, and the changes between two states of one.

use std::collections::BTreeSet;

use ambit::authz::model::{
    Entity, EntityChange, EntityKey, Id, MembershipOf, Principal, Timestamp, UserKind,
};

use super::worlds::id;

/// The entities without what a store refuses: references to what is not there, windows that end
/// before they begin, assignments without partition, a second account owner.
pub fn storable(account: &str, entities: Vec<Entity>) -> Vec<Entity> {
    let keys: BTreeSet<EntityKey> = entities.iter().map(Entity::key).collect();
    let user = |id: &Id| keys.contains(&EntityKey::User(id.clone()));
    let team = |id: &Id| keys.contains(&EntityKey::Team(id.clone()));
    let known = |principal: &Principal| match principal {
        Principal::User(id) => user(id),
        Principal::Team(id) => team(id),
        Principal::Group(id) => keys.contains(&EntityKey::AccessGroup(id.clone())),
    };
    let window = |not_before: Option<Timestamp>, expires_at: Option<Timestamp>| {
        not_before
            .zip(expires_at)
            .is_none_or(|(start, end)| start < end)
    };
    let mut has_owner = false;
    let tame = |mut entity: Entity| {
        match &mut entity {
            Entity::Account(of) => of.id = id(account),
            Entity::Team(of) => of.parent = of.parent.take().filter(|parent| team(parent)),
            Entity::PermissionSet(of) => of
                .grants
                .retain(|grant| window(grant.not_before, grant.expires_at)),
            Entity::User(of) => {
                of.account_owner &= !has_owner;
                has_owner |= of.account_owner;
                if of.kind == UserKind::Internal {
                    of.partner = None;
                }
                of.main_team = of.main_team.take().filter(|main| team(main));
                let main = of.main_team.clone();
                of.teams.retain(|id| team(id) && Some(id) != main.as_ref());
                of.permission_sets
                    .retain(|set| keys.contains(&EntityKey::PermissionSet(set.clone())));
                of.memberships.retain(|held| match &held.of {
                    MembershipOf::Team(id) => team(id),
                    MembershipOf::PermissionSet(id) => {
                        keys.contains(&EntityKey::PermissionSet(id.clone()))
                    }
                });
                of.grants
                    .retain(|grant| window(grant.not_before, grant.expires_at));
                let mut seen = BTreeSet::new();
                of.object_grants.retain(|grant| {
                    let row = (
                        grant.resource.clone(),
                        grant.action.clone(),
                        grant.provenance.clone(),
                    );
                    window(grant.not_before, grant.expires_at)
                        && keys.contains(&EntityKey::Resource(grant.resource.clone()))
                        && seen.insert(row)
                });
            }
            Entity::AccessGroup(of) => of.members.retain(|member, _| known(member)),
            Entity::Resource(of, _) => {
                of.owners.retain(user);
                of.owning_team = of.owning_team.take().filter(|owning| team(owning));
                of.assignments.retain(|row| known(&row.principal));
                of.partitioned |= !of.assignments.is_empty();
            }
            Entity::Segment(_) | Entity::AccessRequest(_) => {}
        }
        entity
    };
    entities.into_iter().map(tame).collect()
}

/// What turns one state of an account into another.
pub fn difference(before: &[Entity], after: &[Entity]) -> Vec<EntityChange> {
    let kept: BTreeSet<EntityKey> = after.iter().map(Entity::key).collect();
    let gone = before
        .iter()
        .rev()
        .map(Entity::key)
        .filter(|key| !kept.contains(key))
        .map(EntityChange::Delete);
    let put = after
        .iter()
        .filter(|entity| !before.contains(entity))
        .cloned()
        .map(EntityChange::Put);
    put.chain(gone).collect()
}
