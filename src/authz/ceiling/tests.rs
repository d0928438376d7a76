//! The grant ceiling: examples of S4 and D3, and the algebra of D4.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::authz::document::parse_file;
use crate::authz::graph::{AccountGraph, GraphBuilder};
use crate::authz::model::{
    Entity, EntityChange, Grant, Id, Membership, MembershipOf, ObjectGrant, PermissionKey,
    PermissionSet, Provenance, ResourceKey, User,
};

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_800_000_000_000_000 + seconds * 1_000_000).unwrap()
}

fn graph(document: &str) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    let mut none = |path: &str| Err(format!("no file {path}"));
    let documents = parse_file(document, &mut none).unwrap_or_else(|error| panic!("{error}"));
    let entities = documents[0].to_account();
    for entity in entities.unwrap_or_else(|error| panic!("{error}")) {
        builder.push(entity);
    }
    builder.finish().unwrap()
}

fn account(users: &str) -> AccountGraph {
    graph(&format!(
        "account: a
catalog: hubspot
plan: enterprise
permission_sets:
  - {{id: reporters, grants: {{contact.view: team, report.view: everything}}}}
  - {{id: viewers, grants: {{contact.view: team}}}}
users:
  - {{id: sa, super_admin: true}}
{users}"
    ))
}

const ADMIN: &str = "  - {id: m, grants: {user_management.edit: everything, contact.view: everything, email.edit: team}}\n";

fn ceiling(graph: &AccountGraph) -> Ceiling<'_> {
    Ceiling::of(graph, &id("m"), at(0)).unwrap()
}

fn changed(graph: &AccountGraph, user: &str, change: impl Fn(&mut User)) -> Settled<User> {
    let before = graph.user(user);
    let mut wanted = before.cloned().unwrap_or_else(|| User::new(id(user)));
    change(&mut wanted);
    let sets = PermissionSets::of(graph);
    let settled = ceiling(graph).settle_user(before, &wanted, &sets).unwrap();
    // Twice is once (D4).
    let mut again = settled.is.clone();
    change(&mut again);
    let twice = ceiling(graph)
        .settle_user(Some(&settled.is), &again, &sets)
        .unwrap();
    assert_eq!(twice.is, settled.is);
    settled
}

fn grant(key: &str, level: Level) -> Grant {
    let (resource_type, permission) = key.rsplit_once('.').unwrap();
    Grant {
        key: PermissionKey {
            resource_type: id(resource_type),
            permission: id(permission),
        },
        level,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    }
}

/// `contact.view everything`, without who gave it.
fn told(user: &User) -> Vec<String> {
    user.grants
        .iter()
        .map(|grant| format!("{} {}", grant.key, grant.level))
        .collect()
}

fn noted(notes: &[Note]) -> Vec<String> {
    notes
        .iter()
        .map(|note| match &note.what {
            Subject::Permission { key, level, .. } => format!("{key} {level}"),
            Subject::Object { resource, action } => format!("{action} {resource}"),
            Subject::Role(role) => (*role).to_owned(),
        })
        .collect()
}

#[test]
fn s4_16_of_a_set_beyond_the_admin_the_rest_is_given() {
    let graph = account(ADMIN);
    let settled = changed(&graph, "new", |user| {
        user.permission_sets.insert(id("reporters"));
    });
    assert!(settled.is.permission_sets.is_empty());
    assert_eq!(told(&settled.is), ["contact.view team"]);
    assert_eq!(noted(&settled.withheld), ["report.view everything"]);
    assert_eq!(settled.withheld[0].permission_set, Some(id("reporters")));
    assert!(settled.kept.is_empty());
    let given = settled.is.grants.first().unwrap();
    assert_eq!(given.granted_by, Some(id("m")));
    // One that the admin holds whole is given as the set that it is.
    let settled = changed(&graph, "new", |user| {
        user.permission_sets.insert(id("viewers"));
    });
    assert_eq!(settled.is.permission_sets, BTreeSet::from([id("viewers")]));
    assert!(settled.is.grants.is_empty() && settled.withheld.is_empty());
}

#[test]
fn s4_17_what_the_admin_lacks_stays_when_a_set_is_changed() {
    let graph = account(&format!(
        "{ADMIN}  - {{id: e, permission_sets: [reporters]}}\n"
    ));
    let settled = changed(&graph, "e", |user| {
        user.permission_sets = BTreeSet::from([id("viewers")]);
    });
    assert_eq!(settled.is.permission_sets, BTreeSet::from([id("viewers")]));
    assert_eq!(told(&settled.is), ["report.view everything"]);
    assert_eq!(noted(&settled.kept), ["report.view everything"]);
    assert!(settled.withheld.is_empty());
    // What was kept was not given by the admin.
    assert_eq!(settled.is.grants.first().unwrap().granted_by, None);
}

#[test]
fn d3_levels_and_unassigned_resources_each_for_themselves() {
    use Level::{Everything, None, Owned, Team};
    let reach = |(level, unassigned)| Reach::new(level, unassigned);
    for (p, o, n, r) in [
        // o > p stays, whatever is wanted.
        (
            (Team, false),
            (Everything, false),
            (None, false),
            (Everything, false),
        ),
        (
            (Team, false),
            (Everything, false),
            (Owned, true),
            (Everything, false),
        ),
        // Else the lesser of what is wanted and held.
        (
            (Team, false),
            (Owned, false),
            (Everything, false),
            (Team, false),
        ),
        (
            (Everything, false),
            (Team, false),
            (None, false),
            (None, false),
        ),
        (
            (None, false),
            (None, false),
            (Everything, false),
            (None, false),
        ),
        // The bit of the admin's, and of the subject's.
        (
            (Team, true),
            (None, false),
            (Everything, false),
            (Team, true),
        ),
        ((Owned, true), (Team, false), (Team, true), (Team, true)),
        ((Team, false), (None, false), (Team, true), (Team, false)),
        ((Team, false), (Owned, true), (None, false), (Owned, true)),
        (
            (Everything, false),
            (Team, true),
            (Team, false),
            (Team, false),
        ),
    ] {
        let (p, o, n, r) = (reach(p), reach(o), reach(n), reach(r));
        let held = Held::followed(at(0), |_| (p, Option::None));
        let right = |reach| Right {
            reach,
            from: Option::None,
            until: Option::None,
        };
        let outcome = settle(&held, &[right(o)], &[right(n)]).unwrap();
        let is = outcome
            .rights
            .iter()
            .fold(Reach::NOTHING, |all, (right, _)| all.join(right.reach));
        assert_eq!(is, r, "p {p:?} o {o:?} n {n:?}");
        assert_eq!(
            outcome.kept.is_empty(),
            o.beyond(p).is_within(n),
            "kept {p:?} {o:?} {n:?}"
        );
        assert_eq!(
            outcome.withheld.is_empty(),
            n.is_within(r),
            "withheld {p:?} {o:?} {n:?}"
        );
    }
}

#[test]
fn d3_what_is_given_ends_with_what_the_admin_holds() {
    let graph = account(
        "  - {id: m, grants: {contact.view: [{level: everything, expires_at: 2027-01-20T00:00:00Z}, owned]}}\n",
    );
    let ends = Timestamp::parse("2027-01-20T00:00:00Z").unwrap();
    let settled = changed(&graph, "new", |user| {
        user.grants.insert(grant("contact.view", Level::Team));
    });
    let given: Vec<_> = settled
        .is
        .grants
        .iter()
        .map(|one| (one.level, one.expires_at))
        .collect();
    assert_eq!(given, [(Level::Owned, None), (Level::Team, Some(ends))]);
    assert_eq!(noted(&settled.withheld), ["contact.view team"]);
}

#[test]
fn d3_roles_and_reserved_actions_are_nobodys_to_hand_on() {
    let graph = account(
        "  - {id: m, grants: {user_management.edit: everything, account.billing.view: everything}}\n  - {id: p, kind: partner_employee, partner_admin: true, partner: {account: ag, user: x, role: admin}}\n",
    );
    let settled = changed(&graph, "new", |user| {
        user.super_admin = true;
        user.grants
            .insert(grant("account.billing.view", Level::Everything));
    });
    assert!(!settled.is.super_admin && settled.is.grants.is_empty());
    assert_eq!(
        noted(&settled.withheld),
        ["account.billing.view everything", "super_admin"]
    );
    let settled = changed(&graph, "p", |user| user.partner_admin = false);
    assert!(settled.is.partner_admin);
    assert_eq!(noted(&settled.kept), ["partner_admin"]);
    assert!(Ceiling::of(&graph, &id("sa"), at(0)).is_none());
}

/// What comes with a permission is held with it: `edit` brings `view`.
#[test]
fn d3_what_follows_from_a_right_counts() {
    let graph = account(ADMIN);
    let settled = changed(&graph, "new", |user| {
        user.grants.insert(grant("email.view", Level::Team));
        user.grants.insert(grant("contact.edit", Level::Owned));
    });
    assert_eq!(told(&settled.is), ["email.view team"]);
}

#[test]
fn d3_an_object_grant_goes_by_the_admins_own_check() {
    let graph = graph(
        "account: a
catalog: hubspot
plan: enterprise
users:
  - {id: sa, super_admin: true}
  - {id: m, grants: {email.view: owned}}
  - {id: e}
resources:
  - {type: email, id: mine, owners: [m]}
  - {type: email, id: other, owners: [sa]}
",
    );
    let on = |id_text: &str| ObjectGrant {
        resource: ResourceKey {
            resource_type: id("email"),
            id: id(id_text),
        },
        action: id("view"),
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    };
    let settled = changed(&graph, "e", |user| {
        user.object_grants = BTreeSet::from([on("mine"), on("other")]);
    });
    let given: Vec<_> = settled
        .is
        .object_grants
        .iter()
        .map(|one| one.resource.id.as_str())
        .collect();
    assert_eq!(given, ["mine"]);
    assert_eq!(noted(&settled.withheld), ["view email/other"]);
}

#[test]
fn a_set_keeps_what_whoever_edits_it_lacks() {
    let graph = account(ADMIN);
    let before = graph.permission_set("reporters").unwrap();
    let wanted = PermissionSet {
        id: id("reporters"),
        grants: BTreeSet::from([
            grant("email.view", Level::Everything),
            grant("contact.view", Level::Owned),
        ]),
    };
    let settled = ceiling(&graph).settle_set(Some(before), &wanted).unwrap();
    let mut is: Vec<_> = settled
        .is
        .grants
        .iter()
        .map(|one| format!("{} {}", one.key, one.level))
        .collect();
    is.sort();
    assert_eq!(
        is,
        [
            "contact.view owned",
            "email.view team",
            "report.view everything"
        ]
    );
    assert_eq!(noted(&settled.kept), ["report.view everything"]);
    assert_eq!(noted(&settled.withheld), ["email.view everything"]);
}

/// A right that somebody has by one way gives no second way to it.
#[test]
fn d4_a_right_beyond_the_admin_is_not_repeated() {
    let graph = account(&format!(
        "{ADMIN}  - {{id: e, grants: {{report.view: everything}}}}\n"
    ));
    let settled = changed(&graph, "e", |user| {
        user.permission_sets.insert(id("reporters"));
    });
    assert!(settled.is.permission_sets.is_empty());
    assert_eq!(
        told(&settled.is),
        ["contact.view team", "report.view everything"]
    );
    assert_eq!(noted(&settled.withheld), ["report.view everything"]);
}

#[test]
fn more_rights_than_are_weighed_are_an_error() {
    let graph = account(ADMIN);
    let many = (0..200).map(|number| Grant {
        expires_at: Some(at(10 + number)),
        ..grant("contact.view", Level::Team)
    });
    let mut wanted = User::new(id("new"));
    wanted.grants = many.collect();
    let sets = PermissionSets::of(&graph);
    assert_eq!(
        ceiling(&graph).settle_user(None, &wanted, &sets),
        Err(TooMany)
    );
}

// The algebra of D4, at every moment at which anything changes.

fn any_reach() -> impl Strategy<Value = Reach> {
    (0..4usize, any::<bool>()).prop_map(|(level, bit)| Reach::new(Level::ALL[level], bit))
}

fn any_right() -> impl Strategy<Value = Right> {
    let moment = || prop_oneof![2 => Just(None), 3 => (-3..6i64).prop_map(|s| Some(at(s)))];
    (any_reach(), moment(), moment()).prop_map(|(reach, from, until)| Right { reach, from, until })
}

fn any_held() -> impl Strategy<Value = Held> {
    proptest::collection::vec(any_reach(), 7).prop_map(|reaches| {
        Held::followed(at(0), |moment| {
            let second = usize::try_from((moment.unix_micros() - at(0).unix_micros()) / 1_000_000);
            let second = second.unwrap().min(6);
            let next = i64::try_from(second).unwrap() + 1;
            (reaches[second], (second < 6).then(|| at(next)))
        })
    })
}

fn reach_at(rights: &[Right], moment: Timestamp) -> Reach {
    let live = rights.iter().filter(|right| right.is_live(moment));
    live.fold(Reach::NOTHING, |all, right| all.join(right.reach))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        rng_seed: RngSeed::Fixed(7_303),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn d4_the_algebra_of_the_ceiling(
        held in any_held(),
        old in proptest::collection::vec(any_right(), 0..4),
        wanted in proptest::collection::vec(any_right(), 0..4),
    ) {
        let outcome = settle(&held, &old, &wanted).unwrap();
        let new: Vec<Right> = outcome.rights.iter().map(|(right, _)| *right).collect();
        for second in 0..8 {
            let moment = at(second);
            let (o, n, r) = (reach_at(&old, moment), reach_at(&wanted, moment), reach_at(&new, moment));
            let p = reach_at(held.gives(), moment);
            // What the admin lacks stays, and nothing comes that the admin lacks.
            let beyond = old.iter().filter(|right| right.is_live(moment)).fold(
                Reach::NOTHING,
                |all, right| all.join(right.reach.beyond(held.takes())),
            );
            prop_assert!(beyond.is_within(r), "taken: {outcome:?} at {second}");
            prop_assert!(r.is_within(o.join(p)), "given: {outcome:?} at {second}");
            // Nothing comes that nobody wanted, and what is within the ceiling comes whole.
            prop_assert!(r.is_within(n.join(beyond)), "unwanted: {outcome:?} at {second}");
            prop_assert!(n.meet(p).is_within(r), "held back: {outcome:?} at {second}");
        }
        let whole = (0..8).all(|second| {
            let (n, r) = (reach_at(&wanted, at(second)), reach_at(&new, at(second)));
            n.is_within(r)
        });
        prop_assert!(whole || !outcome.withheld.is_empty(), "not told: {outcome:?}");
        // Twice is once.
        let twice = settle(&held, &new, &wanted).unwrap();
        for second in 0..8 {
            let again: Vec<Right> = twice.rights.iter().map(|(right, _)| *right).collect();
            prop_assert_eq!(reach_at(&again, at(second)), reach_at(&new, at(second)));
        }
    }
}

// No sequence of calls by a set of people gives the set more than it held.

/// What some users together hold of each permission at some moments.
fn held_by(
    graph: &AccountGraph,
    people: &[&str],
    keys: &[PermissionKey],
) -> BTreeMap<(String, i64), Reach> {
    let mut all = BTreeMap::new();
    for second in [0, 15, 25, 1_000] {
        for key in keys {
            let reach = people.iter().fold(Reach::NOTHING, |all, user| {
                let held = Ceiling::of(graph, &id(user), at(second)).unwrap().held(key);
                all.join(held.takes())
            });
            all.insert((key.to_string(), second), reach);
        }
    }
    all
}

#[derive(Debug, Clone)]
enum Call {
    Direct {
        by: usize,
        to: usize,
        key: usize,
        right: Right,
    },
    Hold {
        by: usize,
        to: usize,
        set: usize,
        until: Option<i64>,
    },
    Leave {
        by: usize,
        to: usize,
    },
    Edit {
        by: usize,
        set: usize,
        key: usize,
        right: Right,
    },
}

fn any_call() -> impl Strategy<Value = Call> {
    let right = || {
        (
            any_reach(),
            prop_oneof![Just(None), (10..30i64).prop_map(|s| Some(at(s)))],
        )
            .prop_map(|(reach, until)| Right {
                reach,
                from: None,
                until,
            })
    };
    prop_oneof![
        (0..3usize, 0..3usize, 0..4usize, right()).prop_map(|(by, to, key, right)| Call::Direct {
            by,
            to,
            key,
            right
        }),
        (
            0..3usize,
            0..3usize,
            0..2usize,
            prop_oneof![Just(None), (10..30i64).prop_map(Some)]
        )
            .prop_map(|(by, to, set, until)| Call::Hold { by, to, set, until }),
        (0..3usize, 0..3usize).prop_map(|(by, to)| Call::Leave { by, to }),
        (0..3usize, 0..2usize, 0..4usize, right()).prop_map(|(by, set, key, right)| Call::Edit {
            by,
            set,
            key,
            right
        }),
    ]
}

const PEOPLE: [&str; 3] = ["x", "y", "z"];
const SETS: [&str; 2] = ["reporters", "viewers"];

fn with(right: Right, key: &PermissionKey) -> Grant {
    Grant {
        level: right.reach.level(),
        include_unassigned: right.reach.include_unassigned(),
        expires_at: right.until,
        key: key.clone(),
        ..grant("contact.view", Level::None)
    }
}

fn call(graph: &AccountGraph, call: &Call, keys: &[PermissionKey]) -> AccountGraph {
    let put = match call {
        Call::Edit {
            by,
            set,
            key,
            right,
        } => {
            let before = graph.permission_set(SETS[*set]);
            let mut wanted = before.unwrap().clone();
            wanted.grants.retain(|grant| grant.key != keys[*key]);
            wanted.grants.insert(with(*right, &keys[*key]));
            let ceiling = Ceiling::of(graph, &id(PEOPLE[*by]), at(0)).unwrap();
            let settled = ceiling.settle_set(before, &wanted).unwrap();
            Entity::PermissionSet(settled.is)
        }
        Call::Direct { by, to, .. } | Call::Hold { by, to, .. } | Call::Leave { by, to } => {
            let before = graph.user(PEOPLE[*to]);
            let mut wanted = before.unwrap().clone();
            match call {
                Call::Direct { key, right, .. } => {
                    wanted.grants.retain(|grant| grant.key != keys[*key]);
                    wanted.grants.insert(with(*right, &keys[*key]));
                }
                Call::Hold { set, until, .. } => {
                    let of = MembershipOf::PermissionSet(id(SETS[*set]));
                    wanted.memberships.retain(|one| one.of != of);
                    wanted.memberships.insert(Membership {
                        of,
                        provenance: Provenance::Manual,
                        expires_at: until.map(at),
                        granted_by: None,
                    });
                }
                Call::Leave { .. } => {
                    wanted.memberships.clear();
                    wanted.permission_sets.clear();
                }
                Call::Edit { .. } => {}
            }
            let ceiling = Ceiling::of(graph, &id(PEOPLE[*by]), at(0)).unwrap();
            let sets = PermissionSets::of(graph);
            let settled = ceiling.settle_user(before, &wanted, &sets).unwrap();
            Entity::User(settled.is)
        }
    };
    graph.apply(&[EntityChange::Put(put)]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        rng_seed: RngSeed::Fixed(7_304),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn d4_no_calls_of_a_set_of_people_give_the_set_more_than_it_held(
        calls in proptest::collection::vec(any_call(), 1..12),
    ) {
        let mut graph = account(
            "  - {id: x, grants: {contact.view: owned+unassigned, report.view: [{level: team, expires_at: 2027-01-15T08:00:20Z}]}}
  - {id: y, grants: {contact.edit: team}, permission_sets: [viewers]}
  - {id: z, permission_sets: [reporters], grants: {email.publish: everything}}
",
        );
        let keys: Vec<PermissionKey> = ["contact.view", "contact.edit", "report.view", "email.publish"]
            .iter()
            .map(|key| grant(key, Level::None).key)
            .collect();
        let before = held_by(&graph, &PEOPLE, &keys);
        for one in &calls {
            graph = call(&graph, one, &keys);
            let now = held_by(&graph, &PEOPLE, &keys);
            for (what, reach) in &now {
                prop_assert!(reach.is_within(before[what]), "{what:?} after {one:?}");
            }
        }
    }
}
