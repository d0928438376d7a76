//! Ways around that were found by attacking it, each with what stays possible beside it.

use super::*;
use wire::Level;

async fn reason_of(scene: &Scene, actor: &str, changes: Vec<wire::Change>) -> Reason {
    refused(scene.write(actor, changes).await).0
}

/// D3: nothing is put on somebody who is removed, to wait until they are brought back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_tombstone_holds_nothing_that_could_come_back_with_it() {
    let scene = Scene::new().await;
    for actor in ["m", ""] {
        for given in [
            set_grants("nn", "report.view", Some(Level::Everything)),
            changes("users: [{id: nn, memberships: [{team: eu}]}]"),
        ] {
            let mut list = changes("users: [{id: nn, status: removed}]");
            list.extend(
                given
                    .into_iter()
                    .filter(|one| !matches!(one.change, Some(Change::PutUser(_)))),
            );
            let reason = reason_of(&scene, actor, list).await;
            assert_eq!(reason, Reason::InvalidField, "{actor}");
        }
    }
    scene
        .write("m", changes("users: [{id: nn}]"))
        .await
        .unwrap();
    let gone = changes("users: [{id: nn, status: removed}]");
    scene.write("m", gone).await.unwrap();
    let late = set_grants("nn", "contact.view", Some(Level::Owned));
    assert_eq!(
        reason_of(&scene, "m", late.clone()).await,
        Reason::InvalidField
    );
    // Brought back first they are somebody again.
    let mut back = changes("users: [{id: nn, status: invited}]");
    back.extend(late);
    scene.write("m", back).await.unwrap();
    assert_eq!(scene.user("nn").await.grants.len(), 1);
    scene.stop().await;
}

/// D3: a step towards being active is judged like the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_nobody_comes_nearer_to_what_the_manager_lacks() {
    let scene = Scene::new().await;
    for status in ["invited", "active"] {
        let text = format!("users: [{{id: big, status: {status}}}]");
        let reason = reason_of(&scene, "m", changes(&text)).await;
        assert_eq!(reason, Reason::BeyondOwnRights, "{status}");
    }
    // The control: away from it anybody may be taken.
    let gone = changes("users: [{id: big, status: removed}]");
    scene.write("m", gone).await.unwrap();
    scene.stop().await;
}

/// A person is said by whoever knows, and not by a manager: approvals rest on it (R4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_manager_says_of_nobody_who_they_are() {
    let scene = Scene::new().await;
    let other = changes("users: [{id: fresh, person: somebody}]");
    assert_eq!(
        reason_of(&scene, "m", other.clone()).await,
        Reason::ReservedChange
    );
    scene.write("sa", other).await.unwrap();
    scene.stop().await;
}

/// C8: with an owner come the owner's records to the team.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_nobody_is_drawn_into_a_team_with_records_that_the_manager_may_not_view() {
    let scene = Scene::new().await;
    // c3 of us1 is nobody's of eu to see.
    let drawn = changes("users: [{id: us1, teams: [de]}]");
    assert_eq!(
        reason_of(&scene, "m", drawn.clone()).await,
        Reason::NoAssignAuthority
    );
    for nothing_unseen in ["so", "group"] {
        let text = format!("users: [{{id: {nothing_unseen}, teams: [de]}}]");
        scene.write("m", changes(&text)).await.unwrap();
    }
    scene.write("sa", drawn).await.unwrap();
    scene.stop().await;
}

/// P1: a team that moves is taken from those above it, and given to those that come above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_team_is_not_moved_past_the_authority_to_assign() {
    let scene = Scene::new().await;
    let moves = |parent: &str| changes(&format!("teams: [{{id: de, parent: {parent}}}]"));
    for parent in ["us", "null"] {
        let reason = reason_of(&scene, "m", moves(parent)).await;
        assert_eq!(reason, Reason::NoAssignAuthority, "{parent}");
    }
    // Within what one reaches, a team without anybody above it may be put below.
    let new = changes("teams: [{id: fresh}, {id: nord, parent: de}]");
    scene.write("m", new).await.unwrap();
    let unreached = changes("teams: [{id: fresh, parent: eu}]");
    assert_eq!(
        reason_of(&scene, "m", unreached).await,
        Reason::NoAssignAuthority
    );
    let assign = changes("users: [{id: m, grants: {partition.assign: everything}}]");
    scene.write("", assign).await.unwrap();
    scene.write("m", moves("us")).await.unwrap();
    scene.stop().await;
}

/// D3: a team is handed on for no longer than one is in it oneself, and in one's own name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_membership_lasts_no_longer_than_its_givers() {
    let scene = Scene::new().await;
    let guest = "users: [{id: guest, grants: {user_management.edit: everything}, memberships: [{team: us, expires_at: 2100-01-01T00:00:00Z}]}]";
    scene.write("", changes(guest)).await.unwrap();
    let until = |at: &str| {
        changes(&format!(
            "users: [{{id: so, memberships: [{{team: us, granted_by: sa{at}}}]}}]"
        ))
    };
    for endless in [
        changes("users: [{id: so, teams: [us]}]"),
        changes("users: [{id: so, main_team: us}]"),
        until(""),
        until(", expires_at: 2100-01-01T00:00:00.000001Z"),
    ] {
        let reason = reason_of(&scene, "guest", endless).await;
        assert_eq!(reason, Reason::NoAssignAuthority);
    }
    let fits = until(", expires_at: 2100-01-01T00:00:00Z");
    scene.write("guest", fits).await.unwrap();
    let given = scene.user("so").await.memberships;
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].granted_by, "guest", "not whom the change names");
    scene.stop().await;
}

/// D1, D11: a partner user makes nobody who would pass for the client's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_partner_user_makes_and_brings_back_no_users_of_the_client() {
    let scene = Scene::new().await;
    let manages = "users:
      - {id: pa, grants: {user_management.edit: everything, report.view: everything, contact.view: team}}
      - {id: left, status: removed}";
    scene.write("", changes(manages)).await.unwrap();
    for stooge in [
        "users: [{id: stooge}]",
        "users: [{id: left, status: active}]",
        "users: [{id: so, email: pa@kite.example}]",
    ] {
        let reason = reason_of(&scene, "pa", changes(stooge)).await;
        assert_eq!(reason, Reason::ActorMayNot, "{stooge}");
        // The control: one of the client's own may.
        scene.write("m", changes(stooge)).await.unwrap();
        if stooge.contains("left") {
            scene
                .write("m", changes("users: [{id: left, status: removed}]"))
                .await
                .unwrap();
        }
    }
    scene.stop().await;
}

/// D11 reduces, and changes nothing of who somebody is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_a_partner_user_who_is_removed_stays_a_partner_user() {
    let scene = Scene::new().await;
    for other in [
        "kind: internal",
        "person: mara",
        "partner: {account: agency, user: other, role: employee}",
    ] {
        let text = format!("users: [{{id: pa, status: removed, {other}}}]");
        let answer = scene.write("m", changes(&text)).await;
        assert!(answer.is_err(), "{other}");
    }
    let gone = changes("users: [{id: pa, status: removed}]");
    scene.write("m", gone).await.unwrap();
    assert_eq!(
        scene.user("pa").await.kind(),
        wire::UserKind::PartnerEmployee
    );
    scene.stop().await;
}

/// Who stands for whom of an agency is not for a client's admin to say: the agency's lists and its
/// calls for all clients rest on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_5_no_admin_of_a_client_claims_to_have_somebody_of_an_agency() {
    let scene = Scene::new().await;
    let claim = "users: [{id: ghost, kind: contractor, partner: {account: agency, user: e1, role: contractor}}]";
    let reason = reason_of(&scene, "sa", changes(claim)).await;
    assert_eq!(reason, Reason::ActorMayNot);
    scene.write("", changes(claim)).await.unwrap();
    // Ending it, and all else of the user, is the admin's to change.
    let ended = "users: [{id: ghost, partner: {account: agency, user: e1, role: contractor, partnership: ended}}]";
    scene.write("sa", changes(ended)).await.unwrap();
    scene.stop().await;
}

/// R4, D5: a permission set that somebody is given says who gave it, as a grant does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_d5_whoever_gives_a_set_is_known() {
    use crate::access_requests::scene::view;
    let scene = Scene::new().await;
    let managers = "permission_sets: [{id: managers, grants: {user_management.edit: everything}}]";
    scene.write("", changes(managers)).await.unwrap();
    let given = |user: &str| {
        changes(&format!(
            "users: [{{id: {user}, permission_sets: [managers]}}]"
        ))
    };
    let file = view("m", "c1");
    let id = scene.server.filed(file).await;
    scene.write("m", given("so")).await.unwrap();
    let so = scene.user("so").await;
    assert_eq!(so.permission_sets, ["managers"]);
    assert_eq!(so.permission_set_givers["managers"], "m");
    // So the one who asks has made no approver of their own.
    let own = scene.server.deny(&id, "so").await;
    assert_eq!(refused(own).0, Reason::RightFromRequester);
    // What is written again says nothing new, by whomever.
    scene.write("sa", given("so")).await.unwrap();
    assert_eq!(
        scene.user("so").await.permission_set_givers["managers"],
        "m"
    );
    let mut directory = scene.server.directory();
    let request = wire::ListGrantsBeyondCeilingRequest {
        account_id: "acme".to_owned(),
        consistency: crate::grpc::server::fully_consistent(),
        ..wire::ListGrantsBeyondCeilingRequest::default()
    };
    let held = directory.list_grants_beyond_ceiling(request.clone()).await;
    assert_eq!(held.unwrap().into_inner().grants, [], "the control");
    let lost = set_grants("m", "user_management.edit", None);
    scene.write("", lost).await.unwrap();
    let beyond = directory.list_grants_beyond_ceiling(request).await;
    let beyond = beyond.unwrap().into_inner().grants;
    assert_eq!(beyond.len(), 1);
    assert_eq!(beyond[0].granted_by, "m");
    let grant = beyond[0].grant.as_ref().unwrap();
    assert_eq!(grant.permission_set_id, "managers");
    assert_eq!(grant.of.as_ref().unwrap().id, "so");
    // Taken and given anew by an operator it is of nobody known, and counts for an approver.
    let taken = changes("users: [{id: so, permission_sets: []}]");
    scene.write("", taken).await.unwrap();
    scene.write("", given("so")).await.unwrap();
    assert!(scene.user("so").await.permission_set_givers.is_empty());
    scene.server.deny(&id, "so").await.unwrap();
    scene.stop().await;
}
