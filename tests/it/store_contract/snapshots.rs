//! What one call reads, it reads in one transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::*;
use ambit::store::Changes;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("a snapshot shows whole commits", whole_commits),
        clause("a snapshot stays as it began", stays_as_it_began),
        clause("snapshots that nobody reads cost nothing", unread_snapshots),
        clause("a write that is given up is whole or nothing", given_up),
    ]
}

/// Every resource carries the number of the write as its owner: a torn read has two.
fn generation(number: usize) -> Vec<EntityChange> {
    let owner = format!("u{}", number % 2);
    (0..1_500)
        .map(|resource_number| {
            put_resource(Resource {
                owners: ids([owner.as_str()]),
                ..resource(&format!("r{resource_number}"))
            })
        })
        .collect()
}

fn owners<'a>(entities: impl IntoIterator<Item = &'a Entity>) -> BTreeSet<Id> {
    entities
        .into_iter()
        .filter_map(|entity| match entity {
            Entity::Resource(resource, _) => Some(resource.owners.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

async fn whole_commits(store: Arc<dyn Store>) {
    let start = [
        put(Entity::Account(account("acme"))),
        user("u0"),
        user("u1"),
    ];
    apply(&*store, "acme", &start).await;
    apply(&*store, "acme", &generation(0)).await;
    let done = Arc::new(AtomicBool::new(false));
    let reading = {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let mut loads = 0;
            let mut have: Option<Head> = None;
            while !done.load(Ordering::Acquire) || loads < 3 {
                let (head, entities) = load(&*store, "acme", false).await;
                assert_eq!(owners(&entities).len(), 1, "two writes in one snapshot");
                // Revision 2 is generation 0, and so on.
                let expected = id(&format!("u{}", (head.revision - 2) % 2));
                assert_eq!(owners(&entities), [expected].into(), "at {head:?}");
                if let Some(have) = have
                    && let Changes::Delta { head, changes, .. } =
                        store.changes_since(&id("acme"), have).await.unwrap()
                {
                    let expected = id(&format!("u{}", (head.revision - 2) % 2));
                    assert_eq!(owners(puts(&changes)), [expected].into(), "at {head:?}");
                }
                have = Some(head);
                loads += 1;
            }
        })
    };
    for number in 1..=12 {
        apply(&*store, "acme", &generation(number)).await;
    }
    done.store(true, Ordering::Release);
    reading.await.unwrap();
}

async fn stays_as_it_began(store: Arc<dyn Store>) {
    let start = [
        put(Entity::Account(account("acme"))),
        user("u0"),
        user("u1"),
    ];
    apply(&*store, "acme", &start).await;
    // More than the chunks that a store reads ahead.
    let many: Vec<EntityChange> = (0..20_000)
        .map(|number| {
            put_resource(Resource {
                owners: ids(["u0"]),
                ..resource(&format!("r{number}"))
            })
        })
        .collect();
    let head = apply(&*store, "acme", &many).await;
    let mut snapshot = store.snapshot(&id("acme"), false).await.unwrap().unwrap();
    assert_eq!(snapshot.head, head);
    let first = snapshot.chunks.recv().await.unwrap().unwrap();
    // Written while the reader is in the middle, and the account gone before it ends.
    apply(
        &*store,
        "acme",
        &[EntityChange::Delete(EntityKey::User(id("u0")))],
    )
    .await;
    store
        .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    let mut entities = first.into_entities();
    while let Some(chunk) = snapshot.chunks.recv().await {
        entities.extend(chunk.unwrap().into_entities());
    }
    assert_eq!(entities.len(), 3 + 20_000);
    assert_eq!(owners(&entities), ids(["u0"]));
}

async fn unread_snapshots(store: Arc<dyn Store>) {
    let mut changes = everything();
    changes.extend((0..6_000).map(|number| put_resource(resource(&format!("n{number}")))));
    apply(&*store, "acme", &changes).await;
    for _ in 0..40 {
        let mut snapshot = store.snapshot(&id("acme"), true).await.unwrap().unwrap();
        snapshot.chunks.recv().await.unwrap().unwrap();
        drop(snapshot);
    }
    let (_, entities) = load(&*store, "acme", false).await;
    assert_eq!(by_key(&entities), by_key(puts(&changes)));
}

/// Polls a future so many times and then drops it, wherever it is: `None`, unless it ended before.
pub(super) async fn given_up_after<Work: Future>(polls: usize, work: Work) -> Option<Work::Output> {
    let mut work = std::pin::pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// The caller goes away at each step of a write.
async fn given_up(store: Arc<dyn Store>) {
    let start = [
        put(Entity::Account(account("acme"))),
        user("u0"),
        user("u1"),
    ];
    apply(&*store, "acme", &start).await;
    let mut head = apply(&*store, "acme", &generation(0)).await;
    let mut ended = 0;
    let mut polls = 0;
    while ended < 3 {
        let before = owners(&load(&*store, "acme", false).await.1);
        let other = generation(usize::from(before == ids(["u0"])));
        let write = given_up_after(polls, apply(&*store, "acme", &other)).await;
        ended += usize::from(write.is_some());
        polls += 1;
        // A write that was given up may still end, and then stands in the way of one that began
        // before it did.
        let now = loop {
            match try_apply(&*store, "acme", &[]).await {
                Err(StoreError::Conflict) => {}
                other => break other.unwrap(),
            }
        };
        assert!((head.revision..=head.revision + 1).contains(&now.revision));
        let after = owners(&load(&*store, "acme", false).await.1);
        assert_eq!(after.len(), 1, "half of a write");
        assert_eq!(after == before, now == head);
        head = now;
    }
    println!("given up after each of {polls} steps");
    assert!(polls > 5, "the writes ended before they could be given up");
}
