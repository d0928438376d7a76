//! Filing (R1, R2, R8, S1.6, S1.8, S1.9), over the wire.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;

use super::scene::{DAY, Scene, approval, direct_grant, export, view};
use crate::grpc::server::{TestServer, change, fully_consistent};
use crate::grpc::{reason, refused};

async fn pending_of(server: &TestServer, asked: &wire::FileAccessRequestRequest) -> String {
    server.checked(asked, "").await.pending_access_request_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_6_filing_is_seen_in_every_denial_and_changes_none() {
    let (scene, server) = Scene::with_acme().await;
    let mut asked = view("u", "c1");
    asked.wanted_seconds = Some(86_400);
    asked.origin_url = "https://crm.example.com/contacts/c1".to_owned();
    let answer = server.file(asked.clone()).await.unwrap();
    let filed = answer.access_request.unwrap();
    assert!(!answer.existing);
    assert_eq!(
        filed,
        wire::AccessRequest {
            id: filed.id.clone(),
            user_id: "u".to_owned(),
            resource_type: "contact".to_owned(),
            action: "view".to_owned(),
            resource_id: "c1".to_owned(),
            reason: "I take over this customer".to_owned(),
            denied_as: "NOT_IN_PARTITION".to_owned(),
            wanted_seconds: Some(86_400),
            origin_url: "https://crm.example.com/contacts/c1".to_owned(),
            filed_at: scene.after(0),
            expires_at: scene.after(14 * 86_400),
            state: wire::AccessRequestState::Pending.into(),
            closing: None,
        }
    );
    assert_eq!(filed.id.len(), 36, "{}", filed.id);
    assert_eq!(filed.id.as_bytes()[14], b'7', "{}", filed.id);

    let checked = server.checked(&asked, &answer.revision).await;
    assert_eq!(checked.decision(), wire::Decision::Deny);
    assert_eq!(checked.requestable(), wire::Requestable::Object);
    assert_eq!(checked.pending_access_request_id, filed.id);
    // Another resource, another action and another user have none.
    for other in [view("u", "c2"), view("w", "c1"), export("u")] {
        assert_eq!(pending_of(&server, &other).await, "", "{other:?}");
    }
    // Nor has what is allowed.
    assert_eq!(pending_of(&server, &view("u", "mine")).await, "");
    let explained = server
        .decisions()
        .explain(wire::ExplainRequest {
            account_id: "acme".to_owned(),
            user_id: "u".to_owned(),
            action: "view".to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: "c1".to_owned(),
            consistency: fully_consistent(),
            ..wire::ExplainRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(explained.pending_access_request_id, filed.id);
    let item = |resource_id: &str| wire::BatchCheckItem {
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: resource_id.to_owned(),
        ..wire::BatchCheckItem::default()
    };
    let batch = server
        .decisions()
        .batch_check(wire::BatchCheckRequest {
            account_id: "acme".to_owned(),
            items: vec![item("c1"), item("c2"), item("mine")],
            at: None,
            consistency: fully_consistent(),
        })
        .await
        .unwrap()
        .into_inner();
    let pending: Vec<&str> = batch
        .results
        .iter()
        .map(|result| result.pending_access_request_id.as_str())
        .collect();
    assert_eq!(pending, [filed.id.as_str(), "", ""]);
    // A TOOL request stands beside every denial that it would turn, with and without an id.
    let tool = server.filed(export("u")).await;
    assert_eq!(pending_of(&server, &export("u")).await, tool);
    let with_id = wire::FileAccessRequestRequest {
        resource_id: "c1".to_owned(),
        ..export("u")
    };
    assert_eq!(pending_of(&server, &with_id).await, tool);

    let events = server.events(&filed.id).await;
    assert_eq!(
        events,
        [wire::AccessRequestEvent {
            ordinal: 0,
            kind: wire::AccessRequestEventKind::Filed.into(),
            at: scene.after(0),
            actor_user_id: "u".to_owned(),
            to_state: wire::AccessRequestState::Pending.into(),
            note: "I take over this customer".to_owned(),
            reason_before: "NOT_IN_PARTITION".to_owned(),
            ..wire::AccessRequestEvent::default()
        }]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_the_same_is_filed_once_and_not_again_right_after_a_denial() {
    let (scene, server) = Scene::with_acme().await;
    let first = server.filed(view("u", "c1")).await;
    let again = server.file(view("u", "c1")).await.unwrap();
    assert!(again.existing);
    assert_eq!(again.access_request.unwrap().id, first);
    // Another user's is another one.
    assert_ne!(server.filed(view("w", "c1")).await, first);

    server.deny(&first, "sa").await.unwrap();
    let cooling = server.file(view("u", "c1")).await;
    assert_eq!(reason(cooling), Reason::RequestCoolingDown);
    server.filed(view("u", "c2")).await;
    scene.clock.advance(DAY);
    assert_ne!(server.filed(view("u", "c1")).await, first);
    // What was withdrawn may be filed again at once.
    let tool = server.filed(export("u")).await;
    server.cancel(&tool, "u").await.unwrap();
    assert_ne!(server.filed(export("u")).await, tool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_user_has_no_more_pending_requests_than_the_account_allows() {
    let (_scene, server) = Scene::with_acme().await;
    let patch = wire::AccountPatch {
        request_limit_per_user: Some(wire::OptionalCount { count: Some(2) }),
        ..wire::AccountPatch::default()
    };
    let limit = change(wire::change::Change::PutAccount(patch));
    server.apply("acme", vec![limit]).await.unwrap();
    server.filed(view("u", "c1")).await;
    let second = server.filed(view("u", "c2")).await;
    let third = server.file(export("u")).await;
    assert_eq!(reason(third), Reason::TooManyPendingRequests);
    // The one that is there is no further one, and another user has a limit of its own.
    assert!(server.file(view("u", "c1")).await.unwrap().existing);
    server.filed(view("w", "c1")).await;
    server.cancel(&second, "u").await.unwrap();
    server.filed(export("u")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_what_cannot_be_requested_is_refused_with_its_reason() {
    let (_scene, server) = Scene::with_acme().await;
    let with_id = wire::FileAccessRequestRequest {
        resource_id: "c1".to_owned(),
        ..export("u")
    };
    let cases = [
        (view("u", "mine"), Reason::AlreadyAllowed, None),
        (view("sa", "c1"), Reason::AlreadyAllowed, None),
        (view("ghost", "c1"), Reason::NotRequestable, None),
        (view("u", "no-such-contact"), Reason::NotRequestable, None),
        // The tool is denied, so it is the tool that is to be asked for.
        (with_id, Reason::NotRequestable, None),
        (
            wire::FileAccessRequestRequest {
                resource_type: "spaceship".to_owned(),
                ..view("u", "c1")
            },
            Reason::UnknownResourceType,
            Some("resource_type"),
        ),
        (
            wire::FileAccessRequestRequest {
                action: "fly".to_owned(),
                ..view("u", "c1")
            },
            Reason::UnknownAction,
            Some("action"),
        ),
        (
            wire::FileAccessRequestRequest {
                reason: " ".to_owned(),
                ..view("u", "c1")
            },
            Reason::InvalidField,
            Some("reason"),
        ),
        (
            wire::FileAccessRequestRequest {
                reason: "é".repeat(1_001),
                ..view("u", "c1")
            },
            Reason::InvalidField,
            Some("reason"),
        ),
        (
            wire::FileAccessRequestRequest {
                wanted_seconds: Some(0),
                ..view("u", "c1")
            },
            Reason::InvalidField,
            Some("wanted_seconds"),
        ),
        (
            wire::FileAccessRequestRequest {
                origin_url: "javascript:alert(1)".to_owned(),
                ..view("u", "c1")
            },
            Reason::InvalidField,
            Some("origin_url"),
        ),
        (
            wire::FileAccessRequestRequest {
                user_id: String::new(),
                ..view("u", "c1")
            },
            Reason::InvalidField,
            Some("user_id"),
        ),
        (
            wire::FileAccessRequestRequest {
                account_id: "nowhere".to_owned(),
                ..view("u", "c1")
            },
            Reason::AccountNotFound,
            Some("account_id"),
        ),
    ];
    for (asked, expected, field) in cases {
        let told = format!("{asked:?}");
        let (reason, blamed) = refused(server.file(asked).await);
        assert_eq!((reason, blamed.as_deref()), (expected, field), "{told}");
    }
    let listed = server
        .requests()
        .list_access_requests(wire::ListAccessRequestsRequest {
            account_id: "acme".to_owned(),
            ..wire::ListAccessRequestsRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.access_requests, [], "nothing was filed");
    // The longest reason is fine, counted in characters.
    let longest = wire::FileAccessRequestRequest {
        reason: "é".repeat(1_000),
        ..view("u", "c1")
    };
    server.filed(longest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_tool_requests_are_for_every_plan_and_object_requests_for_enterprise() {
    let (_scene, server) = Scene::with_acme().await;
    for plan in ["free", "starter", "professional", "enterprise"] {
        let account = format!("on-{plan}");
        let document = format!(
            "
account: {account}
catalog: hubspot
plan: {plan}
teams: [{{id: fr}}]
users:
  - {{id: sa, super_admin: true, seats: [core]}}
  - {{id: u, seats: [core], grants: {{contact.view: owned}}}}
resources:
  - {{type: contact, id: c1, owners: [sa], assigned_to: [team:fr]}}
"
        );
        server.put(&document).await;
        let on_plan = |asked: wire::FileAccessRequestRequest| wire::FileAccessRequestRequest {
            account_id: account.clone(),
            ..asked
        };
        let tool = server.filed(on_plan(export("u"))).await;
        let approved = wire::ApproveAccessRequestRequest {
            account_id: account.clone(),
            ..approval(&tool, "sa", direct_grant("export", wire::Level::Owned))
        };
        let revision = server.approve(approved).await.unwrap().revision;
        assert!(
            server.allows(&on_plan(export("u")), &revision).await,
            "{plan}"
        );

        let object = on_plan(view("u", "c1"));
        let requestable = server.checked(&object, "").await.requestable();
        if plan == "enterprise" {
            assert_eq!(requestable, wire::Requestable::Object);
            server.filed(object).await;
        } else {
            assert_eq!(requestable, wire::Requestable::None, "{plan}");
            let refusal = reason(server.file(object).await);
            assert_eq!(refusal, Reason::NotRequestable, "{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_filing_answers_what_the_first_one_did() {
    let (_scene, server) = Scene::with_acme().await;
    let keyed = |key: &str, asked: wire::FileAccessRequestRequest| wire::FileAccessRequestRequest {
        idempotency_key: key.to_owned(),
        ..asked
    };
    let first = server.file(keyed("k", view("u", "c1"))).await.unwrap();
    let id = first.access_request.clone().unwrap().id;
    let again = server.file(keyed("k", view("u", "c1"))).await.unwrap();
    assert_eq!(again.access_request, first.access_request);
    assert_eq!(again.revision, first.revision);
    let other = server.file(keyed("k", view("u", "c2"))).await;
    assert_eq!(
        refused(other),
        (
            Reason::IdempotencyKeyReused,
            Some("idempotency_key".to_owned())
        )
    );
    // Remembered too where there was nothing to write.
    let pending = server.file(keyed("p", view("u", "c1"))).await.unwrap();
    assert_eq!(pending.access_request.unwrap().id, id);
    // What has ended since is still the answer, and no second request is filed.
    server.deny(&id, "sa").await.unwrap();
    for key in ["k", "p"] {
        let ended = server.file(keyed(key, view("u", "c1"))).await.unwrap();
        let ended = ended.access_request.unwrap();
        assert_eq!(ended.id, id);
        assert_eq!(ended.state(), wire::AccessRequestState::Denied);
    }
    let expected = wire::FileAccessRequestRequest {
        expected_revision: first.revision,
        ..export("u")
    };
    assert_eq!(
        refused(server.file(expected).await),
        (
            Reason::RevisionMismatch,
            Some("expected_revision".to_owned())
        )
    );
}
