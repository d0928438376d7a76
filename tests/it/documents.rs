//! Account documents: every example of the project is one, its cases hold, and what is exported
//! comes back as it was.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::change::{self, Change};
use ambit::authz::document::{Cases, Document, export, parse_file};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    AccessGroup, Account, Assignment, Attributes, CatalogRef, Entity, EntityChange, Grant, Id,
    Level, ObjectGrant, PartitionMode, Partner, PartnerProgram, PartnerRole, Partnership,
    PermissionKey, PermissionSet, Principal, Provenance, Resource, ResourceKey, Segment, Settings,
    Team, Timestamp, UnpartitionedDefault, User, UserKind, UserStatus,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn now() -> Timestamp {
    Timestamp::parse("2026-11-22T00:00:00Z").unwrap()
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// Documents of a text that names no catalog files.
fn documents(text: &str) -> Vec<Document> {
    parse_file(text, &mut |path| Err(format!("no file {path}")))
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn document(text: &str) -> Document {
    let mut documents = documents(text);
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Runs every case, and lists all that fail at once.
fn check_cases(origin: &str, text: &str) -> usize {
    let mut ran = 0;
    let mut failures = Vec::new();
    for document in documents(text) {
        let cases = Cases::new(&document).unwrap_or_else(|error| panic!("{origin}: {error}"));
        for result in cases.run_all(now()) {
            ran += 1;
            if !result.passed {
                failures.push(format!(
                    "{}: {}\n  expected {}\n  actual   {}\n  {}",
                    result.place,
                    result.name,
                    result.expected,
                    result.actual,
                    result.explanation.unwrap_or_default()
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{origin}: {} of {ran} cases fail\n{}",
        failures.len(),
        failures.join("\n")
    );
    ran
}

/// An account as a store would hold it: entities by key.
#[derive(Debug, Clone, Default, PartialEq)]
struct Stored(BTreeMap<String, Entity>);

impl Stored {
    fn of(entities: &[Entity]) -> Self {
        let keyed = |entity: &Entity| (format!("{:?}", entity.key()), entity.clone());
        Self(entities.iter().map(keyed).collect())
    }

    fn graph(&self) -> Option<AccountGraph> {
        let mut builder = GraphBuilder::default();
        self.0
            .values()
            .cloned()
            .for_each(|entity| builder.push(entity));
        (!self.0.is_empty()).then(|| builder.finish().unwrap())
    }

    fn entities(&self) -> Vec<Entity> {
        self.0.values().cloned().collect()
    }

    fn resource(&self, key: &str) -> &Resource {
        match self.0.values().find(|entity| match entity {
            Entity::Resource(resource, _) => resource.key.to_string() == key,
            _ => false,
        }) {
            Some(Entity::Resource(resource, _)) => resource,
            _ => panic!("no resource {key}"),
        }
    }

    fn user(&self, name: &str) -> &User {
        match self.0.values().find(|entity| match entity {
            Entity::User(user) => user.id.as_str() == name,
            _ => false,
        }) {
            Some(Entity::User(user)) => user,
            _ => panic!("no user {name}"),
        }
    }

    fn change(&mut self, account: &Id, changes: &[Change]) {
        let planned = change::plan(account, self.graph().as_ref(), changes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", changes.get(error.index)));
        for change in planned.changes {
            match change {
                EntityChange::Put(entity) => {
                    let key = format!("{:?}", entity.key());
                    // `None` leaves stored attributes as they are.
                    let entity = match (entity, self.0.remove(&key)) {
                        (Entity::Resource(new, None), Some(Entity::Resource(_, old))) => {
                            Entity::Resource(new, old)
                        }
                        (entity, _) => entity,
                    };
                    self.0.insert(key, entity);
                }
                EntityChange::Delete(key) => drop(self.0.remove(&format!("{key:?}"))),
            }
        }
    }

    fn apply(&mut self, text: &str, prune: bool) {
        for document in documents(text) {
            let current = self.entities();
            let current = (!current.is_empty()).then_some(current.as_slice());
            let changes = document.to_changes(current, prune).unwrap();
            self.change(document.account_id(), &changes);
        }
    }
}

#[test]
fn every_case_of_the_project_holds() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for folder in ["tests/cases", "examples/demo"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let ran = check_cases(&path.display().to_string(), &text);
                assert!(ran > 0, "{} has no cases", path.display());
                files += 1;
            }
        }
    }
    assert!(files >= 2);
}

const SMALL: &str = "
account: acme
catalog: hubspot
plan: enterprise
settings: {unpartitioned: {dashboard: no_one}, request_ttl: 7d}
teams: [{id: eu}, {id: de, parent: eu}]
permission_sets:
  - {id: rep, grants: {contact.view: team}}
users:
  - {id: sa, super_admin: true}
  - id: u
    main_team: de
    seats: [core]
    permission_sets: [rep]
    grants:
      contact.view: owned
      email.edit:
        - team
        - {level: everything, expires_at: 2027-01-01T00:00:00Z, provenance: request:7, granted_by: sa}
    object_grants:
      - {resource: contact/c1, action: view}
access_groups:
  - {id: vip, members: [{team: de, actions: [view]}, {team: de, actions: [edit]}, {user: u}]}
resources:
  - {type: contact, id: c1, owners: [u], assigned_to: [team:de, {to: group:vip, provenance: import:j}]}
  - {type: contact, id: c2, attributes: {category: lead}}
segments:
  - {id: s, type: contact, when: 'resource.score > 1', assign_to: [group:vip]}
";

#[test]
fn a_document_of_its_own_gets_its_defaults() {
    let entities = document(SMALL).to_account().unwrap();
    let stored = Stored::of(&entities);
    assert!(stored.resource("contact/c1").partitioned);
    assert!(!stored.resource("contact/c2").partitioned);
    let Some(Entity::AccessGroup(group)) = entities
        .iter()
        .find(|entity| matches!(entity, Entity::AccessGroup(_)))
    else {
        panic!("no group");
    };
    // A principal that is listed twice has both masks; a mask left out is S5.8's.
    let mask = |principal: Principal| {
        group.members[&principal]
            .iter()
            .map(Id::as_str)
            .collect::<Vec<_>>()
    };
    assert_eq!(mask(Principal::Team(id("de"))), ["edit", "view"]);
    assert_eq!(
        mask(Principal::User(id("u"))),
        ["communicate", "edit", "view"]
    );
    let Some(Entity::Account(account)) = entities.first() else {
        panic!("the account comes first");
    };
    assert!(account.payment_method_valid);
    assert_eq!(account.settings.request_ttl_seconds, Some(7 * 86_400));
}

#[test]
fn applied_to_an_empty_store_a_document_is_what_it_is_alone() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    let alone = document(SMALL).to_account().unwrap();
    assert_eq!(
        without_empty_attributes(&stored.entities()),
        without_empty_attributes(&alone)
    );
    // Applied twice it changes nothing.
    let before = stored.clone();
    stored.apply(SMALL, true);
    assert_eq!(stored, before);
}

/// Absent and empty attributes say the same.
fn without_empty_attributes(entities: &[Entity]) -> Stored {
    let mut stored = Stored::of(entities);
    for entity in stored.0.values_mut() {
        if let Entity::Resource(_, attributes) = entity
            && attributes.as_ref().is_some_and(Attributes::is_empty)
        {
            *attributes = None;
        }
    }
    stored
}

#[test]
fn apply_leaves_what_a_document_does_not_name() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    let before = stored.clone();
    stored.apply(
        "
account: acme
settings: {unpartitioned: {email: no_one}}
users: [{id: u, grants: {contact.view: team, deal.view: owned}}]
resources: [{type: contact, id: c1, assigned_to: []}]
",
        false,
    );
    let user = stored.user("u");
    assert_eq!(user.main_team, Some(id("de")));
    let grants: Vec<String> = user
        .grants
        .iter()
        .map(|grant| format!("{} {} {}", grant.key, grant.level, grant.provenance))
        .collect();
    assert_eq!(
        grants,
        [
            "contact.view team manual",
            "deal.view owned manual",
            "email.edit team manual",
            "email.edit everything request:7"
        ]
    );
    assert_eq!(stored.resource("contact/c1"), before.resource("contact/c1"));
    let Some(Entity::Account(account)) = stored.0.get("Account") else {
        panic!("no account");
    };
    assert_eq!(account.settings.unpartitioned.len(), 2);
    assert_eq!(account.settings.request_ttl_seconds, Some(7 * 86_400));
}

#[test]
fn prune_removes_what_a_document_does_not_name_but_no_field_and_no_wall() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    stored.apply(
        "
account: acme
users:
  - {id: sa}
  - id: u
    grants: {email.edit: team}
teams: [{id: de}]
access_groups: [{id: vip, members: [{user: u, actions: [view]}]}]
resources: [{type: contact, id: c1}]
",
        true,
    );
    let user = stored.user("u");
    assert_eq!(user.main_team, Some(id("de")));
    assert_eq!(user.grants.len(), 1);
    assert!(user.permission_sets.is_empty());
    assert!(user.object_grants.is_empty());
    assert!(stored.user("sa").super_admin);
    let resource = stored.resource("contact/c1");
    assert!(resource.partitioned && resource.assignments.is_empty());
    assert_eq!(resource.owners, BTreeSet::from([id("u")]));
    let kinds: Vec<&str> = stored
        .0
        .keys()
        .map(|key| key.split('(').next().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["AccessGroup", "Account", "Resource", "Team", "User", "User"]
    );
}

#[test]
fn partitioned_false_unpartitions() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    stored.apply(
        "{account: acme, resources: [{type: contact, id: c1, partitioned: false}]}",
        false,
    );
    let resource = stored.resource("contact/c1");
    assert!(!resource.partitioned && resource.assignments.is_empty());
}

#[test]
fn what_is_given_holds_for_its_case_alone() {
    let text = format!(
        "{SMALL}
cases:
  - {{name: before, user: u, check: contact.view c1, expect: {{decision: allow, reason: OWNER}}}}
  - name: listed fields are replaced whole
    user: u
    check: contact.view c1
    given: {{users: [{{id: u, grants: {{}}, permission_sets: [], object_grants: []}}]}}
    expect: {{reason: NO_PERMISSION, requestable: tool}}
  - name: without assignments it is open again, since it never said that it is partitioned
    user: new
    check: contact.view c1
    given:
      users: [{{id: new, grants: {{contact.view: everything}}}}]
      resources: [{{type: contact, id: c1, owners: [], assigned_to: []}}]
    expect: {{reason: EVERYTHING}}
  - name: said to be partitioned it is an orphan
    user: new
    check: contact.view c1
    given:
      users: [{{id: new, grants: {{contact.view: everything}}}}]
      resources: [{{type: contact, id: c1, owners: [], assigned_to: [], partitioned: true}}]
    expect: {{reason: ORPHANED}}
  - name: settings are laid over key by key
    user: u
    check: dashboard.view d
    given:
      settings: {{unpartitioned: {{email: no_one}}}}
      users: [{{id: u, grants: {{dashboard.view: everything}}}}]
      resources: [{{type: dashboard, id: d}}]
    expect: {{reason: UNPARTITIONED_RESTRICTED}}
  - {{name: a new resource is listed, user: u, list: contact.view, given: {{resources: [{{type: contact, id: c9, owners: [u]}}]}}, expect: [c1, c9]}}
  - {{name: and in no other case, user: u, list: contact.view, expect: [c1]}}
  - {{name: who, who: contact.view c1, expect: [u, sa]}}
  - {{name: an unknown user is a question, user: ghost, check: contact.view c1, expect: {{reason: USER_UNKNOWN, presentation: none}}}}
  - {{name: and so is an unknown resource, user: sa, check: contact.view nothing here, expect: {{reason: RESOURCE_NOT_FOUND}}}}
"
    );
    assert_eq!(check_cases("given", &text), 10);
}

#[test]
fn a_wrong_expectation_fails_and_is_explained() {
    let text = format!(
        "{SMALL}
cases:
  - {{name: wrong reason, user: u, check: contact.view c1, expect: {{decision: allow, reason: TEAM}}}}
  - {{name: wrong set, user: u, list: contact.view, expect: [c1, c2]}}
  - {{name: wrong users, who: contact.view c2, expect: [u]}}
"
    );
    let document = document(&text);
    let results = Cases::new(&document).unwrap().run_all(now());
    assert!(results.iter().all(|result| !result.passed));
    let [reason, set, users] = results.as_slice() else {
        panic!("three cases");
    };
    assert_eq!(reason.expected, "decision: allow, reason: TEAM");
    assert_eq!(
        reason.actual,
        "decision: allow, reason: OWNER, requestable: none, presentation: none"
    );
    assert!(!reason.explanation.as_ref().unwrap().is_empty());
    assert_eq!(
        (set.expected.as_str(), set.actual.as_str()),
        ("[c1, c2]", "[c1]")
    );
    assert!(
        set.explanation
            .as_ref()
            .unwrap()
            .starts_with("missing: [c2]\nc2: ")
    );
    let explanation = users.explanation.as_ref().unwrap();
    assert!(explanation.contains("missing: [u]") && explanation.contains("unexpected: [sa]"));
}

#[test]
fn c12_a_downgraded_account_is_exported_as_two_documents() {
    let mut stored = Stored::default();
    stored.apply(
        "
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: de}]
resources: [{type: email, id: e1, assigned_to: [team:de]}]
---
{account: acme, plan: free}
",
        false,
    );
    let text = export(&stored.entities()).unwrap();
    assert_eq!(documents(&text).len(), 2);
    let mut again = Stored::default();
    again.apply(&text, false);
    assert_eq!(again, stored);
}

#[test]
fn a_catalog_of_ones_own_is_exported_with_the_account() {
    let catalog = "catalog: tiny\nversion: 1\nplans: {only: {partitions: [doc]}}\ntypes:\n  - names: [doc]\n    actions: [view, edit]\n\n# The end.\n";
    for text in [
        catalog.to_owned(),
        format!("\n  # indented\n{catalog}\n\n"),
        catalog.replace('\n', "\r\n"),
    ] {
        let file = "{account: a, catalog: ./my.yaml, plan: only, resources: [{type: doc, id: d}]}";
        let parsed = parse_file(file, &mut |path| {
            assert_eq!(path, "./my.yaml");
            Ok(text.clone())
        })
        .unwrap();
        let mut stored = Stored::default();
        let changes = parsed[0].to_changes(None, false).unwrap();
        stored.change(&id("a"), &changes);
        let exported = export(&stored.entities()).unwrap();
        let mut again = Stored::default();
        again.apply(&exported, false);
        assert_eq!(again, stored, "{exported}");
        let Some(Entity::Account(account)) = again.0.get("Account") else {
            panic!("no account");
        };
        assert_eq!(account.catalog, CatalogRef::Custom(text.as_str().into()));
    }
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
    let fields = proptest::collection::vec((prop_oneof![".{1,6}", "x{1100}"], value), 1..4);
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

fn accounts() -> impl Strategy<Value = Vec<Entity>> {
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
            ".{1,20}",
            proptest::sample::subsequence(targets.clone(), 1..=targets.len()),
            any::<bool>(),
        )
            .prop_map(|(id_, when, assign_to, enabled)| {
                Entity::Segment(Segment {
                    id: id_,
                    resource_type: id("contact"),
                    when,
                    assign_to: assign_to.into_iter().collect(),
                    enabled,
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
    let rights = (grants(), object_grants);
    (places, kinds, proptest::option::of(ids()), partner, rights).prop_map(
        move |(
            (main_team, teams, seats, permission_sets),
            (status, kind, flags),
            person,
            partner,
            (grants, objects),
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
                partner: partner.map(|(account, user, role, partnership)| Partner {
                    account,
                    user,
                    role,
                    partnership,
                }),
                permission_sets,
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// `ambit export` followed by `ambit apply` into an empty store gives an equal account, and
    /// exporting that gives the same text.
    #[test]
    fn what_is_exported_and_applied_is_equal(entities in accounts()) {
        let original = without_empty_attributes(&entities);
        let text = export(&entities).unwrap();
        let mut again = Stored::default();
        again.apply(&text, false);
        let again = without_empty_attributes(&again.entities());
        for (key, entity) in &original.0 {
            prop_assert_eq!(again.0.get(key), Some(entity));
        }
        prop_assert_eq!(again.0.len(), original.0.len());
        prop_assert_eq!(export(&original.entities()).unwrap(), export(&again.entities()).unwrap());
    }
}
