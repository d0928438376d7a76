//! The audit: a record of each write in its own transaction, read in steps, trimmed by age.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::error::store_error;
use super::read;
use crate::authz::model::{EntityKey, Id, Timestamp};
use crate::store::audit::{
    AuditColumns, AuditEffect, AuditFilter, AuditKind, AuditPage, AuditRecord, AuditStep,
    AuditedCeiling, Author, ENTITIES_MAX, SCANNED_MAX, Told, parts,
};
use crate::store::change_keys::entity_key;
use crate::store::difference::Wanted;
use crate::store::{IdempotencyKey, StoreError};

/// The database's own time, as in its triggers.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000";

/// Says that our own transaction makes or deletes an account, which it records itself.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    account: &Id,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit_author (account_id) VALUES (?1)")
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub(super) async fn end(connection: &mut SqliteConnection, account: &Id) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM audit_author WHERE account_id = ?1")
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// What a record is about.
pub(super) struct Made<'a> {
    pub(super) account: &'a Id,
    pub(super) revision: u64,
    pub(super) effect: AuditEffect,
    pub(super) idempotency: Option<IdempotencyKey<'a>>,
}

pub(super) async fn record(
    connection: &mut SqliteConnection,
    author: &Author,
    made: Made<'_>,
    told: &Told,
) -> Result<(), StoreError> {
    let ceiling = author.ceiling().map(AuditedCeiling::to_json).transpose()?;
    let sql = format!(
        "INSERT INTO audit_record (account_id, revision, effect, at, caller, actor, method,
                idempotency_key, request_id, entities, counts, is_partial, ceiling)
            VALUES (?1, ?2, ?3, {NOW}, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(made.account.as_str())
        .bind(i64::try_from(made.revision).unwrap_or(i64::MAX))
        .bind(made.effect.as_str())
        .bind(author.caller())
        .bind(author.actor().map(Id::as_str))
        .bind(author.method())
        .bind(made.idempotency.map(|key| key.key.as_str()))
        .bind(author.request_id())
        .bind(&told.entities)
        .bind(&told.counts)
        .bind(told.is_partial)
        .bind(ceiling.map(|ceiling| ceiling.to_string()))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Records what was done about access requests and changed nothing of the account.
pub(super) async fn note<'a>(
    connection: &mut SqliteConnection,
    author: &Author,
    made: Made<'_>,
    requests: impl Iterator<Item = &'a Id>,
) -> Result<(), StoreError> {
    let requests: BTreeSet<EntityKey> = requests.cloned().map(EntityKey::AccessRequest).collect();
    let count = u64::try_from(requests.len()).unwrap_or(u64::MAX);
    let counts = BTreeMap::from([(AuditKind::AccessRequest.to_string(), count)]);
    let told = Told::of(requests.iter().map(|key| (key, false)), &counts, false)?;
    record(connection, author, made, &told).await
}

/// The same of one request; `false`: there is no such account.
pub(super) async fn note_one(
    connection: &mut SqliteConnection,
    account: &Id,
    request: &Id,
    author: &Author,
) -> Result<bool, StoreError> {
    let Some(head) = read::head(&mut *connection, account).await? else {
        return Ok(false);
    };
    let made = Made {
        account,
        revision: head.revision,
        effect: AuditEffect::Noted,
        idempotency: None,
    };
    note(connection, author, made, std::iter::once(request)).await?;
    Ok(true)
}

/// That a notification of no access request is sent once more.
pub(super) async fn note_notification(
    connection: &mut SqliteConnection,
    account: &Id,
    author: &Author,
) -> Result<(), StoreError> {
    let Some(head) = read::head(&mut *connection, account).await? else {
        return Ok(());
    };
    let made = Made {
        account,
        revision: head.revision,
        effect: AuditEffect::Noted,
        idempotency: None,
    };
    let counts = BTreeMap::from([("notification".to_owned(), 1)]);
    let told = Told::of(std::iter::empty(), &counts, false)?;
    record(connection, author, made, &told).await
}

/// What a revision changed, what a deletion took along included, out of the change log.
pub(super) async fn logged(
    connection: &mut SqliteConnection,
    account: &Id,
    revision: u64,
    wanted: &Wanted<'_>,
) -> Result<Told, StoreError> {
    let revision = i64::try_from(revision).unwrap_or(i64::MAX);
    let counted = sqlx::query(
        "SELECT kind, count(*) FROM change_log WHERE account_id = ?1 AND revision = ?2
            GROUP BY kind",
    )
    .bind(account.as_str())
    .bind(revision)
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let mut counts = BTreeMap::new();
    for row in &counted {
        let kind = read::text(row, 0, "change_log", "kind")?.to_owned();
        let count: i64 = row.try_get(1).map_err(store_error)?;
        counts.insert(kind, u64::try_from(count).unwrap_or(0));
    }
    let rows = sqlx::query(
        "SELECT kind, resource_type, id FROM change_log WHERE account_id = ?1 AND revision = ?2
            ORDER BY CASE kind WHEN 'account' THEN 0 WHEN 'team' THEN 1 WHEN 'permission_set' THEN 2
                WHEN 'user' THEN 3 WHEN 'access_group' THEN 4 WHEN 'segment' THEN 5
                WHEN 'access_request' THEN 6 ELSE 7 END, resource_type, id
            LIMIT ?3",
    )
    .bind(account.as_str())
    .bind(revision)
    .bind(i64::try_from(ENTITIES_MAX).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    // An id in no valid text, of a row that went along, names nothing; it is counted.
    let keys: Vec<EntityKey> = rows.iter().filter_map(|row| key_of(row).ok()).collect();
    let first = keys
        .iter()
        .map(|key| (key, matches!(wanted.get(key), Some(None))));
    Told::of(first, &counts, false)
}

fn key_of(row: &SqliteRow) -> Result<EntityKey, StoreError> {
    let column = |index, column| read::text(row, index, "change_log", column);
    entity_key(
        column(0, "kind")?,
        column(1, "resource_type")?,
        column(2, "id")?,
    )
}

pub(super) async fn records(
    connection: &mut SqliteConnection,
    account: &Id,
    filter: &AuditFilter,
    step: AuditStep,
) -> Result<AuditPage, StoreError> {
    let (beyond, direction) = step.sql();
    let sql = format!(
        "SELECT ordinal FROM audit_record WHERE account_id = ?1 AND ordinal {beyond} ?2
            ORDER BY ordinal {direction} LIMIT 1 OFFSET ?3"
    );
    let last: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(step.bound())
        .bind(SCANNED_MAX - 1)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    let scanned = match (last, direction) {
        (None, _) => "?3 IS NULL",
        (Some(_), "ASC") => "ordinal <= ?3",
        (Some(_), _) => "ordinal >= ?3",
    };
    let sql = format!(
        "SELECT ordinal, revision, effect, at, caller, actor, method, idempotency_key, request_id,
                entities, counts, is_partial, ceiling
            FROM audit_record WHERE account_id = ?1 AND ordinal {beyond} ?2 AND {scanned}
                AND (?4 IS NULL OR caller = ?4) AND (?5 IS NULL OR actor = ?5)
                AND (?6 IS NULL OR at >= ?6) AND (?7 IS NULL OR at < ?7)
                AND (?8 IS NULL OR is_partial
                    OR EXISTS (SELECT 1 FROM json_each(entities) AS e WHERE e.value ->> 'k' = ?8
                        AND e.value ->> 't' = ?9 AND e.value ->> 'i' = ?10)
                    OR coalesce(counts ->> ?8, 0) > (SELECT count(*) FROM json_each(entities) AS e
                        WHERE e.value ->> 'k' = ?8))
                AND (?12 IS NULL OR is_partial OR counts ->> ?12 IS NOT NULL)
            ORDER BY ordinal {direction} LIMIT ?11"
    );
    let entity = filter.entity.as_ref().map(parts);
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(step.bound())
        .bind(last)
        .bind(filter.caller.as_deref())
        .bind(filter.actor.as_ref().map(Id::as_str))
        .bind(filter.since.map(Timestamp::unix_micros))
        .bind(filter.until.map(Timestamp::unix_micros))
        .bind(entity.map(|(kind, ..)| kind))
        .bind(entity.map(|(_, resource_type, _)| resource_type))
        .bind(entity.map(|(.., id)| id))
        .bind(i64::from(step.limit) + 1)
        .bind(filter.kind.map(AuditKind::as_str))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let records = rows.iter().map(record_of).collect::<Result<_, _>>()?;
    Ok(AuditPage::of(records, step.limit, last))
}

fn record_of(row: &SqliteRow) -> Result<AuditRecord, StoreError> {
    // What a plain writer stored may be no valid text.
    let text = |index: usize| -> Result<String, StoreError> {
        let bytes: &[u8] = row.try_get(index).map_err(store_error)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    };
    let optional = |index: usize| -> Result<Option<String>, StoreError> {
        let bytes: Option<&[u8]> = row.try_get(index).map_err(store_error)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    AuditColumns {
        ordinal: row.try_get(0).map_err(store_error)?,
        revision: row.try_get(1).map_err(store_error)?,
        effect: &text(2)?,
        at: row.try_get(3).map_err(store_error)?,
        caller: optional(4)?,
        actor: optional(5)?,
        method: optional(6)?,
        idempotency_key: optional(7)?,
        request_id: optional(8)?,
        entities: &text(9)?,
        counts: &text(10)?,
        is_partial: row.try_get(11).map_err(store_error)?,
        ceiling: optional(12)?.as_deref(),
    }
    .record()
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
    sqlx::query("INSERT INTO audit_trim (before) VALUES (?1)")
        .bind(before.unix_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    let sql = format!(
        "DELETE FROM audit_record WHERE ordinal IN (
            SELECT ordinal FROM audit_record WHERE at < ?1 AND at < {NOW} - 86400000000
            ORDER BY at LIMIT ?2)"
    );
    let trimmed = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.unix_micros())
        .bind(limit)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM audit_trim")
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(trimmed.rows_affected())
}
