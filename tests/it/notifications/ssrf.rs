//! A webhook reaches what it may reach: its address is judged where the connection is made.

use super::receiver::Answer;
use super::*;

const FORBIDDEN: &str = "no address of the host is one that webhooks may reach";

fn at(url: &str, networks: &str) -> NotificationSettings {
    settings(&[
        ("webhook_url", url),
        ("webhook_secret", SECRET),
        ("webhook_allowed_networks", networks),
    ])
}

/// What one event comes to at a webhook.
pub async fn problem(
    world: &World,
    request: &str,
    settings: NotificationSettings,
) -> Option<String> {
    let worker = world.worker(settings);
    let filed = world.file(request, "view").await;
    let begun = SystemClock::new();
    let problem = loop {
        let account = id(ACCOUNT);
        let deliveries = world.outbox.deliveries(&account, None, None, 1_000);
        let deliveries = deliveries.await.unwrap();
        let ours = deliveries.iter().find(|delivery| {
            *delivery.key.subject.id() == filed.id
                && (delivery.last_problem.is_some() || delivery.state != DeliveryState::Pending)
        });
        if let Some(ours) = ours {
            break ours.last_problem.clone();
        }
        assert!(begun.monotonic() < PATIENCE, "{deliveries:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    worker.ended().await;
    // The next one may be filed.
    world.cancel(&filed).await;
    problem
}

/// Each way to loopback is closed, and the same way is open where the network is named: so it is
/// the guard that closed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_of_writing_it_leads_a_webhook_inside() {
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(200));
    let port = receiver.address.port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "localhost",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ];
    for (number, host) in hosts.iter().enumerate() {
        let url = format!("http://{host}:{port}/hook");
        let elsewhere = at(&url, "10.0.0.0/8");
        let closed = problem(&world, &format!("closed-{number}"), elsewhere).await;
        assert_eq!(closed.as_deref(), Some(FORBIDDEN), "{host}");
        let https = format!("https://{host}:{port}/hook");
        let closed = settings(&[("webhook_url", &https), ("webhook_secret", SECRET)]);
        let closed = problem(&world, &format!("https-{number}"), closed).await;
        assert_eq!(closed.as_deref(), Some(FORBIDDEN), "{host}");
    }
    assert_eq!(receiver.received().len(), 0, "nothing was even connected");
    for (number, host) in hosts.iter().enumerate() {
        let url = format!("http://{host}:{port}/hook");
        let named = at(&url, "127.0.0.0/8");
        let open = problem(&world, &format!("open-{number}"), named).await;
        assert_eq!(open, None, "{host}");
    }
    assert!(receiver.received().len() >= hosts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let world = World::new().await;
    let inside = Receiver::start(Answer::Status(200));
    for (number, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let outside = Receiver::start(Answer::With(status, "location", inside.url()));
        let followed = problem(&world, &format!("r-{number}"), to(&outside)).await;
        let expected = format!("the receiver answered {status}");
        assert_eq!(followed, Some(expected));
        assert!(!outside.received().is_empty());
    }
    assert_eq!(inside.received().len(), 0);
}

/// Plain http is for the named networks alone, wherever a name leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_address_is_not_reached_without_tls() {
    let world = World::new().await;
    let plain = at("http://192.0.2.1/hook", "10.0.0.0/8");
    assert_eq!(
        problem(&world, "r-1", plain).await.as_deref(),
        Some(FORBIDDEN)
    );
    let public = at("http://8.8.8.8/hook", "10.0.0.0/8");
    assert_eq!(
        problem(&world, "r-2", public).await.as_deref(),
        Some(FORBIDDEN)
    );
}

/// No certificate that is trusted, no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_without_tls_gets_nothing_over_https() {
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(200));
    let url = receiver.url().replace("http://", "https://");
    let refused = problem(&world, "r-1", at(&url, "127.0.0.0/8")).await;
    let expected = "no connection to the receiver can be made";
    assert_eq!(refused.as_deref(), Some(expected));
    assert_eq!(receiver.received().len(), 0);
}
