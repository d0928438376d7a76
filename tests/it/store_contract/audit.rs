//! Reliability case 40: every change that was made has one record, which was written with it.

use ambit::authz::access_request::{RequestEvent, RequestEventKind, RequestState};
use ambit::clock::{Clock as _, SystemClock};
use ambit::store::IdempotencyKey;
use ambit::store::audit::{
    AuditEffect, AuditFilter, AuditKind, AuditOrder, AuditPage, AuditRecord, AuditStep,
    AuditedEntity,
};

use super::access_requests::{closed, event, file, request};
use super::*;

pub fn clauses() -> Vec<Clause> {
    vec![
        clause("each write has one record", recorded),
        clause("what is not made has no record", not_made),
        clause("records outlive the account", outlives),
        clause("events without a change are recorded", noted),
        clause("what a deletion takes along is recorded", taken_along),
        clause("a record names few and counts all", counted),
        clause("writers at once leave one record each", at_once),
        clause("pages are exact under writes", pages),
        clause("filters", filters),
        clause("young records are not trimmed", trimmed),
    ]
}

fn step(order: AuditOrder, after: Option<u64>, limit: u32) -> AuditStep {
    AuditStep {
        order,
        after,
        limit,
    }
}

pub async fn page(store: &dyn Store, filter: &AuditFilter, step: AuditStep) -> AuditPage {
    store
        .audit_records(&id("acme"), filter, step)
        .await
        .unwrap()
}

/// All records of the account `acme`, oldest first.
pub async fn records(store: &dyn Store) -> Vec<AuditRecord> {
    let filter = AuditFilter::default();
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let page = page(store, &filter, step(AuditOrder::OldestFirst, after, 500)).await;
        records.extend(page.records);
        match page.next {
            Some(next) => after = Some(next),
            None => return records,
        }
    }
}

/// A record of each revision up to the last, in order, and of nothing else.
pub fn assert_one_each(records: &[AuditRecord], last: u64) {
    let revisions: Vec<u64> = records.iter().map(|record| record.revision).collect();
    assert_eq!(revisions, (1..=last).collect::<Vec<_>>());
    assert!(records.is_sorted_by(|one, next| one.ordinal < next.ordinal));
}

fn changed(key: EntityKey) -> AuditedEntity {
    AuditedEntity {
        key,
        is_deleted: false,
    }
}

fn gone(key: EntityKey) -> AuditedEntity {
    AuditedEntity {
        key,
        is_deleted: true,
    }
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(kind, count)| (kind.to_owned(), count)).into()
}

async fn write_by(
    store: &dyn Store,
    changes: &[EntityChange],
    idempotency: Option<IdempotencyKey<'_>>,
    author: &Author,
) -> Result<Head, StoreError> {
    let account = id("acme");
    store
        .apply(Write {
            account: &account,
            expected: store.head(&account).await.unwrap(),
            changes,
            events: &[],
            batch: None,
            idempotency,
            author,
        })
        .await
}

fn named(key: &Id) -> IdempotencyKey<'_> {
    IdempotencyKey {
        key,
        request_digest: [7; 32],
        now_micros: 1_000_000,
        ttl_micros: 1_000_000,
        answer: None,
    }
}

async fn recorded(store: Arc<dyn Store>) {
    let before = SystemClock::new().now();
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let author = Author::named("token:crm", "ApplyChanges")
        .for_actor(Some(id("anna")))
        .in_request(Some("0af7651916cd43dd8448eb211c80319c"));
    let key = id("k-1");
    let changes = [user("us1"), team("eu", None)];
    write_by(&*store, &changes, Some(named(&key)), &author)
        .await
        .unwrap();
    let delete = [EntityChange::Delete(EntityKey::User(id("us1")))];
    write_by(&*store, &delete, None, &Author::anyone("ApplyChanges"))
        .await
        .unwrap();
    let keeper = Author::named("ambit:keeper", "DeleteAccount");
    assert!(
        store
            .delete_account(&id("acme"), None, &keeper)
            .await
            .unwrap()
    );

    let [made, written, deleted, ended] = records(&*store).await.try_into().unwrap();
    assert_eq!((made.revision, made.effect), (1, AuditEffect::Created));
    assert_eq!(made.caller, None);
    assert_eq!(made.method.as_deref(), Some("ApplyChanges"));
    assert_eq!(made.entities, [changed(EntityKey::Account)]);
    assert!(made.at.unix_micros().abs_diff(before.unix_micros()) < 60_000_000);

    assert_eq!(
        (written.revision, written.effect),
        (2, AuditEffect::Changed)
    );
    assert_eq!(written.caller.as_deref(), Some("token:crm"));
    assert_eq!(written.actor.as_deref(), Some("anna"));
    assert_eq!(written.idempotency_key.as_deref(), Some("k-1"));
    let request = written.request_id.as_deref();
    assert_eq!(request, Some("0af7651916cd43dd8448eb211c80319c"));
    let team_and_user = [
        changed(EntityKey::Team(id("eu"))),
        changed(EntityKey::User(id("us1"))),
    ];
    assert_eq!(written.entities, team_and_user);
    assert_eq!(written.counts, counts([("team", 1), ("user", 1)]));
    assert!(!written.is_partial);

    assert_eq!(deleted.revision, 3);
    assert_eq!(deleted.entities, [gone(EntityKey::User(id("us1")))]);
    assert_eq!(deleted.actor, None);

    assert_eq!((ended.revision, ended.effect), (0, AuditEffect::Deleted));
    assert_eq!(ended.caller.as_deref(), Some("ambit:keeper"));
    assert_eq!(ended.entities, [gone(EntityKey::Account)]);
}

async fn not_made(store: Arc<dyn Store>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let key = id("k-1");
    let author = Author::named("token:crm", "ApplyChanges");
    let first = write_by(&*store, &[user("us1")], Some(named(&key)), &author).await;
    let kept = records(&*store).await;
    assert_one_each(&kept, 2);

    // Again under its key, again without one, on a head that is not there, against a rule, and an
    // account that is not there.
    let again = write_by(&*store, &[user("us1")], Some(named(&key)), &author).await;
    assert_eq!(again.unwrap(), first.unwrap());
    write_by(&*store, &[user("us1")], None, &author)
        .await
        .unwrap();
    let wrong = store
        .apply(Write {
            account: &id("acme"),
            expected: None,
            changes: &[user("us2")],
            events: &[],
            batch: None,
            idempotency: None,
            author: &author,
        })
        .await;
    assert!(matches!(wrong, Err(StoreError::Conflict)), "{wrong:?}");
    refused_by(try_apply(&*store, "acme", &[team("de", Some("nowhere"))]).await);
    let nobody = id("nobody");
    assert!(!store.delete_account(&nobody, None, &author).await.unwrap());
    let stale = Some(Head {
        revision: 1,
        nonce: [0; 8],
    });
    let refused = store.delete_account(&id("acme"), stale, &author).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(records(&*store).await, kept);
}

async fn outlives(store: Arc<dyn Store>) {
    let author = Author::anyone("DeleteAccount");
    for _ in 0..2 {
        apply(&*store, "acme", &everything()).await;
        assert!(
            store
                .delete_account(&id("acme"), None, &author)
                .await
                .unwrap()
        );
    }
    let kept = records(&*store).await;
    let told: Vec<_> = kept
        .iter()
        .map(|record| (record.revision, record.effect))
        .collect();
    let life = [(1, AuditEffect::Created), (0, AuditEffect::Deleted)];
    assert_eq!(told, [life, life].concat());
    let all = counts([
        ("access_group", 1),
        ("account", 1),
        ("permission_set", 2),
        ("resource", 3),
        ("segment", 1),
        ("team", 3),
        ("user", 2),
    ]);
    assert_eq!(kept[0].counts, all);
    assert_eq!(kept[0].entities.len(), 13);
    let other = store
        .audit_records(
            &id("acme2"),
            &AuditFilter::default(),
            step(AuditOrder::OldestFirst, None, 10),
        )
        .await
        .unwrap();
    assert_eq!(other.records, []);
}

async fn noted(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    file(&*store, "acme", std::slice::from_ref(&filed)).await;
    let approved = closed(&filed, RequestState::Approved);
    file(&*store, "acme", std::slice::from_ref(&approved)).await;
    let revoked = RequestEvent {
        kind: RequestEventKind::Revoked,
        from: Some(RequestState::Approved),
        ..event(&approved, 2)
    };
    let before = records(&*store).await;
    let head = store.head(&id("acme")).await.unwrap();
    let author = Author::named("console", "RevokeAccessRequest").for_actor(Some(id("sa")));
    let written = store
        .apply(Write {
            account: &id("acme"),
            expected: head,
            changes: &[],
            events: &[revoked],
            batch: None,
            idempotency: None,
            author: &author,
        })
        .await
        .unwrap();
    assert_eq!(Some(written), head);
    let after = records(&*store).await;
    assert_eq!(after[..before.len()], before);
    let [note] = &after[before.len()..] else {
        panic!("one record of one event: {after:?}");
    };
    assert_eq!(
        (note.effect, note.revision),
        (AuditEffect::Noted, written.revision)
    );
    assert_eq!(note.caller.as_deref(), Some("console"));
    assert_eq!(note.actor.as_deref(), Some("sa"));
    let named = [changed(EntityKey::AccessRequest(filed.id.clone()))];
    assert_eq!(note.entities, named);
    assert_eq!(note.counts, counts([("access_request", 1)]));
    // The reason is in the event, and nothing of it here.
    let said = format!("{after:?}");
    assert!(!said.contains(&filed.reason), "{said}");
}

async fn taken_along(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let delete = [EntityChange::Delete(EntityKey::AccessGroup(id("vip")))];
    apply(&*store, "acme", &delete).await;
    let last = records(&*store).await.pop().unwrap();
    let group = EntityKey::AccessGroup(id("vip"));
    assert_eq!(last.entities[0], gone(group));
    let resource = EntityKey::Resource(key("contact", "c1"));
    assert!(last.entities.contains(&changed(resource)), "{last:?}");
    assert!(
        last.entities
            .contains(&changed(EntityKey::Segment(id("gold")))),
        "{last:?}"
    );
}

async fn counted(store: Arc<dyn Store>) {
    let mut changes = vec![put(Entity::Account(account("acme")))];
    apply(&*store, "acme", &changes).await;
    changes.clear();
    changes.extend((0..600).map(|number| put_resource(resource(&format!("c{number:04}")))));
    changes.push(user("us1"));
    apply(&*store, "acme", &changes).await;
    let last = records(&*store).await.pop().unwrap();
    assert_eq!(last.counts, counts([("resource", 600), ("user", 1)]));
    assert!(!last.is_partial);
    assert_eq!(last.entities.len(), 50);
    assert_eq!(last.entities[0], changed(EntityKey::User(id("us1"))));
    let first = EntityKey::Resource(key("contact", "c0000"));
    assert_eq!(last.entities[1], changed(first));
    // One that may be among those that are not named is found, a user that is not is not.
    let found = async |entity| {
        let filter = AuditFilter {
            entity: Some(entity),
            ..AuditFilter::default()
        };
        let newest = step(AuditOrder::NewestFirst, None, 10);
        page(&*store, &filter, newest).await.records.len()
    };
    assert_eq!(found(EntityKey::Resource(key("contact", "c0599"))).await, 1);
    assert_eq!(found(EntityKey::User(id("us1"))).await, 1);
    assert_eq!(found(EntityKey::User(id("us2"))).await, 0);
    assert_eq!(found(EntityKey::Account).await, 1);
}

async fn at_once(store: Arc<dyn Store>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let author = Author::named(&format!("token:{writer}"), "ApplyChanges");
            let mut made = Vec::new();
            while made.len() < 5 {
                let name = format!("u{writer}-{}", made.len());
                match write_by(&*store, &[user(&name)], None, &author).await {
                    Ok(head) => made.push((head.revision, format!("token:{writer}"), name)),
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            made
        });
    }
    let mut acknowledged = writers.join_all().await.concat();
    acknowledged.sort();
    let kept = records(&*store).await;
    assert_one_each(&kept, 31);
    let told: Vec<_> = kept[1..]
        .iter()
        .map(|record| {
            let EntityKey::User(user) = &record.entities[0].key else {
                panic!("{record:?}");
            };
            let caller = record.caller.clone().unwrap();
            (record.revision, caller, user.to_string())
        })
        .collect();
    assert_eq!(told, acknowledged);
}

async fn pages(store: Arc<dyn Store>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    for number in 0..9 {
        apply(&*store, "acme", &[user(&format!("u{number}"))]).await;
    }
    let filter = AuditFilter::default();
    for order in [AuditOrder::OldestFirst, AuditOrder::NewestFirst] {
        let before = store.head(&id("acme")).await.unwrap().unwrap().revision;
        let mut seen = Vec::new();
        let mut after = None;
        let mut written = 0;
        loop {
            let found = page(&*store, &filter, step(order, after, 2)).await;
            assert!(found.records.len() <= 2);
            seen.extend(found.records.iter().map(|record| record.revision));
            let Some(next) = found.next else { break };
            after = Some(next);
            if written < 4 {
                let name = format!("{order:?}{written}");
                apply(&*store, "acme", &[user(&name)]).await;
                written += 1;
            }
        }
        let expected: Vec<u64> = match order {
            // What is written meanwhile comes at the end.
            AuditOrder::OldestFirst => (1..=before + 4).collect(),
            AuditOrder::NewestFirst => (1..=before).rev().collect(),
        };
        assert_eq!(seen, expected, "{order:?}");
    }
}

async fn filters(store: Arc<dyn Store>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    for (caller, actor, name) in [
        ("token:a", Some("anna"), "u1"),
        ("token:b", None, "u2"),
        ("token:a", Some("ben"), "u1"),
    ] {
        let author = Author::named(caller, "ApplyChanges").for_actor(actor.map(id));
        let mut changed = User::new(id(name));
        changed.super_admin = actor == Some("ben");
        write_by(&*store, &[put(Entity::User(changed))], None, &author)
            .await
            .unwrap();
    }
    let found = async |filter| {
        let found = page(&*store, &filter, step(AuditOrder::OldestFirst, None, 10)).await;
        assert_eq!(found.next, None);
        let revisions: Vec<u64> = found.records.iter().map(|found| found.revision).collect();
        revisions
    };
    let none = AuditFilter::default;
    let by = |caller: &str| AuditFilter {
        caller: Some(caller.to_owned()),
        ..none()
    };
    assert_eq!(found(by("token:a")).await, [2, 4]);
    assert_eq!(found(by("token:")).await, [0; 0]);
    let for_anna = AuditFilter {
        actor: Some(id("anna")),
        ..none()
    };
    assert_eq!(found(for_anna).await, [2]);
    let of_kind = |kind| AuditFilter {
        kind: Some(kind),
        ..none()
    };
    assert_eq!(found(of_kind(AuditKind::User)).await, [2, 3, 4]);
    assert_eq!(found(of_kind(AuditKind::Account)).await, [1]);
    assert_eq!(found(of_kind(AuditKind::Team)).await, [0; 0]);
    let of = |name: &str| AuditFilter {
        entity: Some(EntityKey::User(id(name))),
        ..none()
    };
    assert_eq!(found(of("u1")).await, [2, 4]);
    let both = AuditFilter {
        actor: Some(id("ben")),
        ..of("u1")
    };
    assert_eq!(found(both).await, [4]);
    let kept = records(&*store).await;
    // The moments of two may be the same.
    let third = kept[2].at;
    let since = AuditFilter {
        since: Some(third),
        ..none()
    };
    let until = AuditFilter {
        until: Some(third),
        ..none()
    };
    let since = found(since).await;
    let until = found(until).await;
    assert!(since.ends_with(&[3, 4]), "{since:?}");
    assert_eq!([until, since].concat(), [1, 2, 3, 4]);
}

async fn trimmed(store: Arc<dyn Store>) {
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    apply(&*store, "acme", &[user("us1")]).await;
    let kept = records(&*store).await;
    assert_eq!(store.trim_audit(Timestamp::MAX, 10).await.unwrap(), 0);
    assert_eq!(records(&*store).await, kept);
}
