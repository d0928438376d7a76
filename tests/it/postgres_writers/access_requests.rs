//! What a plain writer may do to access requests and their history: nothing, unless the schema is
//! its own; and then no more than the lifecycle allows.

use super::roles::{allows, as_role, denies};
use super::*;

const FILED: &str = "INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type,
        action, reason, denied_as, filed_at, expires_at, state)
    VALUES ('acme', 'r1', 'us1', 'contact', 'view', 'why', 'NO_PERMISSION', now(), now() + interval '1 day', 'pending');
    INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, actor, to_state, reason_before)
    VALUES ('acme', 'r1', 0, 'filed', now(), 'us1', 'pending', 'NO_PERMISSION')";

const DENIED: &str = "UPDATE ambit.access_request SET state = 'denied', closed_at = now(), closed_by = 'sa'
        WHERE access_request_id = 'r1';
    INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, actor, from_state,
        to_state, reason_before)
    VALUES ('acme', 'r1', 1, 'denied', now(), 'sa', 'pending', 'denied', 'NO_PERMISSION')";

/// What even the owner of the schema is refused while a request is pending.
const REFUSED: &[(&str, &str)] = &[
    (
        "an access request begins as pending",
        "INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state, closed_at, resolution)
        SELECT account_id, 'r2', 'us1', resource_type, 'edit', reason, denied_as, filed_at, expires_at,
            'approved', now(), 'object_grant' FROM ambit.access_request",
    ),
    (
        "R2: a user has one pending request for the same at most",
        "INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state)
        SELECT account_id, 'r2', user_id, resource_type, action, 'once more', denied_as, filed_at,
            expires_at, state FROM ambit.access_request",
    ),
    (
        "what an access request is for never changes",
        "UPDATE ambit.access_request SET user_id = 'pa'",
    ),
    (
        "what an access request is for never changes",
        "UPDATE ambit.access_request SET action = 'delete', state = 'approved', closed_at = now(),
            resolution = 'object_grant'",
    ),
    (
        "what an access request is for never changes",
        "UPDATE ambit.access_request SET expires_at = 'infinity'",
    ),
    (
        "the key of a row of access_request never changes",
        "UPDATE ambit.access_request SET access_request_id = 'r2'",
    ),
    (
        "access_request has a resolution when it is approved",
        "UPDATE ambit.access_request SET state = 'approved', closed_at = now()",
    ),
    (
        "access_request has closed_at when it is not pending",
        "UPDATE ambit.access_request SET state = 'denied'",
    ),
    (
        "access_request has closed_at when it is not pending",
        "UPDATE ambit.access_request SET closing_note = 'soon'",
    ),
    (
        "access_request.state is pending, approved,",
        "UPDATE ambit.access_request SET state = 'granted', closed_at = now()",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE ambit.access_request SET state = 'approved', closed_at = now(), resolution = 'everything'",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE ambit.access_request SET state = 'approved', closed_at = now(), resolution = 'add_to_team'",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE ambit.access_request SET state = 'approved', closed_at = now(), resolution = 'direct_grant',
            resolution_type = 'contact', resolution_permission = 'view', resolution_level = 'all',
            resolution_unassigned = false",
    ),
    (
        "access_request.reason is 1 to 1000 characters",
        "INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state)
        SELECT account_id, 'r2', 'pa', resource_type, action, repeat('é', 1001), denied_as, filed_at,
            expires_at, state FROM ambit.access_request",
    ),
    (
        "dangling reference: the account of this row does not exist",
        "INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state)
        SELECT 'nobody', 'r2', 'pa', resource_type, action, reason, denied_as, filed_at, expires_at, state
            FROM ambit.access_request",
    ),
    (
        "dangling reference: access_request_event.access_request_id is not an access request",
        "INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, to_state,
            reason_before) VALUES ('acme', 'r9', 0, 'filed', now(), 'pending', 'x')",
    ),
    ("is never truncated", "TRUNCATE ambit.access_request CASCADE"),
    (
        "is never truncated",
        "TRUNCATE ambit.access_request_event, ambit.access_request_outbox, ambit.access_request_delivery",
    ),
];

/// What it is refused at any time.
const HISTORY: &[(&str, &str)] = &[
    (
        "an event of an access request never changes",
        "UPDATE ambit.access_request_event SET actor = 'pa'",
    ),
    (
        "an event of an access request goes with its account only",
        "DELETE FROM ambit.access_request_event",
    ),
    (
        "an access request goes with its account only",
        "DELETE FROM ambit.access_request",
    ),
    (
        "the events of an access request are counted from 0 without a gap",
        "INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, from_state,
            to_state, reason_before) VALUES ('acme', 'r1', 5, 'denied', now(), 'pending', 'denied', 'x')",
    ),
    (
        "an event tells of the state that its access request has",
        "INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, from_state,
            to_state, reason_before)
        SELECT 'acme', 'r1', max(ordinal) + 1, 'approved', now(), 'pending', 'approved', 'x'
            FROM ambit.access_request_event",
    ),
];

const ENDED: &[&str] = &[
    "UPDATE ambit.access_request SET state = 'pending', closed_at = NULL, closed_by = NULL",
    "UPDATE ambit.access_request SET state = 'approved', resolution = 'object_grant'",
    "UPDATE ambit.access_request SET closed_by = 'pa'",
    "UPDATE ambit.access_request SET closing_note = 'said later'",
    "UPDATE ambit.access_request SET closed_at = closed_at - interval '1 day'",
    "INSERT INTO ambit.access_request SELECT * FROM ambit.access_request
        ON CONFLICT (account_id, access_request_id) DO UPDATE SET closed_by = 'pa'",
];

#[tokio::test]
async fn the_lifecycle_holds_for_whoever_owns_the_schema() {
    let mut beside = beside().await;
    let texts = beside.texts().await;
    beside.run(FILED).await.unwrap();
    for (rule, sql) in REFUSED.iter().chain(HISTORY) {
        beside.refuses(&texts, rule, sql).await;
    }
    beside.run(DENIED).await.unwrap();
    for sql in ENDED {
        beside
            .refuses(
                &texts,
                "an access request that has ended never changes",
                sql,
            )
            .await;
    }
    for (rule, sql) in HISTORY {
        beside.refuses(&texts, rule, sql).await;
    }
    // An update that changes nothing is none.
    let before = beside.revision("acme").await;
    beside
        .run("UPDATE ambit.access_request SET state = 'denied'")
        .await
        .unwrap();
    assert_eq!(beside.revision("acme").await, before);
    // The negative control: without the triggers it would be done.
    beside
        .run(&format!(
            "BEGIN; SET LOCAL session_replication_role = replica; {}; ROLLBACK",
            ENDED[1]
        ))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_of_a_request_is_logged_and_numbered() {
    let mut beside = beside().await;
    let before = beside.revision("acme").await;
    beside.run(FILED).await.unwrap();
    beside.run(DENIED).await.unwrap();
    assert_eq!(beside.revision("acme").await, before + 2);
    let logged = "ambit.change_log WHERE kind = 'access_request' AND ids = '{r1}'";
    assert_eq!(beside.count(logged).await, 2);
    assert_eq!(beside.count("ambit.access_request_outbox").await, 2);
}

#[tokio::test]
async fn all_of_it_goes_with_the_account_however_that_goes() {
    let mut beside = beside().await;
    let moved = FILED.replace("'acme'", "'other'");
    let told = "INSERT INTO ambit.access_request_delivery (account_id, access_request_id, ordinal, destination,
            created_at, next_attempt_at)
        SELECT account_id, access_request_id, ordinal, 'webhook:a', now(), now() FROM ambit.access_request_event;
        INSERT INTO ambit.spent_link SELECT account_id, decode(repeat('07', 16), 'hex'), now() FROM ambit.account";
    for sql in [FILED, &moved, told] {
        beside.run(sql).await.unwrap();
    }
    let mut writer = as_role(&beside, "ambit_writer").await;
    run(
        &mut writer,
        "DELETE FROM ambit.account WHERE account_id = 'acme'",
    )
    .await
    .unwrap();
    for table in [
        "access_request",
        "access_request_event",
        "access_request_outbox",
        "access_request_delivery",
        "spent_link",
    ] {
        let of = |account| format!("ambit.{table} WHERE account_id = '{account}'");
        assert_eq!(beside.count(&of("acme")).await, 0, "{table}");
        assert_eq!(beside.count(&of("other")).await, 1, "{table}");
    }
    assert_eq!(
        beside
            .count("ambit.change_log WHERE account_id = 'acme'")
            .await,
        0
    );
}

#[tokio::test]
async fn roles_read_what_they_may_and_write_nothing() {
    let mut beside = beside().await;
    beside.run(FILED).await.unwrap();
    let reads = [
        "TABLE ambit.access_request",
        "TABLE ambit.access_request_event",
    ];
    let guarded = [
        "TABLE ambit.access_request_outbox",
        "TABLE ambit.access_request_delivery",
        "TABLE ambit.spent_link",
        "DELETE FROM ambit.access_request",
        "DELETE FROM ambit.access_request_event",
        "UPDATE ambit.access_request_event SET note = 'x'",
        "UPDATE ambit.access_request SET state = 'cancelled', closed_at = now()",
        "DELETE FROM ambit.access_request_outbox",
        "DELETE FROM ambit.spent_link",
        FILED,
        DENIED,
    ];
    for role in ["ambit_reader", "ambit_writer"] {
        let mut connection = as_role(&beside, role).await;
        allows(&mut connection, &reads).await;
        denies(&mut connection, &guarded).await;
    }
    let mut server = as_role(&beside, "ambit_server").await;
    allows(&mut server, &reads).await;
    allows(&mut server, &guarded[..3]).await;
    allows(
        &mut server,
        &[DENIED, "DELETE FROM ambit.access_request_outbox"],
    )
    .await;
    denies(
        &mut server,
        &[
            "DELETE FROM ambit.access_request",
            "DELETE FROM ambit.access_request_event",
            "UPDATE ambit.access_request_event SET note = 'x'",
            "INSERT INTO ambit.access_request_outbox VALUES ('acme', 'r1', 0)",
            "TRUNCATE ambit.access_request_delivery",
        ],
    )
    .await;
}

/// History grows without end: what servers ask again and again must not read it.
#[tokio::test]
async fn what_is_asked_often_reads_no_history() {
    let mut beside = beside().await;
    beside.run(FILED).await.unwrap();
    beside
        .run(
            "SET session_replication_role = replica;
            INSERT INTO ambit.access_request (account_id, access_request_id, user_id, resource_type, action,
                resource_id, reason, denied_as, filed_at, expires_at, state, closed_at)
            SELECT 'acme', 'h' || n, 'us' || n % 50, 'contact', 'view', 'c' || n, 'why', 'X', now(), now(),
                'expired', now() FROM generate_series(1, 20000) AS n;
            INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at, to_state,
                reason_before)
            SELECT 'acme', 'h' || n, 0, 'filed', now(), 'pending', 'X' FROM generate_series(1, 20000) AS n;
            INSERT INTO ambit.access_request_delivery (account_id, access_request_id, ordinal, destination,
                state, created_at, next_attempt_at, settled_at)
            SELECT 'acme', 'h' || n, 0, 'webhook:a', 'delivered', now(), now(), now()
                FROM generate_series(1, 20000) AS n;
            SET session_replication_role = origin;
            ANALYZE ambit.access_request, ambit.access_request_event, ambit.access_request_delivery,
                ambit.access_request_outbox",
        )
        .await
        .unwrap();
    for sql in [
        "SELECT account_id, count(*), min(expires_at) FROM ambit.access_request WHERE state = 'pending'
            AND account_id > '' GROUP BY account_id ORDER BY account_id LIMIT 100",
        "SELECT * FROM ambit.access_request WHERE state = 'pending' AND account_id = 'acme'
            AND access_request_id > '' ORDER BY access_request_id LIMIT 1000",
        "SELECT max(closed_at) FROM ambit.access_request WHERE state = 'denied' AND account_id = 'acme'
            AND user_id = 'us1' AND resource_type = 'contact' AND action = 'view' AND resource_id IS NULL",
        "SELECT * FROM ambit.access_request_delivery WHERE state = 'pending' AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT 100",
        "SELECT * FROM ambit.access_request WHERE account_id = 'acme' AND state = 'expired'
            AND user_id = 'us7' AND access_request_id > '' ORDER BY access_request_id LIMIT 10",
    ] {
        let plan: serde_json::Value = scalar(
            &mut beside.connection,
            &format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"),
        )
        .await;
        let text = plan.to_string();
        assert!(!text.contains("Seq Scan"), "{sql}: {text}");
        let plan = &plan[0]["Plan"];
        let pages = [&plan["Shared Hit Blocks"], &plan["Shared Read Blocks"]]
            .map(|blocks| blocks.as_u64().unwrap());
        assert!(pages[0] + pages[1] < 100, "{sql}: {text}");
    }
}
