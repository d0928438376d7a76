//! What each role may do, and what it may not.

use super::*;

const WRITES: &[&str] = &[
    "INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')",
    "UPDATE ambit.app_user SET status = 'invited' WHERE user_id = 'us1'",
    "DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id = 'de'",
    "SELECT ambit.reload_account('acme')",
];

const READS: &[&str] = &[
    "TABLE ambit.resource_attributes",
    "TABLE ambit.account_head",
    "TABLE ambit.revision_log",
    "TABLE ambit.change_log",
    "SELECT ambit.epoch()",
    "SELECT ambit.transaction_token('acme')",
];

/// The log, the heads and the identity are out of every writer's reach.
const GUARDED: &[&str] = &[
    "UPDATE ambit.account_head SET revision = revision + 1, nonce = '12345678'",
    "DELETE FROM ambit.account_head",
    "INSERT INTO ambit.account_head VALUES ('x', 1, '12345678', false)",
    "DELETE FROM ambit.change_log",
    "INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
        VALUES ('acme', '7', 'reload', '', '{}')",
    "UPDATE ambit.revision_log SET revision = 9",
    "INSERT INTO ambit.revision_log VALUES ('acme', 9, '12345678', '9', now())",
    "TABLE ambit.commit_pending",
    "INSERT INTO ambit.commit_pending VALUES ('9', 'acme')",
    "DELETE FROM ambit.commit_pending",
    "TABLE ambit.store_identity",
    "SELECT token_key FROM ambit.store_identity",
    "UPDATE ambit.store_identity SET epoch = '12345678'",
    "TABLE ambit.idempotency",
    "TRUNCATE ambit.team",
    "ALTER TABLE ambit.team DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "CREATE TABLE ambit.mine ()",
    "CREATE TEMPORARY TABLE mine (); CREATE TRIGGER mine AFTER INSERT ON mine
        FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_team()",
    "SELECT ambit.check_teams('acme', '{}')",
];

const DENIED: &str = "42501";

pub(super) async fn as_role(beside: &Beside, role: &str) -> PgConnection {
    let mut connection = beside.another().await;
    // A plain SET ROLE leaves the session's user a superuser, who may set what a role may not.
    run(
        &mut connection,
        &format!("SET SESSION AUTHORIZATION {role}"),
    )
    .await
    .unwrap();
    connection
}

pub(super) async fn allows(connection: &mut PgConnection, statements: &[&str]) {
    for sql in statements {
        run(connection, &format!("BEGIN; {sql}; ROLLBACK"))
            .await
            .unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
    }
}

pub(super) async fn denies(connection: &mut PgConnection, statements: &[&str]) {
    for sql in statements {
        let refusal = run(connection, &format!("BEGIN; {sql}; COMMIT"))
            .await
            .expect_err(sql);
        assert_eq!(refusal.code, DENIED, "{sql}: {refusal:?}");
        run(connection, "ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_writes_account_data_and_nothing_else() {
    let mut beside = beside().await;
    let mut writer = as_role(&beside, "ambit_writer").await;
    allows(&mut writer, READS).await;
    denies(&mut writer, GUARDED).await;
    denies(&mut writer, &["DELETE FROM ambit.revision_log"]).await;
    // With commits: the triggers log and number as their owner.
    let mut revision = beside.revision("acme").await;
    for sql in WRITES {
        run(&mut writer, sql).await.unwrap();
        revision += 1;
        assert_eq!(beside.revision("acme").await, revision, "{sql}");
    }
}

#[tokio::test]
async fn a_reader_only_reads() {
    let beside = beside().await;
    let mut reader = as_role(&beside, "ambit_reader").await;
    allows(&mut reader, READS).await;
    denies(&mut reader, WRITES).await;
    denies(&mut reader, GUARDED).await;
}

#[tokio::test]
async fn a_server_writes_data_trims_and_remembers() {
    let beside = beside().await;
    let mut server = as_role(&beside, "ambit_server").await;
    allows(&mut server, READS).await;
    allows(&mut server, WRITES).await;
    allows(
        &mut server,
        &[
            "TABLE ambit.store_identity",
            "SELECT FROM ambit.revision_log FOR UPDATE SKIP LOCKED; DELETE FROM ambit.revision_log",
            "INSERT INTO ambit.idempotency VALUES ('acme', 'k', sha256(''), 1, '12345678', now());
             UPDATE ambit.idempotency SET revision = 2; DELETE FROM ambit.idempotency",
            "SELECT pg_notify('ambit', 'h')",
        ],
    )
    .await;
    let guarded: Vec<&str> = GUARDED
        .iter()
        .copied()
        .filter(|sql| {
            !sql.contains("TABLE ambit.idempotency")
                && !sql.contains("TABLE ambit.store_identity")
                && !sql.contains("SELECT token_key")
                && !sql.starts_with("UPDATE ambit.revision_log")
        })
        .collect();
    denies(&mut server, &guarded).await;
}

/// Servers read the tokens of callers, their owner makes and revokes them, and nobody else sees so
/// much as a hash: a server that is broken into lets nobody in.
#[tokio::test]
async fn tokens_of_callers_are_made_by_the_owner_and_read_by_servers_alone() {
    const MADE: &str = "INSERT INTO ambit.caller_token
        (token_id, secret_hash, name, roles, accounts, created_at)
        VALUES ('0123456789abcdef', sha256('t'), 'crm', '[\"check\"]', NULL, now())";
    const CHANGED: &[&str] = &[
        MADE,
        "UPDATE ambit.caller_token SET revoked_at = now()",
        "UPDATE ambit.caller_token SET roles = '[\"admin\"]'",
        "DELETE FROM ambit.caller_token",
        "TRUNCATE ambit.caller_token",
        "UPDATE ambit.caller_token_version SET version = gen_random_uuid()",
    ];
    const READ: &[&str] = &[
        "TABLE ambit.caller_token",
        "SELECT secret_hash FROM ambit.caller_token",
        "SELECT count(*) FROM ambit.caller_token",
        "TABLE ambit.caller_token_version",
    ];
    let beside = beside().await;
    // The control: the owner may, and a server's statements are those of the store.
    let mut owner = beside.another().await;
    allows(&mut owner, CHANGED).await;
    run(&mut owner, MADE).await.unwrap();
    let mut server = as_role(&beside, "ambit_server").await;
    allows(&mut server, READ).await;
    denies(&mut server, CHANGED).await;
    for role in ["ambit_writer", "ambit_reader"] {
        let mut other = as_role(&beside, role).await;
        denies(&mut other, READ).await;
        denies(&mut other, CHANGED).await;
    }
    let revoked: i64 = scalar(
        &mut owner,
        "SELECT count(*) FROM ambit.caller_token WHERE revoked_at IS NOT NULL",
    )
    .await;
    assert_eq!(revoked, 0);
}

/// An application's own role needs no more than the tables that it writes.
#[tokio::test]
async fn a_writer_of_two_tables_is_logged_and_cascades() {
    let mut beside = beside().await;
    let role = format!("{}_app", beside.database.url().rsplit('/').next().unwrap());
    beside
        .run(&format!(
            "CREATE ROLE {role};
             GRANT USAGE ON SCHEMA ambit TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ambit.resource, ambit.app_user TO {role};
             GRANT EXECUTE ON FUNCTION ambit.transaction_token(text) TO {role}"
        ))
        .await
        .unwrap();
    let mut app = as_role(&beside, &role).await;
    run(
        &mut app,
        "DELETE FROM ambit.app_user WHERE user_id = 'us1';
         DELETE FROM ambit.resource WHERE resource_id = 'c1';
         SELECT ambit.transaction_token('acme')",
    )
    .await
    .unwrap();
    denies(
        &mut app,
        &[
            "TABLE ambit.assignment",
            "DELETE FROM ambit.access_group_member",
        ],
    )
    .await;
    assert_eq!(beside.revision("acme").await, 2);
    assert_eq!(
        beside
            .count("ambit.access_group_member WHERE principal_id = 'us1'")
            .await,
        0
    );
    drop(app);
    beside
        .run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}

/// What a session finds by its own search_path is not what the triggers use.
#[tokio::test]
async fn a_session_can_slip_nothing_under_the_triggers() {
    let mut beside = beside().await;
    let mut writer = as_role(&beside, "ambit_writer").await;
    run(
        &mut writer,
        "CREATE TEMPORARY TABLE change_log (LIKE ambit.change_log);
         CREATE TEMPORARY TABLE commit_pending (txid xid8, account_id text, deleted boolean);
         CREATE TEMPORARY TABLE app_user (LIKE ambit.app_user);
         CREATE FUNCTION pg_temp.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS $$ SELECT '1'::xid8 $$;
         SET search_path = pg_temp, pg_catalog",
    )
    .await
    .unwrap();
    run(
        &mut writer,
        "UPDATE ambit.account SET plan = 'free' WHERE account_id = 'acme'",
    )
    .await
    .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
    let left: i64 = scalar(&mut writer, "SELECT count(*) FROM pg_temp.change_log").await;
    assert_eq!(left, 0);
}
