//! Access requests, their events, and links that were spent.
//!
//! History grows without end, so each statement reads an index in the order that it answers in.

use sqlx::Row as _;

use super::error::store_error;
use super::session::Session;
use super::statements::time_of;
use crate::authz::access_request::{AccessRequest, RequestEvent, RequestState, RequestTarget};
use crate::authz::model::{Id, Timestamp};
use crate::store::request_rows::{
    Columns, EVENT, EventRow, REQUEST, RequestRow, event_columns, gathered, moment, parse,
    pending_account,
};
use crate::store::rows::{self, not_json};
use crate::store::{PendingAccount, RequestFilter, StoreError};

/// Spent links that one call forgets at most.
const FORGOTTEN_AT_ONCE: i64 = 100;

/// Unix microseconds of a time, exactly.
pub(super) fn micros_of(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::int8")
}

/// The JSON of a row that goes by `alias`.
pub(super) fn gathered_row(columns: &Columns, alias: &str) -> String {
    format!("json_build_array({})", gathered(columns, alias, micros_of))
}

pub(super) fn gathered_request(alias: &str) -> String {
    gathered_row(REQUEST, alias)
}

pub(super) fn gathered_event(alias: &str) -> String {
    gathered_row(EVENT, alias)
}

pub(super) async fn request(
    connection: &mut Session,
    account: &Id,
    id: &Id,
) -> Result<Option<AccessRequest>, StoreError> {
    let sql = format!(
        "SELECT json_build_array({})::text FROM ambit.access_request AS r
            WHERE account_id = $1 AND access_request_id = $2",
        gathered_request("r")
    );
    let json: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    let json = json.unwrap_or_else(|| "[]".to_owned());
    Ok(requests_in(&json)?.pop())
}

fn requests_in(json: &str) -> Result<Vec<AccessRequest>, StoreError> {
    parse("access_request", json.as_bytes(), RequestRow::request)
}

/// A state at a time, each in the order of its index, so that no more of the history is read than
/// is asked for.
pub(super) async fn requests(
    connection: &mut Session,
    account: &Id,
    filter: &RequestFilter,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<AccessRequest>, StoreError> {
    let all_of_account = filter.states.is_empty() && filter.user.is_none();
    let found = if all_of_account {
        "SELECT * FROM ambit.access_request
            WHERE account_id = $1 AND access_request_id > $2
            ORDER BY access_request_id LIMIT $3"
            .to_owned()
    } else {
        let user = match &filter.user {
            Some(_) => "AND r.user_id = $5",
            None => "",
        };
        format!(
            "SELECT f.* FROM unnest($4::text[]) AS s(state) CROSS JOIN LATERAL (
                SELECT * FROM ambit.access_request AS r
                WHERE r.account_id = $1 AND r.state = s.state {user}
                    AND r.access_request_id > $2
                ORDER BY r.access_request_id LIMIT $3) AS f
            ORDER BY f.access_request_id LIMIT $3"
        )
    };
    let sql = format!(
        "SELECT coalesce(json_agg({} ORDER BY r.access_request_id), '[]')::text FROM ({found}) AS r",
        gathered_request("r")
    );
    let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", Id::as_str))
        .bind(i64::from(limit));
    if !all_of_account {
        query = query.bind(words(&filter.states));
    }
    if let Some(user) = &filter.user {
        query = query.bind(user.as_str());
    }
    let json: String = query.fetch_one(connection).await.map_err(store_error)?;
    requests_in(&json)
}

/// Each state once; none named: all.
fn words(states: &[RequestState]) -> Vec<&'static str> {
    let states = if states.is_empty() {
        RequestState::ALL
    } else {
        states
    };
    let mut words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    words
}

pub(super) async fn events(
    connection: &mut Session,
    account: &Id,
    request: &Id,
) -> Result<Vec<RequestEvent>, StoreError> {
    let sql = format!(
        "SELECT coalesce(json_agg({} ORDER BY e.ordinal), '[]')::text
            FROM ambit.access_request_event AS e
            WHERE e.account_id = $1 AND e.access_request_id = $2",
        gathered_event("e")
    );
    let json: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(request.as_str())
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    parse("access_request_event", json.as_bytes(), EventRow::event)
}

/// Writes what happened; a trigger puts it into the outbox.
pub(super) async fn record(
    connection: &mut Session,
    account: &Id,
    events: &[RequestEvent],
) -> Result<(), StoreError> {
    let rows: Vec<_> = events.iter().map(event_columns).collect();
    let json = serde_json::to_string(&rows).map_err(not_json)?;
    let sql = format!(
        "INSERT INTO ambit.access_request_event (account_id, access_request_id, ordinal, kind, at,
            actor, from_state, to_state, note, resolution, resolution_id, resolution_type,
            resolution_permission, resolution_level, resolution_unassigned, resolution_expires_at,
            reason_before, reason_after)
        SELECT $1, v ->> 0, (v ->> 1)::int4, v ->> 2, {}, v ->> 4, v ->> 5, v ->> 6, v ->> 7,
            v ->> 8, v ->> 9, v ->> 10, v ->> 11, v ->> 12, (v ->> 13)::boolean, {}, v ->> 15,
            v ->> 16
        FROM json_array_elements($2::json) WITH ORDINALITY AS rows (v, nth) ORDER BY nth",
        time_of("v ->> 3"),
        time_of("v ->> 14")
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(json)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub(super) async fn last_denial(
    connection: &mut Session,
    account: &Id,
    user: &Id,
    target: &RequestTarget,
) -> Result<Option<Timestamp>, StoreError> {
    let resource = match &target.resource_id {
        Some(_) => "= $5",
        None => "IS NULL",
    };
    let sql = format!(
        "SELECT {} FROM ambit.access_request WHERE state = 'denied' AND account_id = $1
            AND user_id = $2 AND resource_type = $3 AND action = $4 AND resource_id {resource}",
        micros_of("max(closed_at)")
    );
    let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(user.as_str())
        .bind(target.resource_type.as_str())
        .bind(target.action.as_str());
    if let Some(resource) = &target.resource_id {
        query = query.bind(resource.as_str());
    }
    let micros: Option<i64> = query.fetch_one(connection).await.map_err(store_error)?;
    moment(user, "closed_at", micros)
}

pub(super) async fn accounts_with_pending(
    connection: &mut Session,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<PendingAccount>, StoreError> {
    let sql = format!(
        "SELECT h.revision, h.nonce, p.account_id, p.pending, {}
            FROM (SELECT account_id, count(*) AS pending, min(expires_at) AS next
                FROM ambit.access_request WHERE state = 'pending' AND account_id > $1
                GROUP BY account_id ORDER BY account_id LIMIT $2) AS p
            JOIN ambit.account_head AS h ON h.account_id = p.account_id
            ORDER BY p.account_id",
        micros_of("p.next")
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after.map_or("", Id::as_str))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| {
            let account: &str = row.try_get(2).map_err(store_error)?;
            let revision: i64 = row.try_get(0).map_err(store_error)?;
            let nonce: &[u8] = row.try_get(1).map_err(store_error)?;
            pending_account(
                account,
                rows::head(account, revision, nonce)?,
                row.try_get(3).map_err(store_error)?,
                row.try_get(4).map_err(store_error)?,
            )
        })
        .collect()
}

pub(super) async fn is_link_spent(
    connection: &mut Session,
    account: &Id,
    link: [u8; 16],
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM ambit.spent_link WHERE account_id = $1 AND link = $2)",
    )
    .bind(account.as_str())
    .bind(&link[..])
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

/// Of two that spend the same link at a time, one waits for the other and then finds it spent.
pub(super) async fn spend_link(
    connection: &mut Session,
    account: &Id,
    link: [u8; 16],
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // That it was spent may be forgotten by now.
    if expires_at <= now {
        return Ok(false);
    }
    let forget = format!(
        "DELETE FROM ambit.spent_link AS s USING (
            SELECT account_id, link FROM ambit.spent_link WHERE expires_at <= {}
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS expired
            WHERE s.account_id = expired.account_id AND s.link = expired.link",
        time_of("$1")
    );
    sqlx::query(sqlx::AssertSqlSafe(forget))
        .bind(now.unix_micros())
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let spend = format!(
        "INSERT INTO ambit.spent_link (account_id, link, expires_at)
            SELECT account_id, $2, {} FROM ambit.account WHERE account_id = $1
            ON CONFLICT DO NOTHING",
        time_of("$3")
    );
    let spent = sqlx::query(sqlx::AssertSqlSafe(spend))
        .bind(account.as_str())
        .bind(&link[..])
        .bind(expires_at.unix_micros())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(spent.rows_affected() == 1)
}
