//! Teams: the tree and P11.
#![cfg(test)]

use std::collections::BTreeSet;

use super::super::super::model::{EntityKey, Principal};
use super::super::{Change, ChangeProblem};
use super::{
    account, after, assign, assign_from, group, hubspot, id, ids, member, planned, principal,
    refused, resource, resource_key, resource_with, segment, team, the_user, user_with,
};

#[test]
fn p11_a_team_never_becomes_its_own_ancestor() {
    let graph = hubspot(&[team("a", None), team("b", Some("a")), team("c", Some("b"))]);
    let cycle = |index, team: &str| {
        (
            index,
            "team.parent".to_owned(),
            ChangeProblem::TeamCycle(team.to_owned()),
        )
    };
    assert_eq!(refused(&graph, &[team("a", Some("a"))]), cycle(0, "a"));
    assert_eq!(refused(&graph, &[team("a", Some("b"))]), cycle(0, "a"));
    assert_eq!(
        refused(&graph, &[team("x", None), team("a", Some("c"))]),
        cycle(1, "a")
    );
    let two_new = [team("x", Some("y")), team("y", Some("x"))];
    assert_eq!(refused(&graph, &two_new), cycle(1, "y"));
    // Turned round in one list: no cycle at its end.
    let turned = after(Some(&graph), &[team("a", Some("c")), team("b", None)]);
    assert_eq!(turned.team("a").expect("the team").parent, Some(id("c")));
    // Deleting a team in the middle of a cycle that the list made leaves a cycle of the others.
    let left = [team("a", Some("c")), Change::DeleteTeam(id("b"))];
    let (_, _, problem) = refused(&graph, &left);
    assert!(
        matches!(problem, ChangeProblem::TeamCycle(_)),
        "{problem:?}"
    );
}

#[test]
fn p11_a_cycle_of_1000_teams_is_found() {
    let mut changes: Vec<Change> = (0..1_000)
        .map(|n| team(&format!("t{n}"), Some(&format!("t{}", (n + 1) % 1_000))))
        .collect();
    let graph = hubspot(&[]);
    let (index, _, problem) = refused(&graph, &changes);
    assert_eq!(index, 999);
    assert_eq!(problem, ChangeProblem::TeamCycle("t999".to_owned()));
    changes.push(team("t500", None));
    after(Some(&graph), &changes);
}

/// A walk that was quadratic would take hours here, so would one that recursed overflow the stack.
#[test]
fn p11_a_chain_of_99_998_teams_is_planned_in_either_order_and_its_cycle_found() {
    const TEAMS: usize = 99_998;
    let name = |n: usize| format!("t{n:05}");
    let link = |n: usize| team(&name(n), (n > 0).then(|| name(n - 1)).as_deref());
    for backwards in [false, true] {
        let mut changes: Vec<Change> = (0..TEAMS).map(link).collect();
        if backwards {
            changes.reverse();
        }
        changes.push(account("hubspot", "enterprise"));
        let set = planned(None, &changes).expect("a chain");
        // The account, then each team after its parent.
        let order = set.summary.into_iter().map(|line| line.entity).skip(1);
        let expected = (0..TEAMS).map(|n| EntityKey::Team(id(&name(n))));
        assert!(order.eq(expected), "parents come first");
        changes.push(team(&name(0), Some(&name(TEAMS - 1))));
        let error = planned(None, &changes).expect_err("a cycle");
        assert_eq!(error.problem, ChangeProblem::TeamCycle(name(0)));
        assert_eq!(error.index, TEAMS + 1);
    }
}

#[test]
fn p11_a_chain_of_50_000_teams_is_deleted_from_the_top_and_from_the_bottom() {
    const TEAMS: usize = 50_000;
    let name = |n: usize| format!("t{n:05}");
    let mut changes: Vec<Change> = (0..TEAMS)
        .map(|n| team(&name(n), (n > 0).then(|| name(n - 1)).as_deref()))
        .collect();
    let graph = hubspot(&changes);
    changes.clear();
    changes.extend((0..TEAMS).map(|n| Change::DeleteTeam(id(&name(n)))));
    for _ in 0..2 {
        let set = planned(Some(&graph), &changes).expect("deletions");
        let order = set.summary.into_iter().map(|line| line.entity);
        let expected = (0..TEAMS).rev().map(|n| EntityKey::Team(id(&name(n))));
        assert!(order.eq(expected), "children go first");
        changes.reverse();
    }
}

#[test]
fn p11_deleting_a_team_moves_its_children_and_drops_what_names_it() {
    let graph = hubspot(&[
        team("eu", None),
        team("de", Some("eu")),
        team("nrw", Some("de")),
        user_with("main", |patch| patch.main_team = Some(Some(id("de")))),
        user_with("extra", |patch| patch.teams = Some(ids("de eu"))),
        group("g"),
        member("g", "team:de", "view"),
        member("g", "user:main", "view"),
        resource_with("email/stamped", |patch| {
            patch.owning_team = Some(Some(id("de")))
        }),
        resource("email/only"),
        assign("email/only", "team:de"),
        resource("email/both"),
        assign("email/both", "team:de"),
        assign("email/both", "team:eu"),
        assign_from("email/both", "team:de", "import:j", Some(1)),
        segment("s", "team:de team:eu"),
        segment("alone", "team:de"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteTeam(id("de"))]);
    assert!(graph.team("de").is_none());
    assert_eq!(graph.team("nrw").expect("the child").parent, Some(id("eu")));
    assert_eq!(the_user(&graph, "main").main_team, None);
    assert_eq!(the_user(&graph, "extra").teams, ids("eu"));
    let group = graph.access_group("g").expect("the group");
    assert_eq!(
        group.members.keys().collect::<Vec<_>>(),
        [&principal("user:main")]
    );
    let the = |key: &str| graph.resource(&resource_key(key)).expect("the resource");
    assert_eq!(the("email/stamped").owning_team, None);
    assert!(!the("email/stamped").partitioned);
    assert!(the("email/only").assignments.is_empty());
    assert!(
        the("email/only").partitioned,
        "3.5: it doesn't open to everyone"
    );
    let left: Vec<Principal> = the("email/both")
        .assignments
        .into_iter()
        .map(|one| one.principal)
        .collect();
    assert_eq!(left, [principal("team:eu")]);
    let segment = graph.segment("s").expect("the segment");
    assert_eq!(segment.assign_to, BTreeSet::from([principal("team:eu")]));
    assert!(segment.enabled);
    assert!(
        !graph.segment("alone").expect("the segment").enabled,
        "it assigns to nobody"
    );
}

#[test]
fn p11_children_climb_over_several_deleted_teams() {
    let graph = hubspot(&[
        team("a", None),
        team("b", Some("a")),
        team("c", Some("b")),
        team("d", Some("c")),
    ]);
    for order in [["b", "c"], ["c", "b"]] {
        let deletes = order.map(|name| Change::DeleteTeam(id(name)));
        let graph = after(Some(&graph), &deletes);
        assert_eq!(graph.team("d").expect("the team").parent, Some(id("a")));
        let set = planned(Some(&graph), &[Change::DeleteTeam(id("a"))]).expect("changes");
        assert_eq!(set.changes.len(), 2);
    }
    let deletes = ["a", "b", "c", "d"].map(|name| Change::DeleteTeam(id(name)));
    let set = planned(Some(&graph), &deletes).expect("changes");
    let order: Vec<EntityKey> = set.summary.into_iter().map(|line| line.entity).collect();
    assert_eq!(
        order,
        ["d", "c", "b", "a"].map(|name| EntityKey::Team(id(name)))
    );
}
