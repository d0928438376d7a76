//! The rules of a list of changes, one test a rule, and what the tests are written with.
#![cfg(test)]

use std::collections::BTreeSet;

use super::super::graph::{AccountGraph, GraphBuilder};
use super::super::model::{
    CatalogRef, EntityChange, Grant, Id, Level, Membership, MembershipOf, ObjectGrant,
    PermissionKey, Principal, Provenance, ResourceKey, Timestamp, User,
};
use super::{
    AccountPatch, Change, ChangeError, ChangeProblem, ChangeSet, GrantHolder, ResourcePatch,
    SegmentPatch, TeamPatch, UserPatch, plan,
};

mod account;
mod creation;
mod grants;
mod memberships;
mod partitions;
mod references;
mod segments;
mod teams;
mod users;

pub(super) fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

pub(super) fn ids(text: &str) -> BTreeSet<Id> {
    text.split_whitespace().map(id).collect()
}

pub(super) fn principal(text: &str) -> Principal {
    text.parse().expect("a principal")
}

pub(super) fn provenance(text: &str) -> Provenance {
    text.parse().expect("a provenance")
}

pub(super) fn resource_key(text: &str) -> ResourceKey {
    let (resource_type, resource) = text.split_once('/').expect("TYPE/ID");
    ResourceKey {
        resource_type: id(resource_type),
        id: id(resource),
    }
}

pub(super) fn permission(text: &str) -> PermissionKey {
    let (resource_type, permission) = text.rsplit_once('.').expect("TYPE.ACTION");
    PermissionKey {
        resource_type: id(resource_type),
        permission: id(permission),
    }
}

pub(super) fn account(catalog: &str, plan: &str) -> Change {
    Change::PutAccount(AccountPatch {
        catalog: Some(CatalogRef::BuiltIn(id(catalog))),
        plan: Some(id(plan)),
        ..AccountPatch::default()
    })
}

pub(super) fn account_plan(plan: &str) -> Change {
    Change::PutAccount(AccountPatch {
        plan: Some(id(plan)),
        ..AccountPatch::default()
    })
}

pub(super) fn team(team: &str, parent: Option<&str>) -> Change {
    Change::PutTeam(TeamPatch {
        id: id(team),
        parent: Some(parent.map(id)),
    })
}

pub(super) fn user_patch(user: &str) -> UserPatch {
    UserPatch {
        id: id(user),
        status: None,
        kind: None,
        account_owner: None,
        super_admin: None,
        partner_admin: None,
        main_team: None,
        teams: None,
        seats: None,
        person: None,
        email: None,
        partner: None,
        permission_sets: None,
    }
}

pub(super) fn user(user: &str) -> Change {
    Change::PutUser(Box::new(user_patch(user)))
}

pub(super) fn user_with(user: &str, set: impl FnOnce(&mut UserPatch)) -> Change {
    let mut patch = user_patch(user);
    set(&mut patch);
    Change::PutUser(Box::new(patch))
}

pub(super) fn super_admin(user: &str) -> Change {
    user_with(user, |patch| patch.super_admin = Some(true))
}

pub(super) fn resource_patch(key: &str) -> ResourcePatch {
    ResourcePatch {
        key: resource_key(key),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    }
}

pub(super) fn resource(key: &str) -> Change {
    Change::PutResource(resource_patch(key))
}

pub(super) fn resource_with(key: &str, set: impl FnOnce(&mut ResourcePatch)) -> Change {
    let mut patch = resource_patch(key);
    set(&mut patch);
    Change::PutResource(patch)
}

pub(super) fn partitioned(key: &str, partitioned: bool) -> Change {
    resource_with(key, |patch| patch.partitioned = Some(partitioned))
}

pub(super) fn assign_from(key: &str, to: &str, from: &str, expires_at: Option<i64>) -> Change {
    Change::PutAssignment {
        resource: resource_key(key),
        principal: principal(to),
        provenance: provenance(from),
        expires_at: expires_at.map(|micros| Timestamp::from_unix_micros(micros).expect("a time")),
    }
}

pub(super) fn assign(key: &str, to: &str) -> Change {
    assign_from(key, to, "manual", None)
}

pub(super) fn unassign(key: &str, to: &str) -> Change {
    Change::DeleteAssignment {
        resource: resource_key(key),
        principal: principal(to),
        provenance: Provenance::Manual,
    }
}

pub(super) fn grant(key: &str, level: Level) -> Grant {
    Grant {
        key: permission(key),
        level,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    }
}

pub(super) fn set_grants(user: &str, key: &str, grants: Vec<Grant>) -> Change {
    Change::SetGrants {
        holder: GrantHolder::User(id(user)),
        key: permission(key),
        provenance: Provenance::Manual,
        grants,
    }
}

pub(super) fn grants(user: &str, key: &str, level: Level) -> Change {
    set_grants(user, key, vec![grant(key, level)])
}

pub(super) fn object_grant(user: &str, key: &str, action: &str) -> Change {
    Change::SetObjectGrant {
        user: id(user),
        resource: resource_key(key),
        action: id(action),
        provenance: Provenance::Manual,
        grant: Some(ObjectGrant {
            resource: resource_key(key),
            action: id(action),
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        }),
    }
}

/// `team:us` or `permission_set:rep`.
pub(super) fn membership_of(text: &str) -> MembershipOf {
    let (kind, name) = text.split_once(':').expect("KIND:ID");
    MembershipOf::from_kind(kind, id(name)).expect("a kind")
}

pub(super) fn join(user: &str, of: &str, from: &str, expires_at: Option<i64>) -> Change {
    Change::PutMembership {
        user: id(user),
        membership: Membership {
            of: membership_of(of),
            provenance: provenance(from),
            expires_at: expires_at.and_then(Timestamp::from_unix_micros),
            granted_by: Some(id("gone")),
        },
    }
}

pub(super) fn leave(user: &str, of: &str, from: &str) -> Change {
    Change::DeleteMembership {
        user: id(user),
        of: membership_of(of),
        provenance: provenance(from),
    }
}

pub(super) fn group(group: &str) -> Change {
    Change::PutAccessGroup(id(group))
}

pub(super) fn member(group: &str, principal_text: &str, actions: &str) -> Change {
    Change::SetGroupMember {
        group: id(group),
        principal: principal(principal_text),
        actions: Some(ids(actions)),
    }
}

pub(super) fn segment(name: &str, to: &str) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(name),
        resource_type: Some(id("contact")),
        when: Some("resource.score > 1".to_owned()),
        assign_to: Some(to.split_whitespace().map(principal).collect()),
        enabled: None,
        may_partition: None,
    })
}

pub(super) fn planned(
    graph: Option<&AccountGraph>,
    changes: &[Change],
) -> Result<ChangeSet, ChangeError> {
    plan(&id("acme"), graph, changes)
}

/// The account after the changes; they must be possible.
pub(super) fn after(graph: Option<&AccountGraph>, changes: &[Change]) -> AccountGraph {
    let set = planned(graph, changes).expect("changes that can be made");
    match graph {
        Some(graph) => graph.apply(&set.changes).expect("a graph"),
        None => {
            let mut builder = GraphBuilder::default();
            for change in set.changes {
                match change {
                    EntityChange::Put(entity) => builder.push(entity),
                    EntityChange::Delete(key) => panic!("a new account deletes {key:?}"),
                }
            }
            builder.finish().expect("a graph")
        }
    }
}

/// A HubSpot account on Enterprise with these changes.
pub(super) fn hubspot(changes: &[Change]) -> AccountGraph {
    let mut all = vec![account("hubspot", "enterprise")];
    all.extend_from_slice(changes);
    after(None, &all)
}

pub(super) fn refused(graph: &AccountGraph, changes: &[Change]) -> (usize, String, ChangeProblem) {
    let error = planned(Some(graph), changes).expect_err("changes that can't be made");
    assert!(
        error.to_string().contains(&error.field),
        "an error names its field: {error}"
    );
    (error.index, error.field, error.problem)
}

pub(super) fn dangling(what: &'static str, id: &str) -> ChangeProblem {
    ChangeProblem::Dangling {
        what,
        id: id.to_owned(),
    }
}

pub(super) fn unchanged(graph: &AccountGraph, changes: &[Change]) {
    let set = planned(Some(graph), changes).expect("changes that can be made");
    assert_eq!(set, ChangeSet::default());
}

pub(super) fn the_user<'g>(graph: &'g AccountGraph, user: &str) -> &'g User {
    graph.user(user).expect("the user")
}
