//! Account documents: every example of the project is one, its cases hold, and what is exported
//! comes back as it was.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::catalog::Catalog;
use ambit::authz::change::{self, Change};
use ambit::authz::document::{Cases, Document, export, parse_file};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    Attributes, CatalogRef, Entity, EntityChange, Id, Principal, Resource, Timestamp, User,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

mod random_account;

use random_account::accounts;

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
fn every_case_of_the_demo_holds() {
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let mut files = 0;
    for entry in std::fs::read_dir(demo).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(check_cases(&path.display().to_string(), &text) > 0);
        files += 1;
    }
    assert_eq!(files, 4);
}

#[test]
fn every_example_of_the_documentation_holds() {
    for name in ["account-document.md", "catalogs.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let blocks: Vec<&str> = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        let catalogs: Vec<&str> = blocks
            .iter()
            .copied()
            .filter(|block| block.starts_with("catalog:"))
            .collect();
        catalogs
            .iter()
            .for_each(|text| drop(Catalog::parse(text).unwrap_or_else(|error| panic!("{error}"))));
        let mut ran = 0;
        for block in blocks.iter().filter(|block| block.starts_with("account:")) {
            let mut load = |_: &str| {
                catalogs
                    .first()
                    .map(ToString::to_string)
                    .ok_or_else(String::new)
            };
            let parsed =
                parse_file(block, &mut load).unwrap_or_else(|error| panic!("{name}: {error}"));
            for document in parsed {
                for result in Cases::new(&document).unwrap().run_all(now()) {
                    assert!(result.passed, "{name}: {result:?}");
                    ran += 1;
                }
            }
        }
        assert!(ran > 0, "{name} has no cases");
    }
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
resources: [{type: contact, id: c1}]
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

/// An emptied list is emptied without `--prune` too; the wall stays (3.5).
#[test]
fn an_emptied_list_is_emptied_and_its_wall_stays() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    let document = document(
        "
account: acme
users: [{id: u, grants: {}, object_grants: []}]
resources: [{type: contact, id: c1, assigned_to: []}]
",
    );
    assert!(document.empties_a_list());
    let changes = document
        .to_changes(Some(&stored.entities()), false)
        .unwrap();
    stored.change(document.account_id(), &changes);
    let user = stored.user("u");
    assert!(user.grants.is_empty() && user.object_grants.is_empty());
    assert!(
        !user.permission_sets.is_empty(),
        "a list that is left out stays"
    );
    let resource = stored.resource("contact/c1");
    assert!(resource.partitioned && resource.assignments.is_empty());
    assert_eq!(resource.owners, BTreeSet::from([id("u")]));
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

/// Memberships are like object grants: those that are named are put, an empty list empties, and
/// `--prune` takes away what is not named.
#[test]
fn memberships_are_added_changed_emptied_and_pruned() {
    let mut stored = Stored::default();
    stored.apply(SMALL, false);
    let of_user = |memberships: &str, email: &str| {
        format!("account: acme\nusers: [{{id: u, memberships: [{memberships}]{email}}}]\n")
    };
    let held = |stored: &Stored| -> Vec<String> {
        let memberships = stored.user("u").memberships.clone();
        let end = |end: Option<Timestamp>| end.map_or("ever".to_owned(), |end| end.to_string());
        memberships
            .iter()
            .map(|held| {
                format!(
                    "{} {} {}",
                    held.of.id(),
                    held.provenance,
                    end(held.expires_at)
                )
            })
            .collect()
    };
    let first = "{team: eu}, {team: eu, provenance: request:7, expires_at: 2027-01-01T00:00:00Z}";
    stored.apply(&of_user(first, ", email: u@example.org"), false);
    stored.apply(
        &of_user(
            "{permission_set: rep, provenance: request:8, granted_by: sa}",
            "",
        ),
        false,
    );
    let longer = "{team: eu, provenance: request:7, expires_at: 2028-01-01T00:00:00Z}";
    stored.apply(&of_user(longer, ""), false);
    assert_eq!(
        held(&stored),
        [
            "eu manual ever",
            "eu request:7 2028-01-01T00:00:00Z",
            "rep request:8 ever"
        ]
    );
    // What is left out stays.
    stored.apply("account: acme\nusers: [{id: u, status: invited}]\n", false);
    assert_eq!(held(&stored).len(), 3);
    assert_eq!(stored.user("u").email.as_deref(), Some("u@example.org"));
    let pruned = SMALL.replace(
        "    seats: [core]\n",
        "    seats: [core]\n    memberships: [{team: eu}]\n",
    );
    let mut other = stored.clone();
    other.apply(&pruned, true);
    assert_eq!(held(&other), ["eu manual ever"]);
    let emptied = document(&of_user("", ", email: "));
    assert!(emptied.empties_a_list());
    let changes = emptied.to_changes(Some(&stored.entities()), false).unwrap();
    stored.change(emptied.account_id(), &changes);
    assert_eq!(held(&stored), Vec::<String>::new());
    assert_eq!(stored.user("u").email, None);
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
fn one_anchor_may_serve_many() {
    let mut text = String::from(
        "account: a\ncatalog: hubspot\nplan: free\nusers:\n  - {id: first, grants: &rep {contact.view: team, deal.view: owned}}\n",
    );
    for user in 0..2_000 {
        text.push_str(&format!("  - {{id: u{user}, grants: *rep}}\n"));
    }
    let entities = document(&text).to_account().unwrap();
    assert_eq!(entities.len(), 2_002);
    assert_eq!(Stored::of(&entities).user("u1999").grants.len(), 2);
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
