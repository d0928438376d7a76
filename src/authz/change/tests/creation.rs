//! P10, C5: new resources of types that are kept to their creator and the creator's team.
#![cfg(test)]

use super::super::super::graph::AccountGraph;
use super::super::super::model::UnpartitionedDefault;
use super::super::{AccountPatch, Change, ChangeProblem};
use super::{
    account_plan, after, assign, hubspot, id, partitioned, refused, resource, resource_key,
    resource_with, team, user, user_with,
};

fn kept(resource_type: &str) -> Change {
    Change::PutAccount(AccountPatch {
        unpartitioned: vec![(
            id(resource_type),
            Some(UnpartitionedDefault::CreatorAndTeam),
        )],
        ..AccountPatch::default()
    })
}

fn made_by(key: &str, creator: &str) -> Change {
    resource_with(key, |patch| patch.creator = Some(id(creator)))
}

fn in_team(name: &str, of: &str) -> Change {
    user_with(name, |patch| patch.main_team = Some(Some(id(of))))
}

fn rows(graph: &AccountGraph, key: &str) -> (bool, Vec<String>) {
    let resource = graph.resource(&resource_key(key)).expect("the resource");
    let rows = resource.assignments.iter();
    let rows = rows.map(|row| format!("{} {}", row.principal, row.provenance));
    (resource.partitioned, rows.collect())
}

fn own(user: &str, team: &str) -> (bool, Vec<String>) {
    let rows = [
        format!("user:{user} default"),
        format!("team:{team} default"),
    ];
    (true, rows.into())
}

#[test]
fn p10_new_content_is_kept_to_its_creator_and_the_creators_main_team() {
    let graph = hubspot(&[
        kept("email"),
        team("de", None),
        in_team("ann", "de"),
        user("bob"),
    ]);
    let graph = after(
        Some(&graph),
        &[
            made_by("email/e1", "ann"),
            made_by("email/e2", "bob"),
            // Without a creator nobody is known to keep it to, and of other types nothing is said.
            resource("email/e3"),
            made_by("form/f1", "ann"),
        ],
    );
    assert_eq!(rows(&graph, "email/e1"), own("ann", "de"));
    let bob = (true, vec!["user:bob default".to_owned()]);
    assert_eq!(rows(&graph, "email/e2"), bob);
    assert_eq!(rows(&graph, "email/e3"), (false, vec![]));
    assert_eq!(rows(&graph, "form/f1"), (false, vec![]));
}

#[test]
fn p10_the_setting_is_not_retroactive_and_a_change_of_a_resource_is_no_creation() {
    let graph = hubspot(&[team("de", None), in_team("ann", "de"), resource("email/e1")]);
    let graph = after(Some(&graph), &[kept("default"), made_by("email/e1", "ann")]);
    assert_eq!(rows(&graph, "email/e1"), (false, vec![]));
    // Deleted and made again it is new.
    let again = [
        Change::DeleteResource(resource_key("email/e1")),
        made_by("email/e1", "ann"),
    ];
    let graph = after(Some(&graph), &again);
    assert_eq!(rows(&graph, "email/e1"), own("ann", "de"));
    // Switched off again, what was made meanwhile stays as it is.
    let off = Change::PutAccount(AccountPatch {
        unpartitioned: vec![(id("default"), None)],
        ..AccountPatch::default()
    });
    let graph = after(Some(&graph), &[off, made_by("email/e2", "ann")]);
    assert_eq!(rows(&graph, "email/e1"), own("ann", "de"));
    assert_eq!(rows(&graph, "email/e2"), (false, vec![]));
}

#[test]
fn p10_whoever_says_something_of_the_partition_has_said_enough() {
    let graph = hubspot(&[kept("default"), team("de", None), in_team("ann", "de")]);
    let graph = after(
        Some(&graph),
        &[
            made_by("email/e1", "ann"),
            assign("email/e1", "team:de"),
            made_by("email/e2", "ann"),
            partitioned("email/e2", false),
            made_by("email/e3", "ann"),
            partitioned("email/e3", true),
        ],
    );
    let manual = (true, vec!["team:de manual".to_owned()]);
    assert_eq!(rows(&graph, "email/e1"), manual);
    assert_eq!(rows(&graph, "email/e2"), (false, vec![]));
    assert_eq!(rows(&graph, "email/e3"), (true, vec![]));
}

#[test]
fn p10_a_type_that_the_plan_does_not_let_be_partitioned_has_no_such_default() {
    let graph = hubspot(&[kept("default"), user("ann"), account_plan("professional")]);
    let made = [made_by("email/e1", "ann"), made_by("contact/c1", "ann")];
    let graph = after(Some(&graph), &made);
    assert_eq!(rows(&graph, "email/e1"), (false, vec![]));
    assert!(rows(&graph, "contact/c1").0);
}

#[test]
fn p10_a_creator_must_be_there_at_the_end_of_the_list() {
    let graph = hubspot(&[kept("default"), team("de", None)]);
    let (index, field, problem) = refused(&graph, &[user("bob"), made_by("email/e1", "ann")]);
    assert_eq!((index, field.as_str()), (1, "resource.creator"));
    assert!(matches!(problem, ChangeProblem::Dangling { .. }));
    let later = [made_by("email/e1", "ann"), in_team("ann", "de")];
    let graph = after(Some(&graph), &later);
    assert_eq!(rows(&graph, "email/e1"), own("ann", "de"));
}
