//! Memberships for a time, beyond what the cases and the property tests say: `valid_until` to the
//! microsecond, what an explanation names, and that a graph stays small.

use ambit::authz::access_set::{AccessSet, Narrowing, check, users_with_access};
use ambit::authz::decision::{Decision, ReasonCode, Target};
use ambit::authz::explain::{Explanation, explain};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    Account, Assignment, CatalogRef, Entity, EntityChange, Grant, Id, Level, Membership,
    MembershipOf, PartnerProgram, PermissionKey, PermissionSet, Principal, Provenance, Resource,
    ResourceKey, Settings, Team, Timestamp, User,
};

fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("a time")
}

fn team(name: &str, parent: Option<&str>) -> Entity {
    Entity::Team(Team {
        id: id(name),
        parent: parent.map(id),
    })
}

fn grant(permission: &str, level: Level) -> Grant {
    Grant {
        key: PermissionKey {
            resource_type: id("email"),
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

fn held(of: MembershipOf, request: &str, until: Option<i64>) -> Membership {
    Membership {
        of,
        provenance: Provenance::Request(id(request)),
        expires_at: until.map(at),
        granted_by: Some(id("sa")),
    }
}

fn of_team(name: &str, until: i64) -> Membership {
    held(MembershipOf::Team(id(name)), "7", Some(until))
}

fn of_set(name: &str, until: i64) -> Membership {
    held(MembershipOf::PermissionSet(id(name)), "9", Some(until))
}

fn user(name: &str, memberships: impl IntoIterator<Item = Membership>) -> User {
    User {
        memberships: memberships.into_iter().collect(),
        grants: [grant("view", Level::Team)].into(),
        ..User::new(id(name))
    }
}

fn resource(name: &str, owners: &[&str], assigned_to: Option<Principal>) -> Entity {
    let assignments = assigned_to.into_iter().map(|principal| Assignment {
        principal,
        provenance: Provenance::Manual,
        expires_at: None,
    });
    let resource = Resource {
        key: ResourceKey {
            resource_type: id("email"),
            id: id(name),
        },
        owners: owners.iter().copied().map(id).collect(),
        owning_team: None,
        partitioned: false,
        assignments: assignments.collect(),
    };
    Entity::Resource(resource, None)
}

fn graph(entities: impl IntoIterator<Item = Entity>) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    builder.push(Entity::Account(Account {
        id: id("acme"),
        catalog: CatalogRef::BuiltIn(id("hubspot")),
        plan: id("enterprise"),
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    }));
    for entity in [team("eu", None), team("de", Some("eu")), team("us", None)] {
        builder.push(entity);
    }
    builder.push(Entity::PermissionSet(PermissionSet {
        id: id("editor"),
        grants: [grant("edit", Level::Everything)].into(),
    }));
    for name in ["us", "de"] {
        let to = Principal::Team(id(name));
        builder.push(resource(&format!("walled-{name}"), &[], Some(to)));
    }
    for entity in entities {
        builder.push(entity);
    }
    let graph = builder.finish().expect("a graph");
    assert_eq!(graph.anomalies(), Vec::<String>::new());
    graph
}

fn decide(graph: &AccountGraph, name: &str, action: &str, of: Target<'_>, t: i64) -> Decision {
    check(graph, name, "email", action, of, at(t)).expect("known names")
}

fn explained(graph: &AccountGraph, name: &str, action: &str, of: &str, t: i64) -> Explanation {
    explain(graph, name, "email", action, Target::Resource(of), at(t)).expect("known names")
}

/// What an explanation says of memberships.
fn memberships_told(explanation: &Explanation) -> Vec<(&str, Vec<(&str, &str)>)> {
    let told = explanation
        .path
        .iter()
        .filter(|element| element.kind == "membership");
    told.map(|element| {
        let fields = element.fields.iter();
        let fields = fields
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        (element.text.as_str(), fields)
    })
    .collect()
}

/// S2.17: whoever asks until when an answer holds is told the very moment.
#[test]
fn s2_17_valid_until_is_the_end_of_the_membership() {
    let graph = graph([
        Entity::User(user("u", [of_team("us", 10), of_team("eu", 20)])),
        Entity::User(user("s", [of_set("editor", 10)])),
        Entity::User(user("owner", [of_team("us", 15)])),
        Entity::User(User {
            main_team: Some(id("us")),
            ..user("us1", [])
        }),
        resource("owned", &["owner"], None),
    ]);
    let walled = Target::Resource("walled-us");
    for (name, action, target, t, allowed, until) in [
        ("u", "view", walled, 9, true, Some(10)),
        // At the end one is denied, until nobody knows when; the other team ends later.
        ("u", "view", walled, 10, false, Some(20)),
        ("u", "view", walled, 20, false, None),
        (
            "u",
            "view",
            Target::Resource("walled-de"),
            19,
            true,
            Some(20),
        ),
        ("u", "view", Target::Resource("walled-de"), 20, false, None),
        // A tool needs no team, so that no team ends it.
        ("u", "view", Target::Tool, 9, true, None),
        ("s", "edit", Target::Tool, 9, true, Some(10)),
        ("s", "edit", Target::Tool, 10, false, None),
        // The owner's team makes it the team's.
        ("us1", "view", Target::Resource("owned"), 14, true, Some(15)),
        ("us1", "view", Target::Resource("owned"), 15, false, None),
        // Who is in for good is told of no end.
        ("us1", "view", walled, 9, true, None),
    ] {
        let decision = decide(&graph, name, action, target, t);
        let told = format!("{name} {action} {target:?} at {t}");
        assert_eq!(decision.is_allow(), allowed, "{told}");
        assert_eq!(decision.valid_until, until.map(at), "{told}");
    }
}

/// P9: a check, the list and who may say the same at every moment, with and without nesting.
#[test]
fn p9_check_list_and_who_agree_around_every_end() {
    let people = [
        user("nested", [of_team("eu", 3), of_team("de", 6)]),
        user(
            "both",
            [
                of_team("us", 4),
                held(MembershipOf::Team(id("us")), "8", Some(8)),
            ],
        ),
        user("set", [of_set("editor", 5)]),
        user("gone", [of_team("us", 0)]),
    ];
    let names: Vec<String> = people.iter().map(|user| user.id.to_string()).collect();
    let graph = graph(people.into_iter().map(Entity::User));
    let mut allowed = 0;
    for t in -1..=9 {
        for action in ["view", "edit"] {
            for name in &names {
                let set = AccessSet::new(&graph, name, "email", action, at(t)).expect("known");
                let accessible = set.accessible(Narrowing::default());
                let listed: Vec<&str> = accessible.ids().collect();
                for resource in ["walled-us", "walled-de"] {
                    let target = Target::Resource(resource);
                    let may = decide(&graph, name, action, target, t).is_allow();
                    allowed += usize::from(may);
                    let told = format!("{name} {action} {resource} at {t}");
                    assert_eq!(listed.contains(&resource), may, "list: {told}");
                    let who = users_with_access(&graph, "email", action, target, at(t));
                    let who = who.expect("known");
                    let named = who.iter().any(|(user, _)| user.as_str() == name);
                    assert_eq!(named, may, "who: {told}");
                }
            }
        }
    }
    // nested: de for 7 moments; both: us for 9; gone: one; set: nothing behind a wall.
    assert_eq!(allowed, 7 + 9 + 1);
}

#[test]
fn r5_an_explanation_names_the_membership_and_why() {
    let graph = graph([
        Entity::User(user("u", [of_team("eu", 10)])),
        Entity::User(user("s", [of_set("editor", 10)])),
        resource("open", &[], None),
    ]);
    let fields = |first: (&'static str, &'static str), request: &'static str| {
        vec![
            first,
            ("provenance", request),
            ("expires_at", "1970-01-01T00:00:00.00001Z"),
            ("granted_by", "sa"),
        ]
    };
    let allowed = explained(&graph, "u", "view", "walled-de", 9);
    assert_eq!(allowed.decision.reason, ReasonCode::ParentTeam);
    let text =
        "`u` is in team `eu` (request:7), expires 1970-01-01T00:00:00.00001Z, granted by `sa`";
    assert_eq!(
        memberships_told(&allowed),
        [(text, fields(("team", "eu"), "request:7"))]
    );
    let denied = explained(&graph, "u", "view", "walled-de", 10);
    assert_eq!(denied.decision.reason, ReasonCode::NotInPartition);
    let text =
        "`u` was in team `eu` (request:7), expired 1970-01-01T00:00:00.00001Z, granted by `sa`";
    assert_eq!(
        memberships_told(&denied),
        [(text, fields(("team", "eu"), "request:7"))]
    );
    let allowed = explained(&graph, "s", "edit", "open", 9);
    let text = "`s` holds permission set `editor` (request:9), expires 1970-01-01T00:00:00.00001Z, granted by `sa`";
    assert_eq!(
        memberships_told(&allowed),
        [(text, fields(("permission_set", "editor"), "request:9"))]
    );
    let denied = explained(&graph, "s", "edit", "open", 10);
    assert_eq!(denied.decision.reason, ReasonCode::GrantExpired);
    assert_eq!(memberships_told(&denied).len(), 1);
    assert_eq!(
        denied.remedy.as_deref(),
        Some("renew the expired grant of email.edit")
    );
    // The control: a plain team is no membership.
    let plain = graph_of_a_plain_member();
    let allowed = explained(&plain, "u", "view", "walled-us", 9);
    assert!(allowed.decision.is_allow());
    assert_eq!(memberships_told(&allowed), []);
}

fn graph_of_a_plain_member() -> AccountGraph {
    graph([Entity::User(User {
        main_team: Some(id("us")),
        ..user("u", [of_team("us", 10)])
    })])
}

/// A user with as many ends as there may be memberships takes room in proportion, and what it
/// takes to follow a change of another user does not depend on it.
#[test]
fn ten_thousand_ends_stay_linear() {
    const TEAMS: i64 = 10_000;
    let name = |n: i64| format!("t{n:05}");
    let chain = (0..TEAMS).map(|n| team(&name(n), (n > 0).then(|| name(n - 1)).as_deref()));
    // The deeper the team, the longer the membership: stretches lie in each other.
    let many = (0..TEAMS).map(|n| of_team(&name(n), n + 1));
    let last = Principal::Team(id(&name(TEAMS - 1)));
    let mut entities: Vec<Entity> = chain.collect();
    entities.push(Entity::User(user("u", many)));
    entities.push(resource("deepest", &[], Some(last)));
    let graph = graph(entities);
    let deepest = Target::Resource("deepest");
    for t in [0, 1, TEAMS / 2, TEAMS - 1] {
        let decision = decide(&graph, "u", "view", deepest, t);
        assert_eq!(decision.reason, ReasonCode::Team, "at {t}");
        assert_eq!(decision.valid_until, Some(at(t + 1)));
    }
    assert!(!decide(&graph, "u", "view", deepest, TEAMS).is_allow());
    // A change of the user alone is followed.
    let shorter = user("u", [of_team(&name(0), TEAMS + 5)]);
    let next = graph
        .apply(&[EntityChange::Put(Entity::User(shorter))])
        .expect("a graph");
    let decision = decide(&next, "u", "view", deepest, TEAMS);
    assert_eq!(decision.reason, ReasonCode::ParentTeam);
    assert_eq!(decision.valid_until, Some(at(TEAMS + 5)));
    assert!(!decide(&graph, "u", "view", deepest, TEAMS).is_allow());
}
