//! Every refusal of P1, and what it lets through.

use super::*;
use AssignMode::{Add, Remove, Replace};

const NO_AUTHORITY: &str = "NO_ASSIGN_AUTHORITY";

/// Who asks, which contact, how, to whom; and whether it is let through.
async fn assert_cases(cases: &[(&str, &str, AssignMode, &str, bool)]) {
    for (actor, key, mode, target, allowed) in cases {
        let scene = Scene::new().await;
        let before = scene.rows(key).await;
        let asked = by(actor, assign(&[key], *mode, &[target]));
        let ran = scene.run(asked).await.unwrap();
        let case = format!("{actor} {mode:?} {key} {target}: {ran:?}");
        if *allowed {
            assert_eq!(ran.refusals(), [], "{case}");
        } else {
            let refused = [((*key).to_owned(), NO_AUTHORITY.to_owned())];
            assert_eq!(ran.refusals(), refused, "{case}");
            assert_eq!(scene.rows(key).await, before, "{case}");
        }
    }
}

#[tokio::test]
async fn p1_super_admins_and_holders_of_partition_assign_reach_any_target_in_every_mode() {
    assert_cases(&[
        ("sa", "free", Add, "team:us", true),
        ("sa", "walled", Replace, "group:vip", true),
        ("assigner", "free", Add, "user:fred", true),
        ("assigner", "free", Add, "group:vip", true),
        ("assigner", "walled", Remove, "team:dach", true),
        ("assigner", "walled", Replace, "team:fr", true),
    ])
    .await;
}

#[tokio::test]
async fn p1_an_owner_reaches_the_own_teams_what_is_below_them_and_the_users_in_them() {
    assert_cases(&[
        ("owner", "owned", Add, "team:dach", true),
        ("owner", "owned", Add, "team:at", true),
        ("owner", "owned", Add, "user:member", true),
        ("owner", "owned", Add, "user:dana", true),
        // Up, sideways, elsewhere, and groups, which are in no team.
        ("owner", "owned", Add, "team:emea", false),
        ("owner", "owned", Add, "team:fr", false),
        ("owner", "owned", Add, "team:us", false),
        ("owner", "owned", Add, "user:fred", false),
        ("owner", "owned", Add, "user:sa", false),
        ("owner", "owned", Add, "group:vip", false),
    ])
    .await;
}

#[tokio::test]
async fn p1_an_owner_without_assign_assigns_nothing() {
    assert_cases(&[("idle", "idle", Add, "team:dach", false)]).await;
}

#[tokio::test]
async fn p1_the_first_assignment_needs_ownership_or_partition_assign() {
    assert_cases(&[
        ("member", "free", Add, "team:de", false),
        ("member", "owned", Add, "team:de", false),
        ("owner", "free", Add, "team:dach", false),
        ("owner", "owned", Add, "team:dach", true),
        ("assigner", "free", Add, "team:dach", true),
    ])
    .await;
}

#[tokio::test]
async fn s2_18_another_member_of_an_assigned_team_reaches_its_child_teams_alone() {
    assert_cases(&[
        ("member", "walled", Add, "team:de", true),
        ("member", "walled", Add, "user:dana", true),
        ("member", "walled", Add, "team:dach", false),
        ("member", "walled", Add, "user:owner", false),
        ("member", "walled", Add, "team:fr", false),
        ("member", "walled", Add, "team:emea", false),
        ("member", "walled", Add, "group:vip", false),
        // No member of the assigned team.
        ("fred", "walled", Add, "team:de", false),
        // A member, but without `assign`.
        ("idle", "walled", Add, "team:de", false),
    ])
    .await;
}

#[tokio::test]
async fn p1_owners_and_members_only_add() {
    assert_cases(&[
        ("owner", "owned", Remove, "team:de", false),
        ("owner", "owned", Replace, "team:de", false),
        ("member", "walled", Remove, "team:dach", false),
        ("member", "walled", Replace, "team:de", false),
    ])
    .await;
    let scene = Scene::new().await;
    let opened = by("owner", unpartition(&["owned"]));
    let ran = scene.run(opened).await.unwrap();
    assert_eq!(
        ran.refusals(),
        [("owned".to_owned(), NO_AUTHORITY.to_owned())]
    );
    let opened = by("assigner", unpartition(&["walled"]));
    assert_eq!(scene.run(opened).await.unwrap().counted(), (1, 0, 0));
    assert_eq!(scene.rows("walled").await, (false, vec![]));
}

#[tokio::test]
async fn p1_every_target_is_judged_and_one_that_is_refused_refuses_the_resource() {
    let scene = Scene::new().await;
    let asked = by("owner", assign(&["owned"], Add, &["team:de", "team:fr"]));
    let ran = scene.run(asked).await.unwrap();
    assert_eq!(
        ran.refusals(),
        [("owned".to_owned(), NO_AUTHORITY.to_owned())]
    );
    assert_eq!(
        scene.rows("owned").await,
        (false, vec![]),
        "nothing of it is done"
    );
}

#[tokio::test]
async fn p1_every_resource_is_judged_and_one_that_is_refused_spoils_no_other() {
    let scene = Scene::new().await;
    let asked = by(
        "owner",
        assign(&["free", "owned", "unknown", "walled"], Add, &["team:de"]),
    );
    let ran = scene.run(asked).await.unwrap();
    let refused = [("free", NO_AUTHORITY), ("unknown", "RESOURCE_NOT_FOUND")];
    let refused = refused.map(|(key, reason)| (key.to_owned(), reason.to_owned()));
    assert_eq!(ran.refusals(), refused);
    assert_eq!(ran.counted(), (2, 0, 2));
    let de = (true, vec!["team:de manual".to_owned()]);
    assert_eq!(scene.rows("owned").await, de);
}

#[tokio::test]
async fn p1_who_may_assign_nothing_does_not_learn_what_is_there() {
    let scene = Scene::new().await;
    let asked = by("idle", assign(&["free", "unknown"], Add, &["team:de"]));
    let ran = scene.run(asked).await.unwrap();
    let reasons: BTreeSet<String> = ran.refusals().into_iter().map(|(_, why)| why).collect();
    assert_eq!(reasons, [NO_AUTHORITY.to_owned()].into());
}

#[tokio::test]
async fn p1_nobody_acts_who_is_no_active_user() {
    let scene = Scene::new().await;
    for actor in ["gone", "nobody"] {
        let asked = by(actor, assign(&["free"], Add, &["team:de"]));
        let refused = scene.run(asked).await;
        assert!(
            matches!(&refused, Err(BulkError::Actor(who)) if *who == id(actor)),
            "{refused:?}"
        );
    }
    assert_eq!(scene.rows("free").await, (false, vec![]));
}

#[tokio::test]
async fn p1_an_undo_is_judged_like_what_it_does() {
    let scene = Scene::new().await;
    let asked = by("owner", assign(&["owned"], Add, &["team:de"]));
    let batch = scene.run(asked).await.unwrap().batch;
    let undo = || request(Work::UndoBatch(batch.clone()));
    let ran = scene.run(by("owner", undo())).await.unwrap();
    assert_eq!(
        ran.refusals(),
        [("owned".to_owned(), NO_AUTHORITY.to_owned())]
    );
    let ran = scene.run(by("assigner", undo())).await.unwrap();
    assert_eq!(ran.counted(), (1, 0, 0));
    assert_eq!(scene.rows("owned").await, (false, vec![]));
}
