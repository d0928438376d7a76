//! The consistency token of a transaction, taken by the transaction itself.

use std::io::Write as _;
use std::process::Stdio;

use ambit::authz::model::Id;
use ambit::revision::RevisionToken;
use ambit::store::Head;

use super::*;
use crate::postgres::cluster::program;

async fn epoch(beside: &mut Beside) -> [u8; 8] {
    scalar::<Vec<u8>>(&mut beside.connection, "SELECT ambit.epoch()")
        .await
        .try_into()
        .unwrap()
}

async fn head(beside: &mut Beside, account: &str) -> Head {
    let (revision, nonce): (i64, Vec<u8>) =
        sqlx::query_as("SELECT revision, nonce FROM ambit.account_head WHERE account_id = $1")
            .bind(account)
            .fetch_one(&mut beside.connection)
            .await
            .unwrap();
    Head {
        revision: revision.try_into().unwrap(),
        nonce: nonce.try_into().unwrap(),
    }
}

const TOKEN: &str = "SELECT ambit.transaction_token('acme')";

#[tokio::test]
async fn the_token_is_that_of_the_revision_that_the_transaction_takes() {
    let mut beside = beside().await;
    let epoch = epoch(&mut beside).await;
    let account = Id::parse("acme").unwrap();
    // Where nothing was written: where the account stands.
    let token: String = scalar(&mut beside.connection, TOKEN).await;
    let at = RevisionToken::decode(&token)
        .unwrap()
        .head_of(epoch, &account);
    assert_eq!(at, Ok(head(&mut beside, "acme").await));
    assert_eq!(
        token,
        RevisionToken::new(epoch, &account, at.unwrap()).encode()
    );

    let mut writer = beside.another().await;
    run(&mut writer, "BEGIN; UPDATE ambit.account SET plan = 'free'")
        .await
        .unwrap();
    let token: String = scalar(&mut writer, TOKEN).await;
    assert_eq!(scalar::<String>(&mut writer, TOKEN).await, token);
    let at = RevisionToken::decode(&token)
        .unwrap()
        .head_of(epoch, &account)
        .unwrap();
    assert_eq!(at.revision, 2);
    // Nobody is there yet; then it is exactly this one.
    assert_eq!(head(&mut beside, "acme").await.revision, 1);
    run(&mut writer, "COMMIT").await.unwrap();
    assert_eq!(head(&mut beside, "acme").await, at);
    // All accounts of the transaction were numbered with it.
    assert_eq!(head(&mut beside, "other").await.revision, 2);
}

#[tokio::test]
async fn what_follows_the_token_takes_one_more_revision() {
    let mut beside = beside().await;
    let mut writer = beside.another().await;
    run(&mut writer, "BEGIN; UPDATE ambit.account SET plan = 'free'")
        .await
        .unwrap();
    let _: String = scalar(&mut writer, TOKEN).await;
    run(
        &mut writer,
        "UPDATE ambit.account SET plan = 'starter' WHERE account_id = 'acme';
         INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu');
         COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(head(&mut beside, "acme").await.revision, 3);
    assert_eq!(head(&mut beside, "other").await.revision, 2);
}

/// The rules of the whole account hold when the token is taken: it is never that of a state that
/// can't be committed for them.
#[tokio::test]
async fn a_state_that_breaks_a_rule_has_no_token() {
    let beside = beside().await;
    let mut writer = beside.another().await;
    run(
        &mut writer,
        "BEGIN; DELETE FROM ambit.app_user WHERE user_id = 'sa'",
    )
    .await
    .unwrap();
    let refusal = run(&mut writer, TOKEN).await.expect_err("D9");
    assert!(refusal.said.starts_with("D9"), "{refusal:?}");
}

#[tokio::test]
async fn an_account_that_is_not_there_has_no_token() {
    let mut beside = beside().await;
    let token: Option<String> = scalar(
        &mut beside.connection,
        "SELECT ambit.transaction_token('nobody')",
    )
    .await;
    assert_eq!(token, None);
    let mut writer = beside.another().await;
    run(
        &mut writer,
        "BEGIN; DELETE FROM ambit.account WHERE account_id = 'acme'",
    )
    .await
    .unwrap();
    assert_eq!(scalar::<Option<String>>(&mut writer, TOKEN).await, None);
}

/// Restored beside the old one or in its place, a database is whole, works, and is another one.
#[tokio::test]
async fn a_restored_database_is_another_one() {
    let mut beside = beside().await;
    let before = epoch(&mut beside).await;
    assert_eq!(epoch(&mut beside).await, before);
    let mut epochs = vec![before];
    let url = beside.database.url().to_owned();
    let plain = pipe("pg_dump", &["--dbname", &url], Vec::new()).await;
    let custom = pipe("pg_dump", &["--dbname", &url, "-Fc"], Vec::new()).await;

    let mut copies = vec![empty().await, empty().await];
    let [first, second] = &copies[..] else {
        panic!("two were made")
    };
    let psql = ["-Xqv", "ON_ERROR_STOP=1", "-d", first.database.url()];
    pipe("psql", &psql, plain).await;
    pipe(
        "pg_restore",
        &["-e", "-d", second.database.url()],
        custom.clone(),
    )
    .await;
    pipe("pg_restore", &["-e", "--clean", "-d", &url], custom).await;
    copies.push(beside);
    for mut copy in copies {
        epochs.push(epoch(&mut copy).await);
        assert_eq!(copy.revision("acme").await, 1);
        assert_eq!(copy.count("ambit.assignment").await, 2);
        copy.run("INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')")
            .await
            .unwrap();
        assert_eq!(copy.revision("acme").await, 2);
        let texts = copy.texts().await;
        copy.refuses(&texts, "D9", "DELETE FROM ambit.app_user")
            .await;
    }
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 4);
}

async fn empty() -> Beside {
    let database = Database::empty();
    let connection = connect(database.url()).await;
    Beside {
        database,
        connection,
    }
}

/// A program of Postgres with an input, and its output.
async fn pipe(name: &str, arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = program(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let done = tokio::task::spawn_blocking(move || {
        stdin.write_all(&input).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    });
    let output = done.await.unwrap();
    assert!(output.status.success(), "{name}");
    output.stdout
}
