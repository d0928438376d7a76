//! Access requests, their events, and links that were spent.
//!
//! History grows without end, so each statement reads an index in the order that it answers in.

use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Row, Sqlite, SqliteConnection};

use super::error::store_error;
use super::read;
use crate::authz::access_request::{AccessRequest, RequestEvent, RequestState, RequestTarget};
use crate::authz::model::{Id, Timestamp};
use crate::store::request_rows::{
    Columns, EVENT, EventRow, REQUEST, RequestRow, event_columns, gathered, moment, parse,
    pending_account,
};
use crate::store::rows::not_json;
use crate::store::{PendingAccount, RequestFilter, StoreError};

/// Spent links that one call forgets at most.
const FORGOTTEN_AT_ONCE: i64 = 100;

/// The JSON of a row that goes by `alias`.
pub(super) fn gathered_row(columns: &Columns, alias: &str) -> String {
    format!("json_array({})", gathered(columns, alias, str::to_owned))
}

pub(super) fn gathered_request(alias: &str) -> String {
    gathered_row(REQUEST, alias)
}

pub(super) fn gathered_event(alias: &str) -> String {
    gathered_row(EVENT, alias)
}

/// The one row of JSON that a statement answers.
pub(super) async fn json_of(
    connection: &mut SqliteConnection,
    query: sqlx::query::Query<'_, Sqlite, SqliteArguments>,
) -> Result<Vec<u8>, StoreError> {
    let row: SqliteRow = query.fetch_one(connection).await.map_err(store_error)?;
    let json: &[u8] = row.try_get(0).map_err(store_error)?;
    Ok(json.to_vec())
}

pub(super) async fn request(
    connection: &mut SqliteConnection,
    account: &Id,
    id: &Id,
) -> Result<Option<AccessRequest>, StoreError> {
    let sql = format!(
        "SELECT json_group_array({}) FROM access_request AS r
            WHERE account_id = ?1 AND access_request_id = ?2",
        gathered_request("r")
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(id.as_str());
    let json = json_of(connection, query).await?;
    Ok(requests_in(&json)?.pop())
}

fn requests_in(json: &[u8]) -> Result<Vec<AccessRequest>, StoreError> {
    parse("access_request", json, RequestRow::request)
}

/// A state at a time, each in the order of its index, so that no more of the history is read than
/// is asked for.
pub(super) async fn requests(
    connection: &mut SqliteConnection,
    account: &Id,
    filter: &RequestFilter,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<AccessRequest>, StoreError> {
    let found = if filter.states.is_empty() && filter.user.is_none() {
        "SELECT * FROM access_request WHERE account_id = ?1 AND access_request_id > ?2
            ORDER BY access_request_id LIMIT ?3"
            .to_owned()
    } else {
        let user = match &filter.user {
            Some(_) => "AND user_id = ?4",
            None => "",
        };
        let of_states: Vec<String> = each_once(&filter.states)
            .into_iter()
            .map(|state| {
                format!(
                    "SELECT * FROM (SELECT * FROM access_request
                        WHERE account_id = ?1 AND state = '{state}' {user}
                            AND access_request_id > ?2
                        ORDER BY access_request_id LIMIT ?3)"
                )
            })
            .collect();
        format!(
            "SELECT * FROM ({}) ORDER BY access_request_id LIMIT ?3",
            of_states.join(" UNION ALL ")
        )
    };
    let sql = format!(
        "SELECT json_group_array({}) FROM ({found}) AS r",
        gathered_request("r")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", Id::as_str))
        .bind(limit);
    if let Some(user) = &filter.user {
        query = query.bind(user.as_str());
    }
    let json = json_of(connection, query).await?;
    requests_in(&json)
}

/// Each state once; none named: all.
fn each_once(states: &[RequestState]) -> Vec<RequestState> {
    let mut states = if states.is_empty() {
        RequestState::ALL.to_vec()
    } else {
        states.to_vec()
    };
    states.sort_unstable();
    states.dedup();
    states
}

pub(super) async fn events(
    connection: &mut SqliteConnection,
    account: &Id,
    request: &Id,
) -> Result<Vec<RequestEvent>, StoreError> {
    let sql = format!(
        "SELECT json_group_array({}) FROM (SELECT * FROM access_request_event
            WHERE account_id = ?1 AND access_request_id = ?2 ORDER BY ordinal) AS e",
        gathered_event("e")
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(request.as_str());
    let json = json_of(connection, query).await?;
    parse("access_request_event", &json, EventRow::event)
}

/// Writes what happened; a trigger puts it into the outbox.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    account: &Id,
    events: &[RequestEvent],
) -> Result<(), StoreError> {
    let rows: Vec<_> = events.iter().map(event_columns).collect();
    sqlx::query(
        "INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at,
            actor, from_state, to_state, note, resolution, resolution_id, resolution_type,
            resolution_permission, resolution_level, resolution_unassigned, resolution_expires_at,
            reason_before, reason_after)
        SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11,
            value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16
        FROM json_each(?2)",
    )
    .bind(account.as_str())
    .bind(serde_json::to_string(&rows).map_err(not_json)?)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub(super) async fn last_denial(
    connection: &mut SqliteConnection,
    account: &Id,
    user: &Id,
    target: &RequestTarget,
) -> Result<Option<Timestamp>, StoreError> {
    let micros: Option<i64> = sqlx::query_scalar(
        "SELECT max(closed_at) FROM access_request WHERE state = 'denied' AND account_id = ?1
            AND user_id = ?2 AND resource_type = ?3 AND action = ?4 AND resource_id IS ?5",
    )
    .bind(account.as_str())
    .bind(user.as_str())
    .bind(target.resource_type.as_str())
    .bind(target.action.as_str())
    .bind(target.resource_id.as_ref().map(Id::as_str))
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    moment(user, "closed_at", micros)
}

pub(super) async fn accounts_with_pending(
    connection: &mut SqliteConnection,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<PendingAccount>, StoreError> {
    sqlx::query(
        "SELECT h.revision, h.nonce, p.account_id, p.pending, p.next
            FROM (SELECT account_id, count(*) AS pending, min(expires_at) AS next
                FROM access_request WHERE state = 'pending' AND account_id > ?1
                GROUP BY account_id ORDER BY account_id LIMIT ?2) AS p
            JOIN account_head AS h ON h.account_id = p.account_id
            ORDER BY p.account_id",
    )
    .bind(after.map_or("", Id::as_str))
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(store_error)?
    .iter()
    .map(|row| {
        let account = read::text(row, 2, "access_request", "account_id")?;
        pending_account(
            account,
            read::head_of(row, account)?,
            row.try_get(3).map_err(store_error)?,
            row.try_get(4).map_err(store_error)?,
        )
    })
    .collect()
}

pub(super) async fn is_link_spent(
    connection: &mut SqliteConnection,
    account: &Id,
    link: [u8; 16],
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM spent_link WHERE account_id = ?1 AND link = ?2)",
    )
    .bind(account.as_str())
    .bind(&link[..])
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

pub(super) async fn spend_link(
    writer: &SqlitePool,
    account: &Id,
    link: [u8; 16],
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // That it was spent may be forgotten by now.
    if expires_at <= now {
        return Ok(false);
    }
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM spent_link WHERE (account_id, link) IN (
            SELECT account_id, link FROM spent_link WHERE expires_at <= ?1
            ORDER BY expires_at LIMIT ?2)",
    )
    .bind(now.unix_micros())
    .bind(FORGOTTEN_AT_ONCE)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let spent = sqlx::query(
        "INSERT INTO spent_link (account_id, link, expires_at)
            SELECT account_id, ?2, ?3 FROM account WHERE account_id = ?1
            ON CONFLICT DO NOTHING",
    )
    .bind(account.as_str())
    .bind(&link[..])
    .bind(expires_at.unix_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(spent.rows_affected() == 1)
}
