//! Lists of changes: what holds of every list that `plan` accepts, and the same through the use
//! case and the embedded store.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use ambit::authz::change::{
    AccountPatch, Change, ChangeError, ChangeSet, ResourcePatch, UserPatch, plan,
};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    CatalogRef, Entity, EntityChange, EntityKey, Level, MembershipOf, PermissionKey, Principal,
    Resource, ResourceKey, User, UserStatus,
};
use proptest::collection::vec;
use proptest::prelude::{Strategy, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::directory::id;

mod lists;
mod stored;

use lists::{RESOURCES, bare, delete, mixed, put};

const SEED: [u8; 32] = *b"ambit: properties of change list";
const CASES: u32 = 256;

/// Runs a property on some values; the seed is fixed, and a failure prints the smallest value.
fn for_all<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value)) {
    let config = Config {
        cases,
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

pub fn account(catalog: &str, plan: &str) -> Change {
    Change::PutAccount(AccountPatch {
        catalog: Some(CatalogRef::BuiltIn(id(catalog))),
        plan: Some(id(plan)),
        ..AccountPatch::default()
    })
}

pub fn user_patch(user: &str) -> UserPatch {
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

pub fn resource_key(text: &str) -> ResourceKey {
    let (resource_type, resource) = text.split_once('/').expect("TYPE/ID");
    ResourceKey {
        resource_type: id(resource_type),
        id: id(resource),
    }
}

pub fn resource_patch(key: &str) -> ResourcePatch {
    ResourcePatch {
        key: resource_key(key),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    }
}

pub fn permission(text: &str) -> PermissionKey {
    let (resource_type, permission) = text.rsplit_once('.').expect("TYPE.ACTION");
    PermissionKey {
        resource_type: id(resource_type),
        permission: id(permission),
    }
}

fn planned(graph: Option<&AccountGraph>, changes: &[Change]) -> Result<ChangeSet, ChangeError> {
    plan(&id("acme"), graph, changes)
}

/// The account after changes that can be made.
fn after(graph: Option<&AccountGraph>, changes: &[Change]) -> AccountGraph {
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

fn an_account() -> impl Strategy<Value = AccountGraph> {
    (bare(), vec(put(), 0..60)).prop_map(|(bare, changes)| grown(&[bare, changes].concat()))
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
        Entity::Account(_) | Entity::PermissionSet(_) | Entity::AccessRequest(_) => Vec::new(),
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
            let memberships = user.memberships.iter().map(|held| match &held.of {
                MembershipOf::Team(id) => EntityKey::Team(id.clone()),
                MembershipOf::PermissionSet(id) => EntityKey::PermissionSet(id.clone()),
            });
            teams
                .chain(memberships)
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

fn super_admin(user: &User) -> bool {
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
    for user in graph.users() {
        let held = user.memberships.iter();
        let distinct: BTreeSet<_> = held.map(|one| (&one.of, &one.provenance)).collect();
        assert_eq!(distinct.len(), user.memberships.len(), "{user:?}");
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
/// users, whose object grants name resources; deletions after puts.
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
    let accepted = Cell::new(0);
    for_all(
        CASES,
        &(an_account(), vec(mixed(), 1..12)),
        |(before, changes)| {
            let plan = planned(Some(&before), &changes);
            assert_eq!(plan, planned(Some(&before), &changes));
            match plan {
                Ok(set) => {
                    accepted.set(accepted.get() + 1);
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
        },
    );
    // A property of what is accepted proves nothing where all is refused.
    assert!(accepted.get() > CASES / 2, "{} accepted", accepted.get());
}

#[test]
fn twice_is_once() {
    let lists = prop_oneof![3 => vec(put(), 1..12), 1 => vec(delete(), 1..6)];
    for_all(CASES, &(an_account(), lists), |(before, changes)| {
        if let Ok(set) = planned(Some(&before), &changes) {
            let next = before.apply(&set.changes).expect("a graph");
            assert_eq!(planned(Some(&next), &changes), Ok(ChangeSet::default()));
        }
    });
}

/// A list is what its changes come to one by one, where each of them can be made alone.
#[test]
fn a_list_comes_to_what_its_changes_come_to_one_by_one() {
    for_all(
        CASES,
        &(an_account(), vec(mixed(), 1..10)),
        |(before, changes)| {
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
        },
    );
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
