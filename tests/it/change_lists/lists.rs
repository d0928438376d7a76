//! Random lists of changes over a handful of names, so that they meet each other.

use std::collections::BTreeSet;

use ambit::authz::change::{
    Change, GrantHolder, ResourcePatch, SegmentPatch, TeamPatch, UserPatch,
};
use ambit::authz::model::{
    Grant, Id, Level, Membership, MembershipOf, ObjectGrant, Principal, Provenance, ResourceKey,
    Timestamp, UserStatus,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{select, subsequence};

use super::{permission, resource_key, resource_patch, user_patch};
use crate::directory::{id, put_team};

const TEAMS: [&str; 5] = ["t0", "t1", "t2", "t3", "t4"];
const USERS: [&str; 5] = ["u0", "u1", "u2", "u3", "u4"];
const SETS: [&str; 2] = ["s0", "s1"];
const GROUPS: [&str; 2] = ["g0", "g1"];
const SEGMENTS: [&str; 2] = ["x0", "x1"];
/// On Professional, templates may be partitioned and e-mails not.
pub const RESOURCES: [&str; 4] = ["contact/r0", "contact/r1", "template/r0", "email/r0"];
const KEYS: [&str; 3] = ["contact.view", "contact.edit", "email.publish"];

fn name(names: &'static [&'static str]) -> impl Strategy<Value = Id> {
    select(names).prop_map(id)
}

fn names(names: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<Id>> {
    btree_set(name(names), 0..3)
}

fn resource() -> impl Strategy<Value = ResourceKey> {
    select(&RESOURCES[..]).prop_map(resource_key)
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        name(&USERS).prop_map(Principal::User),
        name(&TEAMS).prop_map(Principal::Team),
        name(&GROUPS).prop_map(Principal::Group),
    ]
}

fn provenance() -> impl Strategy<Value = Provenance> {
    prop_oneof![
        Just(Provenance::Manual),
        name(&SEGMENTS).prop_map(Provenance::Segment),
        Just(Provenance::Import(id("j"))),
    ]
}

fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((1..4i64).prop_map(|micros| Timestamp::from_unix_micros(micros).expect("a time")))
}

fn put_user() -> impl Strategy<Value = Change> {
    let status = select(
        &[
            UserStatus::Invited,
            UserStatus::Active,
            UserStatus::Deactivated,
        ][..],
    );
    let flags = (
        option::of(status),
        option::weighted(0.2, any::<bool>()),
        option::weighted(0.4, any::<bool>()),
    );
    let belongs = (
        option::of(option::of(name(&TEAMS))),
        option::of(names(&TEAMS)),
        option::of(names(&SETS)),
        option::of(option::of(Just("u@example.org".to_owned()))),
    );
    (name(&USERS), flags, belongs).prop_map(|(user, flags, belongs)| {
        Change::PutUser(Box::new(UserPatch {
            status: flags.0,
            account_owner: flags.1,
            super_admin: flags.2,
            main_team: belongs.0,
            teams: belongs.1,
            permission_sets: belongs.2,
            email: belongs.3,
            ..user_patch(user.as_str())
        }))
    })
}

fn set_grants() -> impl Strategy<Value = Change> {
    let holder = prop_oneof![
        name(&USERS).prop_map(GrantHolder::User),
        name(&SETS).prop_map(GrantHolder::PermissionSet),
    ];
    let terms = vec((select(Level::ALL), any::<bool>(), moment()), 0..3);
    (holder, select(&KEYS[..]), provenance(), terms).prop_map(|(holder, key, from, terms)| {
        let grants = terms
            .into_iter()
            .map(|(level, include_unassigned, expires_at)| Grant {
                key: permission(key),
                level,
                include_unassigned,
                not_before: None,
                expires_at,
                provenance: from.clone(),
                granted_by: None,
            });
        Change::SetGrants {
            holder,
            key: permission(key),
            provenance: from.clone(),
            grants: grants.collect(),
        }
    })
}

fn set_object_grant() -> impl Strategy<Value = Change> {
    (name(&USERS), resource(), option::of(moment())).prop_map(|(user, resource, grant)| {
        Change::SetObjectGrant {
            user,
            resource: resource.clone(),
            action: id("view"),
            provenance: Provenance::Manual,
            grant: grant.map(|expires_at| ObjectGrant {
                resource,
                action: id("view"),
                not_before: None,
                expires_at,
                provenance: Provenance::Manual,
                granted_by: None,
            }),
        }
    })
}

fn membership() -> impl Strategy<Value = Change> {
    let of = prop_oneof![
        name(&TEAMS).prop_map(MembershipOf::Team),
        name(&SETS).prop_map(MembershipOf::PermissionSet),
    ];
    (name(&USERS), of, provenance(), option::of(moment())).prop_map(
        |(user, of, provenance, put)| match put {
            Some(expires_at) => Change::PutMembership {
                user,
                membership: Membership {
                    of,
                    provenance,
                    expires_at,
                    granted_by: None,
                },
            },
            None => Change::DeleteMembership {
                user,
                of,
                provenance,
            },
        },
    )
}

fn set_group_member() -> impl Strategy<Value = Change> {
    let member = prop_oneof![
        name(&USERS).prop_map(Principal::User),
        name(&TEAMS).prop_map(Principal::Team),
    ];
    let mask = option::of(btree_set(select(&["view", "edit"][..]).prop_map(id), 0..3));
    (name(&GROUPS), member, mask).prop_map(|(group, principal, actions)| Change::SetGroupMember {
        group,
        principal,
        actions,
    })
}

fn put_resource() -> impl Strategy<Value = Change> {
    (
        resource(),
        option::of(names(&USERS)),
        option::of(option::of(name(&TEAMS))),
        option::weighted(0.3, any::<bool>()),
    )
        .prop_map(|(key, owners, owning_team, partitioned)| {
            Change::PutResource(ResourcePatch {
                key,
                owners,
                owning_team,
                partitioned,
                attributes: None,
                creator: None,
            })
        })
}

fn put_segment() -> impl Strategy<Value = Change> {
    let targets = btree_set(principal(), 1..3);
    (name(&SEGMENTS), targets, option::of(any::<bool>())).prop_map(|(segment, targets, enabled)| {
        Change::PutSegment(SegmentPatch {
            id: segment,
            resource_type: Some(id("contact")),
            when: Some("true".to_owned()),
            assign_to: Some(targets),
            enabled,
            may_partition: None,
        })
    })
}

fn assignment() -> impl Strategy<Value = Change> {
    (resource(), principal(), provenance(), option::of(moment())).prop_map(
        |(resource, principal, provenance, put)| match put {
            Some(expires_at) => Change::PutAssignment {
                resource,
                principal,
                provenance,
                expires_at,
            },
            None => Change::DeleteAssignment {
                resource,
                principal,
                provenance,
            },
        },
    )
}

/// Anything but the deletion of an entity.
pub fn put() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (name(&TEAMS), option::of(option::of(name(&TEAMS))))
            .prop_map(|(id, parent)| Change::PutTeam(TeamPatch { id, parent })),
        1 => name(&SETS).prop_map(Change::PutPermissionSet),
        4 => put_user(),
        2 => set_grants(),
        2 => set_object_grant(),
        2 => membership(),
        1 => name(&GROUPS).prop_map(Change::PutAccessGroup),
        2 => set_group_member(),
        4 => put_resource(),
        4 => assignment(),
        1 => put_segment(),
    ]
}

/// The deletion of an entity, or what clears it like one.
pub fn delete() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => name(&TEAMS).prop_map(Change::DeleteTeam),
        1 => name(&SETS).prop_map(Change::DeletePermissionSet),
        2 => name(&USERS).prop_map(Change::DeleteUser),
        1 => name(&USERS).prop_map(|user| Change::PutUser(Box::new(UserPatch {
            status: Some(UserStatus::Removed),
            ..user_patch(user.as_str())
        }))),
        1 => name(&GROUPS).prop_map(Change::DeleteAccessGroup),
        2 => resource().prop_map(Change::DeleteResource),
        1 => name(&SEGMENTS).prop_map(Change::DeleteSegment),
    ]
}

pub fn mixed() -> impl Strategy<Value = Change> {
    prop_oneof![4 => put(), 1 => delete()]
}

/// Puts of most of the names, so that most changes find what they refer to.
pub fn bare() -> impl Strategy<Value = Vec<Change>> {
    let mut bare: Vec<Change> = Vec::new();
    bare.extend(TEAMS.map(|name| put_team(name, None)));
    bare.extend(SETS.map(|name| Change::PutPermissionSet(id(name))));
    bare.extend(USERS.map(|name| Change::PutUser(Box::new(user_patch(name)))));
    bare.extend(GROUPS.map(|name| Change::PutAccessGroup(id(name))));
    bare.extend(RESOURCES.map(|key| Change::PutResource(resource_patch(key))));
    let most = bare.len() - 2..=bare.len();
    subsequence(bare, most)
}
