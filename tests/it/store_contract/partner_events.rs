//! News between agencies and clients: written with the accounts, and told by the same outbox as access
//! requests.

use super::access_requests::{FILED, event, file, request};
use super::*;
use ambit::authz::partner_event::*;
use ambit::store::audit::AuditEffect;
use ambit::store::outbox::*;
use ambit::store::partners::PartnerStore;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        news_clause("news is written with its accounts or not at all", written),
        news_clause(
            "news is counted on in each account and partnership",
            counted,
        ),
        news_clause("a partnership is told in order, others beside it", in_order),
        news_clause(
            "what is due for longest goes first, whatever it is of",
            oldest_first,
        ),
        news_clause("all that is told is listed, replayed and recorded", listed),
        news_clause(
            "what was told goes, but for the last of a partnership",
            trimmed,
        ),
        news_clause("news goes with its account", gone),
    ]
}

/// A store with its outbox and the accounts `kite`, `acme` and `bravo`.
struct World {
    store: Arc<dyn Store>,
    outbox: Arc<dyn Outbox>,
    partners: Arc<dyn PartnerStore>,
}

fn news_clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(World) -> Running + Clone + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| {
            let world = World {
                store: fresh.store.clone(),
                outbox: fresh.outbox.clone(),
                partners: fresh.partners.clone(),
            };
            let test = test.clone();
            Box::pin(async move {
                for name in ["kite", "acme", "bravo"] {
                    let put = EntityChange::Put(Entity::Account(account(name)));
                    apply(&*world.store, name, &[put]).await;
                }
                test(world).await;
            })
        }),
    }
}

fn at(seconds: i64) -> Timestamp {
    let micros = time(FILED).unix_micros() + seconds * 1_000_000;
    Timestamp::from_unix_micros(micros).unwrap()
}

fn news(account: &str, counterpart: &str, kind: PartnerEventKind) -> PartnerNews {
    PartnerNews {
        account: id(account),
        counterpart: id(counterpart),
        side: match account {
            "kite" => PartnerSide::Agency,
            _ => PartnerSide::Client,
        },
        kind,
        at: at(0),
        actor: None,
        person: None,
        permission_set: None,
        link: None,
    }
}

/// With all that news may have.
fn wordy(account: &str, counterpart: &str) -> PartnerNews {
    PartnerNews {
        actor: Some(id("petra")),
        person: Some(PartnerPerson {
            partner_user: id("anna"),
            client_user: id("kite/anna \"é\""),
            role: PartnerRole::Contractor,
        }),
        permission_set: Some(id("editors")),
        link: Some(id("l1")),
        ..news(account, counterpart, PartnerEventKind::StaffAdded)
    }
}

impl World {
    /// Writes nothing to accounts but the news of them.
    async fn tell(&self, accounts: &[&str], news: &[PartnerNews]) {
        let author = Author::named("token:crm", "AddStaff");
        let ids: Vec<Id> = accounts.iter().map(|name| id(name)).collect();
        let mut writes = Vec::new();
        for account in &ids {
            writes.push(Write {
                account,
                expected: self.store.head(account).await.unwrap(),
                changes: &[],
                events: &[],
                batch: None,
                idempotency: None,
                author: &author,
            });
        }
        self.partners
            .apply_across(&writes, None, news)
            .await
            .unwrap();
    }

    async fn unsent(&self) -> Vec<(Id, Event)> {
        self.outbox.unsent_events(100).await.unwrap()
    }

    async fn fan(&self, account: &str, counterpart: &str, ordinal: u32, to: &[&str], now: i64) {
        let to: Vec<String> = to.iter().map(|name| (*name).to_owned()).collect();
        let (account, subject) = (id(account), Subject::Partner(id(counterpart)));
        let made = self
            .outbox
            .fan_out(&account, &subject, ordinal, &to, at(now));
        assert!(made.await.unwrap());
    }

    async fn claim(&self, now: i64, limit: u32) -> Vec<ClaimedDelivery> {
        let lane = Lane::Others(&[]);
        let claimed = self
            .outbox
            .claim_deliveries(lane, at(now), at(now + 30), limit);
        claimed.await.unwrap()
    }

    async fn settle(&self, claimed: &ClaimedDelivery, outcome: DeliveryOutcome, now: i64) {
        let settled = self.outbox.settle_delivery(claimed, outcome, at(now));
        assert!(settled.await.unwrap());
    }

    async fn listed(&self, account: &str, limit: u32) -> Vec<Delivery> {
        let account = id(account);
        let mut found: Vec<Delivery> = Vec::new();
        loop {
            let after = found.last().map(|last| last.key.clone());
            let page = self
                .outbox
                .deliveries(&account, None, after.as_ref(), limit);
            let page = page.await.unwrap();
            if page.is_empty() {
                return found;
            }
            found.extend(page);
        }
    }
}

fn keys(claimed: &[ClaimedDelivery]) -> Vec<(String, u32, String)> {
    let mut keys: Vec<_> = claimed
        .iter()
        .map(|one| {
            let key = &one.delivery.key;
            (
                key.subject.to_string(),
                key.ordinal,
                key.destination.clone(),
            )
        })
        .collect();
    keys.sort();
    keys
}

async fn written(world: World) {
    let told = [wordy("kite", "acme"), wordy("acme", "kite")];
    world.tell(&["kite", "acme"], &told).await;
    let expected = [("acme", 1), ("kite", 0)].map(|(account, at)| {
        let news = told[at].clone();
        (
            id(account),
            Event::Partner(PartnerEvent { ordinal: 0, news }),
        )
    });
    assert_eq!(world.unsent().await, expected, "each as it was written");
    // Of an account that is not written there is none.
    let both = [
        news("kite", "acme", PartnerEventKind::StaffRemoved),
        news("acme", "kite", PartnerEventKind::StaffRemoved),
    ];
    world.tell(&["kite"], &both).await;
    assert_eq!(world.unsent().await.len(), 3);
    // Where another writer was faster, nothing is told.
    let author = Author::anyone("AddStaff");
    let (kite, acme) = (id("kite"), id("acme"));
    let stale = world.store.head(&acme).await.unwrap();
    apply(&*world.store, "acme", &[user("u")]).await;
    let changes = [user("v")];
    let write = |account, expected, changes| Write {
        account,
        expected,
        changes,
        events: &[],
        batch: None,
        idempotency: None,
        author: &author,
    };
    let writes = [
        write(&kite, world.store.head(&kite).await.unwrap(), &[]),
        write(&acme, stale, changes.as_slice()),
    ];
    let refused = world.partners.apply_across(&writes, None, &both).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(world.unsent().await.len(), 3);
    assert_eq!(world.outbox.depth().await.unwrap(), 3);
    assert_eq!(world.outbox.undelivered().await.unwrap(), Some(at(0)));
}

async fn counted(world: World) {
    let added = |of| news("kite", of, PartnerEventKind::StaffAdded);
    let removed = |of| news("kite", of, PartnerEventKind::StaffRemoved);
    world
        .tell(&["kite"], &[added("acme"), added("bravo"), removed("acme")])
        .await;
    world.tell(&["kite"], &[added("acme")]).await;
    let found: Vec<(Subject, u32, &str)> = world
        .unsent()
        .await
        .iter()
        .map(|(_, event)| (event.subject(), event.ordinal(), event.kind()))
        .collect();
    let acme = || Subject::Partner(id("acme"));
    let expected = [
        (acme(), 0, "staff_added"),
        (acme(), 1, "staff_removed"),
        (acme(), 2, "staff_added"),
        (Subject::Partner(id("bravo")), 0, "staff_added"),
    ];
    assert_eq!(found, expected);
}

async fn in_order(world: World) {
    let added = |of| news("kite", of, PartnerEventKind::StaffAdded);
    world
        .tell(&["kite"], &[added("acme"), added("acme"), added("bravo")])
        .await;
    world.fan("kite", "acme", 1, &["webhook:a"], 0).await;
    world.fan("kite", "bravo", 0, &["webhook:a"], 0).await;
    let bravo = (
        "the partnership with `bravo`".to_owned(),
        0,
        "webhook:a".to_owned(),
    );
    let first = world.claim(1, 10).await;
    assert_eq!(
        keys(&first),
        [bravo],
        "the first of acme is to be told before"
    );
    world.fan("kite", "acme", 0, &["webhook:a"], 0).await;
    let second = world.claim(1, 10).await;
    let acme = |ordinal| {
        (
            "the partnership with `acme`".to_owned(),
            ordinal,
            "webhook:a".to_owned(),
        )
    };
    assert_eq!(keys(&second), [acme(0)]);
    assert_eq!(world.claim(2, 10).await, []);
    world
        .settle(&second[0], DeliveryOutcome::Delivered, 2)
        .await;
    assert_eq!(keys(&world.claim(2, 10).await), [acme(1)]);
}

/// Of a lane that takes one at a time, neither kind waits until the other is told.
async fn oldest_first(world: World) {
    file(
        &*world.store,
        "acme",
        &[request("r1", "us1", "c1"), request("r2", "us1", "c2")],
    )
    .await;
    world
        .tell(
            &["acme"],
            &[news("acme", "kite", PartnerEventKind::StaffAdded)],
        )
        .await;
    let whose = |claimed: &[ClaimedDelivery]| {
        let subject = |one: &ClaimedDelivery| one.delivery.key.subject.id().to_string();
        claimed.iter().map(subject).collect::<Vec<_>>()
    };
    let there = ["webhook:a".to_owned()];
    for (request, now) in [("r1", 1), ("r2", 3)] {
        let (acme, subject) = (id("acme"), Subject::Request(id(request)));
        let made = world.outbox.fan_out(&acme, &subject, 0, &there, at(now));
        assert!(made.await.unwrap());
    }
    world.fan("acme", "kite", 0, &["webhook:a"], 2).await;
    for expected in ["r1", "kite", "r2"] {
        assert_eq!(whose(&world.claim(9, 1).await), [expected]);
    }
    assert_eq!(whose(&world.claim(9, 1).await), [""; 0]);
    // When their leases end, all of them are one answer, each with its event.
    let again = world.claim(100, 10).await;
    assert_eq!(again.len(), 3);
    for claimed in &again {
        match &claimed.event {
            Event::Request(told) => assert_eq!(
                *told,
                event(&request(told.request.as_str(), "us1", "c1"), 0)
            ),
            Event::Partner(told) => assert_eq!(
                told.news,
                news("acme", "kite", PartnerEventKind::StaffAdded)
            ),
        }
        assert_eq!(claimed.delivery.attempts, 2);
    }
}

async fn listed(world: World) {
    file(&*world.store, "acme", &[request("r1", "us1", "c1")]).await;
    let both = [
        news("acme", "kite", PartnerEventKind::StaffAdded),
        news("acme", "bravo", PartnerEventKind::StaffAdded),
    ];
    world.tell(&["acme"], &both).await;
    let there = ["webhook:a".to_owned(), "webhook:b".to_owned()];
    let (acme, subject) = (id("acme"), Subject::Request(id("r1")));
    let made = world.outbox.fan_out(&acme, &subject, 0, &there, at(0));
    assert!(made.await.unwrap());
    for counterpart in ["kite", "bravo"] {
        world
            .fan("acme", counterpart, 0, &["webhook:a", "webhook:b"], 0)
            .await;
    }
    let whole = world.listed("acme", 100).await;
    assert_eq!(whole.len(), 6);
    assert!(whole.is_sorted_by_key(|delivery| delivery.key.clone()));
    for limit in [1, 2, 3, 5] {
        assert_eq!(world.listed("acme", limit).await, whole, "pages of {limit}");
    }
    for claimed in world.claim(1, 100).await {
        let dead = DeliveryOutcome::Dead {
            problem: "gone".to_owned(),
        };
        world.settle(&claimed, dead, 2).await;
    }
    let author = Author::named("token:crm", "ReplayNotification");
    let before = super::audit::records(&*world.store).await.len();
    for delivery in world.listed("acme", 100).await {
        assert_eq!(delivery.state, DeliveryState::Dead);
        let replayed = world.outbox.replay_delivery(&delivery.key, at(3), &author);
        assert!(replayed.await.unwrap());
    }
    assert_eq!(world.claim(3, 100).await.len(), 6);
    let after = super::audit::records(&*world.store).await;
    let told: Vec<_> = after[before..]
        .iter()
        .map(|record| (record.effect, record.caller.as_deref()))
        .collect();
    assert_eq!(told, [(AuditEffect::Noted, Some("token:crm")); 6]);
}

async fn trimmed(world: World) {
    let added = || news("kite", "acme", PartnerEventKind::StaffAdded);
    world
        .tell(&["kite"], &[added(), added(), added(), added()])
        .await;
    // The first is told and the second on its way; the third and the last had nobody to tell.
    for (ordinal, to) in [
        (0, vec!["webhook:a"]),
        (1, vec!["webhook:b"]),
        (2, vec![]),
        (3, vec![]),
    ] {
        world.fan("kite", "acme", ordinal, &to, 0).await;
    }
    let claimed = world.claim(1, 10).await;
    let first = claimed
        .iter()
        .find(|one| one.delivery.key.ordinal == 0)
        .unwrap();
    world.settle(first, DeliveryOutcome::Delivered, 1).await;
    assert_eq!(world.outbox.trim_deliveries(at(100), 10).await.unwrap(), 1);
    assert_eq!(world.outbox.trim_deliveries(at(100), 10).await.unwrap(), 0);
    // What is on its way has its event still, and the next one is counted on from the last.
    let again = world.claim(100, 10).await;
    assert_eq!(again.len(), 1);
    world.tell(&["kite"], &[added()]).await;
    let unsent = world.unsent().await;
    let ordinals: Vec<u32> = unsent.iter().map(|(_, event)| event.ordinal()).collect();
    assert_eq!(ordinals, [4]);
}

async fn gone(world: World) {
    let both = [
        news("kite", "acme", PartnerEventKind::LinkApproved),
        news("kite", "acme", PartnerEventKind::StaffAdded),
        news("acme", "kite", PartnerEventKind::StaffAdded),
    ];
    world.tell(&["kite", "acme"], &both).await;
    world.fan("kite", "acme", 0, &["webhook:a"], 0).await;
    let claimed = world.claim(0, 10).await;
    let author = Author::anyone("DeleteAccount");
    let deleted = world.store.delete_account(&id("kite"), None, &author).await;
    assert!(deleted.unwrap());
    let unsent = world.unsent().await;
    let accounts: Vec<&str> = unsent.iter().map(|(account, _)| account.as_str()).collect();
    assert_eq!(accounts, ["acme"], "the other side keeps its own");
    assert_eq!(world.listed("kite", 10).await, []);
    let late = world
        .outbox
        .settle_delivery(&claimed[0], DeliveryOutcome::Delivered, at(1));
    assert!(!late.await.unwrap());
}
