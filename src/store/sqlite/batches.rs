//! Bulks of assignments: each step in the transaction of its changes.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqliteConnection};

use super::error::store_error;
use super::read;
use crate::authz::model::{Id, ResourceKey, Timestamp};
use crate::store::batches::{
    Batch, BatchColumns, BatchEntry, BatchStep, counted, entry_of, entry_text,
};
use crate::store::rows::not_json;
use crate::store::{Head, StoreError};

/// Writes a step, where the batch stands as the step expects it to.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    account: &Id,
    step: &BatchStep,
    head: Head,
) -> Result<(), StoreError> {
    let stored = batch(&mut *connection, account, &step.batch.id).await?;
    let stands = stored.map(|(batch, _)| (batch.is_done, batch.reached));
    if stands != step.before.clone().map(|reached| (false, reached)) {
        return Err(StoreError::Conflict);
    }
    let batch = &step.batch;
    let [changed, unchanged, refused, orphaned] = counted(batch.counts);
    let reached = batch.reached.as_ref();
    sqlx::query(
        "INSERT OR REPLACE INTO assignment_batch (account_id, batch_id, request_digest, kind,
                reached_type, reached_id, is_done, changed, unchanged, refused, orphaned, actor,
                begun_at, revision, nonce)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .bind(account.as_str())
    .bind(batch.id.as_str())
    .bind(&batch.request_digest[..])
    .bind(batch.kind.as_str())
    .bind(reached.map(|key| key.resource_type.as_str()))
    .bind(reached.map(|key| key.id.as_str()))
    .bind(batch.is_done)
    .bind(changed)
    .bind(unchanged)
    .bind(refused)
    .bind(orphaned)
    .bind(batch.actor.as_ref().map(Id::as_str))
    .bind(batch.begun_at.unix_micros())
    .bind(i64::try_from(head.revision).unwrap_or(i64::MAX))
    .bind(&head.nonce[..])
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    if step.entries.is_empty() {
        return Ok(());
    }
    let rows = step
        .entries
        .iter()
        .map(|entry| {
            let key = &entry.resource;
            Ok((&key.resource_type, &key.id, entry_text(entry)?))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    sqlx::query(
        "INSERT INTO assignment_batch_entry (account_id, batch_id, resource_type, resource_id, entry)
            SELECT ?1, ?2, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?3)",
    )
    .bind(account.as_str())
    .bind(batch.id.as_str())
    .bind(serde_json::to_string(&rows).map_err(not_json)?)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub(super) async fn batch(
    connection: &mut SqliteConnection,
    account: &Id,
    id: &Id,
) -> Result<Option<(Batch, Head)>, StoreError> {
    let row = sqlx::query(
        "SELECT revision, nonce, batch_id, request_digest, kind, reached_type, reached_id, is_done,
                changed, unchanged, refused, orphaned, actor, begun_at
            FROM assignment_batch WHERE account_id = ?1 AND batch_id = ?2",
    )
    .bind(account.as_str())
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| Ok((batch_of(&row)?, read::head_of(&row, account.as_str())?)))
        .transpose()
}

fn batch_of(row: &SqliteRow) -> Result<Batch, StoreError> {
    let reached_type: Option<&str> = row.try_get(5).map_err(store_error)?;
    let reached_id: Option<&str> = row.try_get(6).map_err(store_error)?;
    let count = |index: usize| row.try_get::<i64, _>(index).map_err(store_error);
    BatchColumns {
        id: row.try_get(2).map_err(store_error)?,
        request_digest: row.try_get(3).map_err(store_error)?,
        kind: row.try_get(4).map_err(store_error)?,
        reached: reached_type.zip(reached_id),
        is_done: row.try_get(7).map_err(store_error)?,
        counts: [count(8)?, count(9)?, count(10)?, count(11)?],
        actor: row.try_get(12).map_err(store_error)?,
        begun_at: row.try_get(13).map_err(store_error)?,
    }
    .batch()
}

pub(super) async fn entries(
    connection: &mut SqliteConnection,
    account: &Id,
    batch: &Id,
    after: Option<&ResourceKey>,
    limit: u32,
) -> Result<Vec<BatchEntry>, StoreError> {
    sqlx::query(
        "SELECT resource_type, resource_id, entry FROM assignment_batch_entry
            WHERE account_id = ?1 AND batch_id = ?2 AND (resource_type, resource_id) > (?3, ?4)
            ORDER BY resource_type, resource_id LIMIT ?5",
    )
    .bind(account.as_str())
    .bind(batch.as_str())
    .bind(after.map_or("", |key| key.resource_type.as_str()))
    .bind(after.map_or("", |key| key.id.as_str()))
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(store_error)?
    .iter()
    .map(|row| {
        entry_of(
            row.try_get(0).map_err(store_error)?,
            row.try_get(1).map_err(store_error)?,
            row.try_get(2).map_err(store_error)?,
        )
    })
    .collect()
}

pub(super) async fn trim(
    writer: &SqlitePool,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let mut gone = 0;
    for sql in [
        "DELETE FROM assignment_batch_entry
            WHERE (account_id, batch_id, resource_type, resource_id) IN (
                SELECT e.account_id, e.batch_id, e.resource_type, e.resource_id
                FROM assignment_batch AS b JOIN assignment_batch_entry AS e
                    ON e.account_id = b.account_id AND e.batch_id = b.batch_id
                WHERE b.begun_at < ?1 LIMIT ?2)",
        "DELETE FROM assignment_batch WHERE (account_id, batch_id) IN (
            SELECT b.account_id, b.batch_id FROM assignment_batch AS b
            WHERE b.begun_at < ?1 AND NOT EXISTS (SELECT 1 FROM assignment_batch_entry AS e
                WHERE e.account_id = b.account_id AND e.batch_id = b.batch_id) LIMIT ?2)",
    ] {
        gone += sqlx::query(sql)
            .bind(before.unix_micros())
            .bind(limit)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?
            .rows_affected();
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(gone)
}
