//! References within one list, and what comes to nothing.
#![cfg(test)]

use super::super::super::model::{Attributes, Entity, EntityChange, EntityKey, Level};
use super::super::Change;
use super::{
    account, after, assign, dangling, grants, group, hubspot, id, ids, member, object_grant,
    planned, refused, resource, resource_key, resource_with, segment, team, the_user, unassign,
    unchanged, user, user_with,
};

#[test]
fn a_reference_may_come_before_what_it_refers_to() {
    let graph = after(
        None,
        &[
            resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
            grants("u", "email.edit", Level::Team),
            user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
            team("de", Some("eu")),
            team("eu", None),
            account("hubspot", "enterprise"),
        ],
    );
    assert_eq!(the_user(&graph, "u").grants.len(), 1);
    assert_eq!(graph.team("de").expect("the team").parent, Some(id("eu")));
}

/// A change, the field that it is refused for, and what is missing.
type DanglingCase = (Change, &'static str, &'static str, &'static str);

fn assert_dangling(cases: Vec<DanglingCase>) {
    let graph = hubspot(&[
        user("u"),
        group("g"),
        resource("email/e1"),
        team("de", None),
    ]);
    for (change, field, what, missing) in cases {
        let refusal = refused(&graph, &[team("eu", None), change]);
        assert_eq!(refusal, (1, field.to_owned(), dangling(what, missing)));
    }
}

#[test]
fn each_dangling_reference_of_users_and_groups_names_its_change_and_field() {
    let cases: Vec<DanglingCase> = vec![
        (team("a", Some("x")), "team.parent", "team", "x"),
        (
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            "user.main_team",
            "team",
            "x",
        ),
        (
            user_with("u", |patch| patch.teams = Some(ids("de x"))),
            "user.teams",
            "team",
            "x",
        ),
        (
            user_with("u", |patch| patch.permission_sets = Some(ids("x"))),
            "user.permission_sets",
            "permission set",
            "x",
        ),
        (
            grants("x", "email.edit", Level::Team),
            "grants.user",
            "user",
            "x",
        ),
        (
            object_grant("u", "email/x", "edit"),
            "object_grant.resource",
            "resource",
            "email/x",
        ),
        (
            object_grant("x", "email/e1", "edit"),
            "object_grant.user",
            "user",
            "x",
        ),
        (
            member("x", "user:u", "view"),
            "group_member.group",
            "access group",
            "x",
        ),
        (
            member("g", "user:x", "view"),
            "group_member.principal",
            "user",
            "x",
        ),
    ];
    assert_dangling(cases);
}

#[test]
fn each_dangling_reference_of_resources_and_segments_names_its_change_and_field() {
    let cases: Vec<DanglingCase> = vec![
        (
            resource_with("email/e1", |patch| patch.owners = Some(ids("u x"))),
            "resource.owners",
            "user",
            "x",
        ),
        (
            resource_with("email/e1", |patch| patch.owning_team = Some(Some(id("x")))),
            "resource.owning_team",
            "team",
            "x",
        ),
        (
            assign("email/x", "user:u"),
            "assignment.resource",
            "resource",
            "email/x",
        ),
        (
            unassign("email/x", "user:u"),
            "delete_assignment.resource",
            "resource",
            "email/x",
        ),
        (
            assign("email/e1", "group:x"),
            "assignment.principal",
            "access group",
            "x",
        ),
        (
            segment("s", "user:u team:x"),
            "segment.assign_to",
            "team",
            "x",
        ),
    ];
    assert_dangling(cases);
}

#[test]
fn a_reference_that_a_later_change_takes_back_is_no_error() {
    let graph = hubspot(&[]);
    let graph = after(
        Some(&graph),
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            user_with("u", |patch| patch.main_team = Some(None)),
        ],
    );
    assert_eq!(the_user(&graph, "u").main_team, None);
    let refusal = refused(
        &graph,
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            user_with("u", |patch| {
                patch.main_team = Some(None);
                patch.teams = Some(ids("x"));
            }),
        ],
    );
    assert_eq!(refusal, (1, "user.teams".to_owned(), dangling("team", "x")));
}

#[test]
fn a_reference_to_what_the_list_deletes_later_is_dropped_and_one_made_after_is_refused() {
    let graph = hubspot(&[team("de", None)]);
    let refer = || user_with("u", |patch| patch.teams = Some(ids("de")));
    let delete = || Change::DeleteTeam(id("de"));
    let dropped = after(Some(&graph), &[refer(), delete()]);
    assert!(the_user(&dropped, "u").teams.is_empty());
    let refusal = refused(&graph, &[delete(), refer()]);
    assert_eq!(
        refusal,
        (1, "user.teams".to_owned(), dangling("team", "de"))
    );
    let again = after(Some(&graph), &[delete(), refer(), team("de", None)]);
    assert_eq!(the_user(&again, "u").teams, ids("de"));
}

#[test]
fn what_comes_out_as_it_was_is_left_out() {
    let changes = [
        team("eu", None),
        team("de", Some("eu")),
        user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
        grants("u", "email.edit", Level::Team),
        group("g"),
        member("g", "team:de", "view edit"),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
        assign("email/e1", "team:de"),
        object_grant("u", "email/e1", "edit"),
        segment("s", "group:g"),
    ];
    let graph = hubspot(&changes);
    unchanged(&graph, &changes);
    unchanged(
        &graph,
        &[
            Change::DeleteTeam(id("nobody")),
            Change::DeleteUser(id("nobody")),
            Change::DeletePermissionSet(id("nobody")),
            Change::DeleteAccessGroup(id("nobody")),
            Change::DeleteSegment(id("nobody")),
            Change::DeleteResource(resource_key("email/nothing")),
            unassign("email/e1", "user:u"),
        ],
    );
    // Made and deleted in one list is nothing.
    unchanged(&graph, &[team("x", None), Change::DeleteTeam(id("x"))]);
    // Put away and back is nothing either.
    unchanged(&graph, &[team("de", None), team("de", Some("eu"))]);
}

#[test]
fn later_changes_win() {
    let graph = hubspot(&[
        user("u"),
        grants("u", "email.edit", Level::Everything),
        grants("u", "email.edit", Level::Owned),
    ]);
    let held: Vec<Level> = the_user(&graph, "u")
        .grants
        .iter()
        .map(|grant| grant.level)
        .collect();
    assert_eq!(held, [Level::Owned]);
}

#[test]
fn the_summary_names_what_changes() {
    let graph = hubspot(&[team("de", None), user("u"), user("v")]);
    let set = planned(
        Some(&graph),
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
            Change::DeleteUser(id("v")),
            resource("email/e1"),
        ],
    )
    .expect("changes");
    let lines: Vec<(&str, EntityKey, Vec<&str>)> = set
        .summary
        .into_iter()
        .map(|line| (line.verb, line.entity, line.fields))
        .collect();
    assert_eq!(
        lines,
        [
            ("update", EntityKey::User(id("u")), vec!["main_team"]),
            (
                "create",
                EntityKey::Resource(resource_key("email/e1")),
                vec![]
            ),
            ("delete", EntityKey::User(id("v")), vec![]),
        ]
    );
}

#[test]
fn attributes_that_are_stored_so_are_no_change() {
    let attributes = |score: i64| {
        let mut attributes = Attributes::new();
        attributes.insert("score".to_owned(), score.into());
        attributes
    };
    let put = |key: &str, score: i64| {
        resource_with(key, |patch| patch.attributes = Some(attributes(score)))
    };
    let graph = hubspot(&[put("contact/a", 1), put("contact/b", 1)]);
    let changes = [
        put("contact/a", 1),
        put("contact/b", 2),
        put("contact/c", 3),
    ];
    let mut set = planned(Some(&graph), &changes).expect("changes");
    let stored = [resource_key("contact/a"), resource_key("contact/b")];
    assert_eq!(set.attribute_keys(), stored);
    set.settle_attributes(
        stored
            .iter()
            .map(|key| (key.clone(), attributes(1)))
            .collect(),
    );
    let left: Vec<EntityKey> = set.summary.iter().map(|line| line.entity.clone()).collect();
    assert_eq!(
        left,
        ["contact/b", "contact/c"].map(|key| EntityKey::Resource(resource_key(key)))
    );
    assert_eq!(set.changes.len(), 2);
    // A resource that is deleted and made again doesn't find its old attributes.
    let again = [
        Change::DeleteResource(resource_key("contact/a")),
        resource("contact/a"),
    ];
    let mut set = planned(Some(&graph), &again).expect("changes");
    set.settle_attributes(vec![(resource_key("contact/a"), attributes(1))]);
    let EntityChange::Put(Entity::Resource(_, stored)) = &set.changes[0] else {
        panic!("the resource is put: {set:?}");
    };
    assert_eq!(*stored, Some(Attributes::new()));
}
