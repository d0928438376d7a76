//! Memberships that say why and until when, and mail addresses.
#![cfg(test)]

use super::super::super::model::{Timestamp, UserStatus};
use super::super::{Change, ChangeProblem, PERMISSION_SETS_OF_USER_MAX, TEAMS_OF_USER_MAX};
use super::{
    after, dangling, hubspot, id, ids, join, leave, planned, refused, team, the_user, unchanged,
    user, user_with,
};
use crate::authz::graph::AccountGraph;

fn account() -> AccountGraph {
    hubspot(&[
        team("eu", None),
        team("de", Some("eu")),
        Change::PutPermissionSet(id("rep")),
        user("u"),
    ])
}

/// Written `team:de request:7`, in order.
fn held(graph: &AccountGraph) -> Vec<String> {
    let memberships = the_user(graph, "u").memberships.iter();
    memberships
        .map(|held| format!("{}:{} {}", held.of.kind(), held.of.id(), held.provenance))
        .collect()
}

#[test]
fn one_membership_for_each_provenance_and_the_later_wins() {
    let graph = after(
        Some(&account()),
        &[
            join("u", "team:de", "manual", None),
            join("u", "team:de", "request:7", Some(5)),
            join("u", "team:de", "request:7", Some(9)),
            join("u", "permission_set:rep", "request:7", None),
        ],
    );
    assert_eq!(
        held(&graph),
        [
            "team:de manual",
            "team:de request:7",
            "permission_set:rep request:7"
        ]
    );
    let ends: Vec<_> = the_user(&graph, "u")
        .memberships
        .iter()
        .filter_map(|held| held.expires_at)
        .map(Timestamp::unix_micros)
        .collect();
    assert_eq!(ends, [9]);
    // Twice is once, and the fields that change are told.
    unchanged(&graph, &[join("u", "team:de", "request:7", Some(9))]);
    unchanged(&graph, &[leave("u", "team:eu", "manual")]);
    let set = planned(Some(&graph), &[leave("u", "team:de", "manual")]).expect("a plan");
    assert_eq!(set.summary[0].fields, ["memberships"]);
    let graph = after(Some(&graph), &[leave("u", "team:de", "manual")]);
    assert_eq!(
        held(&graph),
        ["team:de request:7", "permission_set:rep request:7"]
    );
}

#[test]
fn a_membership_refers_to_a_user_and_a_team_or_a_set() {
    let graph = account();
    for (change, field, what, missing) in [
        (
            join("u", "team:rep", "manual", None),
            "membership.of",
            "team",
            "rep",
        ),
        (
            join("u", "permission_set:de", "manual", None),
            "membership.of",
            "permission set",
            "de",
        ),
        (
            join("x", "team:de", "manual", None),
            "membership.user",
            "user",
            "x",
        ),
        (
            leave("x", "team:de", "manual"),
            "membership.user",
            "user",
            "x",
        ),
    ] {
        let refusal = refused(&graph, &[user("y"), change]);
        assert_eq!(refusal, (1, field.to_owned(), dangling(what, missing)));
    }
    // What comes later may be referred to, and what is taken back needs nothing.
    after(
        Some(&graph),
        &[join("u", "team:new", "manual", None), team("new", None)],
    );
    let taken_back = [
        join("u", "team:new", "manual", None),
        leave("u", "team:new", "manual"),
    ];
    unchanged(&graph, &taken_back);
}

#[test]
fn p11_a_membership_goes_with_its_team_its_set_and_its_user() {
    let full = after(
        Some(&account()),
        &[
            join("u", "team:de", "request:7", Some(5)),
            join("u", "team:eu", "manual", None),
            join("u", "permission_set:rep", "request:7", None),
        ],
    );
    let without = after(Some(&full), &[Change::DeleteTeam(id("de"))]);
    assert_eq!(
        held(&without),
        ["team:eu manual", "permission_set:rep request:7"]
    );
    let without = after(Some(&full), &[Change::DeletePermissionSet(id("rep"))]);
    assert_eq!(held(&without), ["team:de request:7", "team:eu manual"]);
    // Within one list as well.
    let list = [
        team("new", None),
        join("u", "team:new", "manual", None),
        Change::DeleteTeam(id("new")),
    ];
    unchanged(&full, &list);
    let again = after(Some(&full), &[Change::DeleteUser(id("u"))]);
    assert_eq!(
        held(&after(Some(&again), &[user("u")])),
        Vec::<String>::new()
    );
    // C11: deactivation keeps them, removal doesn't, nor the address.
    let status = |status| user_with("u", |patch| patch.status = Some(status));
    let off = after(Some(&full), &[status(UserStatus::Deactivated)]);
    assert_eq!(held(&off).len(), 3);
    let address = user_with("u", |patch| patch.email = Some(Some("u@x".to_owned())));
    let removed = after(Some(&full), &[address, status(UserStatus::Removed)]);
    assert_eq!(held(&removed), Vec::<String>::new());
    assert_eq!(the_user(&removed, "u").email, None);
}

#[test]
fn an_address_is_set_changed_emptied_and_checked() {
    let address =
        |text: Option<&str>| user_with("u", |patch| patch.email = Some(text.map(str::to_owned)));
    let graph = after(Some(&account()), &[address(Some("u@example.org"))]);
    unchanged(&graph, &[user("u")]);
    assert_eq!(
        the_user(&graph, "u").email.as_deref(),
        Some("u@example.org")
    );
    assert_eq!(
        the_user(&after(Some(&graph), &[address(None)]), "u").email,
        None
    );
    for bad in ["", "u", "u@@x", "u @x", "u@x\r\nBcc: v@x"] {
        let (index, field, problem) = refused(&graph, &[user("y"), address(Some(bad))]);
        assert_eq!((index, field.as_str()), (1, "user.email"));
        let ChangeProblem::Invalid(why) = problem else {
            panic!("{problem:?}");
        };
        assert!(why.contains("mail address") && !why.contains('\n'), "{why}");
    }
}

/// Plain ones and memberships count together; one team from several provenances counts as often.
#[test]
fn limits_count_memberships_too() {
    let graph = account();
    let of_team =
        |count: usize| (0..count).map(|n| join("u", "team:de", &format!("request:{n}"), None));
    let too_many = |changes: Vec<Change>| {
        let (index, field, problem) = refused(&graph, &changes);
        let ChangeProblem::TooMany { limit, .. } = problem else {
            panic!("not a limit: {problem:?}");
        };
        (index, field, limit)
    };
    let many_teams: Vec<Change> = of_team(TEAMS_OF_USER_MAX + 1).collect();
    assert_eq!(
        too_many(many_teams),
        (
            TEAMS_OF_USER_MAX,
            "membership".to_owned(),
            TEAMS_OF_USER_MAX
        )
    );
    let sets: Vec<Change> = (0..=PERMISSION_SETS_OF_USER_MAX)
        .map(|n| join("u", "permission_set:rep", &format!("request:{n}"), None))
        .collect();
    assert_eq!(
        too_many(sets),
        (
            PERMISSION_SETS_OF_USER_MAX,
            "membership".to_owned(),
            PERMISSION_SETS_OF_USER_MAX
        )
    );
    let teams = user_with("u", |patch| patch.teams = Some(ids("de eu")));
    let mut both: Vec<Change> = of_team(TEAMS_OF_USER_MAX - 1).collect();
    both.push(teams);
    assert_eq!(
        too_many(both),
        (
            TEAMS_OF_USER_MAX - 1,
            "user.teams".to_owned(),
            TEAMS_OF_USER_MAX
        )
    );
}
