//! A look before the leap: what changes would do to access, on an account that is small enough to see
//! what must come out. That it is exact is shown on random accounts (`properties/differences.rs`).

mod dry_runs;
mod program;
mod watching;
mod wire;

use std::ops::ControlFlow;

use ambit::authz::change::{Change, plan};
use ambit::authz::difference::{Halted, Work};
use ambit::authz::document::parse_file;
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{Id, Principal, Provenance, ResourceKey, Timestamp};
use ambit::authz::preview::{Preview, WORK_MAX, preview};

/// Teams eu > de, us; de1 and de2 in de, eu1 in eu, us1 in us. c1 and c2 are de1's, c3 is us1's, e1 is
/// walled to de.
const ACCOUNT: &str = "
account: acme
catalog: hubspot
plan: enterprise
teams:
  - {id: eu}
  - {id: de, parent: eu}
  - {id: us}
users:
  - {id: sa, super_admin: true}
  - {id: eu1, main_team: eu, grants: {contact.view: team, email.view: everything}}
  - {id: de1, main_team: de, grants: {contact.edit: team, email.edit: team}}
  - {id: de2, main_team: de, grants: {contact.view: owned}}
  - {id: us1, main_team: us, grants: {contact.view: team, email.view: everything}}
resources:
  - {type: contact, id: c1, owners: [de1]}
  - {type: contact, id: c2, owners: [de1]}
  - {type: contact, id: c3, owners: [us1]}
  - {type: email, id: e1, owners: [de1], assigned_to: ['team:de']}
  - {type: email, id: e2, assigned_to: [{to: 'team:us', expires_at: '2026-12-24T00:00:00Z'}]}
";

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn contact(name: &str) -> ResourceKey {
    ResourceKey {
        resource_type: id("contact"),
        id: id(name),
    }
}

fn none(path: &str) -> Result<String, String> {
    Err(format!("no file {path}"))
}

fn account() -> AccountGraph {
    let documents = parse_file(ACCOUNT, &mut none).unwrap_or_else(|error| panic!("{error}"));
    let mut builder = GraphBuilder::default();
    for entity in documents[0].to_account().unwrap() {
        builder.push(entity);
    }
    builder.finish().unwrap()
}

/// The changes of a document on the account.
fn changes(document: &str) -> Vec<Change> {
    let document = format!("account: acme\n{document}");
    let documents = parse_file(&document, &mut none).unwrap_or_else(|error| panic!("{error}"));
    documents[0].to_changes(None, false).unwrap()
}

fn after(graph: &AccountGraph, changes: &[Change]) -> AccountGraph {
    let planned = plan(&id("acme"), Some(graph), changes).unwrap();
    graph.apply(&planned.changes).unwrap()
}

fn looked_at(changes: &[Change], when: &str) -> (Preview, AccountGraph) {
    let graph = account();
    let after = after(&graph, changes);
    let mut go_on = || ControlFlow::Continue(());
    let mut work = Work::new(WORK_MAX, &mut go_on);
    let found = preview(Some(&graph), &after, at(when), &mut work).unwrap();
    (found, after)
}

const NOW: &str = "2026-11-30T00:00:00Z";

/// As `us1 contact.view +2 -0`, with the samples.
fn lines(found: &Preview) -> Vec<String> {
    let ids = |sample: &[Id]| sample.iter().map(Id::as_str).collect::<Vec<_>>().join(",");
    let differences = found.differences.iter().map(|one| {
        format!(
            "{} {}.{} +{} [{}] -{} [{}]",
            one.user,
            one.resource_type,
            one.action,
            one.gained,
            ids(&one.gained_sample),
            one.lost,
            ids(&one.lost_sample)
        )
    });
    differences.collect()
}

#[test]
fn s2_8_a_team_that_moves_takes_its_records_to_its_new_parent() {
    let (found, _) = looked_at(&changes("teams: [{id: de, parent: us}]"), NOW);
    assert_eq!(
        lines(&found),
        [
            "eu1 contact.view +0 [] -2 [c1,c2]",
            "eu1 email.view +0 [] -1 [e1]",
            "us1 contact.view +2 [c1,c2] -0 []",
            "us1 email.view +1 [e1] -0 []",
        ]
    );
    // Nobody's tools change, and nothing is orphaned by it.
    assert!(found.tools.is_empty() && found.orphaned.is_empty());
    // eu1 had these and no others; us1 sees a contact of its own already, and an email.
    let locked_out: Vec<_> = found
        .locked_out
        .iter()
        .map(|one| format!("{} {}", one.user, one.resource_type))
        .collect();
    assert_eq!(locked_out, ["eu1 contact", "eu1 email"]);
    assert_eq!(found.locked_in, []);
    let totals: Vec<_> = found
        .totals
        .iter()
        .map(|one| {
            (
                one.resource_type.as_str(),
                one.action.as_str(),
                one.users_gaining,
                one.gained,
                one.users_losing,
                one.lost,
            )
        })
        .collect();
    assert_eq!(
        totals,
        [
            ("contact", "view", 1, 2, 1, 2),
            ("email", "view", 1, 1, 1, 1)
        ]
    );
}

#[test]
fn d9_a_user_who_is_deactivated_loses_every_tool_and_record() {
    let (found, _) = looked_at(&changes("users: [{id: us1, status: deactivated}]"), NOW);
    assert_eq!(
        lines(&found),
        [
            "us1 contact.view +0 [] -1 [c3]",
            "us1 email.view +0 [] -1 [e2]"
        ]
    );
    let tools: Vec<_> = found
        .tools
        .iter()
        .map(|tool| {
            let allows = |decision: Option<ambit::authz::decision::Decision>| {
                decision.is_some_and(|one| one.is_allow())
            };
            format!(
                "{} {}.{} {} {}",
                tool.user,
                tool.resource_type,
                tool.action,
                allows(tool.before),
                allows(tool.after)
            )
        })
        .collect();
    assert_eq!(
        tools,
        ["us1 contact.view true false", "us1 email.view true false"]
    );
    assert_eq!(found.locked_out.len(), 2);
}

#[test]
fn p11_a_team_that_is_deleted_leaves_its_resources_to_their_owners() {
    let (found, after) = looked_at(&[Change::DeleteTeam(id("de"))], NOW);
    let orphans: Vec<_> = found
        .orphans(&after)
        .map(|orphan| (orphan.resource_type.as_str(), orphan.id, orphan.owners))
        .collect();
    assert_eq!(orphans, [("email", "e1", vec![&id("de1")])]);
    assert_eq!(
        (found.orphaned_total(), found.orphaned_with_owner_total()),
        (1, 1)
    );
    // Children go to the parent, but these were members: what de1 owns is no team's any more.
    assert!(
        lines(&found).contains(&"eu1 contact.view +0 [] -2 [c1,c2]".to_owned()),
        "{:?}",
        lines(&found)
    );
}

#[test]
fn p1_the_first_assignment_closes_a_resource_for_everyone_else() {
    let wall = "resources: [{type: contact, id: c3, assigned_to: ['team:de']}]";
    let (found, _) = looked_at(&changes(wall), NOW);
    // us1 owns it, and so keeps it.
    assert_eq!(
        lines(&found),
        [
            "de1 contact.edit +1 [c3] -0 []",
            "de1 contact.view +1 [c3] -0 []",
            "eu1 contact.view +1 [c3] -0 []",
        ]
    );
    let open = Change::PutAssignment {
        resource: contact("c1"),
        principal: Principal::Team(id("us")),
        provenance: Provenance::Manual,
        expires_at: None,
    };
    let (found, _) = looked_at(&[open], NOW);
    assert_eq!(
        lines(&found),
        [
            "eu1 contact.view +0 [] -1 [c1]",
            "us1 contact.view +1 [c1] -0 []",
        ]
    );
}

#[test]
fn an_expiry_that_has_passed_by_then_is_seen_then() {
    // The email is us1's to see until Christmas Eve; what is taken from us1 after that is nothing.
    let wall = [Change::DeleteAssignment {
        resource: ResourceKey {
            resource_type: id("email"),
            id: id("e2"),
        },
        principal: Principal::Team(id("us")),
        provenance: Provenance::Manual,
    }];
    let (now, _) = looked_at(&wall, NOW);
    let (then, _) = looked_at(&wall, "2027-01-01T00:00:00Z");
    let of_us1 = |found: &Preview| -> Vec<String> {
        let lines = lines(found).into_iter();
        lines.filter(|line| line.starts_with("us1")).collect()
    };
    assert_eq!(of_us1(&now), ["us1 email.view +0 [] -1 [e2]"]);
    assert_eq!(now.orphaned_total(), 1);
    assert!(then.is_empty(), "{then:?}");
}

#[test]
fn what_changes_no_access_is_told_as_nothing() {
    let (found, _) = looked_at(
        &changes("resources: [{type: contact, id: c1, attributes: {city: Bonn}}]"),
        NOW,
    );
    assert!(found.is_empty(), "{found:?}");
    // The control: an owner more is not nothing.
    let (found, _) = looked_at(
        &changes("resources: [{type: contact, id: c1, owners: [de1, us1]}]"),
        NOW,
    );
    assert_eq!(lines(&found), ["us1 contact.view +1 [c1] -0 []"]);
}

#[test]
fn a_bound_of_work_is_an_error_and_a_reader_that_goes_away_ends_it() {
    let graph = account();
    let after = after(&graph, &changes("teams: [{id: de, parent: us}]"));
    let mut go_on = || ControlFlow::Continue(());
    let few = preview(
        Some(&graph),
        &after,
        at(NOW),
        &mut Work::new(100, &mut go_on),
    );
    assert_eq!(few.unwrap_err(), Halted::TooMuchWork { limit: 100 });
    // Pauses come by work done, so a comparison that is too small for one never stops.
    let mut stop = || ControlFlow::Break(());
    let small = preview(
        Some(&graph),
        &after,
        at(NOW),
        &mut Work::new(WORK_MAX, &mut stop),
    );
    assert!(small.is_ok());
}
