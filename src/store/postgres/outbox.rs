//! The outbox on PostgreSQL.
//!
//! Servers that claim at the same time take different rows: one that another has locked is passed
//! over, and one that it has taken is leased.

use std::sync::LazyLock;

use super::PostgresStore;
use super::apply::queue_up;
use super::audit::{announced, note};
use super::connect::{LARGE, Mode, bounded};
use super::error::store_error;
use super::requests::{gathered_event, gathered_row, micros_of};
use super::session::Session;
use super::statements::time_of;
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
use async_trait::async_trait;

#[async_trait]
impl Outbox for PostgresStore {
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, RequestEvent)>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let events = bounded(LARGE, unsent_events(lease.connection()?, limit)).await;
        lease.settle(events).await
    }

    async fn fan_out(
        &self,
        account: &Id,
        request: &Id,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let event = (account, request, ordinal);
        let made = fan_out(lease.connection()?, event, destinations, now);
        let made = bounded(LARGE, made).await;
        lease.settle(made).await
    }

    async fn claim_deliveries(
        &self,
        lane: Lane<'_>,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let claimed = claim(lease.connection()?, lane, now, lease_until, limit);
        let claimed = bounded(LARGE, claimed).await;
        lease.settle(claimed).await
    }

    async fn undelivered(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let oldest = bounded(LARGE, undelivered(lease.connection()?)).await;
        lease.settle(oldest).await
    }

    async fn depth(&self) -> Result<u64, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let depth = bounded(LARGE, depth(lease.connection()?)).await;
        lease.settle(depth).await
    }

    async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let settled = settle(lease.connection()?, claimed, outcome, now);
        let settled = bounded(LARGE, settled).await;
        lease.settle(settled).await
    }

    async fn deliveries(
        &self,
        account: &Id,
        state: Option<DeliveryState>,
        after: Option<&DeliveryKey>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = deliveries(lease.connection()?, account, state, after, limit);
        let page = bounded(LARGE, page).await;
        lease.settle(page).await
    }

    async fn replay_delivery(
        &self,
        key: &DeliveryKey,
        now: Timestamp,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let replayed = bounded(LARGE, replay(lease.connection()?, key, now, author)).await;
        lease.settle(replayed).await
    }

    async fn trim_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let trimmed = bounded(LARGE, trim(lease.connection()?, before, limit)).await;
        lease.settle(trimmed).await
    }
}

async fn unsent_events(
    connection: &mut Session,
    limit: u32,
) -> Result<Vec<(Id, RequestEvent)>, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT coalesce(json_agg(json_build_array(e.account_id, {})
                    ORDER BY e.account_id, e.access_request_id, e.ordinal), '[]')::text
                FROM (SELECT * FROM ambit.access_request_outbox
                    ORDER BY account_id, access_request_id, ordinal LIMIT $1) AS o
                JOIN ambit.access_request_event AS e
                    USING (account_id, access_request_id, ordinal)",
            gathered_event("e")
        )
    });
    let json: String = sqlx::query_scalar(sqlx::AssertSqlSafe(SQL.as_str()))
        .bind(i64::from(limit))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    parse(
        "access_request_event",
        json.as_bytes(),
        |(account, event): (&str, EventRow<'_>)| {
            Ok((account_of("access_request_event", account)?, event.event()?))
        },
    )
}

/// Of several that fan out the same event, the one that takes it out of the outbox makes the
/// deliveries.
async fn fan_out(
    connection: &mut Session,
    (account, request, ordinal): (&Id, &Id, u32),
    destinations: &[String],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let taken = sqlx::query(
        "DELETE FROM ambit.access_request_outbox
            WHERE account_id = $1 AND access_request_id = $2 AND ordinal = $3",
    )
    .bind(account.as_str())
    .bind(request.as_str())
    .bind(i64::from(ordinal))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let sql = format!(
        "INSERT INTO ambit.access_request_delivery
            (account_id, access_request_id, ordinal, destination, created_at, next_attempt_at)
            SELECT DISTINCT $1, $2, $3::int4, d, {now}, {now} FROM unnest($4::text[]) AS d",
        now = time_of("$5")
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(request.as_str())
        .bind(i64::from(ordinal))
        .bind(destinations)
        .bind(now.unix_micros())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(true)
}

async fn undelivered(connection: &mut Session) -> Result<Option<Timestamp>, StoreError> {
    let sql = format!(
        "SELECT {} FROM (
            SELECT min(created_at) AS moment FROM ambit.access_request_delivery
                WHERE state = 'pending'
            UNION ALL
            SELECT min(e.at) FROM ambit.access_request_outbox
                JOIN ambit.access_request_event AS e
                    USING (account_id, access_request_id, ordinal)) AS oldest",
        micros_of("min(moment)")
    );
    let oldest: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(oldest.and_then(Timestamp::from_unix_micros))
}

async fn depth(connection: &mut Session) -> Result<u64, StoreError> {
    let depth: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM ambit.access_request_delivery WHERE state = 'pending')
            + (SELECT count(*) FROM ambit.access_request_outbox)",
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(u64::try_from(depth).unwrap_or(0))
}

/// Whether a delivery `d` is of a lane, by the destinations that the lane names.
fn is_of(lane: Lane<'_>, named: &str) -> String {
    match lane {
        Lane::Destination(_) => format!("d.destination = ANY({named}::text[])"),
        Lane::Mail => {
            format!("starts_with(d.destination, 'email:') AND {named}::text[] IS NOT NULL")
        }
        Lane::Others(_) => format!(
            "NOT starts_with(d.destination, 'email:') AND d.destination <> ALL({named}::text[])"
        ),
    }
}

async fn claim(
    connection: &mut Session,
    lane: Lane<'_>,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u32,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let sql = format!(
        "WITH due AS (
                SELECT account_id, access_request_id, ordinal, destination
                FROM ambit.access_request_delivery AS d
                WHERE state = 'pending' AND next_attempt_at <= {now} AND {is_of_lane}
                    AND NOT EXISTS (SELECT 1 FROM ambit.access_request_delivery AS e
                        WHERE e.account_id = d.account_id
                            AND e.access_request_id = d.access_request_id
                            AND e.ordinal < d.ordinal AND e.destination = d.destination
                            AND e.state = 'pending')
                    AND NOT EXISTS (SELECT 1 FROM ambit.access_request_outbox AS e
                        WHERE e.account_id = d.account_id
                            AND e.access_request_id = d.access_request_id
                            AND e.ordinal < d.ordinal)
                ORDER BY next_attempt_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED),
            claimed AS (
                UPDATE ambit.access_request_delivery AS d
                SET attempts = d.attempts + 1, leased_until = {until}, next_attempt_at = {until}
                FROM due WHERE d.account_id = due.account_id
                    AND d.access_request_id = due.access_request_id
                    AND d.ordinal = due.ordinal AND d.destination = due.destination
                RETURNING d.*)
            SELECT coalesce(json_agg(json_build_array(d.account_id, {delivery}, {event})
                    ORDER BY d.account_id, d.access_request_id, d.ordinal), '[]')::text
                FROM claimed AS d JOIN ambit.access_request_event AS e
                    USING (account_id, access_request_id, ordinal)",
        now = time_of("$1"),
        until = time_of("$2"),
        is_of_lane = is_of(lane, "$4"),
        delivery = gathered_row(DELIVERY, "d"),
        event = gathered_event("e"),
    );
    let json: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(now.unix_micros())
        .bind(lease_until.unix_micros())
        .bind(i64::from(limit))
        .bind(lane.named())
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    parse(
        "access_request_delivery",
        json.as_bytes(),
        |(account, delivery, event): (&str, DeliveryRow<'_>, EventRow<'_>)| {
            let account = account_of("access_request_delivery", account)?;
            Ok(ClaimedDelivery {
                delivery: delivery.delivery(&account)?,
                event: event.event()?,
                lease: lease_until,
            })
        },
    )
}

async fn settle(
    connection: &mut Session,
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
    let sql = format!(
        "UPDATE ambit.access_request_delivery SET state = $7, next_attempt_at = {},
            settled_at = {}, last_problem = $10, leased_until = NULL
            WHERE account_id = $1 AND access_request_id = $2 AND ordinal = $3 AND destination = $4
                AND state = 'pending' AND attempts = $5 AND leased_until = {}",
        time_of("$8"),
        time_of("$9"),
        time_of("$6")
    );
    let key = &claimed.delivery.key;
    let settled = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.account.as_str())
        .bind(key.request.as_str())
        .bind(i64::from(key.ordinal))
        .bind(&key.destination)
        .bind(i64::from(claimed.delivery.attempts))
        .bind(claimed.lease.unix_micros())
        .bind(state.as_str())
        .bind(next.unix_micros())
        .bind(settled_at)
        .bind(problem.as_deref().map(problem_text))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(settled.rows_affected() == 1)
}

async fn deliveries(
    connection: &mut Session,
    account: &Id,
    state: Option<DeliveryState>,
    after: Option<&DeliveryKey>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let of_state = match state {
        Some(_) => "AND state = $6",
        None => "",
    };
    let sql = format!(
        "SELECT coalesce(json_agg({} ORDER BY d.access_request_id, d.ordinal, d.destination),
                '[]')::text
            FROM (SELECT * FROM ambit.access_request_delivery WHERE account_id = $1 {of_state}
                AND (access_request_id, ordinal, destination) > ($2, $3, $4)
                ORDER BY access_request_id, ordinal, destination LIMIT $5) AS d",
        gathered_row(DELIVERY, "d")
    );
    let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", |key| key.request.as_str()))
        .bind(after.map_or(-1, |key| i64::from(key.ordinal)))
        .bind(after.map_or("", |key| key.destination.as_str()))
        .bind(i64::from(limit));
    if let Some(state) = state {
        query = query.bind(state.as_str());
    }
    let json: String = query.fetch_one(connection).await.map_err(store_error)?;
    parse(
        "access_request_delivery",
        json.as_bytes(),
        |row: DeliveryRow<'_>| row.delivery(account),
    )
}

async fn replay(
    connection: &mut Session,
    key: &DeliveryKey,
    now: Timestamp,
    author: &Author,
) -> Result<bool, StoreError> {
    // Where a deletion of the account waits for the delivery, this must not wait for the account.
    let announced = announced(&key.account, author, None)?;
    queue_up(connection, &key.account, &announced).await?;
    let sql = format!(
        "UPDATE ambit.access_request_delivery SET state = 'pending', attempts = 0,
            next_attempt_at = {}, settled_at = NULL
            WHERE account_id = $1 AND access_request_id = $2 AND ordinal = $3 AND destination = $4
                AND state <> 'pending'",
        time_of("$5")
    );
    let replayed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.account.as_str())
        .bind(key.request.as_str())
        .bind(i64::from(key.ordinal))
        .bind(&key.destination)
        .bind(now.unix_micros())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let is_replayed = replayed.rows_affected() == 1;
    if is_replayed {
        note(connection, &key.account, std::iter::once(&key.request)).await?;
    }
    Ok(is_replayed)
}

async fn trim(connection: &mut Session, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let sql = format!(
        "WITH old AS (
            SELECT account_id, access_request_id, ordinal, destination
                FROM ambit.access_request_delivery
                WHERE state <> 'pending' AND settled_at < {}
                ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        DELETE FROM ambit.access_request_delivery AS d USING old
            WHERE d.account_id = old.account_id AND d.access_request_id = old.access_request_id
                AND d.ordinal = old.ordinal AND d.destination = old.destination",
        time_of("$1")
    );
    let trimmed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.unix_micros())
        .bind(i64::from(limit))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
