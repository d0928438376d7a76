//! What changed after a revision: the logged keys and the present state of what they name, in one
//! read transaction.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::error::store_error;
use super::read;
use crate::authz::model::{EntityKey, Id, Timestamp};
use crate::store::change_keys::entity_key;
use crate::store::rows::inconsistent;
use crate::store::steps::{Logged, ROWS_READ, Since};
use crate::store::{Changes, Head, Nonce, StoreError};

pub(super) async fn changes_since(
    readers: &SqlitePool,
    account: &Id,
    have: Head,
) -> Result<Changes, StoreError> {
    let mut transaction = readers.begin().await.map_err(store_error)?;
    let logged = logged_since(&mut transaction, account, have.revision).await?;
    Ok(match logged.since(have) {
        Since::Answer(answer) => answer,
        Since::Steps(steps) => {
            let present = read::entities(&mut transaction, account, steps.keys()).await?;
            steps.with(present)
        }
    })
}

pub(super) async fn nonce_at(
    connection: &mut SqliteConnection,
    account: &Id,
    revision: u64,
) -> Result<Option<Nonce>, StoreError> {
    // A number that SQLite can't hold was never given to a revision.
    let Ok(number) = i64::try_from(revision) else {
        return Ok(None);
    };
    let nonce: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT nonce FROM revision_log WHERE account_id = ?1 AND revision = ?2",
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

/// What the log has after a revision.
async fn logged_since(
    connection: &mut SqliteConnection,
    account: &Id,
    from: u64,
) -> Result<Logged, StoreError> {
    let rows = sqlx::query(
        "WITH history AS (
            SELECT revision, nonce FROM revision_log
                WHERE account_id = ?1 AND revision BETWEEN ?2 AND ?2 + ?3),
        logged AS (
            SELECT c.revision, c.kind, c.resource_type, c.id
                FROM history AS h CROSS JOIN change_log AS c
                ON c.account_id = ?1 AND c.revision = h.revision WHERE h.revision > ?2)
        SELECT revision, nonce, 0, '', '', '' FROM account_head WHERE account_id = ?1
        UNION ALL
        SELECT revision, nonce, 1, '', '', '' FROM history
        UNION ALL
        SELECT * FROM (SELECT DISTINCT (SELECT count(DISTINCT revision) FROM logged), x'', 2,
            kind, resource_type, id FROM logged LIMIT ?3)",
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
        match row.try_get::<i64, _>(2).map_err(store_error)? {
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
fn key_of(row: &SqliteRow) -> Option<EntityKey> {
    let kind = read::text(row, 3, "change_log", "kind").ok()?;
    let resource_type = read::text(row, 4, "change_log", "resource_type").ok()?;
    let id = read::text(row, 5, "change_log", "id").ok()?;
    entity_key(kind, resource_type, id).ok()
}

/// A revision is needed for as long as a reader may stand at it, so its age counts from the one
/// after it: the newest of an account stays however old it is.
pub(super) async fn trim_history(
    writer: &SqlitePool,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let trimmed = sqlx::query(
        "DELETE FROM revision_log WHERE (account_id, revision) IN (
            SELECT account_id, revision - 1 FROM revision_log AS later
            WHERE at < ?1 AND EXISTS (SELECT 1 FROM revision_log AS earlier
                WHERE earlier.account_id = later.account_id
                AND earlier.revision = later.revision - 1)
            ORDER BY at LIMIT ?2)",
    )
    .bind(before.unix_micros())
    .bind(limit)
    .execute(writer)
    .await
    .map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
