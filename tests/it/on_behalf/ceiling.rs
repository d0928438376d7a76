//! What the grant ceiling withholds and keeps, and that it is told.

use super::*;
use wire::Level;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_16_of_a_set_with_reports_the_rest_is_given_and_it_is_told() {
    let scene = Scene::new().await;
    let give = changes("users: [{id: e, permission_sets: [reporters]}]");
    let answer = scene.write("m", give.clone()).await.unwrap();
    let ceiling = answer.ceiling.unwrap();
    assert_eq!(told(&ceiling.withheld), ["report.view at everything"]);
    assert_eq!(ceiling.withheld_total, 1);
    assert!(ceiling.kept.is_empty());
    let noted = &ceiling.withheld[0];
    assert_eq!(noted.permission_set_id, "reporters");
    assert_eq!(noted.of.as_ref().unwrap().id, "e");
    assert!(scene.may("e", "contact.view").await && !scene.may("e", "report.view").await);
    // Twice is once (D4): nothing more happens, and the same is told.
    let again = scene.write("m", give.clone()).await.unwrap();
    assert_eq!(again.summary, []);
    assert_eq!(
        told(&again.ceiling.unwrap().withheld),
        ["report.view at everything"]
    );
    // Super admins are above it.
    let answer = scene.write("sa", give).await.unwrap();
    assert_eq!(answer.ceiling, None);
    assert!(scene.may("e", "report.view").await);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_17_reports_that_the_admin_lacks_stay_and_it_is_told() {
    let scene = Scene::new().await;
    let change = changes("users: [{id: r, permission_sets: [viewers]}]");
    let answer = scene.write("m", change).await.unwrap();
    let ceiling = answer.ceiling.unwrap();
    assert_eq!(told(&ceiling.kept), ["report.view at everything"]);
    assert!(ceiling.withheld.is_empty());
    assert!(scene.may("r", "report.view").await);
    let user = scene.user("r").await;
    assert_eq!(user.permission_sets, ["viewers"]);
    // In a set too.
    let change = set_grants("set:free", "report.view", None);
    let answer = scene.write("m", change).await.unwrap();
    assert_eq!(answer.summary, []);
    assert_eq!(
        told(&answer.ceiling.unwrap().kept),
        ["report.view at everything"]
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_levels_and_ends_are_those_of_the_admin_and_the_giver_is_named() {
    let scene = Scene::new().await;
    let mut give = set_grants("e", "contact.edit", Some(Level::Everything));
    give.extend(set_grants("e", "email.view", Some(Level::Owned)));
    give.extend(set_grants("e", "deal.view", Some(Level::Owned)));
    let answer = scene.write("m", give).await.unwrap();
    let withheld = answer.ceiling.unwrap().withheld;
    assert_eq!(
        told(&withheld),
        [
            "contact.edit at everything",
            "deal.view at owned",
            "email.view at owned"
        ]
    );
    let user = scene.user("e").await;
    let given: Vec<_> = user
        .grants
        .iter()
        .map(|grant| {
            let terms = grant.terms.as_ref().unwrap();
            let ends = terms.expires_at.is_some();
            (
                grant.resource_type.as_str(),
                terms.level(),
                ends,
                terms.granted_by.as_str(),
            )
        })
        .collect();
    assert_eq!(
        given,
        [
            ("contact", Level::Team, false, "m"),
            ("email", Level::Owned, true, "m")
        ]
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_judges_as_the_write_does() {
    let scene = Scene::new().await;
    let give = changes("users: [{id: e, permission_sets: [reporters]}]");
    let header = wire::PreviewChangesRequest {
        account_id: "acme".to_owned(),
        actor_user_id: "m".to_owned(),
        changes: give,
        ..wire::PreviewChangesRequest::default()
    };
    let mut partitions = scene.server.partitions();
    let looked_at = partitions
        .preview_changes(tokio_stream::once(header.clone()))
        .await
        .unwrap();
    let first = looked_at.into_inner().message().await.unwrap().unwrap();
    assert_eq!(
        told(&first.ceiling.unwrap().withheld),
        ["report.view at everything"]
    );
    let tools = first.preview.unwrap().tool_differences;
    assert!(
        tools.iter().all(|tool| tool.resource_type == "contact"),
        "{tools:?}"
    );
    let alone = wire::PreviewChangesRequest {
        actor_user_id: "so".to_owned(),
        ..header
    };
    let refusal = partitions.preview_changes(tokio_stream::once(alone)).await;
    assert_eq!(refused(refusal.map(drop)).0, Reason::ActorMayNot);
    assert!(!scene.may("e", "contact.view").await);
    scene.stop().await;
}
