//! Random accounts with ids that YAML could take for something else.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::model::{
    AccessGroup, Account, Assignment, Attributes, CatalogRef, Entity, Grant, Id, Level, Membership,
    MembershipOf, ObjectGrant, PartitionMode, Partner, PartnerProgram, PartnerRole, Partnership,
    PermissionKey, PermissionSet, Principal, Provenance, Resource, ResourceKey, Segment, Settings,
    Team, Timestamp, UnpartitionedDefault, User, UserKind, UserStatus,
};
use proptest::prelude::*;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// Ids that YAML, SQL or a careless split could take for something else.
const NASTY: [&str; 40] = [
    "null",
    "Null",
    "~",
    "true",
    "yes",
    "NO",
    "on",
    "1",
    "1e3",
    "0x10",
    "007",
    ".inf",
    "-1",
    "1_000",
    "*x",
    "&x",
    "!x",
    "@x",
    "`x`",
    "%x",
    "|",
    ">",
    "#x",
    "a #b",
    " lead",
    "trail ",
    "a: b",
    "a:",
    "---",
    "...",
    "- x",
    "? x",
    "[x]",
    "{x}",
    "a,b",
    "\"q\"",
    "'q'",
    "\\n",
    "2026-01-01",
    "<<",
];

fn ids() -> impl Strategy<Value = Id> {
    prop_oneof![
        3 => proptest::sample::select(NASTY.to_vec()).prop_map(str::to_owned),
        2 => "[a-z]{1,3}",
        2 => "\\PC{1,12}",
        1 => "[\u{a0}\u{ad}\u{200b}\u{2028}\u{2029}\u{feff}\u{fffe}\u{1f600}\u{10ffff}:/. ]{1,6}",
    ]
    .prop_filter_map("an id", |text| Id::parse(&text).ok())
}

fn times() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of(0i64..4_000_000_000_000_000)
        .prop_map(|micros| micros.and_then(Timestamp::from_unix_micros))
}

fn provenances() -> impl Strategy<Value = Provenance> {
    prop_oneof![
        Just(Provenance::Manual),
        Just(Provenance::Default),
        ids().prop_map(Provenance::Segment),
        ids().prop_map(Provenance::Import),
        ids().prop_map(Provenance::Form),
        ids().prop_map(Provenance::Request),
    ]
}

fn levels() -> impl Strategy<Value = (Level, bool)> {
    (proptest::sample::select(Level::ALL), any::<bool>()).prop_map(|(level, unassigned)| {
        (
            level,
            unassigned && matches!(level, Level::Owned | Level::Team),
        )
    })
}

/// A window that is not empty.
fn windows() -> impl Strategy<Value = (Option<Timestamp>, Option<Timestamp>)> {
    (times(), times()).prop_map(|(from, until)| match (from, until) {
        (Some(from), Some(until)) if from >= until => (Some(from), None),
        window => window,
    })
}

fn grants() -> impl Strategy<Value = BTreeSet<Grant>> {
    let keys = proptest::sample::select(vec!["contact.view", "email.edit", "account.billing.use"]);
    let one = (
        keys,
        levels(),
        windows(),
        provenances(),
        proptest::option::of(ids()),
    )
        .prop_map(
            |(
                key,
                (level, include_unassigned),
                (not_before, expires_at),
                provenance,
                granted_by,
            )| {
                let (resource_type, permission) = key.rsplit_once('.').unwrap();
                Grant {
                    key: PermissionKey {
                        resource_type: id(resource_type),
                        permission: id(permission),
                    },
                    level,
                    include_unassigned,
                    not_before,
                    expires_at,
                    provenance,
                    granted_by,
                }
            },
        );
    proptest::collection::btree_set(one, 0..4)
}

fn attributes() -> impl Strategy<Value = Option<Attributes>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e300f64..1e300).prop_map(Into::into),
        proptest::num::f64::NORMAL.prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
        ids().prop_map(|id| id.as_str().into()),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::Array),
            proptest::collection::vec((".{0,4}", inner), 0..3)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    });
    let fields = proptest::collection::vec(
        (prop_oneof![".{1,6}", "x{1100}|\\x01{100,250}"], value),
        1..4,
    );
    proptest::option::of(fields.prop_map(|fields| fields.into_iter().collect()))
}

#[derive(Debug, Clone)]
struct Shape {
    teams: Vec<Id>,
    users: Vec<Id>,
    sets: Vec<Id>,
    groups: Vec<Id>,
    resources: Vec<(bool, Id)>,
}

fn distinct(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Id>> {
    proptest::collection::btree_set(ids(), size).prop_map(|set| set.into_iter().collect())
}

/// The entities of a whole account of the catalog `hubspot`, in which every reference is met.
pub fn accounts() -> impl Strategy<Value = Vec<Entity>> {
    (
        distinct(1..4),
        distinct(1..4),
        distinct(1..3),
        distinct(1..3),
        proptest::collection::btree_set((any::<bool>(), ids()), 1..5),
    )
        .prop_map(|(teams, users, sets, groups, resources)| Shape {
            teams,
            users,
            sets,
            groups,
            resources: resources.into_iter().collect(),
        })
        .prop_flat_map(|shape| entities_of(&shape))
}

fn some_of(ids: &[Id]) -> impl Strategy<Value = BTreeSet<Id>> + use<> {
    proptest::sample::subsequence(ids.to_vec(), 0..=ids.len())
        .prop_map(|ids| ids.into_iter().collect())
}

fn one_of(ids: &[Id]) -> impl Strategy<Value = Option<Id>> + use<> {
    proptest::option::of(proptest::sample::select(ids.to_vec()))
}

fn key_of((is_email, id_): &(bool, Id)) -> ResourceKey {
    ResourceKey {
        resource_type: id(if *is_email { "email" } else { "contact" }),
        id: id_.clone(),
    }
}

fn entities_of(shape: &Shape) -> impl Strategy<Value = Vec<Entity>> + use<> {
    let principals: Vec<Principal> = shape
        .users
        .iter()
        .cloned()
        .map(Principal::User)
        .chain(shape.teams.iter().cloned().map(Principal::Team))
        .collect();
    let targets: Vec<Principal> = principals
        .iter()
        .cloned()
        .chain(shape.groups.iter().cloned().map(Principal::Group))
        .collect();
    let mut parts: Vec<BoxedStrategy<Entity>> = vec![account().boxed()];
    parts.extend(shape.teams.iter().enumerate().map(|(at, team)| {
        let team = team.clone();
        let parent = if at == 0 {
            Just(None).boxed()
        } else {
            one_of(&shape.teams[..at]).boxed()
        };
        parent
            .prop_map(move |parent| {
                Entity::Team(Team {
                    id: team.clone(),
                    parent,
                })
            })
            .boxed()
    }));
    parts.extend(shape.sets.iter().map(|set| {
        let set = set.clone();
        let entity = move |grants| {
            Entity::PermissionSet(PermissionSet {
                id: set.clone(),
                grants,
            })
        };
        grants().prop_map(entity).boxed()
    }));
    parts.extend(
        shape
            .users
            .iter()
            .enumerate()
            .map(|(at, user)| user_of(shape, at, user).boxed()),
    );
    parts.extend(shape.groups.iter().map(|group| {
        let group = group.clone();
        let mask = proptest::sample::subsequence(vec!["view", "edit", "publish"], 0..=3)
            .prop_map(|actions| actions.into_iter().map(id).collect::<BTreeSet<Id>>());
        let member = (proptest::sample::select(principals.clone()), mask);
        proptest::collection::btree_map(member.0, member.1, 0..3)
            .prop_map(move |members| {
                Entity::AccessGroup(AccessGroup {
                    id: group.clone(),
                    members,
                })
            })
            .boxed()
    }));
    parts.extend(shape.resources.iter().map(|resource| {
        let key = key_of(resource);
        let row = (proptest::sample::select(targets.clone()), provenances());
        let rows = proptest::collection::btree_map(row, times(), 0..3);
        (
            some_of(&shape.users),
            one_of(&shape.teams),
            any::<bool>(),
            rows,
            attributes(),
        )
            .prop_map(
                move |(owners, owning_team, partitioned, rows, attributes)| {
                    let assignments: BTreeSet<Assignment> = rows
                        .into_iter()
                        .map(|((principal, provenance), expires_at)| Assignment {
                            principal,
                            provenance,
                            expires_at,
                        })
                        .collect();
                    let partitioned = partitioned || !assignments.is_empty();
                    let key = key.clone();
                    Entity::Resource(
                        Resource {
                            key,
                            owners,
                            owning_team,
                            partitioned,
                            assignments,
                        },
                        attributes,
                    )
                },
            )
            .boxed()
    }));
    let mut gone = User::new(id("gone for good"));
    gone.status = UserStatus::Removed;
    parts.push(Just(Entity::User(gone)).boxed());
    parts.push(
        (
            ids(),
            // Of no attribute that a record has, so that the rule gives and takes no rows.
            "[^'\\\\\\p{Cc}]{0,20}".prop_map(|text| format!("resource.nobody == '{text}'")),
            proptest::sample::subsequence(targets.clone(), 1..=targets.len()),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(id_, when, assign_to, enabled, may_partition)| {
                Entity::Segment(Segment {
                    id: id_,
                    resource_type: id("contact"),
                    when,
                    assign_to: assign_to.into_iter().collect(),
                    enabled,
                    may_partition,
                })
            })
            .boxed(),
    );
    parts
}

fn account() -> impl Strategy<Value = Entity> {
    let modes = proptest::collection::btree_map(
        proptest::sample::select(vec![id("default"), id("email"), id("account.billing")]),
        proptest::sample::select(PartitionMode::ALL),
        0..3,
    );
    let defaults = proptest::collection::btree_map(
        proptest::sample::select(vec![id("default"), id("contact")]),
        proptest::sample::select(UnpartitionedDefault::ALL),
        0..2,
    );
    let numbers = (
        proptest::option::of(1u64..1_000_000_000),
        proptest::option::of(0u64..1_000_000_000),
        proptest::option::of(any::<u32>()),
    );
    let plans = proptest::sample::select(vec![
        "free",
        "professional",
        "enterprise",
        "sales_enterprise",
    ]);
    let programs = proptest::sample::select(PartnerProgram::ALL);
    (
        ids(),
        plans,
        programs,
        any::<bool>(),
        modes,
        defaults,
        numbers,
    )
        .prop_map(
            |(
                account,
                plan,
                partner_program,
                payment_method_valid,
                partition_mode,
                unpartitioned,
                numbers,
            )| {
                Entity::Account(Account {
                    id: account,
                    catalog: CatalogRef::BuiltIn(id("hubspot")),
                    plan: id(plan),
                    partner_program,
                    payment_method_valid,
                    settings: Settings {
                        partition_mode,
                        unpartitioned,
                        request_ttl_seconds: numbers.0,
                        request_cool_down_seconds: numbers.1,
                        request_limit_per_user: numbers.2,
                    },
                })
            },
        )
}

/// A removed user keeps nothing but the name, so only the others carry rights.
const KEEPING: [UserStatus; 3] = [
    UserStatus::Invited,
    UserStatus::Active,
    UserStatus::Deactivated,
];

fn emails() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof![
        "[a-z.+'\"#:-]{1,9}@[a-zü.-]{1,9}",
        "[^\\p{C} @]{1,20}@[^\\p{C} @]{1,20}",
    ])
}

/// Of these teams and sets, at most one of each from one provenance.
fn memberships(teams: &[Id], sets: &[Id]) -> impl Strategy<Value = BTreeSet<Membership>> + use<> {
    let of: Vec<MembershipOf> = teams
        .iter()
        .cloned()
        .map(MembershipOf::Team)
        .chain(sets.iter().cloned().map(MembershipOf::PermissionSet))
        .collect();
    let most = if of.is_empty() { 0 } else { 3 };
    let index = any::<proptest::sample::Index>();
    let terms = (times(), proptest::option::of(ids()));
    proptest::collection::vec((index, provenances(), terms), 0..=most).prop_map(move |rows| {
        let mut held: BTreeSet<Membership> = BTreeSet::new();
        for (index, provenance, (expires_at, granted_by)) in rows {
            let of = of[index.index(of.len())].clone();
            if held.iter().all(|other| !other.is_of(&of, &provenance)) {
                held.insert(Membership {
                    of,
                    provenance,
                    expires_at,
                    granted_by,
                });
            }
        }
        held
    })
}

fn user_of(shape: &Shape, at: usize, user: &Id) -> impl Strategy<Value = Entity> + use<> {
    let user = user.clone();
    let seats: Vec<Id> = ["core", "view_only", "partner"].map(id).to_vec();
    let partner = proptest::option::of((
        ids(),
        ids(),
        proptest::sample::select(PartnerRole::ALL),
        proptest::sample::select(Partnership::ALL),
    ));
    let resources: Vec<ResourceKey> = shape.resources.iter().map(key_of).collect();
    let object_grants = proptest::collection::btree_map(
        (
            proptest::sample::select(resources),
            proptest::sample::select(vec!["view", "edit"]),
            provenances(),
        ),
        (windows(), proptest::option::of(ids())),
        0..3,
    );
    let places = (
        one_of(&shape.teams),
        some_of(&shape.teams),
        some_of(&seats),
        some_of(&shape.sets),
    );
    let kinds = (
        proptest::sample::select(KEEPING.to_vec()),
        proptest::sample::select(UserKind::ALL),
        any::<[bool; 3]>(),
    );
    let rights = (
        memberships(&shape.teams, &shape.sets),
        grants(),
        object_grants,
    );
    let who = (proptest::option::of(ids()), emails());
    (places, kinds, who, partner, rights).prop_map(
        move |(
            (main_team, teams, seats, permission_sets),
            (status, kind, flags),
            (person, email),
            partner,
            (memberships, grants, objects),
        )| {
            Entity::User(User {
                id: user.clone(),
                status,
                kind,
                account_owner: flags[0] && at == 0,
                super_admin: flags[1],
                partner_admin: flags[2],
                main_team,
                teams,
                seats,
                person,
                email,
                partner: partner.map(|(account, user, role, partnership)| Partner {
                    account,
                    user,
                    role,
                    partnership,
                }),
                permission_sets,
                // A document says of no plain set who gave it.
                set_givers: BTreeMap::new(),
                memberships,
                grants,
                object_grants: objects
                    .into_iter()
                    .map(
                        |(
                            (resource, action, provenance),
                            ((not_before, expires_at), granted_by),
                        )| ObjectGrant {
                            resource,
                            action: id(action),
                            not_before,
                            expires_at,
                            provenance,
                            granted_by,
                        },
                    )
                    .collect(),
            })
        },
    )
}
