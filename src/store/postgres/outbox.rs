//! The outbox on PostgreSQL.
//!
//! Servers that claim at the same time take different rows: one that another has locked is passed
//! over, and one that it has taken is leased.

use async_trait::async_trait;
use sqlx::Row as _;

use super::PostgresStore;
use super::apply::queue_up;
use super::audit::{announced, note, note_notification};
use super::connect::{LARGE, Mode, bounded};
use super::error::store_error;
use super::requests::{gathered_row, micros_of};
use super::session::Session;
use super::statements::time_of;
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
impl Outbox for PostgresStore {
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, Event)>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let events = bounded(LARGE, unsent_events(lease.connection()?, limit)).await;
        lease.settle(events).await
    }

    async fn fan_out(
        &self,
        account: &Id,
        subject: &Subject,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let event = (account, subject, ordinal);
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
        let pages = pages(lease.connection()?, account, state, after, limit);
        let pages = bounded(LARGE, pages).await;
        lease.settle(pages).await
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

/// One column of JSON for each kind of subject, in the order of [`SubjectKind::ALL`].
async fn columns_of(
    connection: &mut Session,
    query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
) -> Result<Vec<(SubjectKind, String)>, StoreError> {
    let row = query.fetch_one(connection).await.map_err(store_error)?;
    let kinds = SubjectKind::ALL.iter().enumerate();
    kinds
        .map(|(at, kind)| Ok((*kind, row.try_get(at).map_err(store_error)?)))
        .collect()
}

/// The same of each kind of subject, put together by `between`.
fn of_each(between: &str, of: impl Fn(SubjectKind) -> String) -> String {
    let each: Vec<String> = SubjectKind::ALL.iter().map(|kind| of(*kind)).collect();
    each.join(between)
}

async fn unsent_events(
    connection: &mut Session,
    limit: u32,
) -> Result<Vec<(Id, Event)>, StoreError> {
    let columns = of_each(", ", |kind| {
        format!(
            "(SELECT coalesce(json_agg(json_build_array(e.account_id, {event})
                    ORDER BY e.account_id, e.{subject}, e.ordinal), '[]')::text
                FROM (SELECT * FROM ambit.{kind}_outbox
                    ORDER BY account_id, {subject}, ordinal LIMIT $1) AS o
                JOIN ambit.{kind}_event AS e USING (account_id, {subject}, ordinal))",
            event = gathered_row(kind.event_columns(), "e"),
            subject = kind.column(),
        )
    });
    let sql = format!("SELECT {columns}");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(limit));
    let mut events = Vec::new();
    for (kind, json) in columns_of(connection, query).await? {
        events.extend(events_in(kind, json.as_bytes())?);
    }
    Ok(events)
}

/// Writes news of an account, each counted on from the last of its partnership; a trigger puts it into
/// the outbox.
pub(super) async fn record_news(
    connection: &mut Session,
    account: &Id,
    news: &[&PartnerNews],
) -> Result<(), StoreError> {
    let rows: Vec<_> = news.iter().map(|news| news_columns(news)).collect();
    let json = serde_json::to_string(&rows).map_err(not_json)?;
    let sql = format!(
        "INSERT INTO ambit.partner_event (account_id, counterpart, ordinal, side, kind, at, actor,
            partner_user, client_user, role, permission_set, link_id)
        SELECT $1, v ->> 0,
            (coalesce((SELECT max(e.ordinal) FROM ambit.partner_event AS e
                WHERE e.account_id = $1 AND e.counterpart = v ->> 0), -1)
                + row_number() OVER (PARTITION BY v ->> 0 ORDER BY nth))::int4,
            v ->> 1, v ->> 2, {}, v ->> 4, v ->> 5, v ->> 6, v ->> 7, v ->> 8, v ->> 9
        FROM json_array_elements($2::json) WITH ORDINALITY AS rows (v, nth)",
        time_of("v ->> 3")
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(json)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Of several that fan out the same event, the one that takes it out of the outbox makes the
/// deliveries.
async fn fan_out(
    connection: &mut Session,
    (account, subject, ordinal): (&Id, &Subject, u32),
    destinations: &[String],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (kind, column) = (subject.kind(), subject.kind().column());
    let take = format!(
        "DELETE FROM ambit.{kind}_outbox
            WHERE account_id = $1 AND {column} = $2 AND ordinal = $3"
    );
    let taken = sqlx::query(sqlx::AssertSqlSafe(take))
        .bind(account.as_str())
        .bind(subject.id().as_str())
        .bind(i64::from(ordinal))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let make = format!(
        "INSERT INTO ambit.{kind}_delivery
            (account_id, {column}, ordinal, destination, created_at, next_attempt_at)
            SELECT DISTINCT $1, $2, $3::int4, d, {now}, {now} FROM unnest($4::text[]) AS d",
        now = time_of("$5")
    );
    sqlx::query(sqlx::AssertSqlSafe(make))
        .bind(account.as_str())
        .bind(subject.id().as_str())
        .bind(i64::from(ordinal))
        .bind(destinations)
        .bind(now.unix_micros())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(true)
}

async fn undelivered(connection: &mut Session) -> Result<Option<Timestamp>, StoreError> {
    let moments = of_each(" UNION ALL ", |kind| {
        format!(
            "SELECT min(created_at) AS moment FROM ambit.{kind}_delivery WHERE state = 'pending'
            UNION ALL
            SELECT min(e.at) FROM ambit.{kind}_outbox
                JOIN ambit.{kind}_event AS e USING (account_id, {}, ordinal)",
            kind.column()
        )
    });
    let sql = format!(
        "SELECT {} FROM ({moments}) AS oldest",
        micros_of("min(moment)")
    );
    let oldest: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(oldest.and_then(Timestamp::from_unix_micros))
}

async fn depth(connection: &mut Session) -> Result<u64, StoreError> {
    let counts = of_each(" + ", |kind| {
        format!(
            "(SELECT count(*) FROM ambit.{kind}_delivery WHERE state = 'pending')
            + (SELECT count(*) FROM ambit.{kind}_outbox)"
        )
    });
    let depth: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT {counts}")))
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

/// Due deliveries of a kind that nobody else has, those that are due for longest first.
fn due_of(kind: SubjectKind, now: &str, is_of_lane: &str) -> String {
    format!(
        "due_{kind} AS (
            SELECT account_id, {subject} AS subject, ordinal, destination, next_attempt_at
            FROM ambit.{kind}_delivery AS d
            WHERE state = 'pending' AND next_attempt_at <= {now} AND {is_of_lane}
                AND NOT EXISTS (SELECT 1 FROM ambit.{kind}_delivery AS e
                    WHERE e.account_id = d.account_id AND e.{subject} = d.{subject}
                        AND e.ordinal < d.ordinal AND e.destination = d.destination
                        AND e.state = 'pending')
                AND NOT EXISTS (SELECT 1 FROM ambit.{kind}_outbox AS e
                    WHERE e.account_id = d.account_id AND e.{subject} = d.{subject}
                        AND e.ordinal < d.ordinal)
            ORDER BY next_attempt_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED)",
        subject = kind.column(),
    )
}

/// Those of a kind that are among the due ones, leased.
fn claimed_of(kind: SubjectKind, until: &str) -> String {
    format!(
        "claimed_{kind} AS (
            UPDATE ambit.{kind}_delivery AS d
            SET attempts = d.attempts + 1, leased_until = {until}, next_attempt_at = {until}
            FROM due WHERE due.kind = '{kind}' AND d.account_id = due.account_id
                AND d.{subject} = due.subject AND d.ordinal = due.ordinal
                AND d.destination = due.destination
            RETURNING d.*)",
        subject = kind.column(),
    )
}

/// One statement for all kinds, so that those that are due for longest go first whatever they are of.
async fn claim(
    connection: &mut Session,
    lane: Lane<'_>,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u32,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let (now_sql, until) = (time_of("$1"), time_of("$2"));
    let is_of_lane = is_of(lane, "$4");
    let columns = of_each(", ", |kind| {
        format!(
            "(SELECT coalesce(json_agg(json_build_array(d.account_id, {delivery}, {event})
                    ORDER BY d.account_id, d.{subject}, d.ordinal), '[]')::text
                FROM claimed_{kind} AS d
                JOIN ambit.{kind}_event AS e USING (account_id, {subject}, ordinal))",
            delivery = gathered_row(&kind.delivery_columns(), "d"),
            event = gathered_row(kind.event_columns(), "e"),
            subject = kind.column(),
        )
    });
    let sql = format!(
        "WITH {dues},
            due AS ({all} ORDER BY next_attempt_at LIMIT $3),
            {claims}
            SELECT {columns}",
        dues = of_each(", ", |kind| due_of(kind, &now_sql, &is_of_lane)),
        all = of_each(" UNION ALL ", |kind| format!(
            "SELECT '{kind}' AS kind, * FROM due_{kind}"
        )),
        claims = of_each(", ", |kind| claimed_of(kind, &until)),
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now.unix_micros())
        .bind(lease_until.unix_micros())
        .bind(i64::from(limit))
        .bind(lane.named());
    let mut claimed = Vec::new();
    for (kind, json) in columns_of(connection, query).await? {
        claimed.extend(claimed_in(kind, json.as_bytes(), lease_until)?);
    }
    Ok(claimed)
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
    let key = &claimed.delivery.key;
    let (kind, subject) = (key.subject.kind(), key.subject.kind().column());
    let sql = format!(
        "UPDATE ambit.{kind}_delivery SET state = $7, next_attempt_at = {},
            settled_at = {}, last_problem = $10, leased_until = NULL
            WHERE account_id = $1 AND {subject} = $2 AND ordinal = $3 AND destination = $4
                AND state = 'pending' AND attempts = $5 AND leased_until = {}",
        time_of("$8"),
        time_of("$9"),
        time_of("$6")
    );
    let settled = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.account.as_str())
        .bind(key.subject.id().as_str())
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

async fn pages(
    connection: &mut Session,
    account: &Id,
    state: Option<DeliveryState>,
    after: Option<&DeliveryKey>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let mut found = Vec::new();
    for (kind, after) in kinds_after(after) {
        let room = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let page = deliveries(&mut *connection, (account, kind), state, after, room);
        found.extend(page.await?);
    }
    Ok(found)
}

async fn deliveries(
    connection: &mut Session,
    (account, kind): (&Id, SubjectKind),
    state: Option<DeliveryState>,
    after: Option<&DeliveryKey>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let of_state = match state {
        Some(_) => "AND state = $6",
        None => "",
    };
    let sql = format!(
        "SELECT coalesce(json_agg({row} ORDER BY d.{subject}, d.ordinal, d.destination),
                '[]')::text
            FROM (SELECT * FROM ambit.{kind}_delivery WHERE account_id = $1 {of_state}
                AND ({subject}, ordinal, destination) > ($2, $3, $4)
                ORDER BY {subject}, ordinal, destination LIMIT $5) AS d",
        row = gathered_row(&kind.delivery_columns(), "d"),
        subject = kind.column(),
    );
    let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", |key| key.subject.id().as_str()))
        .bind(after.map_or(-1, |key| i64::from(key.ordinal)))
        .bind(after.map_or("", |key| key.destination.as_str()))
        .bind(i64::from(limit));
    if let Some(state) = state {
        query = query.bind(state.as_str());
    }
    let json: String = query.fetch_one(connection).await.map_err(store_error)?;
    deliveries_in(kind, account, json.as_bytes())
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
    let (kind, subject) = (key.subject.kind(), key.subject.kind().column());
    let sql = format!(
        "UPDATE ambit.{kind}_delivery SET state = 'pending', attempts = 0,
            next_attempt_at = {}, settled_at = NULL
            WHERE account_id = $1 AND {subject} = $2 AND ordinal = $3 AND destination = $4
                AND state <> 'pending'",
        time_of("$5")
    );
    let replayed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.account.as_str())
        .bind(key.subject.id().as_str())
        .bind(i64::from(key.ordinal))
        .bind(&key.destination)
        .bind(now.unix_micros())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let is_replayed = replayed.rows_affected() == 1;
    if is_replayed {
        match &key.subject {
            Subject::Request(request) => {
                note(connection, &key.account, std::iter::once(request)).await?;
            }
            Subject::Partner(_) => note_notification(connection, &key.account).await?,
        }
    }
    Ok(is_replayed)
}

async fn trim(connection: &mut Session, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut trimmed = 0;
    for kind in SubjectKind::ALL {
        let sql = format!(
            "WITH old AS (
                SELECT account_id, {subject}, ordinal, destination FROM ambit.{kind}_delivery
                    WHERE state <> 'pending' AND settled_at < {before}
                    ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED)
            DELETE FROM ambit.{kind}_delivery AS d USING old
                WHERE d.account_id = old.account_id AND d.{subject} = old.{subject}
                    AND d.ordinal = old.ordinal AND d.destination = old.destination",
            subject = kind.column(),
            before = time_of("$1"),
        );
        trimmed += trim_by(connection, sql, before, limit).await?;
    }
    // Events of access requests are their history, and stay.
    let told = format!(
        "WITH old AS (
            SELECT account_id, counterpart, ordinal FROM ambit.partner_event AS e
                WHERE at < {}
                    AND NOT EXISTS (SELECT 1 FROM ambit.partner_outbox AS o
                        WHERE o.account_id = e.account_id AND o.counterpart = e.counterpart
                            AND o.ordinal = e.ordinal)
                    AND NOT EXISTS (SELECT 1 FROM ambit.partner_delivery AS d
                        WHERE d.account_id = e.account_id AND d.counterpart = e.counterpart
                            AND d.ordinal = e.ordinal)
                    AND EXISTS (SELECT 1 FROM ambit.partner_event AS l
                        WHERE l.account_id = e.account_id AND l.counterpart = e.counterpart
                            AND l.ordinal > e.ordinal)
                ORDER BY at LIMIT $2)
        DELETE FROM ambit.partner_event AS e USING old
            WHERE e.account_id = old.account_id AND e.counterpart = old.counterpart
                AND e.ordinal = old.ordinal",
        time_of("$1")
    );
    trim_by(connection, told, before, limit).await?;
    Ok(trimmed)
}

async fn trim_by(
    connection: &mut Session,
    sql: String,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let trimmed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.unix_micros())
        .bind(i64::from(limit))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
