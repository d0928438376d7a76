//! `ListNotifications` and `ReplayNotification`, over what a receiver really did not take.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;

use super::scene::{ACME, Scene, export, until, view};
use crate::grpc::reason;
use crate::grpc::server::TestServer;
use crate::notifications::SECRET;
use crate::notifications::receiver::{Answer, Receiver};

/// All that is listed in a state, in pages of so many.
async fn listed(
    server: &TestServer,
    state: wire::NotificationState,
    page_size: u32,
) -> Vec<wire::Notification> {
    let mut request = wire::ListNotificationsRequest {
        account_id: "acme".to_owned(),
        state: state.into(),
        page_size,
        page_token: String::new(),
    };
    let mut found = Vec::new();
    loop {
        let page = server.requests().list_notifications(request.clone()).await;
        let page = page.unwrap().into_inner();
        found.extend(page.notifications);
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

fn key(notification: &wire::Notification) -> (String, u32) {
    let request = notification.access_request_id.clone();
    (request, notification.event_ordinal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_listed_in_pages_and_sent_once_more() {
    let receiver = Receiver::start(Answer::Status(410));
    let scene = Scene::new();
    let server = scene
        .server_with(&[
            ("webhook_url", &receiver.url()),
            ("webhook_secret", SECRET),
            ("webhook_allowed_networks", "127.0.0.0/8"),
        ])
        .await;
    server.put(ACME).await;
    let mut expected = Vec::new();
    for asked in [view("u", "c1"), view("w", "c2"), export("u")] {
        expected.push((server.filed(asked).await, 0));
    }
    server.deny(&expected[0].0, "sa").await.unwrap();
    expected.push((expected[0].0.clone(), 1));
    expected.sort();
    let dead = wire::NotificationState::Dead;
    until("all are given up", async || {
        listed(&server, dead, 0).await.len() == expected.len()
    })
    .await;
    for page_size in 1..=4 {
        let found = listed(&server, dead, page_size).await;
        let keys: Vec<_> = found.iter().map(key).collect();
        assert_eq!(keys, expected, "{page_size}");
    }
    let given_up = listed(&server, wire::NotificationState::Unspecified, 0).await;
    assert_eq!(given_up.len(), expected.len());
    let one = given_up[0].clone();
    assert_eq!((one.state(), one.attempts), (dead, 1));
    assert!(one.destination.starts_with("webhook:"), "{one:?}");
    assert!(one.last_problem.contains("410"), "{one:?}");
    assert!(one.settled_at.is_some());

    // A page token is good for its own list alone.
    let first = wire::ListNotificationsRequest {
        account_id: "acme".to_owned(),
        state: dead.into(),
        page_size: 1,
        page_token: String::new(),
    };
    let page = server.requests().list_notifications(first.clone()).await;
    let other = wire::ListNotificationsRequest {
        state: wire::NotificationState::Pending.into(),
        page_token: page.unwrap().into_inner().next_page_token,
        ..first
    };
    let foreign = server.requests().list_notifications(other).await;
    assert_eq!(reason(foreign), Reason::PageTokenInvalid);

    receiver.answer(Answer::Status(204));
    let replay = wire::ReplayNotificationRequest {
        partner_account_id: String::new(),
        account_id: "acme".to_owned(),
        access_request_id: one.access_request_id.clone(),
        event_ordinal: one.event_ordinal,
        destination: one.destination.clone(),
    };
    for (wrong, expected) in [
        (
            wire::ReplayNotificationRequest {
                event_ordinal: 7,
                ..replay.clone()
            },
            Reason::NotificationNotFound,
        ),
        (
            wire::ReplayNotificationRequest {
                destination: String::new(),
                ..replay.clone()
            },
            Reason::InvalidField,
        ),
    ] {
        let refused = server.requests().replay_notification(wrong).await;
        assert_eq!(reason(refused), expected);
    }
    server.requests().replay_notification(replay).await.unwrap();
    let delivered = wire::NotificationState::Delivered;
    until("it is sent once more", async || {
        let taken = listed(&server, delivered, 0).await;
        taken.iter().map(key).eq([key(&one)])
    })
    .await;
    assert_eq!(receiver.taken().len(), 1);
    assert_eq!(listed(&server, dead, 0).await.len(), expected.len() - 1);
}
