//! Every kind of statement is logged with the keys of what it changed, set-wise.

use super::*;

/// Statements, each with the keys that it changes.
pub(super) const STATEMENTS: &[(&str, &[&str])] = &[
    ("UPDATE ambit.account SET plan = 'starter' WHERE account_id = 'acme'", &["account"]),
    ("INSERT INTO ambit.account_setting VALUES ('acme', 'partition_mode', 'email', 'share')", &["account"]),
    ("DELETE FROM ambit.account_setting WHERE type_key = 'email'", &["account"]),
    ("INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu'), ('acme', 'it', 'eu')", &["team fr", "team it"]),
    ("UPDATE ambit.team SET parent = NULL WHERE team_id IN ('fr', 'it')", &["team fr", "team it"]),
    ("DELETE FROM ambit.team WHERE team_id = 'it'", &["team it"]),
    ("INSERT INTO ambit.permission_set VALUES ('acme', 'new')", &["permission_set new"]),
    (
        "INSERT INTO ambit.permission_set_grant (account_id, permission_set_id, resource_type, permission, level)
            VALUES ('acme', 'new', 'contact', 'view', 'team')",
        &["permission_set new"],
    ),
    ("DELETE FROM ambit.permission_set_grant WHERE permission_set_id = 'new'", &["permission_set new"]),
    ("UPDATE ambit.app_user SET status = 'invited' WHERE user_id = 'us1'", &["user us1"]),
    ("INSERT INTO ambit.user_team VALUES ('acme', 'us1', 'eu')", &["user us1"]),
    ("UPDATE ambit.user_team SET team_id = 'us' WHERE user_id = 'us1'", &["user us1"]),
    ("DELETE FROM ambit.user_team WHERE user_id = 'us1'", &["user us1"]),
    ("INSERT INTO ambit.user_seat VALUES ('acme', 'us1', 'core')", &["user us1"]),
    ("INSERT INTO ambit.user_permission_set VALUES ('acme', 'us1', 'rep')", &["user us1"]),
    (
        "INSERT INTO ambit.user_membership (account_id, user_id, kind, id)
            VALUES ('acme', 'us1', 'team', 'eu')",
        &["user us1"],
    ),
    ("UPDATE ambit.user_membership SET expires_at = '2027-01-01' WHERE user_id = 'us1'", &["user us1"]),
    ("DELETE FROM ambit.user_membership WHERE user_id = 'us1'", &["user us1"]),
    ("UPDATE ambit.app_user SET email = 'us1@example.org' WHERE user_id = 'us1'", &["user us1"]),
    ("UPDATE ambit.user_grant SET level = 'owned'", &["user pa"]),
    (
        "INSERT INTO ambit.object_grant (account_id, user_id, resource_type, resource_id, action)
            VALUES ('acme', 'us1', 'contact', 'c1', 'view')",
        &["user us1"],
    ),
    ("DELETE FROM ambit.object_grant WHERE user_id = 'us1'", &["user us1"]),
    ("INSERT INTO ambit.access_group VALUES ('acme', 'new')", &["access_group new"]),
    (
        "INSERT INTO ambit.access_group_member VALUES ('acme', 'new', 'user', 'us1', '{view}')",
        &["access_group new"],
    ),
    (
        "UPDATE ambit.access_group_member SET actions = '{}' WHERE access_group_id = 'new'",
        &["access_group new"],
    ),
    (
        "INSERT INTO ambit.resource (account_id, resource_type, resource_id)
            VALUES ('acme', 'email', 'e1'), ('acme', 'contact', 'c3')",
        &["resource contact c3", "resource email e1"],
    ),
    (
        "INSERT INTO ambit.resource_attributes VALUES ('acme', 'email', 'e1', '{\"a\": 1}')",
        &["resource email e1"],
    ),
    // The same to a program, but another text.
    (
        "UPDATE ambit.resource_attributes SET attributes = '{\"a\": 1.0}' WHERE resource_id = 'e1'",
        &["resource email e1"],
    ),
    ("INSERT INTO ambit.resource_owner VALUES ('acme', 'email', 'e1', 'us1')", &["resource email e1"]),
    ("UPDATE ambit.resource SET owning_team = 'us' WHERE resource_id = 'e1'", &["resource email e1"]),
    (
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind, principal_id)
            VALUES ('acme', 'email', 'e1', 'team', 'us')",
        &["resource email e1"],
    ),
    ("DELETE FROM ambit.assignment WHERE resource_id = 'e1'", &["resource email e1"]),
    ("UPDATE ambit.segment SET enabled = true", &["segment gold"]),
    ("DELETE FROM ambit.segment_target WHERE principal_kind = 'team'", &["segment gold"]),
    // What goes along.
    ("DELETE FROM ambit.resource WHERE resource_id = 'e1'", &["resource email e1"]),
    (
        "DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id = 'de'",
        &["access_group vip", "resource contact c1", "team de", "user pa"],
    ),
    ("DELETE FROM ambit.permission_set WHERE permission_set_id = 'rep'", &["permission_set rep", "user pa", "user us1"]),
    (
        "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
        &["access_group new", "access_group vip", "user us1"],
    ),
    (
        "DELETE FROM ambit.access_group WHERE access_group_id = 'vip'",
        &["access_group vip", "resource contact c1", "segment gold"],
    ),
    (
        "DELETE FROM ambit.resource WHERE account_id = 'acme' AND resource_id IN ('c1', 'c2')",
        &["resource contact c1", "resource contact c2", "user pa"],
    ),
    ("DELETE FROM ambit.segment", &["segment gold"]),
    // Upserts and MERGE, of rows that are there and of others.
    (
        "INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu'), ('acme', 'es', 'eu')
            ON CONFLICT (account_id, team_id) DO UPDATE SET parent = excluded.parent",
        &["team es", "team fr"],
    ),
    (
        "INSERT INTO ambit.team VALUES ('acme', 'fr', NULL), ('acme', 'pt', 'eu') ON CONFLICT DO NOTHING",
        &["team pt"],
    ),
    (
        "MERGE INTO ambit.team USING (VALUES ('es'), ('pt'), ('fr'), ('nl')) AS new (id)
            ON account_id = 'acme' AND team_id = new.id
            WHEN MATCHED AND new.id = 'es' THEN DELETE
            WHEN MATCHED AND new.id = 'pt' THEN DO NOTHING
            WHEN MATCHED THEN UPDATE SET parent = 'us'
            WHEN NOT MATCHED THEN INSERT VALUES ('acme', new.id, 'us')",
        &["team es", "team fr", "team nl"],
    ),
    (
        "WITH gone AS (DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id IN ('nl') RETURNING team_id)
            INSERT INTO ambit.permission_set SELECT 'acme', team_id FROM gone",
        &["permission_set nl", "team nl"],
    ),
    ("SELECT ambit.reload_account('acme')", &["reload"]),
];

/// Statements that leave every row as it was.
pub(super) const NOTHING: &[&str] = &[
    "UPDATE ambit.account SET plan = plan",
    "UPDATE ambit.app_user SET status = status, main_team = main_team",
    "UPDATE ambit.user_grant SET level = 'team' WHERE user_id = 'pa'",
    "UPDATE ambit.resource_attributes SET attributes = attributes",
    "UPDATE ambit.resource SET partitioned = true WHERE account_id = 'acme' AND resource_id = 'c1'",
    "INSERT INTO ambit.team VALUES ('acme', 'de', 'eu')
        ON CONFLICT (account_id, team_id) DO UPDATE SET parent = excluded.parent",
    "INSERT INTO ambit.team VALUES ('acme', 'de', 'us') ON CONFLICT DO NOTHING",
    "DELETE FROM ambit.team WHERE team_id = 'absent'",
    "SELECT * FROM ambit.team FOR UPDATE",
];

impl Beside {
    /// The keys that the newest revision of `acme` logged, each once.
    async fn keys(&mut self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT DISTINCT trim(concat_ws(' ', kind, nullif(resource_type, ''), id)) COLLATE \"C\"
                FROM ambit.account_head
                JOIN ambit.revision_log USING (account_id, revision)
                JOIN ambit.change_log USING (account_id, txid)
                LEFT JOIN unnest(ids) AS id ON true
                WHERE account_id = 'acme' ORDER BY 1",
        )
        .fetch_all(&mut self.connection)
        .await
        .unwrap()
    }

    /// Rows of the log that the newest revision of `acme` has.
    async fn rows_logged(&mut self) -> i64 {
        self.count(
            "ambit.account_head JOIN ambit.revision_log USING (account_id, revision)
                JOIN ambit.change_log USING (account_id, txid) WHERE account_id = 'acme'",
        )
        .await
    }
}

#[tokio::test]
async fn every_statement_is_logged() {
    let mut beside = beside().await;
    for (sql, keys) in STATEMENTS {
        let before = beside.revision("acme").await;
        beside
            .run(sql)
            .await
            .unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
        assert_eq!(beside.revision("acme").await, before + 1, "{sql}");
        assert_eq!(beside.keys().await, *keys, "{sql}");
        assert_eq!(beside.count("ambit.commit_pending").await, 0);
    }
    assert_eq!(beside.revision("other").await, 1);
}

#[tokio::test]
async fn what_changes_nothing_takes_no_revision() {
    let mut beside = beside().await;
    for sql in NOTHING {
        beside.run(sql).await.unwrap();
        assert_eq!(beside.revision("acme").await, 1, "{sql}");
    }
    // But a row that goes and comes again is a change, whatever it comes as.
    beside
        .run(
            "DELETE FROM ambit.user_seat;
             INSERT INTO ambit.user_seat VALUES ('acme', 'pa', 'sales')",
        )
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, 2);
}

#[tokio::test]
async fn a_statement_over_many_rows_logs_a_few() {
    let mut beside = beside().await;
    beside
        .run(
            "INSERT INTO ambit.resource SELECT 'acme', 'contact', 'n' || number, NULL, false
                FROM generate_series(1, 2500) AS number",
        )
        .await
        .unwrap();
    assert_eq!(beside.keys().await.len(), 2500);
    assert_eq!(beside.rows_logged().await, 3);
    let most = "SELECT max(cardinality(ids)) <= 1000 FROM ambit.change_log";
    assert!(scalar::<bool>(&mut beside.connection, most).await);
    // Each with an owner, which goes along row by row and is not logged again.
    beside
        .run(
            "INSERT INTO ambit.resource_owner SELECT account_id, resource_type, resource_id, 'pa'
                FROM ambit.resource WHERE resource_id LIKE 'n%'",
        )
        .await
        .unwrap();
    beside
        .run("DELETE FROM ambit.resource WHERE resource_id LIKE 'n%'")
        .await
        .unwrap();
    assert_eq!(beside.keys().await.len(), 2500);
    assert_eq!(beside.rows_logged().await, 3);
}

#[tokio::test]
async fn copy_is_logged_and_more_than_50_000_rows_say_reload() {
    for (rows, logged, keys) in [(50_000, 51, 50_000), (50_001, 1, 1)] {
        let mut beside = beside().await;
        let mut copy = beside
            .connection
            .copy_in_raw("COPY ambit.resource FROM STDIN")
            .await
            .unwrap();
        let lines: String = (0..rows)
            .map(|number| format!("acme\tcontact\tn{number}\t\\N\tf\n"))
            .collect();
        copy.send(lines.into_bytes()).await.unwrap();
        assert_eq!(copy.finish().await.unwrap(), rows);
        assert_eq!(beside.revision("acme").await, 2);
        assert_eq!(beside.rows_logged().await, logged);
        assert_eq!(beside.keys().await.len(), keys);
        // And one row at a time after many, on the plan that the session keeps.
        let before = beside.revision("other").await;
        for _ in 0..20 {
            beside
                .run("UPDATE ambit.resource SET partitioned = NOT partitioned
                    WHERE account_id = 'other' AND resource_type = 'contact' AND resource_id = 'c1'")
                .await
                .unwrap();
        }
        assert_eq!(beside.revision("other").await, before + 20);
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_but_its_audit() {
    let mut beside = beside().await;
    beside
        .run("DELETE FROM ambit.account WHERE account_id = 'acme'")
        .await
        .unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relnamespace = 'ambit'::regnamespace AND relkind = 'r' AND attname = 'account_id'",
    )
    .fetch_all(&mut beside.connection)
    .await
    .unwrap();
    assert!(tables.len() >= 24, "{tables:?}");
    for table in tables {
        let left = beside
            .count(&format!("ambit.{table} WHERE account_id = 'acme'"))
            .await;
        // Of the audit, that it was made and that it went.
        let expected = if table == "audit_record" { 2 } else { 0 };
        assert_eq!(left, expected, "{table}");
    }
    assert_eq!(beside.revision("other").await, 1);
}

#[tokio::test]
async fn a_revision_that_is_trimmed_takes_its_keys_along() {
    let mut beside = beside().await;
    for plan in ["a", "b"] {
        beside
            .run(&format!("UPDATE ambit.account SET plan = '{plan}'"))
            .await
            .unwrap();
    }
    beside
        .run("DELETE FROM ambit.revision_log WHERE account_id = 'acme' AND revision <= 2")
        .await
        .unwrap();
    assert_eq!(
        beside
            .count("ambit.change_log WHERE account_id = 'acme'")
            .await,
        1
    );
    assert_eq!(beside.rows_logged().await, 1);
    assert_eq!(beside.keys().await, ["account"]);
}

/// Two moments that the settings of a session write alike are two: the change of one to the other
/// is logged, or a grant that has ended would go on for ever.
#[tokio::test]
async fn a_change_that_only_looks_like_none_is_logged() {
    let mut beside = beside().await;
    // A zone that is put back by an hour at 11:00 UTC of 19 July, under one abbreviation.
    beside
        .run(
            "SET timezone = 'FOO0FOO,J1/0,J200/12:00:00'; SET datestyle = 'SQL, MDY';
            UPDATE ambit.user_grant SET expires_at = '2027-07-19 11:30:00+00'",
        )
        .await
        .unwrap();
    let alike: bool = scalar(
        &mut beside.connection,
        "SELECT bool_and(expires_at::text = (expires_at - interval '1 hour')::text) FROM ambit.user_grant",
    )
    .await;
    assert!(alike, "the control: these settings do write both alike");
    let before = beside.revision("acme").await;
    beside
        .run("UPDATE ambit.user_grant SET expires_at = expires_at - interval '1 hour'")
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, before + 1);
}

/// Who has gone past the triggers and asks for a reload in the same session is heard, and nothing
/// stays pending that would hide a later commit.
#[tokio::test]
async fn a_reload_is_numbered_where_triggers_are_switched_off() {
    let mut beside = beside().await;
    let before = beside.revision("acme").await;
    beside
        .run(
            "BEGIN; SET LOCAL session_replication_role = replica;
            DELETE FROM ambit.user_grant WHERE account_id = 'acme'",
        )
        .await
        .unwrap();
    beside
        .run("SELECT ambit.reload_account('acme'); COMMIT")
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, before + 1);
    assert_eq!(beside.count("ambit.commit_pending").await, 0);
}
