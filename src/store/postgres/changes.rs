//! What changed after a revision: the logged keys and the present state of what they name, in one
//! read transaction.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::{LARGE, Lane, Mode, bounded};
use super::error::store_error;
use super::read;
use super::session::Session;
use crate::authz::model::{EntityKey, Id, Timestamp};
use crate::store::change_keys::entity_key;
use crate::store::rows::inconsistent;
use crate::store::steps::{Logged, ROWS_READ, Since};
use crate::store::{Changes, Head, Nonce, StoreError};

pub(super) async fn changes_since(
    loads: &Lane,
    account: &Id,
    have: Head,
) -> Result<Changes, StoreError> {
    let mut lease = loads.lease(Mode::Read).await?;
    let changes = read_changes(lease.connection()?, account, have).await;
    lease.settle(changes).await
}

async fn read_changes(
    connection: &mut Session,
    account: &Id,
    have: Head,
) -> Result<Changes, StoreError> {
    let logged = bounded(LARGE, logged_since(connection, account, have.revision)).await?;
    Ok(match logged.since(have) {
        Since::Answer(answer) => answer,
        Since::Steps(steps) => {
            let present = read::entities(connection, account, steps.keys()).await?;
            steps.with(present)
        }
    })
}

pub(super) async fn nonce_at(
    connection: &mut Session,
    account: &Id,
    revision: u64,
) -> Result<Option<Nonce>, StoreError> {
    // A number that the database can't hold was never given to a revision.
    let Ok(number) = i64::try_from(revision) else {
        return Ok(None);
    };
    let nonce: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT nonce FROM ambit.revision_log WHERE account_id = $1 AND revision = $2",
    )
    .bind(account.as_str())
    .bind(number)
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    nonce
        .map(|nonce| {
            nonce.try_into().map_err(|_| {
                inconsistent("revision_log", "nonce", account.as_str(), "not of 8 bytes")
            })
        })
        .transpose()
}

/// What the log has after a revision, in one statement, since each costs a round trip and a follower
/// waits for all of them.
async fn logged_since(
    connection: &mut Session,
    account: &Id,
    from: u64,
) -> Result<Logged, StoreError> {
    let rows = sqlx::query(
        "WITH history AS MATERIALIZED (
            SELECT revision, nonce, txid FROM ambit.revision_log
                WHERE account_id = $1 AND revision BETWEEN $2 AND $2 + $3),
        logged AS MATERIALIZED (
            SELECT h.revision, c.kind, c.resource_type, c.ids
                FROM history AS h JOIN ambit.change_log AS c
                ON c.account_id = $1 AND c.txid = h.txid WHERE h.revision > $2)
        SELECT revision, nonce, 0, '', '', '' FROM ambit.account_head WHERE account_id = $1
        UNION ALL
        SELECT revision, nonce, 1, '', '', '' FROM history
        UNION ALL
        (SELECT DISTINCT (SELECT count(DISTINCT revision) FROM logged), ''::bytea, 2,
                l.kind, l.resource_type, coalesce(k.id, '')
            FROM logged AS l LEFT JOIN LATERAL unnest(l.ids) AS k(id) ON true LIMIT $3)",
    )
    .bind(account.as_str())
    // So that the sum is a number too.
    .bind(
        i64::try_from(from)
            .unwrap_or(i64::MAX)
            .min(i64::MAX - ROWS_READ),
    )
    .bind(ROWS_READ)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut logged = Logged::default();
    for row in &rows {
        match row.try_get::<i32, _>(2).map_err(store_error)? {
            0 => logged.head = Some(read::head_of(row, account.as_str())?),
            1 => logged.history.push(read::head_of(row, account.as_str())?),
            _ => {
                let told: i64 = row.try_get(0).map_err(store_error)?;
                logged.told = usize::try_from(told).unwrap_or(0);
                logged.keys.push(key_of(row));
            }
        }
    }
    Ok(logged)
}

/// `None` for a row that says to load anew, or that can't be read.
fn key_of(row: &PgRow) -> Option<EntityKey> {
    let kind: &str = row.try_get(3).ok()?;
    let resource_type: &str = row.try_get(4).ok()?;
    let id: &str = row.try_get(5).ok()?;
    entity_key(kind, resource_type, id).ok()
}

/// A revision is needed for as long as a reader may stand at it, so its age counts from the one
/// after it: the newest of an account stays however old it is. Replicas that trim at the same time
/// take different rows.
pub(super) async fn trim_history(
    connection: &mut Session,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let trimmed: i64 = sqlx::query_scalar(
        "WITH old AS (
            SELECT e.account_id, e.revision FROM ambit.revision_log AS l
                JOIN ambit.revision_log AS e
                ON e.account_id = l.account_id AND e.revision = l.revision - 1
                WHERE l.at < $1::timestamptz ORDER BY l.at LIMIT $2
                FOR UPDATE OF e SKIP LOCKED),
        gone AS (
            DELETE FROM ambit.revision_log AS r USING old
                WHERE r.account_id = old.account_id AND r.revision = old.revision RETURNING 1)
        SELECT count(*) FROM gone",
    )
    .bind(before.to_string())
    .bind(i64::from(limit))
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(u64::try_from(trimmed).unwrap_or(0))
}
