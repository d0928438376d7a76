//! What a plain writer may do to access requests and their history: no more than the lifecycle
//! allows, by whatever form of statement.

use super::*;

const FILED: &str = "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type,
        action, reason, denied_as, filed_at, expires_at, state)
    VALUES ('acme', 'r1', 'us1', 'contact', 'view', 'why', 'NO_PERMISSION', 1, 2, 'pending');
    INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, actor, to_state, reason_before)
    VALUES ('acme', 'r1', 0, 'filed', 1, 'us1', 'pending', 'NO_PERMISSION')";

const DENIED: &str = "UPDATE access_request SET state = 'denied', closed_at = 3, closed_by = 'sa';
    INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, actor, from_state,
        to_state, reason_before)
    VALUES ('acme', 'r1', 1, 'denied', 3, 'sa', 'pending', 'denied', 'NO_PERMISSION')";

const REFUSED: &[(&str, &str)] = &[
    (
        "an access request begins as pending",
        "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action, reason,
            denied_as, filed_at, expires_at, state, closed_at, resolution)
        VALUES ('acme', 'r2', 'us1', 'contact', 'edit', 'why', 'X', 1, 2, 'approved', 2, 'object_grant')",
    ),
    (
        "an access request begins as pending",
        "INSERT OR REPLACE INTO access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state, closed_at, resolution)
        SELECT account_id, access_request_id, user_id, resource_type, action, reason, denied_as, filed_at,
            expires_at, 'approved', 2, 'object_grant' FROM access_request",
    ),
    (
        "R2: a user has one pending request for the same at most",
        "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action, reason,
            denied_as, filed_at, expires_at, state)
        VALUES ('acme', 'r2', 'us1', 'contact', 'view', 'once more', 'X', 1, 2, 'pending')",
    ),
    (
        "what an access request is for never changes",
        "UPDATE access_request SET user_id = 'pa'",
    ),
    (
        "what an access request is for never changes",
        "INSERT OR REPLACE INTO access_request (account_id, access_request_id, user_id, resource_type, action,
            reason, denied_as, filed_at, expires_at, state)
        VALUES ('acme', 'r1', 'pa', 'contact', 'view', 'why', 'NO_PERMISSION', 1, 2, 'pending')",
    ),
    (
        "what an access request is for never changes",
        "UPDATE OR REPLACE access_request SET action = 'delete', state = 'approved', closed_at = 2,
            resolution = 'object_grant'",
    ),
    (
        "the key of a row of access_request never changes",
        "UPDATE access_request SET access_request_id = 'r2'",
    ),
    (
        "access_request has a resolution when it is approved",
        "UPDATE access_request SET state = 'approved', closed_at = 2",
    ),
    (
        "access_request has closed_at when it is not pending",
        "UPDATE access_request SET state = 'denied'",
    ),
    (
        "access_request has closed_at when it is not pending",
        "UPDATE access_request SET closing_note = 'soon'",
    ),
    (
        "access_request.state is pending, approved,",
        "UPDATE access_request SET state = 'granted', closed_at = 2",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE access_request SET state = 'approved', closed_at = 2, resolution = 'everything'",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE access_request SET state = 'approved', closed_at = 2, resolution = 'add_to_team'",
    ),
    (
        "access_request.resolution has the team",
        "UPDATE access_request SET state = 'approved', closed_at = 2, resolution = 'direct_grant',
            resolution_type = 'contact', resolution_permission = 'view', resolution_level = 'all',
            resolution_unassigned = 0",
    ),
    (
        "dangling reference: the account of this row does not exist",
        "INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action, reason,
            denied_as, filed_at, expires_at, state)
        VALUES ('nobody', 'r2', 'us1', 'contact', 'view', 'why', 'X', 1, 2, 'pending')",
    ),
    (
        "dangling reference: access_request_event.access_request_id is not an access request",
        "INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, to_state,
            reason_before) VALUES ('acme', 'r9', 0, 'filed', 1, 'pending', 'x')",
    ),
];

const HISTORY: &[(&str, &str)] = &[
    (
        "an event of an access request never changes",
        "UPDATE access_request_event SET actor = 'pa'",
    ),
    (
        "an event of an access request never changes",
        "REPLACE INTO access_request_event (account_id, access_request_id, ordinal, kind, at, actor, to_state,
            reason_before) VALUES ('acme', 'r1', 0, 'filed', 1, 'pa', 'pending', 'NO_PERMISSION')",
    ),
    (
        "an event of an access request goes with its account only",
        "DELETE FROM access_request_event",
    ),
    (
        "an access request goes with its account only",
        "DELETE FROM access_request",
    ),
    (
        "the events of an access request are counted from 0 without a gap",
        "INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, from_state,
            to_state, reason_before) VALUES ('acme', 'r1', 5, 'denied', 1, 'pending', 'denied', 'x')",
    ),
    (
        "an event tells of the state that its access request has",
        "INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, from_state,
            to_state, reason_before)
        SELECT 'acme', 'r1', max(ordinal) + 1, 'approved', 1, 'pending', 'approved', 'x' FROM access_request_event",
    ),
];

const ENDED: &[&str] = &[
    "UPDATE access_request SET state = 'pending', closed_at = NULL, closed_by = NULL",
    "UPDATE access_request SET state = 'approved', resolution = 'object_grant'",
    "UPDATE OR IGNORE access_request SET closed_by = 'pa'",
    "UPDATE access_request SET closing_note = 'said later'",
    "INSERT OR REPLACE INTO access_request (account_id, access_request_id, user_id, resource_type, action,
        reason, denied_as, filed_at, expires_at, state)
    SELECT account_id, access_request_id, user_id, resource_type, action, reason, denied_as, filed_at,
        expires_at, 'pending' FROM access_request",
    "INSERT INTO access_request SELECT * FROM access_request WHERE true
        ON CONFLICT (account_id, access_request_id) DO UPDATE SET closed_by = 'pa'",
];

#[tokio::test]
async fn the_lifecycle_holds_for_any_statement() {
    for recursive in ["off", "on"] {
        let mut beside = beside().await;
        beside
            .run(&format!("PRAGMA recursive_triggers = {recursive}"))
            .await
            .unwrap();
        beside.run(FILED).await.unwrap();
        for (rule, sql) in REFUSED {
            // Where the removal of what is replaced fires triggers too, one of them is faster.
            let removed = recursive == "on" && sql.starts_with("INSERT OR REPLACE");
            let rule = match rule.strip_prefix("an access request begins") {
                Some(_) if removed => "an access request goes with its account only",
                _ => rule,
            };
            beside.refuses(rule, sql).await;
        }
        for (rule, sql) in HISTORY {
            beside.refuses(rule, sql).await;
        }
        beside.run(DENIED).await.unwrap();
        for sql in ENDED {
            beside
                .refuses("an access request that has ended never changes", sql)
                .await;
        }
        for (rule, sql) in HISTORY {
            beside.refuses(rule, sql).await;
        }
    }
}

/// The negative control: what the rules refuse is done where they are taken out.
#[tokio::test]
async fn control_without_the_trigger_the_end_is_none() {
    let mut beside = beside().await;
    beside.run(FILED).await.unwrap();
    beside.run(DENIED).await.unwrap();
    beside
        .run("DROP TRIGGER access_request_fixed_end")
        .await
        .unwrap();
    beside.run(ENDED[1]).await.unwrap();
}

#[tokio::test]
async fn all_of_it_goes_with_the_account() {
    let mut beside = beside().await;
    beside.run(FILED).await.unwrap();
    beside.run(DENIED).await.unwrap();
    beside
        .run(
            "INSERT INTO access_request_delivery (account_id, access_request_id, ordinal, destination,
                created_at, next_attempt_at) VALUES ('acme', 'r1', 0, 'webhook:a', 1, 1);
            INSERT INTO spent_link VALUES ('acme', zeroblob(16), 1);
            DELETE FROM account",
        )
        .await
        .unwrap();
    for table in [
        "access_request",
        "access_request_event",
        "access_request_outbox",
        "access_request_delivery",
        "spent_link",
        "change_log",
        "revision_log",
        "account_head",
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut beside.connection)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn a_plain_change_of_a_request_is_followed() {
    let mut beside = beside().await;
    let have = beside.head().await;
    beside.run(FILED).await.unwrap();
    let (head, history, changes) = beside.since(have).await;
    assert_eq!((history.len(), history.last()), (1, Some(&head)));
    assert!(matches!(
        changes.as_slice(),
        [EntityChange::Put(Entity::AccessRequest(request))] if request.id == id("r1")
    ));
}
