//! Reliability, advisory 7: counts around 65,536 of members, assignments and owned resources.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::access_set::{self, AccessSet, Narrowing};
use ambit::authz::decision::{ReasonCode, Target};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    AccessGroup, Account, Assignment, CatalogRef, Entity, EntityChange, Grant, Level,
    PartnerProgram, PermissionKey, PermissionSet, Principal, Provenance, Resource, ResourceKey,
    Settings, Team, User,
};

use super::worlds::{id, tick};

const WIDTHS: [usize; 3] = [65_535, 65_536, 65_537];

fn member(number: usize) -> Entity {
    Entity::User(User {
        main_team: Some(id("wide")),
        permission_sets: BTreeSet::from([id("viewer")]),
        ..User::new(id(&format!("u{number:06}")))
    })
}

/// A contact behind a wall that opens to one principal.
fn contact(name: &str, owner: Option<&str>, principal: Principal) -> Entity {
    Entity::Resource(
        Resource {
            key: ResourceKey {
                resource_type: id("contact"),
                id: id(name),
            },
            owners: owner.map(id).into_iter().collect(),
            owning_team: None,
            partitioned: true,
            assignments: BTreeSet::from([Assignment {
                principal,
                provenance: Provenance::Manual,
                expires_at: None,
            }]),
        },
        None,
    )
}

/// An account with one team and, beside what `more` adds, nothing but a set that views at team.
fn account(more: impl Iterator<Item = Entity>) -> AccountGraph {
    let grant = |permission: &str| Grant {
        key: PermissionKey {
            resource_type: id("contact"),
            permission: id(permission),
        },
        level: Level::Team,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    };
    let mut builder = GraphBuilder::default();
    builder.push(Entity::Account(Account {
        id: id("wide"),
        catalog: CatalogRef::BuiltIn(id("ipresso")),
        plan: id("standard"),
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    }));
    builder.push(Entity::Team(Team {
        id: id("wide"),
        parent: None,
    }));
    builder.push(Entity::Team(Team {
        id: id("other"),
        parent: None,
    }));
    builder.push(Entity::PermissionSet(PermissionSet {
        id: id("viewer"),
        grants: BTreeSet::from([grant("view")]),
    }));
    for entity in more {
        builder.push(entity);
    }
    builder.finish().expect("a graph")
}

/// The account at each width: one more entity each time.
fn at_widths(
    base: AccountGraph,
    mut next: impl FnMut(usize) -> Vec<EntityChange>,
    check: impl Fn(&AccountGraph, usize),
) {
    let mut graph = base;
    for width in WIDTHS {
        if width > WIDTHS[0] {
            graph = graph.apply(&next(width)).expect("a graph");
        }
        check(&graph, width);
    }
}

#[test]
fn a_team_of_65_537_members_is_whole() {
    let walled = contact("c", None, Principal::Team(id("wide")));
    let elsewhere = contact("d", None, Principal::Team(id("other")));
    let base = account((0..WIDTHS[0]).map(member).chain([walled, elsewhere]));
    at_widths(
        base,
        |width| vec![EntityChange::Put(member(width - 1))],
        |graph, width| {
            let who = |resource| {
                let target = Target::Resource(resource);
                access_set::users_with_access(graph, "contact", "view", target, tick(0))
                    .expect("type and action are known")
            };
            let members = who("c");
            assert_eq!(members.len(), width);
            assert!(
                members
                    .iter()
                    .all(|(_, decision)| decision.reason == ReasonCode::Team)
            );
            assert_eq!(who("d").len(), 0);
        },
    );
}

#[test]
fn a_group_of_65_537_members_is_whole() {
    let group = |width: usize| {
        let members: BTreeMap<_, _> = (0..width)
            .map(|number| {
                let user = Principal::User(id(&format!("u{number:06}")));
                (user, BTreeSet::from([id("view")]))
            })
            .collect();
        Entity::AccessGroup(AccessGroup {
            id: id("g"),
            members,
        })
    };
    let walled = contact("c", None, Principal::Group(id("g")));
    let base = account((0..WIDTHS[0]).map(member).chain([group(WIDTHS[0]), walled]));
    at_widths(
        base,
        |width| {
            vec![
                EntityChange::Put(member(width - 1)),
                EntityChange::Put(group(width)),
            ]
        },
        |graph, width| {
            let who = |action| {
                let target = Target::Resource("c");
                access_set::users_with_access(graph, "contact", action, target, tick(0))
                    .expect("type and action are known")
            };
            assert_eq!(who("view").len(), width);
            assert_eq!(who("edit").len(), 0);
        },
    );
}

#[test]
fn a_partition_of_65_537_contacts_is_whole() {
    let walled = |number: usize| {
        let owner = number.is_multiple_of(2).then_some("u000001");
        contact(&format!("c{number:06}"), owner, Principal::Team(id("wide")))
    };
    let outsider = Entity::User(User {
        main_team: Some(id("other")),
        permission_sets: BTreeSet::from([id("viewer")]),
        ..User::new(id("out"))
    });
    let base = account(
        (0..2)
            .map(member)
            .chain([outsider])
            .chain((0..WIDTHS[0]).map(walled)),
    );
    at_widths(
        base,
        |width| vec![EntityChange::Put(walled(width - 1))],
        |graph, width| {
            let total = |user, narrow| {
                let set = AccessSet::new(graph, user, "contact", "view", tick(0))
                    .expect("type and action are known");
                let accessible = set.accessible(narrow);
                assert_eq!(accessible.ids().count() as u64, accessible.total());
                usize::try_from(accessible.total()).expect("a small total")
            };
            let all = Narrowing::default();
            assert_eq!(total("u000000", all), width);
            assert_eq!(total("out", all), 0);
            let owned = Narrowing {
                owner: Some("u000001"),
                ..all
            };
            assert_eq!(total("u000000", owned), width.div_ceil(2));
            let last = format!("c{:06}", width - 1);
            let target = Target::Resource(&last);
            let decision = access_set::check(graph, "u000000", "contact", "view", target, tick(0))
                .expect("type and action are known");
            assert_eq!(decision.reason, ReasonCode::Team);
        },
    );
}
