//! The audit: who writes is announced to the triggers, which write the records; they are read in
//! steps and trimmed by age.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::apply::queue_up;
use super::error::store_error;
use super::read;
use super::requests::micros_of;
use super::session::Session;
use crate::authz::model::{Id, Timestamp};
use crate::store::audit::{
    AuditColumns, AuditFilter, AuditKind, AuditPage, AuditRecord, AuditStep, AuditedCeiling,
    Author, SCANNED_MAX, parts,
};
use crate::store::{IdempotencyKey, StoreError};

/// Who writes to an account, as the setting of the transaction that the triggers read.
pub(super) fn announced(
    account: &Id,
    author: &Author,
    idempotency: Option<IdempotencyKey<'_>>,
) -> Result<String, StoreError> {
    let ceiling = author.ceiling().map(AuditedCeiling::to_json).transpose()?;
    let announced = serde_json::json!({
        "account": account.as_str(),
        "caller": author.caller(),
        "actor": author.actor(),
        "method": author.method(),
        "key": idempotency.map(|key| key.key.as_str()),
        "request": author.request_id(),
        "ceiling": ceiling,
    });
    Ok(announced.to_string())
}

/// Records a write of which the ceiling left nothing to change.
pub(super) async fn note_ceiling(connection: &mut Session, account: &Id) -> Result<(), StoreError> {
    sqlx::query("SELECT ambit.audit_ceiling($1)")
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Records what was done about access requests and came without a revision.
pub(super) async fn note(
    connection: &mut Session,
    account: &Id,
    requests: impl Iterator<Item = &Id>,
) -> Result<(), StoreError> {
    let mut requests: Vec<&str> = requests.map(Id::as_str).collect();
    requests.sort_unstable();
    requests.dedup();
    sqlx::query("SELECT ambit.audit_events($1, $2)")
        .bind(account.as_str())
        .bind(requests)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Records that a notification of no access request is sent once more; its account is announced.
pub(super) async fn note_notification(
    connection: &mut Session,
    account: &Id,
) -> Result<(), StoreError> {
    sqlx::query("SELECT ambit.audit_notification($1)")
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// The same of one request, in a transaction of its own; `false`: there is no such account.
pub(super) async fn note_one(
    connection: &mut Session,
    account: &Id,
    request: &Id,
    author: &Author,
) -> Result<bool, StoreError> {
    queue_up(connection, account, &announced(account, author, None)?).await?;
    note(connection, account, std::iter::once(request)).await?;
    // The note locks the head where there is one, and is none where there is not.
    Ok(read::head(connection, account).await?.is_some())
}

pub(super) async fn records(
    connection: &mut Session,
    account: &Id,
    filter: &AuditFilter,
    step: AuditStep,
) -> Result<AuditPage, StoreError> {
    let (beyond, direction) = step.sql();
    let sql = format!(
        "SELECT ordinal FROM ambit.audit_record WHERE account_id = $1 AND ordinal {beyond} $2
            ORDER BY ordinal {direction} LIMIT 1 OFFSET $3"
    );
    let last: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(step.bound())
        .bind(i64::from(SCANNED_MAX) - 1)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    let scanned = match (last, direction) {
        (None, _) => "$3::int8 IS NULL",
        (Some(_), "ASC") => "ordinal <= $3::int8",
        (Some(_), _) => "ordinal >= $3::int8",
    };
    let sql = format!(
        "SELECT ordinal, revision, effect, {at}, caller, actor, method, idempotency_key, request_id,
                entities::text, counts::text, is_partial, ceiling::text
            FROM ambit.audit_record AS r
            WHERE account_id = $1 AND ordinal {beyond} $2 AND {scanned}
                AND ($4::text IS NULL OR caller = $4) AND ($5::text IS NULL OR actor = $5)
                AND ($6::timestamptz IS NULL OR at >= $6::timestamptz)
                AND ($7::timestamptz IS NULL OR at < $7::timestamptz)
                AND ($8::text IS NULL OR is_partial
                    OR entities @> jsonb_build_array(jsonb_build_object('k', $8, 't', $9::text, 'i', $10::text))
                    OR coalesce((counts ->> $8)::int8, 0) > (SELECT count(*)
                        FROM jsonb_array_elements(entities) AS e WHERE e ->> 'k' = $8))
                AND ($12::text IS NULL OR is_partial OR counts ->> $12 IS NOT NULL)
            ORDER BY ordinal {direction} LIMIT $11",
        at = micros_of("at"),
    );
    let entity = filter.entity.as_ref().map(parts);
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(step.bound())
        .bind(last)
        .bind(filter.caller.as_deref())
        .bind(filter.actor.as_ref().map(Id::as_str))
        .bind(filter.since.map(|moment| moment.to_string()))
        .bind(filter.until.map(|moment| moment.to_string()))
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

fn record_of(row: &PgRow) -> Result<AuditRecord, StoreError> {
    AuditColumns {
        ordinal: row.try_get(0).map_err(store_error)?,
        revision: row.try_get(1).map_err(store_error)?,
        effect: row.try_get(2).map_err(store_error)?,
        at: row.try_get(3).map_err(store_error)?,
        caller: row.try_get(4).map_err(store_error)?,
        actor: row.try_get(5).map_err(store_error)?,
        method: row.try_get(6).map_err(store_error)?,
        idempotency_key: row.try_get(7).map_err(store_error)?,
        request_id: row.try_get(8).map_err(store_error)?,
        entities: row.try_get(9).map_err(store_error)?,
        counts: row.try_get(10).map_err(store_error)?,
        is_partial: row.try_get(11).map_err(store_error)?,
        ceiling: row.try_get(12).map_err(store_error)?,
    }
    .record()
}

pub(super) async fn trim(
    connection: &mut Session,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let trimmed: i64 = sqlx::query_scalar("SELECT ambit.trim_audit($1::timestamptz, $2)")
        .bind(before.to_string())
        .bind(i64::from(limit))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(u64::try_from(trimmed).unwrap_or(0))
}
