//! Approving and revoking (R4 to R7, S1.6), on several servers of one database.

use std::time::Duration;

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use wire::resolution::Kind;

use super::scene::{Scene, approval, direct_grant, export, object_grant, view};
use crate::grpc::{reason, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_every_kind_of_resolution_turns_the_check_on_every_replica_and_is_revoked_as_a_unit() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let owned = wire::Level::Owned;
    let cases = [
        (view("u", "c1"), object_grant()),
        (
            view("u", "c1"),
            Kind::AssignToUser(wire::AssignToUserResolution {}),
        ),
        (export("u"), direct_grant("export", owned)),
        (view("t", "c1"), Kind::AssignToTeamId("de".to_owned())),
        (export("u"), Kind::PermissionSetId("exporters".to_owned())),
        (view("t", "c1"), Kind::AddToTeamId("fr".to_owned())),
        (
            view("w", "c3"),
            Kind::RaiseLevel(wire::GrantOffer {
                resource_type: "contact".to_owned(),
                permission: "view".to_owned(),
                level: wire::Level::Team.into(),
                include_unassigned: false,
            }),
        ),
    ];
    for (asked, kind) in cases {
        let id = one.filed(asked.clone()).await;
        assert!(!other.allows(&asked, "").await, "{asked:?}");
        let approved = one
            .approve(approval(&id, "sa", kind.clone()))
            .await
            .unwrap();
        let check = approved.check.unwrap();
        assert_eq!(check.decision(), wire::Decision::Allow, "{kind:?}");
        assert_eq!(check.revision, approved.revision);
        assert!(other.allows(&asked, &approved.revision).await, "{kind:?}");
        let request = approved.access_request.unwrap();
        assert_eq!(request.state(), wire::AccessRequestState::Approved);
        let closing = request.closing.unwrap();
        assert_eq!(closing.by_user_id, "sa");
        let given = closing.approval.unwrap().resolution.unwrap().kind.unwrap();
        assert_eq!(given, kind);

        let revoked = other.revoke(&id, "sa").await.unwrap();
        assert_eq!(revoked.check.unwrap().decision(), wire::Decision::Deny);
        assert!(!one.allows(&asked, &revoked.revision).await, "{kind:?}");
        assert_eq!(one.state(&id).await, wire::AccessRequestState::Approved);
        let events = one.events(&id).await;
        let kinds: Vec<_> = events.iter().map(wire::AccessRequestEvent::kind).collect();
        assert_eq!(
            kinds,
            [
                wire::AccessRequestEventKind::Filed,
                wire::AccessRequestEventKind::Approved,
                wire::AccessRequestEventKind::Revoked
            ]
        );
        assert_eq!(events[1].reason_after, check.reason);
        assert_eq!(events[2].reason_after, events[0].reason_before);
        let twice = one.revoke(&id, "sa").await;
        assert_eq!(reason(twice), Reason::NothingToRevoke);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_the_smallest_suggestion_is_what_was_asked_for_and_it_does() {
    let (_scene, server) = Scene::with_acme().await;
    for (asked, smallest) in [
        (view("u", "c1"), object_grant()),
        (export("u"), direct_grant("export", wire::Level::Owned)),
    ] {
        let id = server.filed(asked.clone()).await;
        let suggestions = server.suggest(&id, "sa").await.unwrap();
        let first = suggestions[0].clone();
        assert_eq!(first.resolution.unwrap().kind.unwrap(), smallest);
        for pair in suggestions.windows(2) {
            assert!(pair[0].opens <= pair[1].opens, "{suggestions:?}");
        }
        // Resources are named to approvers alone, but for the one that is asked for.
        for suggestion in server.suggest(&id, "").await.unwrap() {
            for opened in suggestion.sample {
                let named = opened.resource_id;
                assert!(named.is_empty() || named == asked.resource_id, "{named}");
            }
        }
        assert_eq!(
            reason(server.suggest(&id, "v").await),
            Reason::NotAnApprover
        );
        // Suggesting has written nothing.
        assert!(!server.allows(&asked, "").await);
        let approved = server
            .approve(approval(&id, "boss", smallest))
            .await
            .unwrap();
        assert!(server.allows(&asked, &approved.revision).await);
        let ended = server.suggest(&id, "sa").await;
        assert_eq!(reason(ended), Reason::RequestNotPending);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_10_what_is_given_for_a_time_ends_at_that_moment_on_every_server() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let team = Kind::AddToTeamId("fr".to_owned());
    for (asked, kind) in [
        (view("u", "c1"), object_grant()),
        (export("u"), direct_grant("export", wire::Level::Owned)),
        (view("t", "c2"), team),
    ] {
        let id = one.filed(asked.clone()).await;
        let expires_at = scene.after(3_600);
        let approved = one
            .approve(wire::ApproveAccessRequestRequest {
                expires_at,
                ..approval(&id, "sa", kind)
            })
            .await
            .unwrap();
        assert_eq!(approved.check.unwrap().valid_until, expires_at);
        scene.clock.advance(Duration::from_micros(3_599_999_999));
        assert!(one.allows(&asked, "").await);
        assert!(other.allows(&asked, "").await);
        scene.clock.advance(Duration::from_micros(1));
        assert!(!one.allows(&asked, "").await);
        assert!(!other.allows(&asked, "").await);
    }
    let id = one.filed(view("w", "c1")).await;
    let past = wire::ApproveAccessRequestRequest {
        expires_at: scene.after(0),
        ..approval(&id, "sa", object_grant())
    };
    let (refusal, field) = refused(one.approve(past).await);
    assert_eq!(refusal, Reason::InvalidField);
    assert_eq!(field.as_deref(), Some("expires_at"));
}

/// Approve against deny, on two servers, 64 at once: one transition, one record of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_39_of_many_resolutions_at_once_one_wins() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    for round in 0..3 {
        let asked = view("u", ["c1", "c2", "c1"][round]);
        let asked = if round == 2 { view("w", "c1") } else { asked };
        let id = one.filed(asked.clone()).await;
        let resolutions = (0..64).map(|number| {
            let mut requests = [&one, &other][number % 2].requests();
            let id = id.clone();
            tokio::spawn(async move {
                let by = ["sa", "boss"][number / 2 % 2];
                if number / 4 % 2 == 0 {
                    let request = approval(&id, by, object_grant());
                    requests
                        .approve_access_request(request)
                        .await
                        .map(|_| "approved")
                } else {
                    let request = wire::DenyAccessRequestRequest {
                        account_id: "acme".to_owned(),
                        access_request_id: id,
                        approver_user_id: by.to_owned(),
                        reason: "no".to_owned(),
                        ..wire::DenyAccessRequestRequest::default()
                    };
                    requests
                        .deny_access_request(request)
                        .await
                        .map(|_| "denied")
                }
            })
        });
        let resolutions: Vec<_> = resolutions.collect();
        let mut won = Vec::new();
        for resolution in resolutions {
            match resolution.await.unwrap() {
                Ok(how) => won.push(how),
                lost @ Err(_) => assert_eq!(reason(lost), Reason::RequestNotPending),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let events = other.events(&id).await;
        assert_eq!(events.len(), 2, "{events:?}");
        let expected = match won[0] {
            "approved" => wire::AccessRequestState::Approved,
            _ => wire::AccessRequestState::Denied,
        };
        assert_eq!(other.state(&id).await, expected);
        assert_eq!(events[1].to_state(), expected);
        assert_eq!(one.allows(&asked, "").await, won[0] == "approved");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_39_a_repeated_decision_is_answered_by_its_key_and_refused_without() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let id = one.filed(view("u", "c1")).await;
    let keyed = wire::ApproveAccessRequestRequest {
        idempotency_key: "click-1".to_owned(),
        ..approval(&id, "sa", object_grant())
    };
    let first = one.approve(keyed.clone()).await.unwrap();
    let again = other.approve(keyed.clone()).await.unwrap();
    assert_eq!(again.access_request, first.access_request);
    assert_eq!(again.revision, first.revision);
    assert_eq!(again.check.unwrap().decision(), wire::Decision::Allow);
    let by_another = wire::ApproveAccessRequestRequest {
        approver_user_id: "boss".to_owned(),
        ..keyed
    };
    let reused = other.approve(by_another).await;
    assert_eq!(reason(reused), Reason::IdempotencyKeyReused);
    let unkeyed = other.approve(approval(&id, "sa", object_grant())).await;
    assert_eq!(reason(unkeyed), Reason::RequestNotPending);
    assert_eq!(reason(one.deny(&id, "sa").await), Reason::RequestNotPending);
    assert_eq!(
        reason(one.cancel(&id, "u").await),
        Reason::RequestNotPending
    );
    assert_eq!(one.events(&id).await.len(), 2);

    // A revision that the account has left refuses, and leaves the request as it is.
    let stale = one.filed(view("w", "c1")).await;
    let expected = wire::ApproveAccessRequestRequest {
        expected_revision: first.revision,
        ..approval(&stale, "sa", object_grant())
    };
    assert_eq!(
        reason(one.approve(expected).await),
        Reason::RevisionMismatch
    );
    assert_eq!(one.state(&stale).await, wire::AccessRequestState::Pending);
}
