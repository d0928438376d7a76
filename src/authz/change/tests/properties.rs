//! Random accounts under random changes: what holds whatever the list says.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::super::super::graph::AccountGraph;
use super::super::super::model::{
    Entity, EntityChange, EntityKey, Grant, Id, Level, ObjectGrant, Principal, Provenance,
    Resource, ResourceKey, Timestamp, UserStatus,
};
use super::super::{
    Change, ChangeSet, GrantHolder, ResourcePatch, SegmentPatch, TeamPatch, UserPatch,
};
use super::{
    account, after, id, permission, planned, resource_key, resource_patch, team, user_patch,
};

const SEED: [u8; 32] = *b"ambit: properties of change list";
const CASES: u32 = 256;

const TEAMS: [&str; 5] = ["t0", "t1", "t2", "t3", "t4"];
const USERS: [&str; 5] = ["u0", "u1", "u2", "u3", "u4"];
const SETS: [&str; 2] = ["s0", "s1"];
const GROUPS: [&str; 2] = ["g0", "g1"];
const SEGMENTS: [&str; 2] = ["x0", "x1"];
/// On Professional, templates may be partitioned and e-mails not.
const RESOURCES: [&str; 4] = ["contact/r0", "contact/r1", "template/r0", "email/r0"];
const KEYS: [&str; 3] = ["contact.view", "contact.edit", "email.publish"];

/// Runs a property on `CASES` values; the seed is fixed, and a failure prints the smallest value.
fn for_all<S: Strategy>(strategy: &S, property: impl Fn(S::Value)) {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("seed {:?}: {failure}", String::from_utf8_lossy(&SEED));
    }
}

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
    );
    (name(&USERS), flags, belongs).prop_map(|(user, flags, belongs)| {
        Change::PutUser(Box::new(UserPatch {
            status: flags.0,
            account_owner: flags.1,
            super_admin: flags.2,
            main_team: belongs.0,
            teams: belongs.1,
            permission_sets: belongs.2,
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
fn put() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (name(&TEAMS), option::of(option::of(name(&TEAMS))))
            .prop_map(|(id, parent)| Change::PutTeam(TeamPatch { id, parent })),
        1 => name(&SETS).prop_map(Change::PutPermissionSet),
        4 => put_user(),
        2 => set_grants(),
        2 => set_object_grant(),
        1 => name(&GROUPS).prop_map(Change::PutAccessGroup),
        2 => set_group_member(),
        4 => put_resource(),
        4 => assignment(),
        1 => put_segment(),
    ]
}

/// The deletion of an entity, or what clears it like one.
fn delete() -> impl Strategy<Value = Change> {
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

fn mixed() -> impl Strategy<Value = Change> {
    prop_oneof![4 => put(), 1 => delete()]
}

/// What can be made of the changes one by one; later downgraded, so that some walls are old.
fn grown(changes: &[Change]) -> AccountGraph {
    let mut graph = after(None, &[account("hubspot", "enterprise")]);
    for change in changes {
        if let Ok(set) = planned(Some(&graph), std::slice::from_ref(change)) {
            graph = graph.apply(&set.changes).expect("a graph");
        }
    }
    after(Some(&graph), &[account("hubspot", "professional")])
}

/// Most entities are there, so that most changes find what they refer to.
fn an_account() -> impl Strategy<Value = AccountGraph> {
    let mut bare: Vec<Change> = Vec::new();
    bare.extend(TEAMS.map(|name| team(name, None)));
    bare.extend(SETS.map(|name| Change::PutPermissionSet(id(name))));
    bare.extend(USERS.map(|name| Change::PutUser(Box::new(user_patch(name)))));
    bare.extend(GROUPS.map(|name| Change::PutAccessGroup(id(name))));
    bare.extend(RESOURCES.map(|key| Change::PutResource(resource_patch(key))));
    let most = bare.len() - 2..=bare.len();
    (subsequence(bare, most), vec(put(), 0..60))
        .prop_map(|(bare, changes)| grown(&[bare, changes].concat()))
}

/// Everything in the graph, by key.
fn state(graph: &AccountGraph) -> BTreeMap<EntityKey, Entity> {
    let entities = graph.teams().cloned().map(Entity::Team);
    let entities = entities
        .chain(graph.permission_sets().cloned().map(Entity::PermissionSet))
        .chain(graph.users().cloned().map(Entity::User))
        .chain(graph.access_groups().cloned().map(Entity::AccessGroup))
        .chain(graph.segments().cloned().map(Entity::Segment))
        .chain(
            resources(graph)
                .into_iter()
                .map(|resource| Entity::Resource(resource, None)),
        );
    entities.map(|entity| (entity.key(), entity)).collect()
}

fn resources(graph: &AccountGraph) -> Vec<Resource> {
    let keys = RESOURCES.map(resource_key);
    keys.iter().filter_map(|key| graph.resource(key)).collect()
}

fn entity_of(principal: &Principal) -> EntityKey {
    match principal {
        Principal::User(id) => EntityKey::User(id.clone()),
        Principal::Team(id) => EntityKey::Team(id.clone()),
        Principal::Group(id) => EntityKey::AccessGroup(id.clone()),
    }
}

/// What an entity refers to.
fn references(entity: &Entity) -> Vec<EntityKey> {
    match entity {
        Entity::Account(_) | Entity::PermissionSet(_) => Vec::new(),
        Entity::Team(team) => team.parent.iter().cloned().map(EntityKey::Team).collect(),
        Entity::User(user) => {
            let sets = user
                .permission_sets
                .iter()
                .cloned()
                .map(EntityKey::PermissionSet);
            let objects = user
                .object_grants
                .iter()
                .map(|grant| grant.resource.clone());
            let teams = user.all_teams().cloned().map(EntityKey::Team);
            teams
                .chain(sets)
                .chain(objects.map(EntityKey::Resource))
                .collect()
        }
        Entity::AccessGroup(group) => group.members.keys().map(entity_of).collect(),
        Entity::Segment(segment) => segment.assign_to.iter().map(entity_of).collect(),
        Entity::Resource(resource, _) => {
            let owners = resource.owners.iter().cloned().map(EntityKey::User);
            let stamp = resource.owning_team.iter().cloned().map(EntityKey::Team);
            let assigned = resource
                .assignments
                .iter()
                .map(|one| entity_of(&one.principal));
            owners.chain(stamp).chain(assigned).collect()
        }
    }
}

fn active_super_admins(graph: &AccountGraph) -> usize {
    let active = |user: &&_| super_admin(user);
    graph.users().filter(active).count()
}

fn super_admin(user: &super::super::super::model::User) -> bool {
    user.super_admin && user.status == UserStatus::Active
}

/// What holds in every account that `plan` leads to.
fn assert_sound(graph: &AccountGraph) {
    let state = state(graph);
    for (key, entity) in &state {
        for reference in references(entity) {
            assert!(
                state.contains_key(&reference),
                "{key:?} refers to {reference:?}"
            );
        }
    }
    for team in graph.teams() {
        let mut above = HashSet::new();
        let mut next = team.parent.as_ref();
        while let Some(parent) = next {
            assert!(
                *parent != team.id && above.insert(parent),
                "P11: a cycle over {parent}"
            );
            next = graph
                .team(parent.as_str())
                .and_then(|team| team.parent.as_ref());
        }
    }
    for resource in resources(graph) {
        assert!(
            resource.partitioned || resource.assignments.is_empty(),
            "3.5: {resource:?}"
        );
        let pairs = resource
            .assignments
            .iter()
            .map(|one| (&one.principal, &one.provenance));
        let distinct: BTreeSet<_> = pairs.collect();
        assert_eq!(distinct.len(), resource.assignments.len(), "{resource:?}");
    }
    for group in graph.access_groups() {
        assert!(
            !group
                .members
                .keys()
                .any(|member| matches!(member, Principal::Group(_)))
        );
    }
    for segment in graph.segments() {
        assert!(
            !segment.enabled || !segment.assign_to.is_empty(),
            "P5: {segment:?}"
        );
    }
    for grant in graph.users().flat_map(|user| &user.grants) {
        let says = matches!(grant.level, Level::Owned | Level::Team);
        assert!(says || !grant.include_unassigned, "{grant:?}");
    }
    assert!(graph.users().filter(|user| user.account_owner).count() <= 1);
}

/// What a list may not do to an account, whatever it holds.
fn assert_allowed(before: &AccountGraph, after: &AccountGraph, changes: &[Change]) {
    if active_super_admins(before) > 0 {
        assert!(active_super_admins(after) > 0, "D9");
    }
    for resource in resources(after) {
        let Some(old) = before.resource(&resource.key) else {
            assert!(
                !resource.partitioned || resource.key.resource_type.as_str() != "email",
                "S2.4"
            );
            continue;
        };
        if resource.key.resource_type.as_str() == "email" {
            assert!(
                old.partitioned || !resource.partitioned,
                "S2.4: {resource:?}"
            );
            let grew = resource.assignments.len() > old.assignments.len();
            assert!(!grew, "C12: {old:?} became {resource:?}");
        }
        if old.partitioned && !resource.partitioned {
            let said = changes.iter().any(|change| match change {
                Change::PutResource(patch) => {
                    patch.key == resource.key && patch.partitioned == Some(false)
                }
                Change::DeleteResource(key) => *key == resource.key,
                _ => false,
            });
            assert!(said, "3.5: nothing else opens {resource:?}");
        }
    }
}

/// Each entity once, with what differs; what it refers to is there when it is written, but for
/// users, whose object grants name resources; deletions after puts, save that of an old owner.
fn assert_writable(before: &AccountGraph, set: &ChangeSet) {
    let old = state(before);
    let mut there: BTreeSet<EntityKey> = old.keys().cloned().collect();
    let mut seen = BTreeSet::new();
    assert_eq!(set.changes.len(), set.summary.len());
    for (change, line) in set.changes.iter().zip(&set.summary) {
        let key = match change {
            EntityChange::Put(entity) => {
                assert_ne!(
                    old.get(&entity.key()),
                    Some(entity),
                    "nothing new in {entity:?}"
                );
                assert_eq!(line.verb == "create", !old.contains_key(&entity.key()));
                for reference in references(entity) {
                    let later = matches!(reference, EntityKey::Resource(_));
                    assert!(
                        later || there.contains(&reference),
                        "{reference:?} comes too late"
                    );
                }
                there.insert(entity.key());
                entity.key()
            }
            EntityChange::Delete(key) => {
                assert!(there.remove(key), "{key:?} isn't there to be deleted");
                assert_eq!(line.verb, "delete");
                key.clone()
            }
        };
        assert_eq!(line.entity, key);
        assert!(seen.insert(key), "an entity twice: {line:?}");
    }
}

#[test]
fn what_a_list_leads_to_is_sound_and_allowed_and_the_plan_is_deterministic() {
    for_all(&(an_account(), vec(mixed(), 1..12)), |(before, changes)| {
        let plan = planned(Some(&before), &changes);
        assert_eq!(plan, planned(Some(&before), &changes));
        match plan {
            Ok(set) => {
                assert_writable(&before, &set);
                let next = before.apply(&set.changes).expect("a graph");
                assert_sound(&next);
                assert_allowed(&before, &next, &changes);
            }
            Err(error) => {
                assert!(error.index < changes.len(), "{error}");
                assert!(!error.field.is_empty(), "{error}");
            }
        }
    });
}

#[test]
fn twice_is_once() {
    let lists = prop_oneof![3 => vec(put(), 1..12), 1 => vec(delete(), 1..6)];
    for_all(&(an_account(), lists), |(before, changes)| {
        if let Ok(set) = planned(Some(&before), &changes) {
            let next = before.apply(&set.changes).expect("a graph");
            assert_eq!(planned(Some(&next), &changes), Ok(ChangeSet::default()));
        }
    });
}

/// A list is what its changes come to one by one, where each of them can be made alone.
#[test]
fn a_list_comes_to_what_its_changes_come_to_one_by_one() {
    for_all(&(an_account(), vec(mixed(), 1..10)), |(before, changes)| {
        let mut made = Vec::new();
        let mut one_by_one = before.clone();
        for change in changes {
            if let Ok(set) = planned(Some(&one_by_one), std::slice::from_ref(&change)) {
                one_by_one = one_by_one.apply(&set.changes).expect("a graph");
                made.push(change);
            }
        }
        if contradicts(&made) {
            return;
        }
        let set = planned(Some(&before), &made).expect("each change alone was possible");
        let at_once = before.apply(&set.changes).expect("a graph");
        assert_eq!(state(&at_once), state(&one_by_one));
    });
}

/// The one pair of changes that a list may not hold, though each can be made alone.
fn contradicts(changes: &[Change]) -> bool {
    let unpartitioned = changes.iter().filter_map(|change| match change {
        Change::PutResource(patch) if patch.partitioned == Some(false) => Some(&patch.key),
        _ => None,
    });
    let unpartitioned: BTreeSet<&ResourceKey> = unpartitioned.collect();
    changes.iter().any(|change| match change {
        Change::PutAssignment { resource, .. } => unpartitioned.contains(resource),
        _ => false,
    })
}
