//! Whole entities as the changes that make them from nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::authz::change::{
    AccountPatch, Change, GrantHolder, ResourcePatch, SegmentPatch, TeamPatch, UserPatch,
};
use crate::authz::model::{
    AccessGroup, Account, Assignment, Attributes, Entity, Grant, PermissionKey, PermissionSet,
    Provenance, Resource, Segment, Team, User,
};

/// The changes that make an entity from nothing, split in two: what is made in its place, and what
/// refers to things that come later (grants on single resources), to be made after everything else.
pub fn changes_of_entity(entity: Entity) -> (Vec<Change>, Vec<Change>) {
    match entity {
        Entity::Account(account) => (vec![put_account(account)], Vec::new()),
        Entity::Team(team) => (vec![put_team(team)], Vec::new()),
        Entity::PermissionSet(PermissionSet { id, grants }) => {
            let mut changes = vec![Change::PutPermissionSet(id.clone())];
            changes.extend(grants_of(&GrantHolder::PermissionSet(id), grants));
            (changes, Vec::new())
        }
        Entity::User(user) => put_user(user),
        Entity::AccessGroup(AccessGroup { id, members }) => {
            let mut changes = vec![Change::PutAccessGroup(id.clone())];
            changes.extend(members.into_iter().map(|(principal, actions)| {
                Change::SetGroupMember {
                    group: id.clone(),
                    principal,
                    actions: Some(actions),
                }
            }));
            (changes, Vec::new())
        }
        Entity::Resource(resource, attributes) => (put_resource(resource, attributes), Vec::new()),
        Entity::Segment(segment) => (vec![put_segment(segment)], Vec::new()),
        // Written by AccessRequestService alone.
        Entity::AccessRequest(_) => (Vec::new(), Vec::new()),
    }
}

fn put_account(account: Account) -> Change {
    let settings = account.settings;
    Change::PutAccount(AccountPatch {
        catalog: Some(account.catalog),
        plan: Some(account.plan),
        partner_program: Some(account.partner_program),
        payment_method_valid: Some(account.payment_method_valid),
        partition_mode: settings
            .partition_mode
            .into_iter()
            .map(|(resource_type, mode)| (resource_type, Some(mode)))
            .collect(),
        unpartitioned: settings
            .unpartitioned
            .into_iter()
            .map(|(resource_type, default)| (resource_type, Some(default)))
            .collect(),
        request_ttl_seconds: Some(settings.request_ttl_seconds),
        request_cool_down_seconds: Some(settings.request_cool_down_seconds),
        request_limit_per_user: Some(settings.request_limit_per_user),
    })
}

fn put_team(team: Team) -> Change {
    Change::PutTeam(TeamPatch {
        id: team.id,
        parent: Some(team.parent),
    })
}

fn put_user(user: User) -> (Vec<Change>, Vec<Change>) {
    let id = user.id.clone();
    let mut changes = vec![Change::PutUser(Box::new(UserPatch {
        id: user.id,
        status: Some(user.status),
        kind: Some(user.kind),
        account_owner: Some(user.account_owner),
        super_admin: Some(user.super_admin),
        partner_admin: Some(user.partner_admin),
        main_team: Some(user.main_team),
        teams: Some(user.teams),
        seats: Some(user.seats),
        person: Some(user.person),
        email: Some(user.email),
        partner: Some(user.partner),
        permission_sets: Some(user.permission_sets),
    }))];
    let memberships = user.memberships.into_iter();
    changes.extend(memberships.map(|membership| Change::PutMembership {
        user: id.clone(),
        membership,
    }));
    changes.extend(grants_of(&GrantHolder::User(id.clone()), user.grants));
    let later = user
        .object_grants
        .into_iter()
        .map(|grant| Change::SetObjectGrant {
            user: id.clone(),
            resource: grant.resource.clone(),
            action: grant.action.clone(),
            provenance: grant.provenance.clone(),
            grant: Some(grant),
        })
        .collect();
    (changes, later)
}

fn grants_of(holder: &GrantHolder, grants: BTreeSet<Grant>) -> Vec<Change> {
    let mut by_key: BTreeMap<(PermissionKey, Provenance), Vec<Grant>> = BTreeMap::new();
    for grant in grants {
        by_key
            .entry((grant.key.clone(), grant.provenance.clone()))
            .or_default()
            .push(grant);
    }
    by_key
        .into_iter()
        .map(|((key, provenance), grants)| Change::SetGrants {
            holder: holder.clone(),
            key,
            provenance,
            grants,
        })
        .collect()
}

fn put_resource(resource: Resource, attributes: Option<Attributes>) -> Vec<Change> {
    let key = resource.key;
    let mut changes = vec![Change::PutResource(ResourcePatch {
        key: key.clone(),
        owners: Some(resource.owners),
        owning_team: Some(resource.owning_team),
        // `false` would mean to unpartition, which a new resource has no need of.
        partitioned: resource.partitioned.then_some(true),
        attributes,
        creator: None,
    })];
    changes.extend(resource.assignments.into_iter().map(
        |Assignment {
             principal,
             provenance,
             expires_at,
         }| Change::PutAssignment {
            resource: key.clone(),
            principal,
            provenance,
            expires_at,
        },
    ));
    changes
}

fn put_segment(segment: Segment) -> Change {
    Change::PutSegment(SegmentPatch {
        id: segment.id,
        resource_type: Some(segment.resource_type),
        when: Some(segment.when),
        assign_to: Some(segment.assign_to),
        enabled: Some(segment.enabled),
        may_partition: Some(segment.may_partition),
    })
}
