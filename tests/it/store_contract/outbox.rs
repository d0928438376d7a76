//! The outbox: nothing that was committed goes untold, and each is told by one at a time.

use super::access_requests::{FILED, closed, event, file, request, write};
use super::snapshots::given_up_after;
use super::*;
use ambit::authz::access_request::*;
use ambit::store::audit::AuditEffect;
use ambit::store::outbox::*;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        outbox_clause("a written event is unsent", unsent),
        outbox_clause("a filing that is given up is told whole or not", given_up),
        outbox_clause("an event is fanned out once", fanned_out_once),
        outbox_clause("a claim is one server's until its lease ends", leased),
        outbox_clause("many claim, each delivery once", raced),
        outbox_clause("one destination is told in order", in_order),
        outbox_clause("each lane is claimed for itself", lanes),
        outbox_clause("the oldest that is untold is known", oldest),
        outbox_clause("what failed is due again when it is said", retried),
        outbox_clause("the dead are listed and replayed", replayed),
        outbox_clause("deliveries are listed in pages", paged),
        outbox_clause("what is settled is trimmed, the rest stays", trimmed),
        outbox_clause("the outbox goes with the account", go_with_account),
    ]
}

fn at(seconds: i64) -> Timestamp {
    let micros = time(FILED).unix_micros() + seconds * 1_000_000;
    Timestamp::from_unix_micros(micros).unwrap()
}

fn to<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// An account with a request that is filed.
async fn filed(store: &dyn Store) -> AccessRequest {
    apply(store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let filed = request("r1", "us1", "c1");
    file(store, "acme", std::slice::from_ref(&filed)).await;
    filed
}

async fn fan(outbox: &dyn Outbox, request: &str, ordinal: u32, destinations: &[String]) {
    let made = outbox
        .fan_out(
            &id("acme"),
            &Subject::Request(id(request)),
            ordinal,
            destinations,
            at(0),
        )
        .await;
    assert!(made.unwrap());
}

async fn claim(outbox: &dyn Outbox, now: i64, until: i64) -> Vec<ClaimedDelivery> {
    let mut claimed = Vec::new();
    for lane in [Lane::Mail, Lane::Others(&[])] {
        claimed.extend(claim_of(outbox, lane, now, until).await);
    }
    claimed
}

async fn claim_of(
    outbox: &dyn Outbox,
    lane: Lane<'_>,
    now: i64,
    until: i64,
) -> Vec<ClaimedDelivery> {
    let claimed = outbox.claim_deliveries(lane, at(now), at(until), 100);
    claimed.await.unwrap()
}

fn told(claimed: &[ClaimedDelivery]) -> Vec<(String, u32, String)> {
    let mut told: Vec<_> = claimed
        .iter()
        .map(|claimed| {
            let key = &claimed.delivery.key;
            (
                key.subject.id().to_string(),
                key.ordinal,
                key.destination.clone(),
            )
        })
        .collect();
    told.sort();
    told
}

async fn delivered(outbox: &dyn Outbox, claimed: &ClaimedDelivery, now: i64) -> bool {
    outbox
        .settle_delivery(claimed, DeliveryOutcome::Delivered, at(now))
        .await
        .unwrap()
}

async fn all(outbox: &dyn Outbox, state: Option<DeliveryState>) -> Vec<Delivery> {
    outbox
        .deliveries(&id("acme"), state, None, 100)
        .await
        .unwrap()
}

async fn unsent(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let first = filed(&*store).await;
    let second = request("r2", "us1", "c2");
    file(&*store, "acme", std::slice::from_ref(&second)).await;
    let denied = closed(&first, RequestState::Denied);
    file(&*store, "acme", std::slice::from_ref(&denied)).await;
    let expected = vec![
        (id("acme"), Event::Request(event(&first, 0))),
        (id("acme"), Event::Request(event(&denied, 1))),
        (id("acme"), Event::Request(event(&second, 0))),
    ];
    assert_eq!(outbox.unsent_events(10).await.unwrap(), expected);
    assert_eq!(outbox.unsent_events(1).await.unwrap(), expected[..1]);
    // What is not written is not told.
    let wrong = event(&request("r3", "us1", "c3"), 4);
    let refused = write(&*store, "acme", &[request("r3", "us1", "c3")], &[wrong]).await;
    assert!(refused.is_err());
    assert_eq!(outbox.unsent_events(10).await.unwrap(), expected);
}

/// Whoever files goes away at each step of it: the request, its event and the entry of the outbox are
/// all there or none of them is.
async fn given_up(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let account = id("acme");
    let (mut ended, mut untold, mut polls) = (0, 0, 0);
    while ended < 3 {
        let next = request(&format!("r{polls}"), "us1", &format!("c{polls}"));
        let filing = file(&*store, "acme", std::slice::from_ref(&next));
        ended += usize::from(given_up_after(polls, filing).await.is_some());
        polls += 1;
        // One that was given up may still end: what is written from here on comes after it.
        while let Err(error) = try_apply(&*store, "acme", &[user(&format!("u{polls}"))]).await {
            assert!(matches!(error, StoreError::Conflict), "{error:?}");
        }
        let stored = store.access_request(&account, &next.id).await.unwrap();
        let events = store.access_request_events(&account, &next.id).await;
        let unsent = outbox.unsent_events(1_000).await.unwrap();
        let unsent = unsent
            .into_iter()
            .filter(|(_, event)| event.subject() == Subject::Request(next.id.clone()));
        let told = (events.unwrap().len(), unsent.count());
        let whole = usize::from(stored.is_some());
        assert_eq!(told, (whole, whole), "half of a filing");
        untold += 1 - whole;
    }
    println!("given up after each of {polls} steps, {untold} times before it was written");
    assert!(
        untold > 3,
        "the filings ended before they could be given up"
    );
}

async fn fanned_out_once(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let filed = filed(&*store).await;
    let racing = (0..8).map(|_| {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let destinations = to(["webhook:a", "email:boss", "webhook:a"]);
            outbox
                .fan_out(
                    &id("acme"),
                    &Subject::Request(id("r1")),
                    0,
                    &destinations,
                    at(1),
                )
                .await
                .unwrap()
        })
    });
    let mut made = 0;
    for one in racing.collect::<Vec<_>>() {
        made += usize::from(one.await.unwrap());
    }
    assert_eq!(made, 1);
    assert_eq!(outbox.unsent_events(10).await.unwrap(), []);
    let found = all(&*outbox, None).await;
    let destinations: Vec<&str> = found
        .iter()
        .map(|delivery| delivery.key.destination.as_str())
        .collect();
    assert_eq!(destinations, ["email:boss", "webhook:a"], "each once");
    for delivery in &found {
        assert_eq!(delivery.state, DeliveryState::Pending);
        assert_eq!(
            (delivery.created_at, delivery.next_attempt_at),
            (at(1), at(1))
        );
        assert_eq!((delivery.attempts, delivery.settled_at), (0, None));
    }
    // Nobody to tell is told too; what is no event is not.
    let denied = closed(&filed, RequestState::Denied);
    file(&*store, "acme", std::slice::from_ref(&denied)).await;
    fan(&*outbox, "r1", 1, &[]).await;
    assert_eq!(all(&*outbox, None).await.len(), 2);
    let unknown = outbox
        .fan_out(&id("acme"), &Subject::Request(id("r1")), 2, &[], at(1))
        .await;
    assert!(!unknown.unwrap());
}

async fn leased(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let filed = filed(&*store).await;
    fan(&*outbox, "r1", 0, &to(["webhook:a"])).await;
    assert_eq!(claim(&*outbox, -1, 30).await, [], "not due yet");
    let first = claim(&*outbox, 0, 30).await;
    let [of_first] = first.as_slice() else {
        panic!("one is due: {first:?}");
    };
    assert_eq!(of_first.event, Event::Request(event(&filed, 0)));
    assert_eq!(of_first.lease, at(30));
    assert_eq!(of_first.delivery.attempts, 1);
    assert_eq!(claim(&*outbox, 29, 60).await, [], "somebody has it");
    // Who had it died: another takes over, and the first one's word counts no more.
    let second = claim(&*outbox, 30, 60).await;
    assert_eq!(second[0].delivery.attempts, 2);
    assert!(!delivered(&*outbox, of_first, 31).await);
    assert!(delivered(&*outbox, &second[0], 31).await);
    assert!(!delivered(&*outbox, &second[0], 31).await, "it is settled");
    let found = all(&*outbox, None).await;
    assert_eq!(found[0].state, DeliveryState::Delivered);
    assert_eq!(found[0].settled_at, Some(at(31)));
    assert_eq!(claim(&*outbox, 10_000, 10_030).await, []);
}

async fn raced(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let requests: Vec<AccessRequest> = (0..60)
        .map(|number| request(&format!("r{number:02}"), "us1", &format!("c{number}")))
        .collect();
    file(&*store, "acme", &requests).await;
    for request in &requests {
        fan(
            &*outbox,
            request.id.as_str(),
            0,
            &to(["webhook:a", "webhook:b"]),
        )
        .await;
    }
    let racing = (0..6).map(|_| {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let some = outbox.claim_deliveries(Lane::Others(&[]), at(1), at(60), 7);
                let some = some.await.unwrap();
                assert!(some.len() <= 7);
                if some.is_empty() {
                    return claimed;
                }
                claimed.extend(some);
            }
        })
    });
    let mut claimed = Vec::new();
    for one in racing.collect::<Vec<_>>() {
        claimed.extend(one.await.unwrap());
    }
    // A server that finds the rest locked by others stops early: what is left is claimed now.
    claimed.extend(claim(&*outbox, 1, 60).await);
    let once: BTreeSet<_> = told(&claimed).into_iter().collect();
    assert_eq!((claimed.len(), once.len()), (120, 120));
}

async fn in_order(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let filed = filed(&*store).await;
    let denied = closed(&filed, RequestState::Denied);
    file(&*store, "acme", std::slice::from_ref(&denied)).await;
    // The later event is fanned out first: nobody hears of it before the earlier one is.
    fan(
        &*outbox,
        "r1",
        1,
        &to(["webhook:a", "webhook:b", "email:us1"]),
    )
    .await;
    assert_eq!(claim(&*outbox, 0, 30).await, []);
    fan(&*outbox, "r1", 0, &to(["webhook:a", "webhook:b"])).await;
    let first = claim(&*outbox, 1, 30).await;
    let expected = [
        ("r1".to_owned(), 0, "webhook:a".to_owned()),
        ("r1".to_owned(), 0, "webhook:b".to_owned()),
        // Who is told of this event alone waits for none.
        ("r1".to_owned(), 1, "email:us1".to_owned()),
    ];
    assert_eq!(told(&first), expected);
    let of = |name: &str| {
        first
            .iter()
            .find(|one| one.delivery.key.destination == name)
    };
    assert!(delivered(&*outbox, of("webhook:a").unwrap(), 2).await);
    let retry = DeliveryOutcome::Retry {
        at: at(100),
        problem: "no answer".to_owned(),
    };
    let settled = outbox.settle_delivery(of("webhook:b").unwrap(), retry, at(2));
    assert!(settled.await.unwrap());
    let second = claim(&*outbox, 20, 80).await;
    assert_eq!(
        told(&second),
        [("r1".to_owned(), 1, "webhook:a".to_owned())]
    );
    // Once the earlier one is given up, the later one goes.
    let third = claim(&*outbox, 100, 130).await;
    let of_b: Vec<_> = third
        .iter()
        .filter(|one| one.delivery.key.destination == "webhook:b")
        .collect();
    assert_eq!(of_b.len(), 1);
    assert_eq!(of_b[0].delivery.key.ordinal, 0);
    let dead = DeliveryOutcome::Dead {
        problem: "gone".to_owned(),
    };
    assert!(
        outbox
            .settle_delivery(of_b[0], dead, at(101))
            .await
            .unwrap()
    );
    let last = claim(&*outbox, 102, 103).await;
    assert!(told(&last).contains(&("r1".to_owned(), 1, "webhook:b".to_owned())));
}

async fn lanes(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    filed(&*store).await;
    let destinations = [
        "email:",
        "email:a",
        "emails",
        "webhook:a",
        "webhook:b",
        "webhook:c",
    ];
    fan(&*outbox, "r1", 0, &to(destinations)).await;
    let known = to(["webhook:a", "webhook:b", "email:a"]);
    for (lane, expected) in [
        (Lane::Destination("webhook:"), vec![]),
        (Lane::Destination("webhook:a"), vec!["webhook:a"]),
        (Lane::Destination("webhook:a"), vec![]),
        (Lane::Mail, vec!["email:", "email:a"]),
        (Lane::Others(&known), vec!["emails", "webhook:c"]),
        (Lane::Others(&[]), vec!["webhook:b"]),
    ] {
        let claimed = told(&claim_of(&*outbox, lane, 0, 30).await);
        let found: Vec<&str> = claimed.iter().map(|(.., to)| to.as_str()).collect();
        assert_eq!(found, expected, "{lane:?}");
    }
}

async fn oldest(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    assert_eq!(outbox.undelivered().await.unwrap(), None);
    let filed = filed(&*store).await;
    let event = time(FILED);
    assert_eq!(outbox.undelivered().await.unwrap(), Some(event));
    file(&*store, "acme", &[closed(&filed, RequestState::Denied)]).await;
    let (acme, r1, there) = (id("acme"), Subject::Request(id("r1")), to(["webhook:a"]));
    assert!(outbox.fan_out(&acme, &r1, 0, &there, at(7)).await.unwrap());
    fan(&*outbox, "r1", 1, &[]).await;
    assert_eq!(outbox.undelivered().await.unwrap(), Some(at(7)));
    let claimed = claim(&*outbox, 7, 30).await;
    assert_eq!(outbox.undelivered().await.unwrap(), Some(at(7)), "not yet");
    assert!(delivered(&*outbox, &claimed[0], 8).await);
    assert_eq!(outbox.undelivered().await.unwrap(), None);
}

async fn retried(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    filed(&*store).await;
    fan(&*outbox, "r1", 0, &to(["webhook:a"])).await;
    for attempt in 1..=4_i64 {
        let now = attempt * 10;
        let claimed = claim(&*outbox, now, now + 5).await;
        assert_eq!(i64::from(claimed[0].delivery.attempts), attempt);
        let retry = DeliveryOutcome::Retry {
            at: at(now + 10),
            problem: format!("status 503\0\u{1b}[31m {attempt}{}", "x".repeat(5_000)),
        };
        assert!(
            outbox
                .settle_delivery(&claimed[0], retry, at(now + 1))
                .await
                .unwrap()
        );
        assert_eq!(claim(&*outbox, now + 9, now + 14).await, []);
        let found = all(&*outbox, Some(DeliveryState::Pending)).await;
        assert_eq!(found[0].next_attempt_at, at(now + 10));
        let problem = found[0].last_problem.as_deref().unwrap();
        assert!(problem.starts_with("status 503  [31m"), "{problem}");
        assert_eq!(problem.chars().count(), 1_000);
    }
}

async fn replayed(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    filed(&*store).await;
    fan(&*outbox, "r1", 0, &to(["webhook:a", "webhook:b"])).await;
    let claimed = claim(&*outbox, 0, 30).await;
    let pending_key = &claimed[0].delivery.key;
    let author = Author::named("token:crm", "ReplayNotification");
    let replay = async |key: &DeliveryKey, now| {
        let replayed = outbox.replay_delivery(key, now, &author).await;
        replayed.unwrap()
    };
    let before = super::audit::records(&*store).await;
    assert!(!replay(pending_key, at(1)).await);
    for claimed in &claimed {
        let outcome = match claimed.delivery.key.destination.as_str() {
            "webhook:a" => DeliveryOutcome::Delivered,
            _ => DeliveryOutcome::Dead {
                problem: "refused for a day".to_owned(),
            },
        };
        assert!(
            outbox
                .settle_delivery(claimed, outcome, at(1))
                .await
                .unwrap()
        );
    }
    let dead = all(&*outbox, Some(DeliveryState::Dead)).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].last_problem.as_deref(), Some("refused for a day"));
    assert_eq!(all(&*outbox, Some(DeliveryState::Delivered)).await.len(), 1);
    assert_eq!(all(&*outbox, Some(DeliveryState::Pending)).await, []);
    for delivery in all(&*outbox, None).await {
        assert!(replay(&delivery.key, at(50)).await);
        assert!(!replay(&delivery.key, at(50)).await);
    }
    assert_eq!(claim(&*outbox, 49, 80).await, []);
    let again = claim(&*outbox, 50, 80).await;
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|claimed| claimed.delivery.attempts == 1));
    let unknown = DeliveryKey {
        destination: "webhook:c".to_owned(),
        ..again[0].delivery.key.clone()
    };
    assert!(!replay(&unknown, at(50)).await);
    // Each of the two that were made is recorded, and none that was not.
    let after = super::audit::records(&*store).await;
    let told: Vec<_> = after[before.len()..]
        .iter()
        .map(|record| (record.effect, record.caller.as_deref()))
        .collect();
    assert_eq!(told, [(AuditEffect::Noted, Some("token:crm")); 2]);
}

async fn paged(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let filed = filed(&*store).await;
    file(&*store, "acme", &[request("r2", "us1", "c2")]).await;
    file(&*store, "acme", &[closed(&filed, RequestState::Denied)]).await;
    for (request, ordinal) in [("r1", 0), ("r1", 1), ("r2", 0)] {
        fan(
            &*outbox,
            request,
            ordinal,
            &to(["email:b", "webhook:a", "email:a"]),
        )
        .await;
    }
    let whole = all(&*outbox, None).await;
    assert_eq!(whole.len(), 9);
    assert!(whole.is_sorted_by_key(|delivery| delivery.key.clone()));
    for state in [None, Some(DeliveryState::Pending)] {
        let mut found: Vec<Delivery> = Vec::new();
        loop {
            let after = found.last().map(|delivery| delivery.key.clone());
            let page = outbox
                .deliveries(&id("acme"), state, after.as_ref(), 2)
                .await
                .unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, whole);
    }
    let elsewhere = outbox.deliveries(&id("other"), None, None, 10).await;
    assert_eq!(elsewhere.unwrap(), []);
}

async fn trimmed(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    filed(&*store).await;
    fan(&*outbox, "r1", 0, &to(["a", "b", "c", "d"])).await;
    for (number, claimed) in claim(&*outbox, 0, 30).await.iter().enumerate() {
        let seconds = i64::try_from(number).unwrap();
        match number {
            0 | 1 => assert!(delivered(&*outbox, claimed, seconds).await),
            2 => {
                let dead = DeliveryOutcome::Dead {
                    problem: "gone".to_owned(),
                };
                assert!(outbox.settle_delivery(claimed, dead, at(2)).await.unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(outbox.trim_deliveries(at(0), 10).await.unwrap(), 0);
    assert_eq!(outbox.trim_deliveries(at(2), 1).await.unwrap(), 1);
    assert_eq!(outbox.trim_deliveries(at(2), 10).await.unwrap(), 1);
    assert_eq!(outbox.trim_deliveries(at(9_999), 10).await.unwrap(), 1);
    let left = all(&*outbox, None).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].state, DeliveryState::Pending);
}

async fn go_with_account(store: Arc<dyn Store>, outbox: Arc<dyn Outbox>) {
    let filed = filed(&*store).await;
    fan(&*outbox, "r1", 0, &to(["webhook:a"])).await;
    file(&*store, "acme", &[closed(&filed, RequestState::Denied)]).await;
    let claimed = claim(&*outbox, 0, 30).await;
    assert!(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    assert_eq!(outbox.unsent_events(10).await.unwrap(), []);
    assert_eq!(all(&*outbox, None).await, []);
    assert_eq!(claim(&*outbox, 1_000, 1_030).await, []);
    assert!(!delivered(&*outbox, &claimed[0], 1).await);
}
