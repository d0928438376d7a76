//! Webhooks: what they say, how they are signed, and that none is lost, out of order or held up.

use std::collections::BTreeMap;

use ambit::links::Links;
use ambit::store::outbox::DeliveryKey;

use super::receiver::{Answer, Received};
use super::*;

/// S1.4, S1.5, R3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_4_a_webhook_says_who_wants_what_and_why_and_carries_each_approvers_link() {
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(204));
    let worker = world.worker(to(&receiver));
    let request = world.file("r-1", "view").await;

    let [told] = receiver.until(1).await.try_into().unwrap();
    assert!(told.is_signed_with(SECRET));
    let wrong = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    assert!(!told.is_signed_with(wrong), "the check itself checks");
    assert_eq!(
        told.header("content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    let json = told.json();
    assert_eq!(json["specversion"], "1.0");
    assert_eq!(json["id"], told.header("webhook-id"));
    assert_eq!(json["type"], "com.ambit.access_request.filed.v1");
    assert_eq!(json["source"], format!("{CONSOLE}/accounts/acme"));
    assert_eq!(json["subject"], "r-1");
    assert_eq!(json["time"], request.filed_at.to_string());
    assert_eq!(json["datacontenttype"], "application/json");
    let data = &json["data"];
    let who = serde_json::json!({"user_id": "de1", "teams": ["sales", "de"]});
    assert_eq!(data["requester"], who);
    let what = serde_json::json!({
        "context": "tool", "resource_type": "email", "action": "view",
        "denied_as": "NO_PERMISSION",
    });
    assert_eq!(data["target"], what);
    assert_eq!(data["reason"], "I look after the spring campaign");
    assert_eq!(data["wanted_seconds"], 7 * 86_400);
    assert_eq!(data["origin_url"], "https://app.example.com/emails");
    assert_eq!(data["state"], "pending");
    assert_eq!(data["event"]["kind"], "filed");

    let approvers = data["approvers"].as_array().unwrap();
    let names: Vec<&str> = approvers
        .iter()
        .map(|approver| approver["user_id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["owner", "sa"], "neither `de1` nor `other`");
    assert_eq!(data["approvers_omitted"], 0);
    let key = world.store().identity().token_key;
    let links = Links::new(key, CONSOLE, Duration::from_secs(3_600));
    let mut ids = Vec::new();
    for approver in approvers {
        let url = approver["url"].as_str().unwrap();
        let page = "https://access.example.com/accounts/acme/users/de1/permissions?request=r-1&";
        let token = url
            .strip_prefix(page)
            .unwrap()
            .strip_prefix("token=")
            .unwrap();
        let link = links.read(&id(ACCOUNT), &request.id, token, world.clock.now());
        let link = link.unwrap();
        assert_eq!(link.approver.as_str(), approver["user_id"], "one's own");
        ids.push(link.id);
    }
    assert_ne!(ids[0], ids[1]);

    // What became of it: no approvers any more, so no links.
    world.deny(&request, "ask your team lead").await;
    let denied = receiver.until(2).await.pop().unwrap();
    assert!(denied.is_signed_with(SECRET));
    assert_ne!(denied.header("webhook-id"), told.header("webhook-id"));
    let json = denied.json();
    assert_eq!(json["type"], "com.ambit.access_request.denied.v1");
    assert_eq!(json["data"]["state"], "denied");
    assert_eq!(json["data"]["event"]["actor"], "owner");
    assert_eq!(json["data"]["event"]["note"], "ask your team lead");
    assert_eq!(json["data"]["approvers"], serde_json::json!([]));
    let delivered = world.until(DeliveryState::Delivered, 2).await;
    assert_eq!(delivered.len(), 2);
    let sent = sample(
        &worker,
        "ambit_notifications_sent_total{channel=\"webhook\"}",
    );
    assert_eq!(sent.as_deref(), Some("2"));
}

/// The Must-show of the outbox: down for a while, every event later, in order for a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_for_a_while_gets_every_event_in_order_at_least_once() {
    const REQUESTS: [&str; 5] = ["view", "create", "edit", "delete", "publish"];
    let world = World::new().await;
    let receiver = Receiver::away();
    let _worker = world.worker(to(&receiver));
    for (number, action) in REQUESTS.iter().enumerate() {
        let request = world.file(&format!("r-{number}"), action).await;
        world.deny(&request, "no").await;
    }
    // The fault bites: it is tried, and nothing comes through.
    let failed = world.until_failed(1).await;
    assert_eq!(
        failed.last_problem.as_deref(),
        Some("no connection to the receiver can be made")
    );
    assert!(failed.next_attempt_at > failed.created_at);
    // Still down in another way, then half up.
    receiver.answer(Answer::Status(500));
    receiver.open();
    world
        .pass_time_until(async || receiver.received().len() >= 3)
        .await;
    assert_eq!(world.deliveries(DeliveryState::Delivered).await, []);
    receiver.answer(Answer::Status(200));
    world
        .pass_time_until(async || {
            world.deliveries(DeliveryState::Delivered).await.len() == 2 * REQUESTS.len()
        })
        .await;
    let mut by_request: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for taken in receiver.taken() {
        let (request, ordinal) = taken.event();
        by_request.entry(request).or_default().push(ordinal);
    }
    assert_eq!(by_request.len(), REQUESTS.len());
    for (request, mut ordinals) in by_request {
        // Time passes in leaps here, so a lease may end while its message is on the way.
        ordinals.dedup();
        assert_eq!(ordinals, [0, 1], "{request}");
    }
    // The failed attempts of an event had its id too, and never came after a later event.
    let mut seen: BTreeMap<(String, u64), String> = BTreeMap::new();
    for received in receiver.received() {
        let webhook_id = received.header("webhook-id").to_owned();
        let known = seen.entry(received.event()).or_insert(webhook_id.clone());
        assert_eq!(*known, webhook_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_holds_up_no_other() {
    const ACTIONS: [&str; 5] = ["view", "create", "edit", "delete", "publish"];
    let world = World::new().await;
    let (dead, alive) = (
        Receiver::start(Answer::Silence),
        Receiver::start(Answer::Status(200)),
    );
    let mut both = to(&dead);
    let mut second = to(&alive).webhooks;
    second[0].name = "second".to_owned();
    both.webhooks.extend(second);
    let _worker = world.worker(both);
    for round in 0..3 {
        for (number, action) in ACTIONS.iter().enumerate() {
            let request = world.file(&format!("r-{round}-{number}"), action).await;
            world.deny(&request, "no").await;
        }
    }
    alive.until(2 * 3 * ACTIONS.len()).await;
    assert!(!dead.received().is_empty(), "it was tried");
    assert_eq!(dead.taken().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_says_how_long_to_wait() {
    let world = World::new().await;
    let wait = Answer::With(429, "retry-after", "7200".to_owned());
    let receiver = Receiver::start(wait);
    let worker = world.worker(to(&receiver));
    world.file("r-1", "view").await;
    let failed = world.until_failed(1).await;
    let waits = failed.next_attempt_at.unix_micros() - world.clock.now().unix_micros();
    assert_eq!(waits, 7_200_000_000);
    assert_eq!(
        failed.last_problem.as_deref(),
        Some("the receiver answered 429")
    );
    let failures = sample(
        &worker,
        "ambit_notification_failures_total{channel=\"webhook\"}",
    );
    assert_eq!(failures.as_deref(), Some("1"));
    receiver.answer(Answer::Status(200));
    world.clock.advance(Duration::from_secs(7_201));
    world.until(DeliveryState::Delivered, 1).await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_listed_and_can_be_replayed() {
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(410));
    let worker = world.worker(to(&receiver));
    world.file("r-1", "view").await;
    let [dead] = world
        .until(DeliveryState::Dead, 1)
        .await
        .try_into()
        .unwrap();
    assert_eq!(dead.attempts, 1, "gone is gone");
    let problem = Some("the receiver answered 410");
    assert_eq!(dead.last_problem.as_deref(), problem);
    let given_up = sample(
        &worker,
        "ambit_notifications_dead_total{channel=\"webhook\"}",
    );
    assert_eq!(given_up.as_deref(), Some("1"));

    receiver.answer(Answer::Status(200));
    let key: DeliveryKey = dead.key;
    let now = world.clock.now();
    let author = Author::anyone("ReplayNotification");
    let replayed = world.outbox.replay_delivery(&key, now, &author).await;
    assert!(replayed.unwrap());
    world.until(DeliveryState::Delivered, 1).await;
    let [first, second]: [Received; 2] = receiver.received().try_into().unwrap();
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

/// After a day and more of failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_long_enough_is_given_up() {
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(500));
    let _worker = world.worker(to(&receiver));
    let begun = world.clock.now();
    world.file("r-1", "view").await;
    world
        .pass_time_until(async || !world.deliveries(DeliveryState::Dead).await.is_empty())
        .await;
    assert_eq!(receiver.received().len(), 30);
    let [dead] = world
        .deliveries(DeliveryState::Dead)
        .await
        .try_into()
        .unwrap();
    assert_eq!(dead.attempts, 30);
    let took = world.clock.now().unix_micros() - begun.unix_micros();
    assert!(took > 86_400_000_000, "{took}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_secret_is_rotated_receivers_with_either_verify() {
    const PRESENT: &str = "whsec_cHJlc2VudCBzZWNyZXQgb2YgMzIgYnl0ZXMgb2s=";
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(200));
    let rotating = settings(&[
        ("webhook_url", &receiver.url()),
        ("webhook_secret", PRESENT),
        ("webhook_secret_previous", SECRET),
        LOOPBACK,
    ]);
    let worker = world.worker(rotating);
    world.file("r-1", "view").await;
    let [told] = receiver.until(1).await.try_into().unwrap();
    assert!(told.is_signed_with(PRESENT) && told.is_signed_with(SECRET));
    world.until(DeliveryState::Delivered, 1).await;
    worker.ended().await;

    let rotated = settings(&[
        ("webhook_url", &receiver.url()),
        ("webhook_secret", PRESENT),
        LOOPBACK,
    ]);
    let _worker = world.worker(rotated);
    world.file("r-2", "create").await;
    let told = receiver.until(2).await.pop().unwrap();
    assert!(told.is_signed_with(PRESENT) && !told.is_signed_with(SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_send_each_event_once() {
    const REQUESTS: usize = 12;
    let world = World::new().await;
    let receiver = Receiver::start(Answer::Status(200));
    let mut workers = Vec::new();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let replica = Replica::open(&world.database).await;
        let (_, outbox) = world.database.open_both().await;
        workers.push(world.worker_beside(to(&receiver), &replica, outbox));
        replicas.push(replica);
    }
    let actions = ["view", "create", "edit", "delete", "publish"];
    for number in 0..REQUESTS {
        let name = format!("r-{number}");
        let request = world.file(&name, actions[number % actions.len()]).await;
        world.deny(&request, "no").await;
    }
    world.until(DeliveryState::Delivered, 2 * REQUESTS).await;
    let mut events: Vec<(String, u64)> = receiver.received().iter().map(Received::event).collect();
    assert_eq!(events.len(), 2 * REQUESTS, "none twice");
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 2 * REQUESTS, "and none missing");
    drop(workers);
}

/// A webhook of some accounts is told of no other, and one that is gone from the settings waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_told_of_its_accounts_alone_and_waits_while_it_is_not_configured() {
    let world = World::new().await;
    let (ours, foreign) = (Receiver::away(), Receiver::start(Answer::Status(200)));
    let mut both = to(&ours);
    let mut second = to(&foreign).webhooks;
    second[0].name = "foreign".to_owned();
    second[0].accounts = [id("bonbon")].into();
    both.webhooks.extend(second);
    let worker = world.worker(both);
    world.file("r-1", "view").await;
    world.until_failed(1).await;
    worker.ended().await;

    // Without it, the delivery is neither lost nor given up at once.
    let worker = world.worker(to(&foreign).without_webhooks());
    world.clock.advance(Duration::from_secs(60));
    world
        .until_problem("no webhook of this name is configured")
        .await;
    worker.ended().await;

    ours.open();
    let _worker = world.worker(to(&ours));
    world
        .pass_time_until(async || ours.taken().len() == 1)
        .await;
    assert_eq!(foreign.received().len(), 0);
}

trait WithoutWebhooks {
    fn without_webhooks(self) -> Self;
}

impl WithoutWebhooks for NotificationSettings {
    fn without_webhooks(mut self) -> Self {
        self.webhooks.clear();
        self
    }
}
