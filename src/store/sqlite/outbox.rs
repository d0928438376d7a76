//! The outbox on SQLite: one writer at a time, so that a claim is a claim.

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;

use super::SqliteStore;
use super::audit;
use super::error::store_error;
use super::requests::{gathered_event, gathered_row, json_of};
use crate::authz::access_request::RequestEvent;
use crate::authz::model::{Id, Timestamp};
use crate::store::StoreError;
use crate::store::audit::Author;
use crate::store::outbox::{
    ClaimedDelivery, Delivery, DeliveryKey, DeliveryOutcome, DeliveryState, Lane, Outbox,
};
use crate::store::request_rows::{
    DELIVERY, DeliveryRow, EventRow, account_of, parse, problem_text,
};
use crate::store::rows::not_json;

#[async_trait]
impl Outbox for SqliteStore {
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, RequestEvent)>, StoreError> {
        unsent_events(&self.readers, limit).await
    }

    async fn fan_out(
        &self,
        account: &Id,
        request: &Id,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        fan_out(&self.writer, (account, request, ordinal), destinations, now).await
    }

    async fn claim_deliveries(
        &self,
        lane: Lane<'_>,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        self.file.verify()?;
        // The writer is asked only where there is something to write.
        if !is_any_due(&self.readers, lane, now).await? {
            return Ok(Vec::new());
        }
        claim(&self.writer, lane, now, lease_until, limit).await
    }

    async fn undelivered(&self) -> Result<Option<Timestamp>, StoreError> {
        undelivered(&self.readers).await
    }

    async fn depth(&self) -> Result<u64, StoreError> {
        depth(&self.readers).await
    }

    async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        settle(&self.writer, claimed, outcome, now).await
    }

    async fn deliveries(
        &self,
        account: &Id,
        state: Option<DeliveryState>,
        after: Option<&DeliveryKey>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        deliveries(&self.readers, account, state, after, limit).await
    }

    async fn replay_delivery(
        &self,
        key: &DeliveryKey,
        now: Timestamp,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        replay(&self.writer, key, now, author).await
    }

    async fn trim_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.verify()?;
        trim(&self.writer, before, limit).await
    }
}

async fn unsent_events(
    readers: &SqlitePool,
    limit: u32,
) -> Result<Vec<(Id, RequestEvent)>, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT json_group_array(json_array(e.account_id, {}))
                FROM (SELECT * FROM access_request_outbox
                    ORDER BY account_id, access_request_id, ordinal LIMIT ?1) AS o
                CROSS JOIN access_request_event AS e ON e.account_id = o.account_id
                    AND e.access_request_id = o.access_request_id AND e.ordinal = o.ordinal",
            gathered_event("e")
        )
    });
    let mut connection = readers.acquire().await.map_err(store_error)?;
    let query = sqlx::query(sqlx::AssertSqlSafe(SQL.as_str())).bind(limit);
    let json = json_of(&mut connection, query).await?;
    parse(
        "access_request_event",
        &json,
        |(account, event): (&str, EventRow<'_>)| {
            Ok((account_of("access_request_event", account)?, event.event()?))
        },
    )
}

/// Of several that fan out the same event, the one that takes it out of the outbox makes the
/// deliveries.
async fn fan_out(
    writer: &SqlitePool,
    (account, request, ordinal): (&Id, &Id, u32),
    destinations: &[String],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let taken = sqlx::query(
        "DELETE FROM access_request_outbox
            WHERE account_id = ?1 AND access_request_id = ?2 AND ordinal = ?3",
    )
    .bind(account.as_str())
    .bind(request.as_str())
    .bind(ordinal)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO access_request_delivery
            (account_id, access_request_id, ordinal, destination, created_at, next_attempt_at)
            SELECT DISTINCT ?1, ?2, ?3, value, ?5, ?5 FROM json_each(?4)",
    )
    .bind(account.as_str())
    .bind(request.as_str())
    .bind(ordinal)
    .bind(serde_json::to_string(destinations).map_err(not_json)?)
    .bind(now.unix_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(true)
}

/// Whether a delivery `d` is of a lane, by what [`named`] binds.
fn is_of(lane: Lane<'_>, bind: &str) -> String {
    let named = format!("d.destination IN (SELECT value FROM json_each({bind}))");
    match lane {
        Lane::Destination(_) => named,
        Lane::Mail => format!("substr(d.destination, 1, 6) = 'email:' AND {bind} IS NOT NULL"),
        Lane::Others(_) => format!("substr(d.destination, 1, 6) <> 'email:' AND NOT {named}"),
    }
}

fn named(lane: Lane<'_>) -> Result<String, StoreError> {
    serde_json::to_string(&lane.named()).map_err(not_json)
}

async fn is_any_due(
    readers: &SqlitePool,
    lane: Lane<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM access_request_delivery AS d
            WHERE state = 'pending' AND next_attempt_at <= ?1 AND {})",
        is_of(lane, "?2")
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(now.unix_micros())
        .bind(named(lane)?)
        .fetch_one(readers)
        .await
        .map_err(store_error)
}

async fn undelivered(readers: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT min(moment) FROM (
            SELECT min(created_at) AS moment FROM access_request_delivery WHERE state = 'pending'
            UNION ALL
            SELECT min(e.at) FROM access_request_outbox AS o
                JOIN access_request_event AS e USING (account_id, access_request_id, ordinal))",
    )
    .fetch_one(readers)
    .await
    .map_err(store_error)?;
    Ok(oldest.and_then(Timestamp::from_unix_micros))
}

async fn depth(readers: &SqlitePool) -> Result<u64, StoreError> {
    let depth: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM access_request_delivery WHERE state = 'pending')
            + (SELECT count(*) FROM access_request_outbox)",
    )
    .fetch_one(readers)
    .await
    .map_err(store_error)?;
    Ok(u64::try_from(depth).unwrap_or(0))
}

async fn claim(
    writer: &SqlitePool,
    lane: Lane<'_>,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u32,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    static READ: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT json_group_array(json_array(d.account_id, {}, {}))
                FROM json_each(?1) AS k CROSS JOIN access_request_delivery AS d
                    ON d.account_id = k.value ->> 0 AND d.access_request_id = k.value ->> 1
                    AND d.ordinal = k.value ->> 2 AND d.destination = k.value ->> 3
                CROSS JOIN access_request_event AS e ON e.account_id = d.account_id
                    AND e.access_request_id = d.access_request_id AND e.ordinal = d.ordinal",
            gathered_row(DELIVERY, "d"),
            gathered_event("e")
        )
    });
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let due = format!(
        "SELECT json_group_array(json_array(account_id, access_request_id, ordinal, destination))
            FROM (SELECT * FROM access_request_delivery AS d
                WHERE state = 'pending' AND next_attempt_at <= ?1 AND {}
                    AND NOT EXISTS (SELECT 1 FROM access_request_delivery AS e
                        WHERE e.account_id = d.account_id
                            AND e.access_request_id = d.access_request_id
                            AND e.ordinal < d.ordinal AND e.destination = d.destination
                            AND e.state = 'pending')
                    AND NOT EXISTS (SELECT 1 FROM access_request_outbox AS e
                        WHERE e.account_id = d.account_id
                            AND e.access_request_id = d.access_request_id
                            AND e.ordinal < d.ordinal)
                ORDER BY next_attempt_at LIMIT ?2)",
        is_of(lane, "?3")
    );
    let due = sqlx::query(sqlx::AssertSqlSafe(due))
        .bind(now.unix_micros())
        .bind(limit)
        .bind(named(lane)?);
    let due = json_of(&mut transaction, due).await?;
    let due = String::from_utf8_lossy(&due).into_owned();
    if due == "[]" {
        return Ok(Vec::new());
    }
    sqlx::query(
        "UPDATE access_request_delivery
            SET attempts = attempts + 1, leased_until = ?2, next_attempt_at = ?2
            WHERE (account_id, access_request_id, ordinal, destination) IN (
                SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1))",
    )
    .bind(&due)
    .bind(lease_until.unix_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let read = sqlx::query(sqlx::AssertSqlSafe(READ.as_str())).bind(&due);
    let json = json_of(&mut transaction, read).await?;
    let claimed = parse(
        "access_request_delivery",
        &json,
        |(account, delivery, event): (&str, DeliveryRow<'_>, EventRow<'_>)| {
            let account = account_of("access_request_delivery", account)?;
            Ok(ClaimedDelivery {
                delivery: delivery.delivery(&account)?,
                event: event.event()?,
                lease: lease_until,
            })
        },
    )?;
    transaction.commit().await.map_err(store_error)?;
    Ok(claimed)
}

async fn settle(
    writer: &SqlitePool,
    claimed: &ClaimedDelivery,
    outcome: DeliveryOutcome,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (state, next, problem) = match outcome {
        DeliveryOutcome::Delivered => (DeliveryState::Delivered, now, None),
        DeliveryOutcome::Retry { at, problem } => (DeliveryState::Pending, at, Some(problem)),
        DeliveryOutcome::Dead { problem } => (DeliveryState::Dead, now, Some(problem)),
    };
    let settled_at = (state != DeliveryState::Pending).then(|| now.unix_micros());
    let key = &claimed.delivery.key;
    let settled = sqlx::query(
        "UPDATE access_request_delivery SET state = ?7, next_attempt_at = ?8, settled_at = ?9,
            last_problem = ?10, leased_until = NULL
            WHERE account_id = ?1 AND access_request_id = ?2 AND ordinal = ?3 AND destination = ?4
                AND state = 'pending' AND attempts = ?5 AND leased_until = ?6",
    )
    .bind(key.account.as_str())
    .bind(key.request.as_str())
    .bind(key.ordinal)
    .bind(&key.destination)
    .bind(claimed.delivery.attempts)
    .bind(claimed.lease.unix_micros())
    .bind(state.as_str())
    .bind(next.unix_micros())
    .bind(settled_at)
    .bind(problem.as_deref().map(problem_text))
    .execute(writer)
    .await
    .map_err(store_error)?;
    Ok(settled.rows_affected() == 1)
}

async fn deliveries(
    readers: &SqlitePool,
    account: &Id,
    state: Option<DeliveryState>,
    after: Option<&DeliveryKey>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let of_state = match state {
        Some(_) => "AND state = ?6",
        None => "",
    };
    let sql = format!(
        "SELECT json_group_array({}) FROM (SELECT * FROM access_request_delivery
            WHERE account_id = ?1 {of_state}
                AND (access_request_id, ordinal, destination) > (?2, ?3, ?4)
            ORDER BY access_request_id, ordinal, destination LIMIT ?5) AS d",
        gathered_row(DELIVERY, "d")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", |key| key.request.as_str()))
        .bind(after.map_or(-1, |key| i64::from(key.ordinal)))
        .bind(after.map_or("", |key| key.destination.as_str()))
        .bind(limit);
    if let Some(state) = state {
        query = query.bind(state.as_str());
    }
    let mut connection = readers.acquire().await.map_err(store_error)?;
    let json = json_of(&mut connection, query).await?;
    parse("access_request_delivery", &json, |row: DeliveryRow<'_>| {
        row.delivery(account)
    })
}

async fn replay(
    writer: &SqlitePool,
    key: &DeliveryKey,
    now: Timestamp,
    author: &Author,
) -> Result<bool, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let replayed = sqlx::query(
        "UPDATE access_request_delivery SET state = 'pending', attempts = 0,
            next_attempt_at = ?5, settled_at = NULL
            WHERE account_id = ?1 AND access_request_id = ?2 AND ordinal = ?3 AND destination = ?4
                AND state <> 'pending'",
    )
    .bind(key.account.as_str())
    .bind(key.request.as_str())
    .bind(key.ordinal)
    .bind(&key.destination)
    .bind(now.unix_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let is_replayed = replayed.rows_affected() == 1;
    if is_replayed {
        audit::note_one(&mut transaction, &key.account, &key.request, author).await?;
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(is_replayed)
}

async fn trim(writer: &SqlitePool, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let trimmed = sqlx::query(
        "DELETE FROM access_request_delivery
            WHERE (account_id, access_request_id, ordinal, destination) IN (
                SELECT account_id, access_request_id, ordinal, destination
                FROM access_request_delivery WHERE state <> 'pending' AND settled_at < ?1
                ORDER BY settled_at LIMIT ?2)",
    )
    .bind(before.unix_micros())
    .bind(limit)
    .execute(writer)
    .await
    .map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
