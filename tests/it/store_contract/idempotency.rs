//! Writes that are remembered under a key.

use super::*;
use ambit::store::{IdempotencyKey, RememberedWrite};

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("a write is remembered", a_write_is_remembered),
        clause("a remembered write is not made again", not_made_again),
        clause("a failed write is not remembered", failed_is_not_remembered),
        clause("what is remembered expires", it_expires),
    ]
}

const DAY: i64 = 86_400_000_000;

fn named(key: &Id, digest: u8, now_micros: i64) -> IdempotencyKey<'_> {
    IdempotencyKey {
        key,
        request_digest: [digest; 32],
        now_micros,
        ttl_micros: DAY,
        answer: None,
    }
}

async fn write(
    store: &dyn Store,
    expected: Option<Head>,
    changes: &[EntityChange],
    idempotency: IdempotencyKey<'_>,
) -> Result<Head, StoreError> {
    store
        .apply(Write {
            account: &id("acme"),
            expected,
            changes,
            events: &[],
            batch: None,
            idempotency: Some(idempotency),
            author: &Author::anyone("ApplyChanges"),
        })
        .await
}

async fn a_write_is_remembered(store: Arc<dyn Store>) {
    let (one, other) = (id("key"), id("KEY"));
    let look = |key| {
        let store = store.clone();
        async move { store.remembered(&id("acme"), key).await.unwrap() }
    };
    assert_eq!(look(named(&one, 1, 0)).await, None);
    let head = write(&*store, None, &everything(), named(&one, 1, 0))
        .await
        .unwrap();
    let remembered = Some(RememberedWrite {
        request_digest: [1; 32],
        head,
        answer: None,
    });
    assert_eq!(look(named(&one, 1, 5)).await, remembered);
    // Told with the digest that it was made with, so that another request is told apart.
    assert_eq!(look(named(&one, 2, 5)).await, remembered);
    assert_eq!(look(named(&other, 1, 5)).await, None);
    let elsewhere = store
        .remembered(&id("other"), named(&one, 1, 5))
        .await
        .unwrap();
    assert_eq!(elsewhere, None);
    // A write of nothing is remembered too, at the head where it found nothing to do.
    let same = write(&*store, Some(head), &[], named(&other, 3, 5)).await;
    assert_eq!(same.unwrap(), head);
    assert_eq!(
        look(named(&other, 3, 6)).await,
        Some(RememberedWrite {
            request_digest: [3; 32],
            head,
            answer: None,
        })
    );
}

async fn not_made_again(store: Arc<dyn Store>) {
    let one = id("key");
    let head = write(&*store, None, &everything(), named(&one, 1, 0))
        .await
        .unwrap();
    let later = apply(&*store, "acme", &[user("later")]).await;
    // The same request again: the same answer, whatever head it expects.
    for expected in [None, Some(head), Some(later)] {
        let again = write(&*store, expected, &[user("u")], named(&one, 1, 1)).await;
        assert_eq!(again.unwrap(), head);
    }
    let other_request = write(&*store, Some(later), &[user("u")], named(&one, 2, 1)).await;
    assert!(
        matches!(other_request, Err(StoreError::Conflict)),
        "{other_request:?}"
    );
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(later));
}

async fn failed_is_not_remembered(store: Arc<dyn Store>) {
    let one = id("key");
    let head = apply(&*store, "acme", &everything()).await;
    refused_by(
        write(
            &*store,
            Some(head),
            &[team("t", Some("absent"))],
            named(&one, 1, 0),
        )
        .await,
    );
    let conflict = write(&*store, None, &[user("u")], named(&one, 1, 0)).await;
    assert!(matches!(conflict, Err(StoreError::Conflict)));
    let found = store.remembered(&id("acme"), named(&one, 1, 0)).await;
    assert_eq!(found.unwrap(), None);
}

async fn it_expires(store: Arc<dyn Store>) {
    let mut head = apply(&*store, "acme", &everything()).await;
    let names: Vec<Id> = (0..100).map(|number| id(&format!("k{number}"))).collect();
    for name in &names {
        head = write(
            &*store,
            Some(head),
            &[user(name.as_str())],
            named(name, 1, 0),
        )
        .await
        .unwrap();
    }
    let look = |name: Id, now| {
        let store = store.clone();
        async move {
            let found = store.remembered(&id("acme"), named(&name, 1, now)).await;
            found.unwrap().is_some()
        }
    };
    assert!(look(names[0].clone(), DAY - 1).await);
    assert!(!look(names[0].clone(), DAY).await, "not older than a day");
    // An expired key may be used by another request.
    let again = write(&*store, Some(head), &[user("v")], named(&names[0], 2, DAY))
        .await
        .unwrap();
    assert_eq!(again.revision, head.revision + 1);
    // Looking back in time shows what was forgotten: little by little, all that is expired.
    let mut head = again;
    for number in 0..20 {
        let name = id(&format!("after-{number}"));
        head = write(&*store, Some(head), &[], named(&name, 1, DAY + 1))
            .await
            .unwrap();
    }
    for name in &names[1..] {
        assert!(!look(name.clone(), 1).await, "{name} is forgotten");
    }
    assert!(look(names[0].clone(), DAY + 1).await);
}
