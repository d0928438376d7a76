//! Which histories a token may name, and what becomes of graphs whose database is replaced.

use std::sync::Arc;

use ambit::graph_cache::{Consistency, ReadError};
use ambit::revision::{RevisionError, RevisionToken};
use ambit::store::audit::Author;
use ambit::store::{Head, Nonce};

use super::held::{HeldStore, Hold};
use super::loads::{cache, spawn_read};
use super::{PATIENCE, POLL, followed, following, read, until};
use crate::database::Database;
use crate::directory::{LIMITS, Replica, id, put_user};

/// Deleting an account, and making it again under the same id, reaches the other process too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_account_is_gone_and_one_made_again_has_another_history() {
    let database = Database::new();
    let (reading, _feed) = following(&database, LIMITS).await;
    let writing = Replica::open(&database).await;
    let first = writing.make_account("acme").await;
    let old_token = writing.token("acme", first);
    read(&reading, "acme", Consistency::AtLeastAsFresh(old_token))
        .await
        .unwrap();

    writing
        .directory
        .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    until("the account is gone", async || {
        let gone = read(&reading, "acme", Consistency::MinimizeLatency).await;
        matches!(gone, Err(ReadError::UnknownAccount(_)))
    })
    .await;

    let second = writing.make_account("acme").await;
    assert_eq!(first.revision, second.revision, "the numbers are the same");
    for replica in [&reading, &writing] {
        let refused = read(replica, "acme", Consistency::AtLeastAsFresh(old_token)).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(RevisionError::OtherHistory))
            ),
            "{refused:?}"
        );
        let token = writing.token("acme", second);
        let fresh = read(replica, "acme", Consistency::AtLeastAsFresh(token)).await;
        assert_eq!(fresh.unwrap(), second);
    }
}

/// reliability.md case 14 and 34 in small: what a token may not open.
#[tokio::test]
async fn tokens_of_other_accounts_databases_and_histories_are_refused_each_for_its_reason() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let head = replica.make_account("acme").await;
    replica.make_account("other").await;
    let elsewhere_database = Database::new();
    let elsewhere = Replica::open(&elsewhere_database).await;
    let foreign = elsewhere.make_account("acme").await;

    let named = |revision: u64, nonce: Nonce| replica.token("acme", Head { revision, nonce });
    let cases: Vec<(&str, RevisionToken, RevisionError)> = vec![
        (
            "other account",
            replica.token("other", head),
            RevisionError::OtherAccount,
        ),
        (
            "other database",
            elsewhere.token("acme", foreign),
            RevisionError::OtherHistory,
        ),
        (
            "other nonce at the head",
            named(head.revision, [0; 8]),
            RevisionError::OtherHistory,
        ),
        (
            "other nonce before it",
            named(1, [0; 8]),
            RevisionError::OtherHistory,
        ),
        (
            "one ahead",
            named(head.revision + 1, head.nonce),
            RevisionError::BeyondHead,
        ),
        (
            "far ahead",
            named(u64::MAX, head.nonce),
            RevisionError::BeyondHead,
        ),
    ];
    for (what, token, expected) in cases {
        let asked = read(&replica, "acme", Consistency::AtLeastAsFresh(token));
        let refused = tokio::time::timeout(PATIENCE, asked).await.unwrap();
        match refused {
            Err(ReadError::Revision(error)) => assert_eq!(error, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // The control: a true one is taken, and so is every one on the way there.
    let mut nonces = Vec::new();
    for revision in 1..=head.revision {
        let nonce = replica.store.nonce_at(&id("acme"), revision).await.unwrap();
        nonces.push(nonce.unwrap());
        let token = named(revision, nonce.unwrap());
        let taken = read(&replica, "acme", Consistency::AtLeastAsFresh(token)).await;
        assert_eq!(taken.unwrap(), head, "revision {revision}");
    }
    assert_eq!(nonces.last(), Some(&head.nonce));
}

/// A copy of the file that goes on by itself has the same epoch and the same numbers: the nonce of
/// each revision tells the two histories apart, in both directions.
#[tokio::test]
async fn tokens_of_a_forked_copy_of_the_database_are_refused() {
    let database = Database::new();
    let original = Replica::open(&database).await;
    let common = original.make_account("acme").await;
    original.store.close().await;
    let copy_database = database.copy();
    let original = Replica::open(&database).await;
    let copy = Replica::open(&copy_database).await;
    let in_original = original.apply("acme", vec![put_user("a")]).await.unwrap();
    let in_copy = copy.apply("acme", vec![put_user("b")]).await.unwrap();
    let (in_original, in_copy) = (in_original.head.unwrap(), in_copy.head.unwrap());
    assert_eq!(in_original.revision, in_copy.revision);

    for (replica, own, foreign) in [
        (&original, in_original, in_copy),
        (&copy, in_copy, in_original),
    ] {
        let shared = replica.token("acme", common);
        let taken = read(replica, "acme", Consistency::AtLeastAsFresh(shared)).await;
        assert_eq!(taken.unwrap(), own);
        let foreign = replica.token("acme", foreign);
        let refused = read(replica, "acme", Consistency::AtLeastAsFresh(foreign)).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(RevisionError::OtherHistory))
            ),
            "{refused:?}"
        );
    }
}

/// The same fork, but under a running server that had gone further in the old history than the new
/// one is: a token of the new one is answered in the new one, not by the graph that happens to
/// have a higher number, and one of the old one is refused.
#[tokio::test]
async fn a_token_of_a_fork_is_never_answered_by_the_history_that_was_cached() {
    let database = Database::new();
    let original = Replica::open(&database).await;
    original.make_account("acme").await;
    original.store.close().await;
    let copy_database = database.copy();
    let original = Replica::open(&database).await;
    let copy = Replica::open(&copy_database).await;
    let mut in_original = Vec::new();
    for n in 0..8 {
        let written = original.apply("acme", vec![put_user(&format!("o{n}"))]);
        in_original.push(written.await.unwrap().head.unwrap());
    }
    let mut in_copy = Vec::new();
    for n in 0..3 {
        let written = copy.apply("acme", vec![put_user(&format!("c{n}"))]);
        in_copy.push(written.await.unwrap().head.unwrap());
    }

    let (store, _hold) = HeldStore::over(Arc::clone(&original.store));
    let graphs = cache(store.clone(), LIMITS);
    let account = id("acme");
    let ask = async |head: Head| {
        let consistency = Consistency::AtLeastAsFresh(graphs.token(&account, head));
        graphs
            .read(&account, &consistency)
            .await
            .map(|read| read.head)
    };
    // What the store says of the old history is remembered here, and must not count later.
    assert_eq!(ask(in_original[1]).await.unwrap(), in_original[7]);
    store.switch_to(Arc::clone(&copy.store));
    for head in &in_copy {
        assert_eq!(ask(*head).await.unwrap(), in_copy[2]);
    }
    for head in &in_original {
        let refused = ask(*head).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(
                    RevisionError::OtherHistory | RevisionError::BeyondHead
                ))
            ),
            "{head:?}: {refused:?}"
        );
    }
}

/// reliability.md cases 14 and 15 in small: the database says that it is another one. Every graph
/// is loaded anew, tokens of its past are refused, and those of its present are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_became_another_one_is_noticed_and_its_past_is_dropped() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let head = replica.make_account("acme").await;
    let (store, _hold) = HeldStore::open(&database).await;
    let (graphs, _feed, _status) = followed(store.clone(), LIMITS, POLL);
    let account = id("acme");
    let ask = async |consistency: Consistency| graphs.read(&account, &consistency).await;
    let before = graphs.token(&account, head);
    ask(Consistency::AtLeastAsFresh(before)).await.unwrap();
    // The control: as long as it is the same one, nothing is loaded twice.
    until("several passes", async || {
        let now = graphs.staleness().unwrap();
        tokio::time::sleep(POLL * 3).await;
        graphs.staleness().unwrap() < now + POLL * 3
    })
    .await;
    assert_eq!(graphs.loads_begun(), 1);

    store.become_another(*b"restored");
    until("it is noticed", async || {
        graphs.token(&account, head) != before
    })
    .await;
    let refused = ask(Consistency::AtLeastAsFresh(before)).await;
    assert!(
        matches!(
            refused,
            Err(ReadError::Revision(RevisionError::OtherHistory))
        ),
        "{refused:?}"
    );
    let after = graphs.token(&account, head);
    ask(Consistency::AtLeastAsFresh(after)).await.unwrap();
    ask(Consistency::MinimizeLatency).await.unwrap();
    assert_eq!(graphs.loads_begun(), 2, "the graph was loaded anew, once");
}

/// A load of the old database that ends after the new one was noticed brings nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_load_that_began_before_the_database_was_replaced_is_not_answered() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let head = replica.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    let (graphs, _feed, _status) = followed(store.clone(), LIMITS, POLL);
    let account = id("acme");
    let before = graphs.token(&account, head);
    hold.send_replace(Hold::Snapshots);
    let first = spawn_read(&graphs, "acme");
    until("the load has begun", async || graphs.loads_begun() == 1).await;
    store.become_another(*b"promoted");
    until("it is noticed", async || {
        graphs.token(&account, head) != before
    })
    .await;
    let second = spawn_read(&graphs, "acme");
    hold.send_replace(Hold::Nothing);
    for reader in [first, second] {
        reader.await.unwrap().unwrap();
    }
    assert_eq!(graphs.loads_begun(), 2, "the first load was thrown away");
}

/// A token of the promoted database that another replica minted, before this one has noticed: the
/// database is asked who it is, rather than the token refused. One of no database is refused.
#[tokio::test]
async fn a_token_of_another_epoch_is_looked_into_before_it_is_refused() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let head = replica.make_account("acme").await;
    let (store, _hold) = HeldStore::open(&database).await;
    // Nothing follows it here, so nothing else would notice.
    let graphs = cache(store.clone(), LIMITS);
    let account = id("acme");
    let ask = async |epoch: &[u8; 8]| {
        let token = RevisionToken::new(*epoch, &account, head);
        let consistency = Consistency::AtLeastAsFresh(token);
        graphs
            .read(&account, &consistency)
            .await
            .map(|read| read.head)
    };
    graphs
        .read(&account, &Consistency::MinimizeLatency)
        .await
        .unwrap();
    store.become_another(*b"promoted");
    assert_eq!(ask(b"promoted").await.unwrap(), head);
    assert_eq!(graphs.loads_begun(), 2);
    for epoch in [b"nowhere.", &replica.store.identity().epoch] {
        let refused = ask(epoch).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(RevisionError::OtherHistory))
            ),
            "{refused:?}"
        );
    }
}
