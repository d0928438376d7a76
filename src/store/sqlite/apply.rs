//! One atomic write: the rows in which the touched entities differ from what is stored, one
//! revision, and the idempotency key, in one transaction.

use std::collections::BTreeMap;

use sqlx::sqlite::SqlitePool;
use sqlx::{Row, SqliteConnection};

use super::audit::{self, Made};
use super::batches;
use super::error::store_error;
use super::outbox;
use super::partners;
use super::read;
use super::requests;
use super::resources;
use super::statements::{put_sql, remove_sql};
use crate::authz::model::{Entity, EntityKey, Id};
use crate::authz::partner_event::PartnerNews;
use crate::store::audit::{AuditEffect, Author, Told};
use crate::store::change_keys::KEYS_MAX;
use crate::store::difference::{Difference, Wanted, by_key, described, difference, wanted};
use crate::store::partners::{LinkStep, locking_order, news_of};
use crate::store::rows::{answered, inconsistent};
use crate::store::tables::Table;
use crate::store::{Head, IdempotencyKey, RememberedWrite, StoreError, Write};

/// Revisions that are logged for those who follow; who is further behind reloads. As many as a
/// reader would follow at most.
const REVISIONS_KEPT: u64 = KEYS_MAX as u64;

/// Old revisions, and expired idempotency keys, that one write removes at most: the write that
/// finds many of them is no slower for it.
const TRIMMED_AT_ONCE: i64 = 16;

/// Rows that travel to SQLite in one value, and about how many bytes.
const ROWS_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 8 * 1024 * 1024;

/// Values of `account_head.writing`, see the schema.
const WRITING_LOGGED: i64 = 1;
const WRITING_RELOAD: i64 = 2;

pub(super) async fn apply(writer: &SqlitePool, write: Write<'_>) -> Result<Head, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let head = write_in(&mut transaction, write).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(head)
}

/// Several accounts, one after the other in the order in which every store locks them.
pub(super) async fn apply_across(
    writer: &SqlitePool,
    writes: &[Write<'_>],
    link: Option<&LinkStep>,
    news: &[PartnerNews],
) -> Result<Vec<Head>, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let mut heads = BTreeMap::new();
    for at in locking_order(writes)? {
        let Some(write) = writes.get(at) else {
            continue;
        };
        let head = write_in(&mut transaction, write.clone()).await?;
        if let Some(step) = link.filter(|step| step.account == *write.account) {
            partners::record(&mut transaction, step, write.author, head.revision).await?;
        }
        let told = news_of(write.account, news);
        if !told.is_empty() {
            outbox::record_news(&mut transaction, write.account, &told).await?;
        }
        heads.insert(at, head);
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(heads.into_values().collect())
}

async fn write_in(connection: &mut SqliteConnection, write: Write<'_>) -> Result<Head, StoreError> {
    let stored = read::head(connection, write.account).await?;
    if let Some(key) = write.idempotency
        && let Some(remembered) = remembered(connection, write.account, key).await?
    {
        // The same request again, which overtook the caller's own look: the answer is the same.
        // Another request under its key is for the caller to tell, who must look again.
        return if remembered.request_digest == key.request_digest {
            Ok(remembered.head)
        } else {
            Err(StoreError::Conflict)
        };
    }
    if stored != write.expected {
        return Err(StoreError::Conflict);
    }
    let wanted = wanted(write.account, write.changes)?;
    if stored.is_none() && !matches!(wanted.get(&EntityKey::Account), Some(Some(_))) {
        return Err(StoreError::Constraint {
            rule: "an account that does not exist must be put first".to_owned(),
        });
    }
    let present = match stored {
        Some(_) => present(connection, write.account, &wanted).await?,
        None => BTreeMap::new(),
    };
    let difference = difference(&present, &wanted)?;
    let head = match stored {
        Some(head) if difference.is_empty() => {
            record(connection, &write).await?;
            note_unchanged(connection, &write, head).await?;
            head
        }
        _ => {
            write_difference(connection, write.account, stored, &difference).await?;
            // Within the revision, since a revocation is logged in it.
            record(connection, &write).await?;
            let head = end_revision(connection, write.account).await?;
            audit_revision(connection, &write, (stored, head), &wanted, &difference).await?;
            head
        }
    };
    if let Some(key) = write.idempotency {
        remember(connection, write.account, key, head).await?;
    }
    if let Some(step) = write.batch {
        batches::record(connection, write.account, step, head).await?;
    }
    Ok(head)
}

/// Events tell of the states that were just written.
async fn record(connection: &mut SqliteConnection, write: &Write<'_>) -> Result<(), StoreError> {
    if write.events.is_empty() {
        return Ok(());
    }
    requests::record(connection, write.account, write.events).await
}

/// Writes the record of a revision.
async fn audit_revision(
    connection: &mut SqliteConnection,
    write: &Write<'_>,
    (stored, head): (Option<Head>, Head),
    wanted: &Wanted<'_>,
    difference: &Difference,
) -> Result<(), StoreError> {
    let told = match stored {
        Some(_) if !is_reload(difference) => {
            audit::logged(connection, write.account, head.revision, wanted).await?
        }
        // Of a new account nothing is logged, and of many changes that they are many.
        Some(_) => Told::of_wanted(wanted, true)?,
        None => Told::of_wanted(wanted, false)?,
    };
    let made = Made {
        account: write.account,
        revision: head.revision,
        effect: match stored {
            Some(_) => AuditEffect::Changed,
            None => AuditEffect::Created,
        },
        idempotency: write.idempotency,
    };
    audit::record(connection, write.author, made, &told).await
}

/// Writes the record of what comes without a revision: events, or a ceiling that left nothing to
/// change.
async fn note_unchanged(
    connection: &mut SqliteConnection,
    write: &Write<'_>,
    head: Head,
) -> Result<(), StoreError> {
    if write.events.is_empty() && write.author.ceiling().is_none() {
        return Ok(());
    }
    let made = Made {
        account: write.account,
        revision: head.revision,
        effect: AuditEffect::Noted,
        idempotency: write.idempotency,
    };
    if write.events.is_empty() {
        return audit::record(connection, write.author, made, &Told::of_nothing()).await;
    }
    let requests = write.events.iter().map(|event| &event.request);
    audit::note(connection, write.author, made, requests).await
}

/// The entities as they are stored, with attributes where these are written.
async fn present(
    connection: &mut SqliteConnection,
    account: &Id,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<EntityKey, Entity>, StoreError> {
    let described = described(wanted);
    let attributes = if described.is_empty() {
        Vec::new()
    } else {
        resources::attributes(connection, account, &described).await?
    };
    let keys: Vec<EntityKey> = wanted.keys().cloned().collect();
    let entities = read::entities(connection, account, &keys).await?;
    Ok(by_key(entities, attributes))
}

async fn write_difference(
    connection: &mut SqliteConnection,
    account: &Id,
    stored: Option<Head>,
    difference: &Difference,
) -> Result<(), StoreError> {
    match stored {
        Some(head) => {
            begin_revision(connection, account, is_reload(difference)).await?;
            trim(connection, account, head.revision).await?;
        }
        // The triggers give a new account its first revision; nobody can have followed it before.
        None => begin_account(connection, account, difference).await?,
    }
    let loosen = "INSERT INTO team (account_id, team_id, parent)
        SELECT ?1, value ->> 0, NULL FROM json_each(?2) WHERE true
        ON CONFLICT (account_id, team_id) DO UPDATE SET parent = NULL";
    for (table, rows) in &difference.removed {
        execute(connection, remove_sql(*table), account, rows).await?;
    }
    execute(connection, loosen, account, &difference.loosened).await?;
    for table in difference.tables_put() {
        for rows in [&difference.put, &difference.created] {
            let rows = rows.get(&table).map(Vec::as_slice).unwrap_or_default();
            execute(connection, put_sql(table), account, rows).await?;
        }
    }
    // What refers to others goes first, so that little is left to cascade.
    for (table, rows) in difference.deleted.iter().rev() {
        execute(connection, remove_sql(*table), account, rows).await?;
    }
    Ok(())
}

fn is_reload(difference: &Difference) -> bool {
    difference.len() > KEYS_MAX
}

/// Takes the revision under which the triggers then log. Where more changes than a reader would
/// follow, the log says so once instead.
async fn begin_revision(
    connection: &mut SqliteConnection,
    account: &Id,
    reload: bool,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE account_head SET revision = revision + 1, nonce = randomblob(8), writing = ?2
            WHERE account_id = ?1",
    )
    .bind(account.as_str())
    .bind(if reload {
        WRITING_RELOAD
    } else {
        WRITING_LOGGED
    })
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    if reload {
        sqlx::query(
            "INSERT INTO change_log (account_id, revision, kind, resource_type, id)
                SELECT account_id, revision, 'reload', '', '' FROM account_head
                WHERE account_id = ?1",
        )
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}

async fn begin_account(
    connection: &mut SqliteConnection,
    account: &Id,
    difference: &Difference,
) -> Result<(), StoreError> {
    audit::begin(connection, account).await?;
    if let Some(rows) = difference.created.get(&Table::Account) {
        execute(connection, put_sql(Table::Account), account, rows).await?;
    }
    audit::end(connection, account).await?;
    sqlx::query("UPDATE account_head SET writing = ?2 WHERE account_id = ?1")
        .bind(account.as_str())
        .bind(WRITING_RELOAD)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

async fn end_revision(connection: &mut SqliteConnection, account: &Id) -> Result<Head, StoreError> {
    let row = sqlx::query(
        "UPDATE account_head SET writing = 0 WHERE account_id = ?1 RETURNING revision, nonce",
    )
    .bind(account.as_str())
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    read::head_of(&row, account.as_str())
}

/// Puts or removes rows, as many to a statement as a value holds well.
async fn execute(
    connection: &mut SqliteConnection,
    sql: &'static str,
    account: &Id,
    rows: &[String],
) -> Result<(), StoreError> {
    let mut rows = rows.iter().peekable();
    while rows.peek().is_some() {
        let mut value = String::from("[");
        let mut count = 0;
        while count < ROWS_AT_ONCE
            && value.len() < BYTES_AT_ONCE
            && let Some(row) = rows.next()
        {
            if count > 0 {
                value.push(',');
            }
            value.push_str(row);
            count += 1;
        }
        value.push(']');
        sqlx::query(sql)
            .bind(account.as_str())
            .bind(value)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Removes the oldest revisions beyond those that are kept.
async fn trim(
    connection: &mut SqliteConnection,
    account: &Id,
    revision: u64,
) -> Result<(), StoreError> {
    let Some(oldest_gone) = revision
        .checked_sub(REVISIONS_KEPT)
        .and_then(|gone| i64::try_from(gone).ok())
        .filter(|gone| *gone > 0)
    else {
        return Ok(());
    };
    sqlx::query(
        "DELETE FROM revision_log WHERE account_id = ?1 AND revision IN (
            SELECT revision FROM revision_log WHERE account_id = ?1 AND revision <= ?2
            ORDER BY revision LIMIT ?3)",
    )
    .bind(account.as_str())
    .bind(oldest_gone)
    .bind(TRIMMED_AT_ONCE)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Remembers a write, over an expired one of the same key, and forgets a few that are expired.
async fn remember(
    connection: &mut SqliteConnection,
    account: &Id,
    key: IdempotencyKey<'_>,
    head: Head,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM idempotency WHERE account_id = ?1 AND key IN (
            SELECT key FROM idempotency WHERE account_id = ?1 AND at <= ?2 ORDER BY at LIMIT ?3)",
    )
    .bind(account.as_str())
    .bind(key.now_micros.saturating_sub(key.ttl_micros))
    .bind(TRIMMED_AT_ONCE)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "INSERT OR REPLACE INTO idempotency (account_id, key, request_digest, revision, nonce, at,
                answer)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(account.as_str())
    .bind(key.key.as_str())
    .bind(&key.request_digest[..])
    .bind(i64::try_from(head.revision).unwrap_or(i64::MAX))
    .bind(&head.nonce[..])
    .bind(key.now_micros)
    .bind(key.answer.map(Id::as_str))
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

pub(super) async fn delete_account(
    writer: &SqlitePool,
    account: &Id,
    expected: Option<Head>,
    author: &Author,
) -> Result<bool, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let stored = read::head(&mut transaction, account).await?;
    match (stored, expected) {
        (None, _) => return Ok(false),
        (Some(stored), Some(expected)) if stored != expected => return Err(StoreError::Conflict),
        (Some(_), _) => {}
    }
    audit::begin(&mut transaction, account).await?;
    sqlx::query("DELETE FROM account WHERE account_id = ?1")
        .bind(account.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    audit::end(&mut transaction, account).await?;
    let counts = BTreeMap::from([("account".to_owned(), 1)]);
    let told = Told::of([(&EntityKey::Account, true)], &counts, false)?;
    let made = Made {
        account,
        revision: 0,
        effect: AuditEffect::Deleted,
        idempotency: None,
    };
    audit::record(&mut transaction, author, made, &told).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(true)
}

/// The write that is remembered under a key, where its age is below the time to live.
pub(super) async fn remembered(
    connection: &mut SqliteConnection,
    account: &Id,
    key: IdempotencyKey<'_>,
) -> Result<Option<RememberedWrite>, StoreError> {
    let row = sqlx::query(
        "SELECT revision, nonce, request_digest, answer FROM idempotency
            WHERE account_id = ?1 AND key = ?2 AND at > ?3",
    )
    .bind(account.as_str())
    .bind(key.key.as_str())
    .bind(key.now_micros.saturating_sub(key.ttl_micros))
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        let digest: &[u8] = row.try_get(2).map_err(store_error)?;
        let answer: Option<&str> = row.try_get(3).map_err(store_error)?;
        Ok(RememberedWrite {
            head: read::head_of(&row, account.as_str())?,
            request_digest: digest.try_into().map_err(|_| {
                inconsistent(
                    "idempotency",
                    "request_digest",
                    key.key.as_str(),
                    "not of 32 bytes",
                )
            })?,
            answer: answered(key, answer)?,
        })
    })
    .transpose()
}
