//! Reliability case 40 on Postgres: the database records every writer, whatever they say, and lets
//! nobody at its records.

use super::roles::{as_role, denies};
use super::*;

/// Revisions that have no record, or more than one, and records of no revision.
const ASTRAY: &str = "(SELECT account_id, revision FROM ambit.revision_log
        FULL JOIN (SELECT account_id, revision, count(*) AS records FROM ambit.audit_record
            WHERE effect IN ('created', 'changed') GROUP BY account_id, revision) AS audited
        USING (account_id, revision)
        WHERE records IS DISTINCT FROM 1 OR nonce IS NULL) AS astray";

async fn last(beside: &mut Beside, column: &str) -> Option<String> {
    let sql =
        format!("SELECT {column}::text FROM ambit.audit_record ORDER BY ordinal DESC LIMIT 1");
    scalar(&mut beside.connection, &sql).await
}

#[tokio::test]
async fn every_revision_of_any_writer_has_one_record() {
    let mut beside = beside().await;
    assert_eq!(beside.count("ambit.audit_record").await, 2);
    for sql in [
        "INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')",
        // Two accounts in one transaction.
        "UPDATE ambit.account SET plan = 'free' WHERE account_id IN ('acme', 'other')",
        // What changes nothing, and what is rolled back, leaves none.
        "UPDATE ambit.account SET plan = 'free'",
        "BEGIN; DELETE FROM ambit.team WHERE team_id = 'fr'; ROLLBACK",
        // Two revisions in one transaction.
        "BEGIN; INSERT INTO ambit.team VALUES ('acme', 'a', NULL); SELECT ambit.transaction_token('acme');
         INSERT INTO ambit.team VALUES ('acme', 'b', NULL); COMMIT",
        "SELECT ambit.reload_account('acme')",
        "INSERT INTO ambit.resource (account_id, resource_type, resource_id)
            SELECT 'acme', 'contact', 'n' || n FROM generate_series(1, 50001) AS n",
        "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
    ] {
        beside.run(sql).await.unwrap();
        assert_eq!(beside.count(ASTRAY).await, 0, "{sql}");
    }
    // 1 and 1 at first, then 1, 2, 2, 1, 1 and 1.
    assert_eq!(beside.count("ambit.audit_record").await, 10);
    assert_eq!(
        beside.count("ambit.audit_record WHERE is_partial").await,
        2,
        "the reload, and the large statement"
    );
    let named = last(&mut beside, "entities").await.unwrap();
    assert!(
        named.contains(r#"{"d": true, "i": "us1", "k": "user", "t": ""}"#),
        "{named}"
    );
    // The control: the look finds a revision without a record.
    beside
        .run(
            "ALTER TABLE ambit.audit_record DISABLE TRIGGER kept;
            DELETE FROM ambit.audit_record WHERE account_id = 'other' AND revision = 2",
        )
        .await
        .unwrap();
    assert_eq!(beside.count(ASTRAY).await, 1);
}

#[tokio::test]
async fn an_account_that_goes_leaves_its_records() {
    let mut beside = beside().await;
    // One that never was, one that goes, and one that goes and comes in one transaction.
    for sql in [
        "BEGIN; INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('x', 'hubspot', 'free');
         DELETE FROM ambit.account WHERE account_id = 'x'; COMMIT",
        "DELETE FROM ambit.account WHERE account_id = 'acme'",
        "BEGIN; DELETE FROM ambit.account WHERE account_id = 'other';
         INSERT INTO ambit.account (account_id, catalog, plan) VALUES ('other', 'hubspot', 'free'); COMMIT",
    ] {
        beside.run(sql).await.unwrap();
    }
    let told: String = scalar(
        &mut beside.connection,
        "SELECT string_agg(account_id || ' ' || effect || ' ' || revision, ', ' ORDER BY account_id, ordinal)
            FROM ambit.audit_record",
    )
    .await;
    assert_eq!(
        told,
        "acme created 1, acme deleted 0, other created 1, other deleted 0, other created 1"
    );
}

/// The session's role is written down, unless it is the server's or the owner's: only these are
/// believed, of the one account that they name.
#[tokio::test]
async fn only_a_server_says_who_calls() {
    let mut beside = beside().await;
    let announced = |account: &str, team: &str| {
        format!(
            "BEGIN; SELECT set_config('ambit.audit',
                '{{\"account\": \"{account}\", \"caller\": \"token:forged\", \"actor\": \"sa\"}}', true);
             INSERT INTO ambit.team VALUES ('acme', '{team}', NULL); COMMIT"
        )
    };
    let mut writer = as_role(&beside, "ambit_writer").await;
    run(&mut writer, &announced("acme", "w")).await.unwrap();
    let caller = last(&mut beside, "caller").await;
    assert_eq!(caller.as_deref(), Some("sql:ambit_writer"));
    assert_eq!(last(&mut beside, "actor").await, None);

    let mut server = as_role(&beside, "ambit_server").await;
    run(&mut server, &announced("acme", "s1")).await.unwrap();
    let caller = last(&mut beside, "caller").await;
    assert_eq!(caller.as_deref(), Some("token:forged"));
    run(&mut server, &announced("other", "s2")).await.unwrap();
    let caller = last(&mut beside, "caller").await;
    assert_eq!(caller.as_deref(), Some("sql:ambit_server"));
    // Nothing of it is left in the session.
    run(
        &mut server,
        "INSERT INTO ambit.team VALUES ('acme', 's3', NULL)",
    )
    .await
    .unwrap();
    let caller = last(&mut beside, "caller").await;
    assert_eq!(caller.as_deref(), Some("sql:ambit_server"));
}

#[tokio::test]
async fn records_are_only_added_to() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    for (rule, sql) in [
        (
            "never changes",
            "UPDATE ambit.audit_record SET caller = 'me'",
        ),
        ("by its age only", "DELETE FROM ambit.audit_record"),
        (
            "by its age only",
            "SET LOCAL ambit.audit_trim = 'on'; DELETE FROM ambit.audit_record",
        ),
    ] {
        beside.refuses(&texts, rule, sql).await;
    }
    beside.run("TRUNCATE ambit.audit_record").await.unwrap_err();

    let touched = [
        "INSERT INTO ambit.audit_record (account_id, revision, effect, at, entities, counts, is_partial)
            VALUES ('acme', 9, 'changed', now(), '[]', '{}', false)",
        "UPDATE ambit.audit_record SET caller = 'me'",
        "DELETE FROM ambit.audit_record",
        "SELECT ambit.audit_revision('acme', 9)",
        "SELECT ambit.audit_deletion('acme')",
        "SELECT ambit.audit_author('acme')",
    ];
    let servers = [
        "SELECT ambit.trim_audit(now(), 1)",
        "SELECT ambit.audit_events('acme', '{r}')",
    ];
    let read = "TABLE ambit.audit_record";
    let mut server = as_role(&beside, "ambit_server").await;
    denies(&mut server, &touched).await;
    for sql in [read, servers[0]] {
        run(&mut server, sql).await.unwrap();
    }
    let mut reader = as_role(&beside, "ambit_reader").await;
    denies(&mut reader, &touched).await;
    denies(&mut reader, &servers).await;
    run(&mut reader, read).await.unwrap();
    let mut writer = as_role(&beside, "ambit_writer").await;
    denies(&mut writer, &touched).await;
    denies(&mut writer, &servers).await;
    denies(&mut writer, &[read]).await;
}

#[tokio::test]
async fn records_are_trimmed_by_age_in_steps() {
    let mut beside = beside().await;
    beside
        .run(
            "ALTER TABLE ambit.audit_record DISABLE TRIGGER fixed;
            UPDATE ambit.audit_record SET at = at - interval '3 days';
            ALTER TABLE ambit.audit_record ENABLE TRIGGER fixed;
            INSERT INTO ambit.team VALUES ('acme', 'new', NULL)",
        )
        .await
        .unwrap();
    let mut server = as_role(&beside, "ambit_server").await;
    for (before, gone) in [
        ("now() - interval '4 days'", 0),
        ("now() - interval '2 days'", 1),
        ("now() + interval '9 days'", 1),
        ("now() + interval '9 days'", 0),
    ] {
        let sql = format!("SELECT ambit.trim_audit({before}, 1)");
        assert_eq!(scalar::<i64>(&mut server, &sql).await, gone, "{before}");
    }
    assert_eq!(beside.count("ambit.audit_record").await, 1);
}
