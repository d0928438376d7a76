//! One revision a transaction and account, gap-free and in the order of commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Row;

use super::*;
use crate::properties::worlds::Dice;

#[tokio::test]
async fn a_transaction_takes_one_revision_of_each_account() {
    let mut beside = beside().await;
    beside
        .run(
            "BEGIN;
             UPDATE ambit.account SET plan = 'free' WHERE account_id = 'other';
             UPDATE ambit.account SET plan = 'starter';
             INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu'), ('other', 'fr', 'eu');
             COMMIT",
        )
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
    assert_eq!(beside.revision("other").await, 2);
    beside
        .run("BEGIN; DELETE FROM ambit.segment; ROLLBACK")
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
}

#[tokio::test]
async fn what_a_savepoint_takes_back_is_not_numbered() {
    let mut beside = beside().await;
    beside
        .run(
            "BEGIN;
             SAVEPOINT first;
             UPDATE ambit.account SET plan = 'free';
             ROLLBACK TO first;
             COMMIT",
        )
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 1);
    // Nor does it take along what comes before or after it.
    beside
        .run(
            "BEGIN;
             INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu');
             SAVEPOINT first;
             UPDATE ambit.account SET plan = 'free';
             SELECT ambit.transaction_token('other');
             ROLLBACK TO first;
             INSERT INTO ambit.team VALUES ('acme', 'it', 'eu');
             COMMIT",
        )
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
    assert_eq!(beside.revision("other").await, 1);
    let logged = "ambit.revision_log JOIN ambit.change_log USING (account_id, txid)
        WHERE account_id = 'acme' AND revision = 2 AND kind = 'team'";
    assert_eq!(beside.count(logged).await, 2);
}

#[tokio::test]
async fn an_account_that_comes_again_begins_anew() {
    for between in [
        "",
        "COMMIT; BEGIN;",
        "SET CONSTRAINTS ALL IMMEDIATE;",
        "SAVEPOINT between;",
    ] {
        let mut beside = beside().await;
        beside
            .run("UPDATE ambit.account SET plan = 'free'")
            .await
            .unwrap();
        assert_eq!(beside.revision("acme").await, 2);
        let nonces =
            "SELECT encode(nonce, 'hex') FROM ambit.account_head WHERE account_id = 'acme'";
        let before: String = scalar(&mut beside.connection, nonces).await;
        beside
            .run(&format!(
                "BEGIN;
                 DELETE FROM ambit.account WHERE account_id = 'acme';
                 {between}
                 INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'x');
                 COMMIT"
            ))
            .await
            .unwrap();
        assert_eq!(beside.revision("acme").await, 1, "{between}");
        let after: String = scalar(&mut beside.connection, nonces).await;
        assert_ne!(before, after, "{between}");
        assert_eq!(
            beside
                .count("ambit.revision_log WHERE account_id = 'acme'")
                .await,
            1
        );
        assert_eq!(
            beside.count("ambit.team WHERE account_id = 'acme'").await,
            0
        );
    }
}

#[tokio::test]
async fn a_writer_that_is_numbered_at_each_statement_is_numbered_in_steps() {
    let mut beside = beside().await;
    beside
        .run(
            "BEGIN;
             SET CONSTRAINTS ALL IMMEDIATE;
             INSERT INTO ambit.team VALUES ('acme', 'fr', 'de'), ('acme', 'paris', 'fr');
             INSERT INTO ambit.app_user (account_id, user_id, main_team) VALUES ('acme', 'u', 'fr');
             DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id IN ('de', 'fr');
             COMMIT",
        )
        .await
        .unwrap();
    let parent: String = scalar(
        &mut beside.connection,
        "SELECT parent FROM ambit.team WHERE account_id = 'acme' AND team_id = 'paris'",
    )
    .await;
    assert_eq!(parent, "eu");
    let head = beside.revision("acme").await;
    assert!(head > 3, "{head}");
    assert_eq!(
        beside
            .count("ambit.revision_log WHERE account_id = 'acme'")
            .await,
        head
    );
    // Each of them has its keys, by their transaction.
    let bare =
        "ambit.revision_log AS taken WHERE NOT EXISTS (SELECT FROM ambit.change_log AS logged
        WHERE logged.account_id = taken.account_id AND logged.txid = taken.txid)";
    assert_eq!(beside.count(bare).await, 0);
}

#[tokio::test]
async fn a_prepared_transaction_is_numbered_when_it_is_prepared() {
    let mut beside = beside().await;
    let name = beside.database.url().rsplit('/').next().unwrap().to_owned();
    let write = "BEGIN; UPDATE ambit.account SET plan = 'free' WHERE account_id = 'acme'";
    // Postgres prepares no transaction that notifies.
    let refusal = beside
        .run(&format!("{write}; PREPARE TRANSACTION '{name}'"))
        .await
        .expect_err("it notifies");
    assert_eq!(refusal.code, "0A000");
    beside.run("ROLLBACK").await.unwrap();
    beside
        .run(&format!(
            "{write}; SET LOCAL ambit.notify = off; PREPARE TRANSACTION '{name}'"
        ))
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 1);
    beside
        .run(&format!("COMMIT PREPARED '{name}'"))
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
}

#[tokio::test]
async fn a_commit_is_told_once_with_account_and_revision() {
    let mut beside = beside().await;
    let mut listener = sqlx::postgres::PgListener::connect(beside.database.url())
        .await
        .unwrap();
    listener.listen("ambit").await.unwrap();
    beside
        .run(
            "BEGIN;
             UPDATE ambit.account SET plan = 'free' WHERE account_id = 'acme';
             UPDATE ambit.account SET plan = 'starter' WHERE account_id = 'acme';
             INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('a b', 'hubspot', 'x');
             DELETE FROM ambit.account WHERE account_id = 'other';
             COMMIT;
             BEGIN; SET LOCAL ambit.notify = off; UPDATE ambit.account SET plan = 'quiet'; COMMIT;
             NOTIFY ambit, 'last'",
        )
        .await
        .unwrap();
    let mut told = Vec::new();
    loop {
        let notification = listener.recv().await.unwrap();
        if notification.payload() == "last" {
            break;
        }
        told.push(notification.payload().to_owned());
    }
    assert_eq!(told, ["r 1 a b", "r 2 acme", "r 0 other"]);
}

/// The stricter levels: whoever's snapshot is older than the account's head must begin again, so
/// that no check was made on what is no longer so.
#[tokio::test]
async fn a_stricter_writer_never_commits_over_what_it_has_not_seen() {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut beside = beside().await;
        let mut strict = beside.another().await;
        run(
            &mut strict,
            &format!("BEGIN ISOLATION LEVEL {level}; TABLE ambit.team"),
        )
        .await
        .unwrap();
        beside
            .run("INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')")
            .await
            .unwrap();
        run(
            &mut strict,
            "INSERT INTO ambit.team VALUES ('acme', 'it', 'eu')",
        )
        .await
        .unwrap();
        let refusal = run(&mut strict, "COMMIT").await.expect_err(level);
        assert_eq!(refusal.code, "40001", "{level}");
        // On its own, or beside a writer of another account, it goes through.
        run(
            &mut strict,
            &format!("BEGIN ISOLATION LEVEL {level}; TABLE ambit.team"),
        )
        .await
        .unwrap();
        beside
            .run("INSERT INTO ambit.team VALUES ('other', 'fr', 'eu')")
            .await
            .unwrap();
        run(
            &mut strict,
            "INSERT INTO ambit.team VALUES ('acme', 'it', 'eu'); COMMIT",
        )
        .await
        .unwrap();
        assert_eq!(beside.revision("acme").await, 3, "{level}");
    }
}

/// What the two of [`conflicting_order`] did.
async fn conflicting_order(beside: &mut Beside) -> [Result<(), Refusal>; 2] {
    let set = |account, resource, value| {
        format!(
            "UPDATE ambit.resource SET partitioned = {value} WHERE account_id = '{account}'
                AND resource_type = 'contact' AND resource_id = '{resource}'"
        )
    };
    let mut first = beside.another().await;
    let mut second = beside.another().await;
    run(&mut first, &format!("BEGIN; {}", set("other", "c1", true)))
        .await
        .unwrap();
    run(&mut second, &format!("BEGIN; {}", set("acme", "c2", true)))
        .await
        .unwrap();
    // From here on each needs what the other has, if it has more than its rows.
    let (rest_of_first, rest_of_second) = (
        format!("{}; COMMIT", set("acme", "c1", true)),
        format!("{}; COMMIT", set("other", "c2", true)),
    );
    let task = tokio::spawn(async move { run(&mut first, &rest_of_first).await });
    let second = run(&mut second, &rest_of_second).await;
    [task.await.unwrap(), second]
}

#[tokio::test]
async fn case_11_writers_in_conflicting_order_dont_deadlock_on_the_account() {
    let mut beside = beside().await;
    beside.run("DELETE FROM ambit.assignment").await.unwrap();
    beside
        .run("UPDATE ambit.resource SET partitioned = false")
        .await
        .unwrap();
    let before = (
        beside.revision("acme").await,
        beside.revision("other").await,
    );
    for result in conflicting_order(&mut beside).await {
        result.unwrap();
    }
    let after = (
        beside.revision("acme").await,
        beside.revision("other").await,
    );
    assert_eq!(after, (before.0 + 2, before.1 + 2));
}

/// The control: a bump by the statement, which locks the account before the rows are all written.
#[tokio::test]
async fn case_11_control_a_bump_by_the_statement_deadlocks() {
    let mut beside = beside().await;
    beside.run("DELETE FROM ambit.assignment").await.unwrap();
    beside
        .run("UPDATE ambit.resource SET partitioned = false")
        .await
        .unwrap();
    beside
        .run(
            "CREATE FUNCTION public.bump() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 UPDATE ambit.account_head SET revision = revision + 1, nonce = sha256(nonce)
                     WHERE account_id IN (SELECT account_id FROM changed);
                 RETURN NULL;
             END $$;
             ALTER TABLE ambit.account_head DROP CONSTRAINT account_head_nonce_check;
             CREATE TRIGGER bump AFTER UPDATE ON ambit.resource REFERENCING NEW TABLE AS changed
                 FOR EACH STATEMENT EXECUTE FUNCTION public.bump()",
        )
        .await
        .unwrap();
    let results = conflicting_order(&mut beside).await;
    let deadlocks = results
        .iter()
        .filter(|result| {
            result
                .as_ref()
                .is_err_and(|refusal| refusal.code == "40P01")
        })
        .count();
    assert_eq!(deadlocks, 1, "{results:?}");
}

/// What an observer sees of one log of numbers: holes that are filled later, or none.
#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    holes: u64,
}

/// Looks at the numbers that are visible in one snapshot, again and again: a reader that goes by
/// the highest one would never come back for a hole.
async fn observe(mut connection: PgConnection, sql: &'static str, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::SeqCst) {
        for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
            let (highest, count): (i64, i64) = (row.get(0), row.get(1));
            seen.looks += 1;
            seen.holes += u64::from(highest != count);
        }
    }
    seen
}

/// Writers of `accounts` accounts, of which each transaction touches one or two, and some take
/// their time between their first row and the commit.
async fn write_for_a_while(beside: &Beside, seed: u64, accounts: usize) -> BTreeMap<String, i64> {
    const WRITERS: u64 = 16;
    const TRANSACTIONS: usize = 25;
    println!("seed {seed}");
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut connection = beside.another().await;
        let mut random = Dice::new(seed + writer);
        writers.push(tokio::spawn(async move {
            let mut written = BTreeMap::<String, i64>::new();
            for transaction in 0..TRANSACTIONS {
                let mut touched: Vec<usize> =
                    (0..=random.below(2)).map(|_| random.below(accounts)).collect();
                let mut sql = String::from("BEGIN; INSERT INTO public.numbered DEFAULT VALUES;");
                for (step, account) in touched.iter().enumerate() {
                    sql += &format!(
                        "INSERT INTO ambit.resource VALUES
                            ('a{account}', 'contact', '{writer}-{transaction}-{step}', NULL, false);"
                    );
                    if random.below(3) == 0 {
                        sql += &format!("SELECT pg_sleep(0.0{:02});", random.below(20));
                    }
                }
                run(&mut connection, &(sql + "COMMIT")).await.unwrap();
                touched.sort_unstable();
                touched.dedup();
                for account in touched {
                    *written.entry(format!("a{account}")).or_default() += 1;
                }
            }
            written
        }));
    }
    let mut written = BTreeMap::new();
    for writer in writers {
        for (account, transactions) in writer.await.unwrap() {
            *written.entry(account).or_default() += transactions;
        }
    }
    written
}

/// Transactions that begin later and commit earlier, on the same account and on others. The
/// control runs along: a column that a sequence numbers shows holes.
#[tokio::test]
async fn case_11_revisions_are_gap_free_and_in_the_order_of_commits() {
    for accounts in [1, 5] {
        let mut beside = schema_only().await;
        beside
            .run(&format!(
                "CREATE TABLE public.numbered (number bigserial);
                 INSERT INTO ambit.account (account_id, catalog, plan)
                     SELECT 'a' || number, 'hubspot', 'x' FROM generate_series(0, {accounts} - 1) AS number"
            ))
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        // A visible revision has its keys visible too: those without aren't counted.
        let revisions = tokio::spawn(observe(
            beside.another().await,
            "SELECT max(revision), count(*) FILTER (WHERE EXISTS (SELECT FROM ambit.change_log AS logged
                    WHERE logged.account_id = taken.account_id AND logged.txid = taken.txid))
                FROM ambit.revision_log AS taken GROUP BY account_id",
            Arc::clone(&stop),
        ));
        let control = tokio::spawn(observe(
            beside.another().await,
            "SELECT coalesce(max(number), 0), count(*) FROM public.numbered",
            Arc::clone(&stop),
        ));
        let written = tokio::time::timeout(
            Duration::from_secs(120),
            write_for_a_while(&beside, 11, accounts),
        )
        .await
        .unwrap();
        stop.store(true, Ordering::SeqCst);
        let (revisions, control) = (revisions.await.unwrap(), control.await.unwrap());
        assert!(revisions.looks > 10, "{revisions:?}");
        assert_eq!(revisions.holes, 0, "{revisions:?}");
        assert!(control.holes > 0, "the control sees no hole: {control:?}");
        for (account, transactions) in written {
            // One more for its creation.
            assert_eq!(
                beside.revision(&account).await,
                transactions + 1,
                "{account}"
            );
        }
        assert_eq!(beside.count("ambit.commit_pending").await, 0);
    }
}
