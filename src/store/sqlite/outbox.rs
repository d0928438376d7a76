//! The outbox on SQLite: one writer at a time, so that a claim is a claim.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::SqliteStore;
use super::audit;
use super::error::store_error;
use super::requests::{gathered_row, json_of};
use crate::authz::model::{Id, Timestamp};
use crate::authz::partner_event::PartnerNews;
use crate::store::StoreError;
use crate::store::audit::Author;
use crate::store::outbox::{
    ClaimedDelivery, Delivery, DeliveryKey, DeliveryOutcome, DeliveryState, Event, Lane, Outbox,
    Subject, SubjectKind, kinds_after,
};
use crate::store::outbox_rows::{claimed_in, deliveries_in, events_in, news_columns, problem_text};
use crate::store::rows::not_json;

#[async_trait]
impl Outbox for SqliteStore {
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, Event)>, StoreError> {
        let mut events = Vec::new();
        for kind in SubjectKind::ALL {
            events.extend(unsent_events(&self.readers, *kind, limit).await?);
        }
        Ok(events)
    }

    async fn fan_out(
        &self,
        account: &Id,
        subject: &Subject,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        fan_out(&self.writer, (account, subject, ordinal), destinations, now).await
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
        let mut found = Vec::new();
        for (kind, after) in kinds_after(after) {
            let room = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            let page = deliveries(&self.readers, (account, kind), state, after, room).await?;
            found.extend(page);
        }
        Ok(found)
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
    kind: SubjectKind,
    limit: u32,
) -> Result<Vec<(Id, Event)>, StoreError> {
    let sql = format!(
        "SELECT json_group_array(json_array(e.account_id, {}))
            FROM (SELECT * FROM {kind}_outbox ORDER BY account_id, {subject}, ordinal LIMIT ?1) AS o
            CROSS JOIN {kind}_event AS e ON e.account_id = o.account_id
                AND e.{subject} = o.{subject} AND e.ordinal = o.ordinal",
        gathered_row(kind.event_columns(), "e"),
        subject = kind.column(),
    );
    let mut connection = readers.acquire().await.map_err(store_error)?;
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(limit);
    let json = json_of(&mut connection, query).await?;
    events_in(kind, &json)
}

/// Writes news of an account, each counted on from the last of its partnership; a trigger puts it into
/// the outbox.
pub(super) async fn record_news(
    connection: &mut SqliteConnection,
    account: &Id,
    news: &[&PartnerNews],
) -> Result<(), StoreError> {
    let rows: Vec<_> = news.iter().map(|news| news_columns(news)).collect();
    sqlx::query(
        "INSERT INTO partner_event (account_id, counterpart, ordinal, side, kind, at, actor,
            partner_user, client_user, role, permission_set, link_id)
        SELECT ?1, value ->> 0,
            coalesce((SELECT max(ordinal) FROM partner_event
                WHERE account_id = ?1 AND counterpart = value ->> 0), -1)
                + row_number() OVER (PARTITION BY value ->> 0 ORDER BY key),
            value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            value ->> 7, value ->> 8, value ->> 9
        FROM json_each(?2)",
    )
    .bind(account.as_str())
    .bind(serde_json::to_string(&rows).map_err(not_json)?)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Of several that fan out the same event, the one that takes it out of the outbox makes the
/// deliveries.
async fn fan_out(
    writer: &SqlitePool,
    (account, subject, ordinal): (&Id, &Subject, u32),
    destinations: &[String],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (kind, column) = (subject.kind(), subject.kind().column());
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let take = format!(
        "DELETE FROM {kind}_outbox WHERE account_id = ?1 AND {column} = ?2 AND ordinal = ?3"
    );
    let taken = sqlx::query(sqlx::AssertSqlSafe(take))
        .bind(account.as_str())
        .bind(subject.id().as_str())
        .bind(ordinal)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let make = format!(
        "INSERT INTO {kind}_delivery
            (account_id, {column}, ordinal, destination, created_at, next_attempt_at)
            SELECT DISTINCT ?1, ?2, ?3, value, ?5, ?5 FROM json_each(?4)"
    );
    sqlx::query(sqlx::AssertSqlSafe(make))
        .bind(account.as_str())
        .bind(subject.id().as_str())
        .bind(ordinal)
        .bind(serde_json::to_string(destinations).map_err(not_json)?)
        .bind(now.unix_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(true)
}

/// The same of each kind of subject, put together by `between`.
fn of_each(between: &str, of: impl Fn(SubjectKind) -> String) -> String {
    let each: Vec<String> = SubjectKind::ALL.iter().map(|kind| of(*kind)).collect();
    each.join(between)
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
    let is_of_lane = is_of(lane, "?2");
    let any = of_each(" OR ", |kind| {
        format!(
            "EXISTS (SELECT 1 FROM {kind}_delivery AS d
                WHERE state = 'pending' AND next_attempt_at <= ?1 AND {is_of_lane})"
        )
    });
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT {any}")))
        .bind(now.unix_micros())
        .bind(named(lane)?)
        .fetch_one(readers)
        .await
        .map_err(store_error)
}

async fn undelivered(readers: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let moments = of_each(" UNION ALL ", |kind| {
        format!(
            "SELECT min(created_at) AS moment FROM {kind}_delivery WHERE state = 'pending'
            UNION ALL
            SELECT min(e.at) FROM {kind}_outbox AS o
                JOIN {kind}_event AS e USING (account_id, {}, ordinal)",
            kind.column()
        )
    });
    let oldest: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT min(moment) FROM ({moments})"
    )))
    .fetch_one(readers)
    .await
    .map_err(store_error)?;
    Ok(oldest.and_then(Timestamp::from_unix_micros))
}

async fn depth(readers: &SqlitePool) -> Result<u64, StoreError> {
    let counts = of_each(" + ", |kind| {
        format!(
            "(SELECT count(*) FROM {kind}_delivery WHERE state = 'pending')
            + (SELECT count(*) FROM {kind}_outbox)"
        )
    });
    let depth: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT {counts}")))
        .fetch_one(readers)
        .await
        .map_err(store_error)?;
    Ok(u64::try_from(depth).unwrap_or(0))
}

/// Due deliveries of a kind, those that are due for longest first.
fn due_of(kind: SubjectKind, is_of_lane: &str) -> String {
    format!(
        "SELECT * FROM (
            SELECT '{kind}' AS kind, account_id, {subject} AS subject, ordinal, destination,
                    next_attempt_at
                FROM {kind}_delivery AS d
                WHERE state = 'pending' AND next_attempt_at <= ?1 AND {is_of_lane}
                    AND NOT EXISTS (SELECT 1 FROM {kind}_delivery AS e
                        WHERE e.account_id = d.account_id AND e.{subject} = d.{subject}
                            AND e.ordinal < d.ordinal AND e.destination = d.destination
                            AND e.state = 'pending')
                    AND NOT EXISTS (SELECT 1 FROM {kind}_outbox AS e
                        WHERE e.account_id = d.account_id AND e.{subject} = d.{subject}
                            AND e.ordinal < d.ordinal)
                ORDER BY next_attempt_at LIMIT ?2)",
        subject = kind.column(),
    )
}

async fn claim(
    writer: &SqlitePool,
    lane: Lane<'_>,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u32,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let is_of_lane = is_of(lane, "?3");
    let due = format!(
        "SELECT json_group_array(json_array(kind, account_id, subject, ordinal, destination))
            FROM (SELECT * FROM ({}) ORDER BY next_attempt_at LIMIT ?2)",
        of_each(" UNION ALL ", |kind| due_of(kind, &is_of_lane))
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
    let mut claimed = Vec::new();
    for kind in SubjectKind::ALL {
        claimed.extend(claim_of(&mut transaction, *kind, &due, lease_until).await?);
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(claimed)
}

/// Leases those of a kind that are among the due ones.
async fn claim_of(
    connection: &mut SqliteConnection,
    kind: SubjectKind,
    due: &str,
    lease_until: Timestamp,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let subject = kind.column();
    let lease = format!(
        "UPDATE {kind}_delivery
            SET attempts = attempts + 1, leased_until = ?2, next_attempt_at = ?2
            WHERE (account_id, {subject}, ordinal, destination) IN (
                SELECT value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1)
                WHERE value ->> 0 = '{kind}')"
    );
    sqlx::query(sqlx::AssertSqlSafe(lease))
        .bind(due)
        .bind(lease_until.unix_micros())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let read = format!(
        "SELECT json_group_array(json_array(d.account_id, {delivery}, {event}))
            FROM json_each(?1) AS k CROSS JOIN {kind}_delivery AS d
                ON k.value ->> 0 = '{kind}' AND d.account_id = k.value ->> 1
                AND d.{subject} = k.value ->> 2 AND d.ordinal = k.value ->> 3
                AND d.destination = k.value ->> 4
            CROSS JOIN {kind}_event AS e ON e.account_id = d.account_id
                AND e.{subject} = d.{subject} AND e.ordinal = d.ordinal",
        delivery = gathered_row(&kind.delivery_columns(), "d"),
        event = gathered_row(kind.event_columns(), "e"),
    );
    let read = sqlx::query(sqlx::AssertSqlSafe(read)).bind(due);
    let json = json_of(connection, read).await?;
    claimed_in(kind, &json, lease_until)
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
    let (kind, subject) = (key.subject.kind(), key.subject.kind().column());
    let settle = format!(
        "UPDATE {kind}_delivery SET state = ?7, next_attempt_at = ?8, settled_at = ?9,
            last_problem = ?10, leased_until = NULL
            WHERE account_id = ?1 AND {subject} = ?2 AND ordinal = ?3 AND destination = ?4
                AND state = 'pending' AND attempts = ?5 AND leased_until = ?6"
    );
    let settled = sqlx::query(sqlx::AssertSqlSafe(settle))
        .bind(key.account.as_str())
        .bind(key.subject.id().as_str())
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
    (account, kind): (&Id, SubjectKind),
    state: Option<DeliveryState>,
    after: Option<&DeliveryKey>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let of_state = match state {
        Some(_) => "AND state = ?6",
        None => "",
    };
    let sql = format!(
        "SELECT json_group_array({row}) FROM (SELECT * FROM {kind}_delivery
            WHERE account_id = ?1 {of_state} AND ({subject}, ordinal, destination) > (?2, ?3, ?4)
            ORDER BY {subject}, ordinal, destination LIMIT ?5) AS d",
        row = gathered_row(&kind.delivery_columns(), "d"),
        subject = kind.column(),
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", |key| key.subject.id().as_str()))
        .bind(after.map_or(-1, |key| i64::from(key.ordinal)))
        .bind(after.map_or("", |key| key.destination.as_str()))
        .bind(limit);
    if let Some(state) = state {
        query = query.bind(state.as_str());
    }
    let mut connection = readers.acquire().await.map_err(store_error)?;
    let json = json_of(&mut connection, query).await?;
    deliveries_in(kind, account, &json)
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
    let (kind, subject) = (key.subject.kind(), key.subject.kind().column());
    let replay = format!(
        "UPDATE {kind}_delivery SET state = 'pending', attempts = 0,
            next_attempt_at = ?5, settled_at = NULL
            WHERE account_id = ?1 AND {subject} = ?2 AND ordinal = ?3 AND destination = ?4
                AND state <> 'pending'"
    );
    let replayed = sqlx::query(sqlx::AssertSqlSafe(replay))
        .bind(key.account.as_str())
        .bind(key.subject.id().as_str())
        .bind(key.ordinal)
        .bind(&key.destination)
        .bind(now.unix_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    let is_replayed = replayed.rows_affected() == 1;
    if is_replayed {
        match &key.subject {
            Subject::Request(request) => {
                audit::note_one(&mut transaction, &key.account, request, author).await?;
            }
            Subject::Partner(_) => {
                audit::note_notification(&mut transaction, &key.account, author).await?;
            }
        }
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(is_replayed)
}

async fn trim(writer: &SqlitePool, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut trimmed = 0;
    for kind in SubjectKind::ALL {
        let subject = kind.column();
        let sql = format!(
            "DELETE FROM {kind}_delivery
                WHERE (account_id, {subject}, ordinal, destination) IN (
                    SELECT account_id, {subject}, ordinal, destination
                    FROM {kind}_delivery WHERE state <> 'pending' AND settled_at < ?1
                    ORDER BY settled_at LIMIT ?2)"
        );
        trimmed += trim_by(writer, &sql, before, limit).await?;
    }
    // Events of access requests are their history, and stay.
    let told = "DELETE FROM partner_event WHERE (account_id, counterpart, ordinal) IN (
        SELECT account_id, counterpart, ordinal FROM partner_event AS e
        WHERE at < ?1
            AND NOT EXISTS (SELECT 1 FROM partner_outbox AS o WHERE o.account_id = e.account_id
                AND o.counterpart = e.counterpart AND o.ordinal = e.ordinal)
            AND NOT EXISTS (SELECT 1 FROM partner_delivery AS d WHERE d.account_id = e.account_id
                AND d.counterpart = e.counterpart AND d.ordinal = e.ordinal)
            AND EXISTS (SELECT 1 FROM partner_event AS l WHERE l.account_id = e.account_id
                AND l.counterpart = e.counterpart AND l.ordinal > e.ordinal)
        ORDER BY at LIMIT ?2)";
    trim_by(writer, told, before, limit).await?;
    Ok(trimmed)
}

async fn trim_by(
    writer: &SqlitePool,
    sql: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let trimmed = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
        .bind(before.unix_micros())
        .bind(limit)
        .execute(writer)
        .await
        .map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
