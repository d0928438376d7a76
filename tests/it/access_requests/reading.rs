//! Lists, pages and watches of requests.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Streaming;
use wire::watch_access_requests_response::Event;

use super::scene::{Scene, approval, export, object_grant, view};
use crate::grpc::reason;
use crate::grpc::server::{TestServer, put_contact, put_user};

type Watch = Streaming<wire::WatchAccessRequestsResponse>;

async fn ids(server: &TestServer, request: wire::ListAccessRequestsRequest) -> Vec<String> {
    let mut request = wire::ListAccessRequestsRequest {
        account_id: "acme".to_owned(),
        ..request
    };
    let mut found = Vec::new();
    loop {
        let listing = server
            .requests()
            .list_access_requests(request.clone())
            .await;
        let page = listing.unwrap().into_inner();
        assert!(!page.revision.is_empty());
        found.extend(page.access_requests.into_iter().map(|request| request.id));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

fn by_state(state: wire::AccessRequestState) -> wire::ListAccessRequestsRequest {
    wire::ListAccessRequestsRequest {
        states: vec![state.into()],
        ..wire::ListAccessRequestsRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_narrowed_by_state_requester_and_approver_and_comes_in_pages() {
    let (scene, server) = Scene::with_acme().await;
    let approved = server.filed(view("u", "c1")).await;
    scene.clock.advance(std::time::Duration::from_millis(1));
    let denied = server.filed(view("w", "c1")).await;
    scene.clock.advance(std::time::Duration::from_millis(1));
    let pending = server.filed(view("w", "c2")).await;
    scene.clock.advance(std::time::Duration::from_millis(1));
    let of_boss = server.filed(export("junior")).await;
    let approve = server
        .approve(approval(&approved, "sa", object_grant()))
        .await;
    approve.unwrap();
    server.deny(&denied, "boss").await.unwrap();

    let all = [&approved, &denied, &pending, &of_boss].map(Clone::clone);
    let any = wire::ListAccessRequestsRequest::default();
    assert_eq!(ids(&server, any.clone()).await, all);
    for page_size in 1..=4 {
        let request = wire::ListAccessRequestsRequest {
            page_size,
            ..any.clone()
        };
        assert_eq!(ids(&server, request).await, all, "{page_size}");
    }
    let pending_state = by_state(wire::AccessRequestState::Pending);
    assert_eq!(
        ids(&server, pending_state.clone()).await,
        [pending.clone(), of_boss.clone()]
    );
    let two = wire::ListAccessRequestsRequest {
        states: vec![
            wire::AccessRequestState::Approved.into(),
            wire::AccessRequestState::Denied.into(),
        ],
        ..any.clone()
    };
    assert_eq!(ids(&server, two).await, [approved.clone(), denied.clone()]);
    let of_w = wire::ListAccessRequestsRequest {
        user_id: "w".to_owned(),
        ..any.clone()
    };
    assert_eq!(ids(&server, of_w).await, [denied.clone(), pending.clone()]);
    let for_approver = |user: &str| wire::ListAccessRequestsRequest {
        approver_user_id: user.to_owned(),
        page_size: 1,
        ..any.clone()
    };
    assert_eq!(
        ids(&server, for_approver("boss")).await,
        [denied.clone(), pending.clone(), of_boss.clone()]
    );
    // Nobody resolves what is their own, and who is no approver resolves nothing.
    assert_eq!(ids(&server, for_approver("junior")).await, [pending]);
    assert_eq!(ids(&server, for_approver("w")).await, Vec::<String>::new());

    // A page token is good for its own request alone.
    let first = wire::ListAccessRequestsRequest {
        account_id: "acme".to_owned(),
        page_size: 1,
        ..any.clone()
    };
    let page = server.requests().list_access_requests(first.clone()).await;
    let page_token = page.unwrap().into_inner().next_page_token;
    for other in [
        wire::ListAccessRequestsRequest {
            user_id: "w".to_owned(),
            ..first.clone()
        },
        wire::ListAccessRequestsRequest {
            approver_user_id: "sa".to_owned(),
            ..first.clone()
        },
        wire::ListAccessRequestsRequest {
            states: pending_state.states,
            ..first.clone()
        },
    ] {
        let request = wire::ListAccessRequestsRequest {
            page_token: page_token.clone(),
            ..other
        };
        let listed = server.requests().list_access_requests(request).await;
        assert_eq!(reason(listed), Reason::PageTokenInvalid);
    }
    let unsaid = wire::ListAccessRequestsRequest {
        states: vec![0],
        ..first
    };
    let listed = server.requests().list_access_requests(unsaid).await;
    assert_eq!(reason(listed), Reason::InvalidField);
}

async fn watch(server: &TestServer, after: &str, user: &str) -> Watch {
    let request = wire::WatchAccessRequestsRequest {
        account_id: "acme".to_owned(),
        after_revision: after.to_owned(),
        user_id: user.to_owned(),
    };
    let watch = server.requests().watch_access_requests(request).await;
    watch.unwrap().into_inner()
}

/// The next event but heartbeats: its revision, and each request with its state.
async fn next(watch: &mut Watch) -> (String, Vec<(String, wire::AccessRequestState)>) {
    loop {
        let told = watch.message().await.unwrap().expect("the watch has ended");
        let requests = match told.event.unwrap() {
            Event::Heartbeat(_) => continue,
            Event::Pending(pending) => {
                assert!(!pending.more_follow);
                pending.access_requests
            }
            Event::Changed(changed) => changed.access_requests,
        };
        let requests = requests
            .iter()
            .map(|request| (request.id.clone(), request.state()))
            .collect();
        return (told.revision, requests);
    }
}

/// The next event but heartbeats, which must be a change: its revision, all requests of it and those
/// that are revoked.
async fn next_change(watch: &mut Watch) -> (String, Vec<String>, Vec<String>) {
    loop {
        let told = watch.message().await.unwrap().expect("the watch has ended");
        match told.event.unwrap() {
            Event::Heartbeat(_) | Event::Pending(_) => {}
            Event::Changed(changed) => {
                let all = changed
                    .access_requests
                    .into_iter()
                    .map(|request| request.id);
                let revoked = changed.revoked_access_request_ids;
                return (told.revision, all.collect(), revoked);
            }
        }
    }
}

/// A revocation changes no request, and a watch tells of it all the same, at its own revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_of_revocations() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let mut ids = Vec::new();
    for contact in ["c1", "c2"] {
        let id = one.filed(view("u", contact)).await;
        let approved = one.approve(approval(&id, "sa", object_grant())).await;
        ids.push((id, approved.unwrap().revision));
    }
    let [(first, _), (second, begun)] = <[_; 2]>::try_from(ids).unwrap();
    let mut live = watch(&other, &begun, "").await;
    let mut of_w = watch(&other, &begun, "w").await;
    // The control: what else changes is told as it is, and not as a revocation.
    let third = one.filed(view("w", "c1")).await;
    let (_, all, revoked) = next_change(&mut live).await;
    assert_eq!((all, revoked), (vec![third.clone()], vec![]));
    let (_, all, _) = next_change(&mut of_w).await;
    assert_eq!(all, std::slice::from_ref(&third));

    let revocation = one.revoke(&first, "sa").await.unwrap().revision;
    let (told, all, revoked) = next_change(&mut live).await;
    assert_eq!((&told, &all), (&revocation, &vec![first.clone()]));
    assert_eq!(revoked, std::slice::from_ref(&first));
    // Resumed after the approvals: both that changed since, and which of them was revoked.
    let mut resumed = watch(&one, &begun, "").await;
    let (told, mut all, revoked) = next_change(&mut resumed).await;
    all.sort();
    let mut expected = vec![first.clone(), third.clone()];
    expected.sort();
    assert_eq!((told, all), (revocation, expected));
    assert_eq!(revoked, [first]);
    // To who follows `w`, none of that is news; an approval beside it is no revocation.
    one.revoke(&second, "sa").await.unwrap();
    let approved = one.approve(approval(&third, "sa", object_grant())).await;
    let (told, all, revoked) = next_change(&mut of_w).await;
    assert_eq!((told, all), (approved.unwrap().revision, vec![third]));
    assert!(revoked.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_with_what_is_pending_and_goes_on_without_a_gap() {
    use wire::AccessRequestState::{Approved, Pending};
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let ended = one.filed(export("u")).await;
    one.cancel(&ended, "u").await.unwrap();
    let first = one.filed(view("u", "c1")).await;

    let mut everything = watch(&other, "", "").await;
    let (begun, pending) = next(&mut everything).await;
    assert_eq!(pending, [(first.clone(), Pending)]);
    let mut of_w = watch(&other, "", "w").await;
    assert_eq!(next(&mut of_w).await.1, []);

    // What is none of its business is not told.
    one.apply("acme", vec![put_contact("c9"), put_user("x", None)])
        .await
        .unwrap();
    let second = one.filed(view("w", "c1")).await;
    assert_eq!(next(&mut everything).await.1, [(second.clone(), Pending)]);
    assert_eq!(next(&mut of_w).await.1, [(second.clone(), Pending)]);
    let approved = one.approve(approval(&first, "sa", object_grant())).await;
    let revision = approved.unwrap().revision;
    let (told, changed) = next(&mut everything).await;
    assert_eq!(changed, [(first.clone(), Approved)]);
    assert_eq!(told, revision);
    drop(everything);

    // Resumed where the first event stood, on another server: both, each as it is now.
    let mut resumed = watch(&one, &begun, "").await;
    let (_, mut changed) = next(&mut resumed).await;
    changed.sort();
    let mut expected = vec![(first, Approved), (second.clone(), Pending)];
    expected.sort();
    assert_eq!(changed, expected);
    let mut at_end = watch(&one, &revision, "").await;
    let heartbeat = at_end.message().await.unwrap().unwrap();
    assert_eq!(heartbeat.revision, revision);
    assert!(matches!(heartbeat.event, Some(Event::Heartbeat(_))));
    one.deny(&second, "sa").await.unwrap();
    assert_eq!(
        next(&mut of_w).await.1,
        [(second, wire::AccessRequestState::Denied)]
    );

    let garbage = wire::WatchAccessRequestsRequest {
        account_id: "acme".to_owned(),
        after_revision: "garbage".to_owned(),
        user_id: String::new(),
    };
    let refused = crate::grpc::refused(one.requests().watch_access_requests(garbage).await);
    let expected = (Reason::RevisionMalformed, Some("after_revision".to_owned()));
    assert_eq!(refused, expected);
    one.shutdown.begin();
    let ended = resumed.message().await;
    let ended = match ended {
        Ok(Some(_told)) => resumed.message().await,
        other => other,
    };
    assert_eq!(reason(ended), Reason::ShuttingDown);
}
