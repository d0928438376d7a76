//! What changed after a revision: the logged keys and the present state of what they name, in one
//! read transaction.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::error::store_error;
use super::read;
use crate::authz::model::{EntityKey, Id, Timestamp};
use crate::store::change_keys::{KEYS_MAX, entity_key, puts_then_deletes};
use crate::store::rows::inconsistent;
use crate::store::{Changes, Head, Nonce, StoreError};

/// One more than that tells that there are too many.
#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const KEYS_READ: i64 = KEYS_MAX as i64 + 1;

pub(super) async fn changes_since(
    readers: &SqlitePool,
    account: &Id,
    have: Head,
) -> Result<Changes, StoreError> {
    let mut transaction = readers.begin().await.map_err(store_error)?;
    let Some(head) = read::head(&mut transaction, account).await? else {
        return Ok(Changes::Gone);
    };
    if head == have {
        return Ok(Changes::None);
    }
    let steps = match head.revision.checked_sub(have.revision) {
        Some(steps @ 1..) if steps <= KEYS_MAX as u64 => steps,
        // Ahead of the database, the same number of another history, or far behind.
        _ => return Ok(Changes::Reload),
    };
    if nonce_at(&mut transaction, account, have.revision).await? != Some(have.nonce) {
        return Ok(Changes::Reload);
    }
    let history = history(&mut transaction, account, have.revision).await?;
    if history.len() as u64 != steps || history.last() != Some(&head) {
        return Ok(Changes::Reload);
    }
    if !is_logged_whole(&mut transaction, account, have.revision, &history).await? {
        return Ok(Changes::Reload);
    }
    let Some(keys) = changed_keys(&mut transaction, account, have.revision).await? else {
        return Ok(Changes::Reload);
    };
    let present = read::entities(&mut transaction, account, &keys).await?;
    Ok(Changes::Delta {
        head,
        history,
        changes: puts_then_deletes(present, &keys),
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

/// Revisions after one, oldest first.
async fn history(
    connection: &mut SqliteConnection,
    account: &Id,
    after: u64,
) -> Result<Vec<Head>, StoreError> {
    sqlx::query(
        "SELECT revision, nonce FROM revision_log WHERE account_id = ?1 AND revision > ?2
            ORDER BY revision",
    )
    .bind(account.as_str())
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(store_error)?
    .iter()
    .map(|row| read::head_of(row, account.as_str()))
    .collect()
}

/// Keys logged after a revision, each once; `None`: too many, one that can't be read, or the log
/// says to reload.
async fn changed_keys(
    connection: &mut SqliteConnection,
    account: &Id,
    after: u64,
) -> Result<Option<Vec<EntityKey>>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT kind, resource_type, id FROM change_log
            WHERE account_id = ?1 AND revision > ?2 LIMIT ?3",
    )
    .bind(account.as_str())
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(KEYS_READ)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    if rows.len() > KEYS_MAX {
        return Ok(None);
    }
    // A key that can't be read (an id that a plain SQL writer stored in no valid UTF-8) names
    // nothing: a load of the whole finds out whether what it belonged to is still there.
    Ok(rows
        .iter()
        .map(key_of)
        .collect::<Option<BTreeSet<_>>>()
        .map(Vec::from_iter))
}

/// `None` for a row that says to reload, or that can't be read.
fn key_of(row: &SqliteRow) -> Option<EntityKey> {
    let kind = read::text(row, 0, "change_log", "kind").ok()?;
    let resource_type = read::text(row, 1, "change_log", "resource_type").ok()?;
    let id = read::text(row, 2, "change_log", "id").ok()?;
    entity_key(kind, resource_type, id).ok()
}

/// Whether every revision after one has a row in the log: where rows were taken out by hand, what
/// they told is not known.
async fn is_logged_whole(
    connection: &mut SqliteConnection,
    account: &Id,
    after: u64,
    history: &[Head],
) -> Result<bool, StoreError> {
    let logged: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT revision) FROM change_log WHERE account_id = ?1 AND revision > ?2",
    )
    .bind(account.as_str())
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(usize::try_from(logged).is_ok_and(|logged| logged >= history.len()))
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
