//! Transactions that begin later and commit earlier: no replica ever misses one.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use tonic::Code;

use super::by_soak;
use super::replica::{PATIENCE, Replica, until};
use super::scene::{BOUND, Scene, Sql};
use crate::grpc::server::{at_least, check, grant};
use crate::properties::worlds::Dice;

const SEED: u64 = 11;
const WRITERS: usize = 16;
const ACCOUNTS: usize = 3;

/// Accounts with a user for each writer, who may view the contacts of all or of none.
async fn make_accounts(scene: &Scene) {
    let mut sql = scene.sql().await;
    for account in 0..ACCOUNTS {
        sql.run(&format!(
            "INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('a{account}', 'hubspot', 'enterprise')"
        ))
        .await;
        sql.run(&format!(
            "INSERT INTO ambit.app_user (account_id, user_id, super_admin)
                SELECT 'a{account}', 'w' || number, number = {WRITERS}
                FROM generate_series(0, {WRITERS}) AS number"
        ))
        .await;
        sql.run(&format!(
            "INSERT INTO ambit.resource (account_id, resource_type, resource_id)
                VALUES ('a{account}', 'contact', 'c')"
        ))
        .await;
    }
    sql.close().await;
}

fn question(account: usize, writer: usize) -> wire::CheckRequest {
    wire::CheckRequest {
        user_id: format!("w{writer}"),
        ..check(&format!("a{account}"), "c")
    }
}

/// Sees that a replica answers as the newest commit says: an older answer is right up to the bound.
async fn follows(replica: &Replica, question: &wire::CheckRequest, allowed: bool) {
    let committed = SystemClock::new();
    loop {
        let asked_at = committed.monotonic();
        match replica.check(question.clone()).await {
            Ok(answer) if answer == allowed => return,
            Ok(_) => assert!(asked_at <= BOUND, "{question:?} is missed for good"),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        assert!(asked_at < PATIENCE, "the replica does not come back");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One writer: by plain SQL, with a pause between its rows and its commit, or by the API of either
/// replica. Each so often it waits for both replicas.
async fn write(scene: Arc<Scene>, writer: usize, lasting: Duration) -> u64 {
    let mut dice = Dice::new(SEED + u64::try_from(writer).unwrap());
    let mut sql = scene.sql().await;
    let mut allowed = [false; ACCOUNTS];
    let begun = SystemClock::new();
    let mut commits = 0;
    while begun.monotonic() < lasting {
        let account = dice.below(ACCOUNTS);
        let allow = !allowed[account];
        if dice.chance(80) {
            // Two accounts in any order, so that writers meet in each.
            let mut touched = vec![(account, allow)];
            let other = dice.below(ACCOUNTS);
            if other != account {
                touched.push((other, !allowed[other]));
            }
            dice.shuffle(&mut touched);
            sql.run("BEGIN").await;
            for (account, allow) in &touched {
                toggle(&mut sql, *account, writer, *allow).await;
                if dice.chance(40) {
                    let pause = dice.below(30);
                    sql.run(&format!("SELECT pg_sleep(0.0{pause:02})")).await;
                }
            }
            sql.run("COMMIT").await;
            for (account, allow) in touched {
                allowed[account] = allow;
            }
        } else {
            let replica = if dice.chance(50) {
                &scene.writer
            } else {
                &scene.reader
            };
            let level = if allow {
                wire::Level::Everything
            } else {
                wire::Level::None
            };
            let granted = vec![grant(&format!("w{writer}"), "contact", "view", level)];
            // What plain SQL holds is a row; the API keeps one that says `none`.
            match replica.apply(&format!("a{account}"), granted).await {
                Ok(_) => allowed[account] = allow,
                // Others were faster each time.
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
            }
        }
        commits += 1;
        if dice.chance(5) {
            for replica in [&scene.writer, &scene.reader] {
                follows(replica, &question(account, writer), allowed[account]).await;
            }
        }
    }
    for (account, allowed) in allowed.iter().enumerate() {
        for replica in [&scene.writer, &scene.reader] {
            follows(replica, &question(account, writer), *allowed).await;
        }
    }
    sql.close().await;
    commits
}

async fn toggle(sql: &mut Sql, account: usize, writer: usize, allow: bool) {
    let key = format!("account_id = 'a{account}' AND user_id = 'w{writer}'");
    sql.run(&format!("DELETE FROM ambit.user_grant WHERE {key}"))
        .await;
    if allow {
        sql.run(&format!(
            "INSERT INTO ambit.user_grant (account_id, user_id, resource_type, permission, level)
                VALUES ('a{account}', 'w{writer}', 'contact', 'view', 'everything')"
        ))
        .await;
    }
}

/// reliability.md case 11, the soak: ten minutes in the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_11_commits_out_of_order_are_followed_by_every_replica() {
    println!("seed {SEED}");
    let scene = Arc::new(Scene::new().await);
    make_accounts(&scene).await;
    let lasting = by_soak(Duration::from_secs(4), Duration::from_secs(600));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(Arc::clone(&scene), writer, lasting));
    }
    let commits: u64 = writers.join_all().await.into_iter().sum();
    println!("{commits} commits");
    let mut sql = scene.sql().await;
    // A follower that had gone by the order in which transactions began would have been misled.
    let overtaken = sql
        .run(
            "SELECT FROM ambit.revision_log AS earlier JOIN ambit.revision_log AS later USING (account_id)
                WHERE later.revision = earlier.revision + 1 AND later.txid < earlier.txid",
        )
        .await;
    assert!(overtaken > 0, "no transaction ever overtook another");
    println!("{overtaken} were overtaken");
}

/// The control: a change that the log does not hold is missed for good, and this is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_11_control_a_change_that_is_not_logged_is_missed_until_a_reload() {
    let scene = Scene::new().await;
    make_accounts(&scene).await;
    let asked = question(0, 0);
    let mut sql = scene.sql().await;
    toggle(&mut sql, 0, 0, true).await;
    follows(&scene.reader, &asked, true).await;
    sql.run("BEGIN").await;
    sql.run("SET LOCAL session_replication_role = replica")
        .await;
    sql.run("DELETE FROM ambit.user_grant WHERE account_id = 'a0' AND user_id = 'w0'")
        .await;
    sql.run("COMMIT").await;
    let committed = SystemClock::new();
    // Others are followed meanwhile, so it is not that nothing is.
    toggle(&mut sql, 0, 1, true).await;
    follows(&scene.reader, &question(0, 1), true).await;
    until("the bound is over", async || committed.monotonic() > BOUND).await;
    assert!(
        scene.reader.check(asked.clone()).await.unwrap(),
        "it was followed after all"
    );
    sql.run("SELECT ambit.reload_account('a0')").await;
    follows(&scene.reader, &asked, false).await;
}

/// The token that a transaction takes itself is honoured by both replicas at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_writers_own_token_is_honoured_by_every_replica() {
    let scene = Scene::new().await;
    make_accounts(&scene).await;
    let mut sql = scene.sql().await;
    let mut allow = false;
    for _ in 0..by_soak(100, 2_000) {
        allow = !allow;
        sql.run("BEGIN").await;
        toggle(&mut sql, 0, 0, allow).await;
        let token = sql.text("SELECT ambit.transaction_token('a0')").await;
        sql.run("COMMIT").await;
        let at = wire::CheckRequest {
            consistency: at_least(&token),
            ..question(0, 0)
        };
        let (first, second) = tokio::join!(scene.writer.check(at.clone()), scene.reader.check(at));
        assert_eq!((first.unwrap(), second.unwrap()), (allow, allow));
    }
}

/// What a rolled back transaction was told is never answered at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_a_transaction_that_was_rolled_back_is_refused() {
    let scene = Scene::new().await;
    make_accounts(&scene).await;
    let mut sql = scene.sql().await;
    sql.run("BEGIN").await;
    toggle(&mut sql, 0, 0, true).await;
    let token = sql.text("SELECT ambit.transaction_token('a0')").await;
    sql.run("ROLLBACK").await;
    let at = || wire::CheckRequest {
        consistency: at_least(&token),
        ..question(0, 0)
    };
    // Beyond the head at first; then another transaction takes the revision.
    let status = scene.reader.check(at()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    toggle(&mut sql, 0, 1, true).await;
    toggle(&mut sql, 0, 2, true).await;
    follows(&scene.reader, &question(0, 2), true).await;
    let status = scene.reader.check(at()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
}
