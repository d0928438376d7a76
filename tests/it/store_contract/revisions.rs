//! Revisions, expected heads, atomicity.

use super::*;
use ambit::store::Changes;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("a revision for each write", a_revision_for_each_write),
        clause("no change takes no revision", no_change_takes_no_revision),
        clause("an account made again has another history", made_again),
        clause("the expected head is compared", expected_head),
        clause("all or nothing", all_or_nothing),
        clause("overlapping writers leave no gap", overlapping_writers),
        clause("delete_account takes everything", delete_account),
        clause("an account is put first", an_account_is_put_first),
    ]
}

async fn a_revision_for_each_write(store: Arc<dyn Store>) {
    let acme = id("acme");
    let mut heads = vec![apply(&*store, "acme", &everything()).await];
    for number in 0..5 {
        heads.push(apply(&*store, "acme", &[user(&format!("u{number}"))]).await);
    }
    for (number, head) in heads.iter().enumerate() {
        assert_eq!(head.revision, number as u64 + 1);
        assert_eq!(
            store.nonce_at(&acme, head.revision).await.unwrap(),
            Some(head.nonce)
        );
    }
    let nonces: BTreeSet<[u8; 8]> = heads.iter().map(|head| head.nonce).collect();
    assert_eq!(nonces.len(), heads.len());
    assert_eq!(store.head(&acme).await.unwrap().as_ref(), heads.last());
    for beyond in [0, 7, i64::MAX as u64, u64::MAX] {
        assert_eq!(store.nonce_at(&acme, beyond).await.unwrap(), None);
    }
}

async fn no_change_takes_no_revision(store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    assert_eq!(apply(&*store, "acme", &[]).await, head);
    // What is already so, and the deletion of what is not there.
    assert_eq!(apply(&*store, "acme", &everything()).await, head);
    let absent = EntityChange::Delete(EntityKey::Team(id("absent")));
    assert_eq!(apply(&*store, "acme", &[absent]).await, head);
    assert_eq!(
        store.changes_since(&id("acme"), head).await.unwrap(),
        Changes::None
    );
}

async fn made_again(store: Arc<dyn Store>) {
    let first = apply(&*store, "acme", &everything()).await;
    assert!(
        store
            .delete_account(&id("acme"), Some(first), &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    assert_eq!(
        store.changes_since(&id("acme"), first).await.unwrap(),
        Changes::Gone
    );
    let second = apply(&*store, "acme", &everything()).await;
    assert_eq!(second.revision, 1);
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(
        store.changes_since(&id("acme"), first).await.unwrap(),
        Changes::Reload
    );
    apply(&*store, "acme", &[user("u")]).await;
    assert_eq!(
        store.changes_since(&id("acme"), first).await.unwrap(),
        Changes::Reload
    );
}

async fn expected_head(store: Arc<dyn Store>) {
    let acme = id("acme");
    let changes = everything();
    let write = |expected, changes| {
        let store = store.clone();
        let acme = acme.clone();
        async move {
            store
                .apply(Write {
                    account: &acme,
                    expected,
                    changes,
                    events: &[],
                    batch: None,
                    idempotency: None,
                    author: &Author::anyone("ApplyChanges"),
                })
                .await
        }
    };
    let absent = Head {
        revision: 1,
        nonce: [7; 8],
    };
    let conflict = |result: Result<Head, StoreError>| {
        assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
    };
    conflict(write(Some(absent), &changes[..]).await);
    assert_eq!(store.head(&acme).await.unwrap(), None);
    let head = write(None, &changes).await.unwrap();
    let change = [user("u")];
    conflict(write(None, &change).await);
    conflict(write(Some(absent), &change).await);
    conflict(
        write(
            Some(Head {
                revision: 2,
                ..head
            }),
            &change,
        )
        .await,
    );
    // Not even a write of nothing may believe another head.
    conflict(write(Some(absent), &[]).await);
    assert_eq!(store.head(&acme).await.unwrap(), Some(head));
    let next = write(Some(head), &change).await.unwrap();
    conflict(write(Some(head), &change).await);
    assert_eq!(store.head(&acme).await.unwrap(), Some(next));

    let deleted = store
        .delete_account(&acme, Some(head), &Author::anyone("DeleteAccount"))
        .await;
    assert!(matches!(deleted, Err(StoreError::Conflict)), "{deleted:?}");
    assert_eq!(store.head(&acme).await.unwrap(), Some(next));
}

async fn all_or_nothing(store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    let before = load(&*store, "acme", true).await;
    let mut changes: Vec<EntityChange> = (0..3_000)
        .map(|number| put_resource(resource(&format!("n{number}"))))
        .collect();
    changes.push(EntityChange::Delete(EntityKey::User(id("us1"))));
    changes.push(team("t", Some("absent")));
    refused_by(try_apply(&*store, "acme", &changes).await);
    assert_eq!(load(&*store, "acme", true).await, before);
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    assert_eq!(store.nonce_at(&id("acme"), 2).await.unwrap(), None);
    // The same without the bad one: the number is the next one, as if nothing had been tried.
    changes.pop();
    assert_eq!(apply(&*store, "acme", &changes).await.revision, 2);
}

async fn overlapping_writers(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 25;
    let first = apply(&*store, "acme", &everything()).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            let acme = id("acme");
            let mut heads = Vec::new();
            for number in 0..WRITES {
                let change = [user(&format!("w{writer}-{number}"))];
                loop {
                    let expected = store.head(&acme).await.unwrap();
                    let written = store
                        .apply(Write {
                            account: &acme,
                            expected,
                            changes: &change,
                            events: &[],
                            batch: None,
                            idempotency: None,
                            author: &Author::anyone("ApplyChanges"),
                        })
                        .await;
                    match written {
                        Ok(head) => {
                            assert_eq!(Some(head.revision - 1), expected.map(|h| h.revision));
                            heads.push(head);
                            break;
                        }
                        Err(StoreError::Conflict) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
            heads
        }));
    }
    let mut acknowledged = vec![first];
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    acknowledged.sort_by_key(|head| head.revision);
    let numbers: Vec<u64> = acknowledged.iter().map(|head| head.revision).collect();
    assert!(numbers.into_iter().eq(1..=(WRITERS * WRITES) as u64 + 1));
    let Changes::Delta { head, history, .. } =
        store.changes_since(&id("acme"), first).await.unwrap()
    else {
        panic!("a few changes are a delta");
    };
    assert_eq!(history, acknowledged[1..]);
    assert_eq!(Some(&head), acknowledged.last());
    let (_, entities) = load(&*store, "acme", false).await;
    assert_eq!(
        entities.len(),
        by_key(puts(&everything())).len() + WRITERS * WRITES
    );
}

async fn delete_account(store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    assert!(
        store
            .delete_account(&id("acme"), Some(head), &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    assert_eq!(store.head(&id("acme")).await.unwrap(), None);
    assert!(store.snapshot(&id("acme"), true).await.unwrap().is_none());
    assert_eq!(store.nonce_at(&id("acme"), 1).await.unwrap(), None);
    assert!(
        !store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    // Nothing of it comes back with an account of the same name.
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    assert_eq!(load(&*store, "acme", true).await.1.len(), 1);
    let attributes = store
        .attributes(&id("acme"), &[key("contact", "c1")])
        .await
        .unwrap();
    assert_eq!(attributes, []);
}

async fn an_account_is_put_first(store: Arc<dyn Store>) {
    refused_by(try_apply(&*store, "acme", &[user("u")]).await);
    refused_by(try_apply(&*store, "acme", &[]).await);
    assert_eq!(store.head(&id("acme")).await.unwrap(), None);
    let other = put(Entity::Account(account("other")));
    refused_by(try_apply(&*store, "acme", std::slice::from_ref(&other)).await);
    apply(&*store, "acme", &everything()).await;
    refused_by(try_apply(&*store, "acme", &[other]).await);
    let gone = EntityChange::Delete(EntityKey::Account);
    refused_by(try_apply(&*store, "acme", &[gone]).await);
    assert_eq!(store.head(&id("other")).await.unwrap(), None);
}
