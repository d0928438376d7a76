//! What plain SQL writes reaches whoever follows, and following it equals loading.

use std::collections::BTreeMap;

use ambit::authz::model::{Entity, EntityChange, EntityKey, Id};
use ambit::store::postgres::OpenOptions;
use ambit::store::{Changes, Head, Store};

use super::logged::{NOTHING, STATEMENTS};
use super::*;
use crate::store_contract::{apply, by_key, id, load, user};

/// Someone who follows `acme` by what the store says of it.
struct Follower {
    store: PostgresStore,
    head: Head,
    state: BTreeMap<EntityKey, Entity>,
}

impl Follower {
    async fn of(beside: &Beside) -> Self {
        let open = OpenOptions {
            migrate: false,
            connections_max: 4,
        };
        let store = PostgresStore::open(beside.database.url(), open)
            .await
            .unwrap();
        let (head, entities) = load(&store, "acme", false).await;
        Self {
            store,
            head,
            state: by_key(&entities),
        }
    }

    async fn changes(&self) -> Changes {
        self.store
            .changes_since(&id("acme"), self.head)
            .await
            .unwrap()
    }

    /// Takes the steps since the last time, or all anew where there are none; answers how many.
    async fn follow(&mut self) -> usize {
        match self.changes().await {
            Changes::None => 0,
            Changes::Delta {
                head,
                history,
                changes,
            } => {
                assert_eq!(history.last(), Some(&head));
                self.head = head;
                for change in changes {
                    match change {
                        EntityChange::Put(entity) => self.state.insert(entity.key(), entity),
                        EntityChange::Delete(key) => self.state.remove(&key),
                    };
                }
                history.len()
            }
            Changes::Reload => {
                let (head, entities) = load(&self.store, "acme", false).await;
                self.head = head;
                self.state = by_key(&entities);
                0
            }
            Changes::Gone => panic!("the account is there"),
        }
    }

    async fn assert_follows(&self, what: &str) {
        let (head, entities) = load(&self.store, "acme", false).await;
        assert_eq!(self.head, head, "{what}");
        assert_eq!(self.state, by_key(&entities), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_every_statement_equals_loading() {
    let mut beside = beside().await;
    let mut follower = Follower::of(&beside).await;
    for sql in NOTHING {
        beside.run(sql).await.unwrap();
        assert_eq!(follower.changes().await, Changes::None, "{sql}");
    }
    for (sql, _) in STATEMENTS {
        beside.run(sql).await.unwrap();
        let reloads = sql.contains("reload_account");
        assert_eq!(follower.follow().await, usize::from(!reloads), "{sql}");
        follower.assert_follows(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_all_statements_at_once_equals_loading() {
    for between in [";", "; SET CONSTRAINTS ALL IMMEDIATE;"] {
        let mut beside = beside().await;
        let mut follower = Follower::of(&beside).await;
        let statements: Vec<&str> = STATEMENTS
            .iter()
            .map(|(sql, _)| *sql)
            .filter(|sql| !sql.contains("reload_account"))
            .collect();
        beside.run(&statements.join(between)).await.unwrap();
        let steps = follower.follow().await;
        assert_eq!(steps > 1, between.len() > 1, "{steps}");
        follower.assert_follows(between).await;
    }
}

/// A log that was trimmed, or of which rows were taken out, or whose history is another one, is
/// not followed in steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_a_hole_is_not_followed() {
    for hole in [
        "DELETE FROM ambit.revision_log WHERE account_id = 'acme' AND revision = 2",
        "DELETE FROM ambit.revision_log WHERE account_id = 'acme' AND revision = 1",
        "DELETE FROM ambit.change_log WHERE account_id = 'acme' AND kind = 'team'",
        "UPDATE ambit.revision_log SET nonce = '12345678' WHERE account_id = 'acme' AND revision = 1",
    ] {
        let mut beside = beside().await;
        let follower = Follower::of(&beside).await;
        beside
            .run("INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')")
            .await
            .unwrap();
        beside
            .run("UPDATE ambit.account SET plan = 'free'")
            .await
            .unwrap();
        assert!(
            matches!(follower.changes().await, Changes::Delta { .. }),
            "{hole}"
        );
        beside.run(hole).await.unwrap();
        assert_eq!(follower.changes().await, Changes::Reload, "{hole}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_comes_again_is_loaded_anew() {
    let mut beside = beside().await;
    let mut follower = Follower::of(&beside).await;
    beside
        .run(
            "DELETE FROM ambit.account WHERE account_id = 'acme';
             INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'x')",
        )
        .await
        .unwrap();
    assert_eq!(follower.changes().await, Changes::Reload);
    follower.follow().await;
    assert_eq!(follower.state.len(), 1);
    beside
        .run("DELETE FROM ambit.account WHERE account_id = 'acme'")
        .await
        .unwrap();
    assert_eq!(follower.changes().await, Changes::Gone);
}

/// The store's own writes and plain ones, of transactions of several statements, side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_both_kinds_leave_no_gap() {
    const WRITES: usize = 30;
    let beside = beside().await;
    let mut follower = Follower::of(&beside).await;
    let mut plain = beside.another().await;
    let writing = tokio::spawn(async move {
        for number in 0..WRITES {
            let sql = format!(
                "BEGIN;
                 INSERT INTO ambit.app_user (account_id, user_id) VALUES ('acme', 'plain-{number}');
                 INSERT INTO ambit.user_team VALUES ('acme', 'plain-{number}', 'us');
                 COMMIT"
            );
            run(&mut plain, &sql).await.unwrap();
        }
    });
    let account: Id = id("acme");
    for number in 0..WRITES {
        let change = [user(&format!("ours-{number}"))];
        while let Err(error) =
            crate::store_contract::try_apply(&follower.store, "acme", &change).await
        {
            assert!(
                matches!(error, ambit::store::StoreError::Conflict),
                "{error:?}"
            );
        }
    }
    writing.await.unwrap();
    let before = follower.head.revision;
    let head = follower.store.head(&account).await.unwrap().unwrap();
    assert_eq!(head.revision, before + 2 * WRITES as u64);
    assert_eq!(follower.follow().await, 2 * WRITES);
    follower.assert_follows("both").await;
    // And what is deleted by SQL goes as what is deleted by the store.
    let again = apply(&follower.store, "acme", &[]).await;
    assert_eq!(again, head);
}
