//! Who may not resolve, and what may not be given (cases 36 and 37, R4, R7), over the wire.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use wire::change::Change;
use wire::resolution::Kind;

use super::scene::{Scene, approval, direct_grant, export, object_grant, view};
use crate::grpc::reason;
use crate::grpc::server::{TestServer, change, delete_contact, grant};

/// Grants the right to manage users to a user, as given by another.
fn managed_by(user: &str, giver: &str) -> wire::Change {
    change(Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::UserId(user.to_owned())),
        resource_type: "user_management".to_owned(),
        permission: "edit".to_owned(),
        provenance: String::new(),
        terms: vec![wire::GrantTerms {
            level: wire::Level::Everything.into(),
            granted_by: giver.to_owned(),
            ..wire::GrantTerms::default()
        }],
    }))
}

fn no_grants(user: &str, resource_type: &str, permission: &str) -> wire::Change {
    change(Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::UserId(user.to_owned())),
        resource_type: resource_type.to_owned(),
        permission: permission.to_owned(),
        provenance: String::new(),
        terms: Vec::new(),
    }))
}

fn user(patch: wire::UserPatch) -> wire::Change {
    change(Change::PutUser(patch))
}

/// The refusals of approve, deny and revoke by a user who must not resolve the request.
async fn assert_kept_from(server: &TestServer, id: &str, by: &str, expected: Reason) {
    let approved = server.approve(approval(id, by, object_grant())).await;
    assert_eq!(reason(approved), expected, "approve by {by}");
    assert_eq!(reason(server.deny(id, by).await), expected, "deny by {by}");
    assert_eq!(reason(server.suggest(id, by).await), expected, "{by}");
    assert_eq!(server.events(id).await.len(), 1, "{by} has left a trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_36_nobody_resolves_a_request_of_their_own_in_any_disguise() {
    let (_scene, server) = Scene::with_acme().await;
    // `w` manages users too, and is what the others get their rights from.
    let prepared = vec![managed_by("w", "sa"), managed_by("v", "w")];
    server.apply("acme", prepared).await.unwrap();
    let of_u = server.filed(view("u", "c1")).await;
    let of_w = server.filed(view("w", "c1")).await;
    assert_kept_from(&server, &of_u, "u", Reason::SelfApproval).await;
    assert_kept_from(&server, &of_u, "u-admin", Reason::SamePerson).await;
    assert_kept_from(&server, &of_u, "t", Reason::NotAnApprover).await;
    assert_kept_from(&server, &of_u, "ghost", Reason::NotAnApprover).await;
    assert_kept_from(&server, &of_w, "v", Reason::RightFromRequester).await;
    // Over two hands, and given after the request.
    let later = vec![managed_by("t", "v")];
    server.apply("acme", later).await.unwrap();
    assert_kept_from(&server, &of_w, "t", Reason::RightFromRequester).await;
    // A role that is gained after the request is the requester's own all the same.
    let promoted = wire::UserPatch {
        id: "u".to_owned(),
        super_admin: Some(true),
        ..wire::UserPatch::default()
    };
    let of_u_tool = server.filed(export("u")).await;
    server.apply("acme", vec![user(promoted)]).await.unwrap();
    let own = server.deny(&of_u_tool, "u").await;
    assert!(
        matches!(
            reason(own),
            Reason::SelfApproval | Reason::RequestNotPending
        ),
        "the keeper may have found it obsolete"
    );
    // The control: for somebody else the very same users may.
    let of_other = server.filed(export("junior")).await;
    server.deny(&of_other, "t").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_nothing_beyond_the_approvers_own_rights_at_the_time_of_the_approval() {
    let (_scene, server) = Scene::with_acme().await;
    let everything = wire::Level::Everything;
    let id = server.filed(export("u")).await;
    let offer = direct_grant("export", everything);
    let beyond = server.approve(approval(&id, "junior", offer.clone())).await;
    assert_eq!(reason(beyond), Reason::BeyondOwnRights);
    let set = Kind::PermissionSetId("exporters".to_owned());
    let beyond = server.approve(approval(&id, "junior", set)).await;
    assert_eq!(reason(beyond), Reason::BeyondOwnRights);
    // `boss` held it when the request was filed, and does not any more.
    let revoked = vec![no_grants("boss", "contact", "export")];
    server.apply("acme", revoked).await.unwrap();
    let beyond = server.approve(approval(&id, "boss", offer.clone())).await;
    assert_eq!(reason(beyond), Reason::BeyondOwnRights);
    // The suggestions say so beforehand.
    for suggestion in server.suggest(&id, "junior").await.unwrap() {
        assert_eq!(suggestion.withheld_reason, "BEYOND_OWN_RIGHTS");
    }
    // What is given on one resource needs the authority to assign it, and the action on it.
    let object = server.filed(view("u", "c1")).await;
    let unassigned = server
        .approve(approval(&object, "junior", object_grant()))
        .await;
    assert_eq!(reason(unassigned), Reason::NoAssignAuthority);
    let assigner = vec![grant("junior", "partition", "assign", everything)];
    server.apply("acme", assigner).await.unwrap();
    let beyond = server
        .approve(approval(&object, "junior", object_grant()))
        .await;
    assert_eq!(reason(beyond), Reason::BeyondOwnRights);
    let revoked = vec![no_grants("boss", "contact", "view")];
    server.apply("acme", revoked).await.unwrap();
    let beyond = server
        .approve(approval(&object, "boss", object_grant()))
        .await;
    assert_eq!(reason(beyond), Reason::BeyondOwnRights);
    let revoked = vec![no_grants("boss", "partition", "assign")];
    server.apply("acme", revoked).await.unwrap();
    let unassigned = server
        .approve(approval(&object, "boss", object_grant()))
        .await;
    assert_eq!(reason(unassigned), Reason::NoAssignAuthority);
    // The right to approve itself, taken between.
    let demoted = vec![no_grants("boss", "user_management", "edit")];
    server.apply("acme", demoted).await.unwrap();
    let demoted = server
        .approve(approval(&object, "boss", object_grant()))
        .await;
    assert_eq!(reason(demoted), Reason::NotAnApprover);
    assert_eq!(server.events(&id).await.len(), 1);
    assert_eq!(server.events(&object).await.len(), 1);
    // The control: with what they hold again, it is theirs to give.
    let restored = vec![
        grant("boss", "contact", "export", everything),
        managed_by("boss", "sa"),
    ];
    server.apply("acme", restored).await.unwrap();
    server.approve(approval(&id, "boss", offer)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_resolution_that_would_not_do_is_rolled_back() {
    let (_scene, server) = Scene::with_acme().await;
    let object = server.filed(view("u", "c1")).await;
    for kind in [
        Kind::AddToTeamId("fr".to_owned()),
        direct_grant("view", wire::Level::Team),
        Kind::PermissionSetId("exporters".to_owned()),
    ] {
        let refusal = server.approve(approval(&object, "sa", kind.clone())).await;
        let refusal = reason(refusal);
        assert_eq!(refusal, Reason::InsufficientResolution, "{kind:?}");
    }
    let nowhere = server
        .approve(approval(
            &object,
            "sa",
            Kind::AddToTeamId("nowhere".to_owned()),
        ))
        .await;
    assert_eq!(reason(nowhere), Reason::InvalidField);
    let none = wire::ApproveAccessRequestRequest {
        resolution: None,
        ..approval(&object, "sa", object_grant())
    };
    assert_eq!(reason(server.approve(none).await), Reason::InvalidField);
    // Assigning what is open to all would close it to the others.
    let open = server.filed(view("w", "c3")).await;
    let assign = Kind::AssignToUser(wire::AssignToUserResolution {});
    let closing = server.approve(approval(&open, "sa", assign)).await;
    assert_eq!(reason(closing), Reason::WouldTakeAway);
    for id in [object, open] {
        assert_eq!(server.state(&id).await, wire::AccessRequestState::Pending);
        assert_eq!(server.events(&id).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_is_for_the_requester_and_revoking_for_what_was_given() {
    let (_scene, server) = Scene::with_acme().await;
    let id = server.filed(view("u", "c1")).await;
    for by in ["sa", "boss", "w", "u-admin"] {
        let cancelled = server.cancel(&id, by).await;
        assert_eq!(reason(cancelled), Reason::NotTheRequester, "{by}");
    }
    assert_eq!(
        reason(server.revoke(&id, "sa").await),
        Reason::NothingToRevoke
    );
    let cancelled = server.cancel(&id, "u").await.unwrap();
    let closing = cancelled.access_request.unwrap().closing.unwrap();
    assert_eq!(closing.by_user_id, "u");
    assert_eq!(
        reason(server.revoke(&id, "sa").await),
        Reason::NothingToRevoke
    );
    let given = server.filed(view("w", "c1")).await;
    let approved = server.approve(approval(&given, "sa", object_grant())).await;
    approved.unwrap();
    assert_eq!(
        reason(server.revoke(&given, "w").await),
        Reason::SelfApproval
    );
    assert_eq!(
        reason(server.revoke(&given, "v").await),
        Reason::NotAnApprover
    );
    let unreasoned = wire::DenyAccessRequestRequest {
        account_id: "acme".to_owned(),
        access_request_id: given,
        approver_user_id: "sa".to_owned(),
        ..wire::DenyAccessRequestRequest::default()
    };
    let unreasoned = server.requests().deny_access_request(unreasoned).await;
    assert_eq!(reason(unreasoned), Reason::RequestNotPending);
    let third = server.filed(export("u")).await;
    let unreasoned = wire::DenyAccessRequestRequest {
        account_id: "acme".to_owned(),
        access_request_id: third,
        approver_user_id: "sa".to_owned(),
        ..wire::DenyAccessRequestRequest::default()
    };
    let unreasoned = server.requests().deny_access_request(unreasoned).await;
    let (refusal, field) = crate::grpc::refused(unreasoned);
    assert_eq!(refusal, Reason::InvalidField);
    assert_eq!(field.as_deref(), Some("reason"));
}

/// R7: what a request has lost its ground by is written down by whoever finds it first, the keeper
/// or the approver; nothing is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_request_that_has_lost_its_ground_is_not_approved() {
    let (scene, server) = Scene::with_acme().await;
    let deactivated = wire::UserPatch {
        id: "u".to_owned(),
        status: wire::UserStatus::Deactivated.into(),
        ..wire::UserPatch::default()
    };
    let opened = wire::UserPatch {
        id: "w".to_owned(),
        main_team: Some("fr".to_owned()),
        ..wire::UserPatch::default()
    };
    let view_team = grant("w", "contact", "view", wire::Level::Team);
    let cases = [
        (
            view("u", "c1"),
            vec![user(deactivated)],
            Reason::RequesterInactive,
            wire::AccessRequestState::Cancelled,
        ),
        (
            view("w", "c1"),
            vec![user(opened), view_team],
            Reason::NoLongerDenied,
            wire::AccessRequestState::Obsolete,
        ),
        (
            view("t", "c2"),
            vec![delete_contact("c2")],
            Reason::ResourceGone,
            wire::AccessRequestState::Obsolete,
        ),
    ];
    for (asked, changes, expected, state) in cases {
        let id = server.filed(asked).await;
        server.apply("acme", changes).await.unwrap();
        let refusal = reason(server.approve(approval(&id, "sa", object_grant())).await);
        assert!(
            [expected, Reason::RequestNotPending].contains(&refusal),
            "{refusal:?} instead of {expected:?}"
        );
        assert_eq!(server.state(&id).await, state);
        let events = server.events(&id).await;
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(events[1].actor_user_id, "");
    }
    let expiring = server.filed(view("t", "c1")).await;
    scene.clock.advance(super::scene::DAY * 14);
    let late = server
        .approve(approval(&expiring, "sa", object_grant()))
        .await;
    assert_eq!(reason(late), Reason::RequestNotPending);
    assert_eq!(
        server.state(&expiring).await,
        wire::AccessRequestState::Expired
    );
    // R8: the plan at the approval counts, and a request may wait for a better one.
    let id = server.filed(view("t", "c1")).await;
    let plan = |plan: &str| {
        change(Change::PutAccount(wire::AccountPatch {
            plan: Some(plan.to_owned()),
            ..wire::AccountPatch::default()
        }))
    };
    server
        .apply("acme", vec![plan("professional")])
        .await
        .unwrap();
    let refusal = server.approve(approval(&id, "sa", object_grant())).await;
    assert_eq!(reason(refusal), Reason::NotEntitled);
    server
        .apply("acme", vec![plan("enterprise")])
        .await
        .unwrap();
    server
        .approve(approval(&id, "sa", object_grant()))
        .await
        .unwrap();
}
