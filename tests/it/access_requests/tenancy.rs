//! Case 35: a request of another account is exactly like one that is not there, for every rpc.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::scene::{ACME, Scene, approval, object_grant, view};
use crate::grpc::reason;
use crate::grpc::server::TestServer;

const UNKNOWN: &str = "019a0000-0000-7000-8000-000000000000";

/// The errors of every rpc that names a request.
async fn errors(server: &TestServer, account: &str, id: &str) -> Vec<(&'static str, Status)> {
    let mut requests = server.requests();
    let (account_id, access_request_id) = (account.to_owned(), id.to_owned());
    let get = wire::GetAccessRequestRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
    };
    let suggest = wire::SuggestResolutionsRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
        approver_user_id: "sa".to_owned(),
        expires_at: None,
    };
    let approve = wire::ApproveAccessRequestRequest {
        account_id: account_id.clone(),
        ..approval(id, "sa", object_grant())
    };
    let deny = wire::DenyAccessRequestRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
        approver_user_id: "sa".to_owned(),
        reason: "no".to_owned(),
        ..wire::DenyAccessRequestRequest::default()
    };
    let cancel = wire::CancelAccessRequestRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
        user_id: "u".to_owned(),
        ..wire::CancelAccessRequestRequest::default()
    };
    let revoke = wire::RevokeAccessRequestRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
        approver_user_id: "sa".to_owned(),
        ..wire::RevokeAccessRequestRequest::default()
    };
    let events = wire::ListAccessRequestEventsRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
    };
    let link = wire::CreateRequestLinkRequest {
        account_id: account_id.clone(),
        access_request_id: access_request_id.clone(),
        approver_user_id: "sa".to_owned(),
    };
    let replay = wire::ReplayNotificationRequest {
        partner_account_id: String::new(),
        account_id,
        access_request_id,
        event_ordinal: 0,
        destination: "webhook:crm".to_owned(),
    };
    vec![
        ("get", requests.get_access_request(get).await.unwrap_err()),
        (
            "link",
            requests.create_request_link(link).await.unwrap_err(),
        ),
        (
            "suggest",
            requests.suggest_resolutions(suggest).await.unwrap_err(),
        ),
        (
            "approve",
            requests.approve_access_request(approve).await.unwrap_err(),
        ),
        (
            "deny",
            requests.deny_access_request(deny).await.unwrap_err(),
        ),
        (
            "cancel",
            requests.cancel_access_request(cancel).await.unwrap_err(),
        ),
        (
            "revoke",
            requests.revoke_access_request(revoke).await.unwrap_err(),
        ),
        (
            "events",
            requests
                .list_access_request_events(events)
                .await
                .unwrap_err(),
        ),
        (
            "replay",
            requests.replay_notification(replay).await.unwrap_err(),
        ),
    ]
}

/// All that a caller is told, but for the id that the caller named.
fn told(status: &Status, id: &str) -> String {
    let details = status.get_error_details();
    format!("{:?} {} {details:?}", status.code(), status.message()).replace(id, "ID")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_35_a_request_of_another_account_is_like_one_that_is_not_there() {
    let (_scene, server) = Scene::with_acme().await;
    server
        .put(&ACME.replace("account: acme", "account: other"))
        .await;
    let foreign = server.filed(view("u", "c1")).await;
    let of_foreign = errors(&server, "other", &foreign).await;
    let of_unknown = errors(&server, "other", UNKNOWN).await;
    for ((rpc, foreign_status), (_, unknown_status)) in of_foreign.iter().zip(&of_unknown) {
        assert_eq!(
            told(foreign_status, &foreign),
            told(unknown_status, UNKNOWN),
            "{rpc}"
        );
        let expected = match *rpc {
            "replay" => Reason::NotificationNotFound,
            _ => Reason::AccessRequestNotFound,
        };
        assert_eq!(Reason::of(foreign_status), Some(expected), "{rpc}");
    }
    for (rpc, status) in errors(&server, "nowhere", &foreign).await {
        assert_eq!(Reason::of(&status), Some(Reason::AccountNotFound), "{rpc}");
    }
    assert_eq!(
        server.events(&foreign).await.len(),
        1,
        "nothing was written"
    );
    assert_eq!(
        server.state(&foreign).await,
        wire::AccessRequestState::Pending
    );
    // Equal users and resources of two accounts never mix.
    let same = wire::FileAccessRequestRequest {
        account_id: "other".to_owned(),
        ..view("u", "c1")
    };
    assert_eq!(
        server.checked(&same, "").await.pending_access_request_id,
        ""
    );
    let own = server.filed(same).await;
    assert_ne!(own, foreign);
    assert_eq!(
        reason(server.get("acme", &own).await),
        Reason::AccessRequestNotFound
    );
}
