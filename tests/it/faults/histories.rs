//! The database becomes another one under running replicas: an older dump is put back, or a standby
//! that lacks the last commits is promoted. What was is forgotten, what is is answered, and tokens
//! of what was are refused.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use sqlx::AssertSqlSafe;
use tonic::Code;

use super::replica::{PATIENCE, Replica, until};
use super::scene::{ACCOUNT, BOUND, Scene, follow, view};
use crate::grpc::server::{at_least, grant, put_contact};
use crate::postgres::cluster::{self, Cluster, program};
use crate::postgres::proxy::{Proxy, Which};

/// Without what a restore and a promotion change, for the controls.
const FORGETFUL_EPOCH: &str = "CREATE OR REPLACE FUNCTION ambit.epoch() RETURNS bytea
    LANGUAGE sql STABLE SECURITY DEFINER AS
    'SELECT substring(sha256(epoch) FROM 1 FOR 8) FROM ambit.store_identity'";

async fn asked_with(replica: &Replica, token: &str) -> Result<bool, tonic::Status> {
    let question = wire::CheckRequest {
        consistency: at_least(token),
        ..view()
    };
    replica.check(question).await
}

/// Waits past what is no answer, up to the bound.
async fn settled(replica: &Replica, token: &str) -> Result<bool, tonic::Status> {
    let begun = SystemClock::new();
    loop {
        match asked_with(replica, token).await {
            Err(status) if status.code() == Code::Unavailable => {
                assert!(begun.monotonic() < PATIENCE, "{status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
}

/// All refuse the token, for one of the two reasons of another history: at the latest when the bound
/// is over since the database became another one.
async fn refused_by_all(replicas: &[&Replica], token: &str, since: &SystemClock) {
    for replica in replicas {
        let status = loop {
            let asked_at = since.monotonic();
            match settled(replica, token).await {
                Err(status) => break status,
                Ok(_) => assert!(asked_at <= BOUND, "taken {asked_at:?} after the change"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let reason = Reason::of(&status).unwrap();
        assert!(
            matches!(
                reason,
                Reason::RevisionOfAnotherHistory | Reason::RevisionNotReached
            ),
            "{reason:?}"
        );
    }
}

async fn dump(url: String) -> Vec<u8> {
    let output = tokio::task::spawn_blocking(move || {
        program("pg_dump")
            .args(["-Fc", "--schema=ambit", "--dbname", &url])
            .stderr(Stdio::inherit())
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(output.status.success());
    output.stdout
}

async fn restore(url: String, dump: Vec<u8>) {
    let status = tokio::task::spawn_blocking(move || {
        let mut child = program("pg_restore")
            .args([
                "--clean",
                "--if-exists",
                "--single-transaction",
                "--exit-on-error",
            ])
            .args(["--dbname", &url])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&dump).unwrap();
        drop(stdin);
        child.wait().unwrap()
    })
    .await
    .unwrap();
    assert!(status.success());
}

/// Puts an older dump back under two replicas that both hold the account, and answers three tokens: of when the dump is made, of the
/// revocation after it, and of a contact after that.
/// Also since when the database is the restored one.
async fn restored(scene: &Scene) -> ([String; 3], SystemClock) {
    let url = scene.cluster.url(&scene.database);
    let old = scene
        .writer
        .apply(ACCOUNT, vec![put_contact("before")])
        .await
        .unwrap();
    let dumped = dump(url.clone()).await;
    let revoke = vec![grant("u", "contact", "view", wire::Level::None)];
    let revoked = scene.writer.apply(ACCOUNT, revoke).await.unwrap();
    let last = scene
        .writer
        .apply(ACCOUNT, vec![put_contact("after")])
        .await
        .unwrap();
    for replica in [&scene.writer, &scene.reader] {
        assert!(!asked_with(replica, &last).await.unwrap());
    }
    // Nobody reads the old state once the restore has committed, and nobody the new one before.
    let is_restored = Arc::new(AtomicBool::new(false));
    let asking = ask_all_along(&scene.reader, Arc::clone(&is_restored));
    let restoring = async {
        restore(url, dumped).await;
        is_restored.store(true, Ordering::SeqCst);
        SystemClock::new()
    };
    let ((), since) = tokio::join!(asking, restoring);
    ([old, revoked, last], since)
}

/// Asks without a token until the answer is that of the restored state, where the user may again.
async fn ask_all_along(replica: &Replica, is_restored: Arc<AtomicBool>) {
    let mut restored_at = None;
    let begun = SystemClock::new();
    loop {
        if restored_at.is_none() && is_restored.load(Ordering::SeqCst) {
            restored_at = Some(begun.monotonic());
        }
        let asked_at = begun.monotonic();
        match replica.check(view()).await {
            Ok(true) => return,
            Ok(false) => {
                if let Some(restored_at) = restored_at {
                    assert!(asked_at <= restored_at + BOUND, "the old history lives on");
                }
            }
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        assert!(asked_at < PATIENCE, "the replica does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// reliability.md case 14.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_14_an_older_dump_under_running_replicas_is_found_out() {
    let scene = Scene::alone().await;
    let replicas = [&scene.writer, &scene.reader];
    let (tokens, since) = restored(&scene).await;
    for token in &tokens {
        refused_by_all(&replicas, token, &since).await;
    }
    // The new history goes on past the numbers of the old one, whose tokens stay refused.
    let mut new = String::new();
    for number in 0..5 {
        let put = vec![put_contact(&format!("new{number}"))];
        new = scene.writer.apply(ACCOUNT, put).await.unwrap();
    }
    for replica in replicas {
        assert!(settled(replica, &new).await.unwrap());
    }
    for token in &tokens {
        refused_by_all(&replicas, token, &since).await;
    }
}

/// The control: without the database's own mark a token from before the dump passes, and only the
/// nonces tell what was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_14_control_without_another_epoch_an_old_token_passes() {
    let scene = Scene::alone().await;
    let replicas = [&scene.writer, &scene.reader];
    let before = scene
        .writer
        .apply(ACCOUNT, vec![put_contact("x")])
        .await
        .unwrap();
    let mut sql = scene.sql().await;
    sql.run(FORGETFUL_EPOCH).await;
    sql.close().await;
    for replica in replicas {
        until("the epoch is the forgetful one", async || {
            let answer = asked_with(replica, &before).await;
            answer.is_err_and(|status| status.code() == Code::FailedPrecondition)
        })
        .await;
    }
    let ([old, revoked, last], since) = restored(&scene).await;
    for replica in replicas {
        settled(replica, &old)
            .await
            .expect("the control is refused");
    }
    for token in [revoked, last] {
        refused_by_all(&replicas, &token, &since).await;
    }
}

/// A primary with a standby, and two replicas whose way leads to the one or the other.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    proxy: Proxy,
    writer: Replica,
    reader: Replica,
}

const DATABASE: &str = "pair";

impl Pair {
    async fn new(prepare: &[&str]) -> Self {
        let primary = Cluster::start();
        let url = primary.make_database(DATABASE);
        let first = Replica::start(&url).await;
        for statement in prepare {
            run(&url, statement).await;
        }
        drop(first);
        let standby = Cluster::standby_of(&primary);
        let proxy = Proxy::to(primary.port()).await;
        let url = cluster::url(proxy.port(), DATABASE);
        let writer = Replica::start(&url).await;
        let reader = Replica::start(&url).await;
        Self {
            primary,
            standby,
            proxy,
            writer,
            reader,
        }
    }

    /// Makes the account, lets the standby have it, cuts the standby off, and revokes: answers a
    /// token that the standby knows and one that it doesn't.
    async fn lose_the_tail(&self) -> [String; 2] {
        let url = self.primary.url(DATABASE);
        run(&url, &account_in_sql()).await;
        let known = token(&self.writer).await;
        assert!(asked_with(&self.reader, &known).await.unwrap());
        let behind = self.standby.url(DATABASE);
        until("the standby has it", async || {
            let there = "SELECT count(*) FROM ambit.user_grant";
            count(&behind, there).await == 1
        })
        .await;
        // It asks nobody any more.
        run(&behind, "ALTER SYSTEM SET primary_conninfo = ''").await;
        run(&behind, "SELECT pg_reload_conf()").await;
        until("the standby is cut off", async || {
            count(&url, "SELECT count(*) FROM pg_stat_replication").await == 0
        })
        .await;
        let revoke = vec![grant("u", "contact", "view", wire::Level::None)];
        let lost = self.writer.apply(ACCOUNT, revoke).await.unwrap();
        assert!(!asked_with(&self.reader, &lost).await.unwrap());
        [known, lost]
    }

    fn replicas(&self) -> [&Replica; 2] {
        [&self.writer, &self.reader]
    }
}

/// A token of where the account stands.
async fn token(replica: &Replica) -> String {
    replica
        .apply(ACCOUNT, vec![put_contact("known")])
        .await
        .unwrap()
}

fn account_in_sql() -> String {
    [
        "INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'enterprise')",
        "INSERT INTO ambit.app_user (account_id, user_id, super_admin) VALUES ('acme', 'sa', true), ('acme', 'u', false)",
        "INSERT INTO ambit.resource (account_id, resource_type, resource_id) VALUES ('acme', 'contact', 'c')",
        "INSERT INTO ambit.user_grant (account_id, user_id, resource_type, permission, level)
            VALUES ('acme', 'u', 'contact', 'view', 'everything')",
    ]
    .join(";")
}

async fn run(url: &str, statement: &str) {
    cluster::execute(url.to_owned(), statement.to_owned()).await;
}

async fn count(url: &str, statement: &str) -> i64 {
    let mut connection = cluster::connect(url).await;
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// reliability.md case 15.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_15_a_promoted_standby_with_a_lost_tail_is_another_history() {
    let pair = Pair::new(&[]).await;
    let tokens = pair.lose_the_tail().await;
    pair.primary.kill();
    let gone = SystemClock::new();
    // The standby takes no writes yet: nothing may be written to it, nothing of it answered past
    // the bound, and nobody is told what the old primary had after that either.
    pair.proxy.switch_to(pair.standby.port());
    pair.proxy.reset(Which::All);
    until("the bound is over", async || {
        let asked_at = gone.monotonic();
        match pair.reader.check(view()).await {
            Ok(allowed) => assert!(!allowed && asked_at <= BOUND, "{allowed} {asked_at:?}"),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        asked_at > BOUND + Duration::from_millis(500)
    })
    .await;
    let refused = pair
        .writer
        .apply(ACCOUNT, vec![put_contact("on a standby")])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(pair.reader.get("/readyz").await.0, 503);

    pair.standby.promote();
    let promoted = SystemClock::new();
    for replica in pair.replicas() {
        // The revocation is lost, so the user may again: that is what the database says now.
        let took = follow(replica, true, &promoted).await;
        println!("answers {took:?} after the promotion");
    }
    for token in &tokens {
        refused_by_all(&pair.replicas(), token, &promoted).await;
    }
    // Writes go to the new primary, past the numbers of the lost ones.
    let mut new = String::new();
    for number in 0..3 {
        let put = vec![put_contact(&format!("new{number}"))];
        new = pair.writer.apply(ACCOUNT, put).await.unwrap();
    }
    assert!(settled(&pair.reader, &new).await.unwrap());
    let url = pair.standby.url(DATABASE);
    let there = "SELECT count(*) FROM ambit.resource WHERE resource_id = 'new2'";
    assert_eq!(count(&url, there).await, 1);
    for token in &tokens {
        refused_by_all(&pair.replicas(), token, &promoted).await;
    }
}

/// The control: without the timeline in it the epoch stays, and a token of the old primary passes
/// on the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_15_control_without_the_timeline_an_old_token_passes() {
    let pair = Pair::new(&[FORGETFUL_EPOCH]).await;
    let [known, lost] = pair.lose_the_tail().await;
    pair.primary.kill();
    pair.standby.promote();
    pair.proxy.switch_to(pair.standby.port());
    pair.proxy.reset(Which::All);
    for replica in pair.replicas() {
        settled(replica, &known)
            .await
            .expect("the control is refused");
    }
    // What was lost is told by its nonce, and the graphs that hold it go by the bound.
    let promoted = SystemClock::new();
    for replica in pair.replicas() {
        follow(replica, true, &promoted).await;
    }
    refused_by_all(&pair.replicas(), &lost, &promoted).await;
}
