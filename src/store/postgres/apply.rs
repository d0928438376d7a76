//! One atomic write: the rows in which the touched entities differ from what is stored, one
//! revision, and the idempotency key, in one transaction.
//!
//! Our own writers of all replicas queue up for an account by an advisory lock, which plain SQL
//! writers never wait for. What these commit in the meantime shows when the revision is taken: it
//! must be the one after the expected head.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;

use super::audit::{announced, note, note_ceiling};
use super::batches;
use super::connect::{LARGE, Lane, Mode, SMALL, bounded};
use super::error::store_error;
use super::outbox;
use super::partners;
use super::read;
use super::requests;
use super::resources;
use super::session::Session;
use super::statements::{copied, copy_sql, put_sql, remove_sql, time_of};
use crate::authz::catalog::Catalog;
use crate::authz::model::{Entity, EntityKey, Id};
use crate::authz::partner_event::PartnerNews;
use crate::store::audit::Author;
use crate::store::difference::{Difference, Wanted, by_key, described, difference, wanted};
use crate::store::partners::{LinkStep, locking_order, news_of};
use crate::store::rows::{answered, inconsistent};
use crate::store::tables::Table;
use crate::store::{Head, IdempotencyKey, Nonce, RememberedWrite, StoreError, Write};

/// Rows of one table from which on COPY is worth its round trips.
const COPIED_FROM: usize = 500;

/// Rows that travel to the database in one value, and about how many bytes.
const ROWS_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 8 * 1024 * 1024;
/// Bytes of a piece of COPY.
const COPY_BYTES: usize = 256 * 1024;

/// Expired idempotency keys that one write removes at most.
const FORGOTTEN_AT_ONCE: i64 = 16;

/// An account goes in one statement, however large it is.
const DELETING: Duration = Duration::from_secs(600);

pub(super) async fn apply(lane: &Lane, write: Write<'_>) -> Result<Head, StoreError> {
    let mut lease = lane.lease(Mode::Write).await?;
    let written = write_in(lease.connection()?, write).await;
    lease.settle(written).await
}

/// Several accounts. All of our writers take them in the same order, so that they wait for each other
/// and never in a circle; a plain SQL writer who holds rows of one and waits for another can still
/// close one, which the database finds and we plan anew.
pub(super) async fn apply_across(
    lane: &Lane,
    writes: &[Write<'_>],
    link: Option<&LinkStep>,
    news: &[PartnerNews],
) -> Result<Vec<Head>, StoreError> {
    let mut lease = lane.lease(Mode::Write).await?;
    let written = write_across(lease.connection()?, writes, link, news).await;
    lease.settle(written).await
}

async fn write_across(
    connection: &mut Session,
    writes: &[Write<'_>],
    link: Option<&LinkStep>,
    news: &[PartnerNews],
) -> Result<Vec<Head>, StoreError> {
    let mut heads = BTreeMap::new();
    for at in locking_order(writes)? {
        let Some(write) = writes.get(at) else {
            continue;
        };
        // The account before took its revision at once; this one takes one for all of its rows.
        let deferring = sqlx::raw_sql("SET CONSTRAINTS ambit.commit_revision DEFERRED");
        bounded(SMALL, async {
            deferring
                .execute(&mut *connection)
                .await
                .map_err(store_error)
        })
        .await?;
        let head = write_in(connection, write.clone()).await?;
        if let Some(step) = link.filter(|step| step.account == *write.account) {
            bounded(SMALL, partners::record(connection, step)).await?;
        }
        let told = news_of(write.account, news);
        if !told.is_empty() {
            let recording = outbox::record_news(connection, write.account, &told);
            bounded(SMALL, recording).await?;
        }
        heads.insert(at, head);
    }
    Ok(heads.into_values().collect())
}

async fn write_in(connection: &mut Session, write: Write<'_>) -> Result<Head, StoreError> {
    let announced = announced(write.account, write.author, write.idempotency)?;
    bounded(LARGE, queue_up(connection, write.account, &announced)).await?;
    let stored = bounded(SMALL, read::head(connection, write.account)).await?;
    if let Some(key) = write.idempotency
        && let Some(remembered) = bounded(SMALL, remembered(connection, write.account, key)).await?
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
            note_unchanged(connection, &write).await?;
            head
        }
        _ => {
            let alone = owner_may_stand_alone(&wanted);
            write_difference(connection, write.account, alone, &difference).await?;
            record(connection, &write).await?;
            take_revision(connection, &write, stored).await?
        }
    };
    if let Some(key) = write.idempotency {
        bounded(SMALL, remember(connection, write.account, key, head)).await?;
    }
    if let Some(step) = write.batch {
        let recording = batches::record(connection, write.account, step, head);
        bounded(LARGE, recording).await?;
    }
    Ok(head)
}

/// Events tell of the states that were just written.
async fn record(connection: &mut Session, write: &Write<'_>) -> Result<(), StoreError> {
    if write.events.is_empty() {
        return Ok(());
    }
    let recording = requests::record(connection, write.account, write.events);
    bounded(LARGE, recording).await
}

/// The record of what comes without a revision: events, or a ceiling that left nothing to change.
async fn note_unchanged(connection: &mut Session, write: &Write<'_>) -> Result<(), StoreError> {
    if write.events.is_empty() {
        return match write.author.ceiling() {
            Some(_) => bounded(SMALL, note_ceiling(connection, write.account)).await,
            None => Ok(()),
        };
    }
    let requests = write.events.iter().map(|event| &event.request);
    bounded(SMALL, note(connection, write.account, requests)).await
}

/// Waits for our own other writers of the account, and says who writes from here on.
pub(super) async fn queue_up(
    connection: &mut Session,
    account: &Id,
    announced: &str,
) -> Result<(), StoreError> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended('ambit ' || $1, 0)),
            set_config('ambit.audit', $2, true)";
    sqlx::query(sql)
        .bind(account.as_str())
        .bind(announced)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// The entities as they are stored, with attributes where these are written.
async fn present(
    connection: &mut Session,
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

/// D9, where the account is put: what its catalog says, for the database to keep.
fn owner_may_stand_alone(wanted: &Wanted<'_>) -> bool {
    match wanted.get(&EntityKey::Account) {
        Some(Some(Entity::Account(account))) => Catalog::resolve_ref(&account.catalog)
            .is_ok_and(|catalog| catalog.owner_may_stand_alone),
        _ => false,
    }
}

async fn write_difference(
    connection: &mut Session,
    account: &Id,
    owner_may_stand_alone: bool,
    difference: &Difference,
) -> Result<(), StoreError> {
    let put = async |connection: &mut Session, table: Table, rows: &[String]| {
        let alone = (table == Table::Account).then_some(owner_may_stand_alone);
        execute(connection, &put_sql(table), account, rows, alone).await
    };
    for (table, rows) in &difference.removed {
        execute(connection, &remove_sql(*table), account, rows, None).await?;
    }
    for table in difference.tables_put() {
        if let Some(rows) = difference.put.get(&table) {
            put(connection, table, rows).await?;
        }
        match difference.created.get(&table) {
            Some(rows) if rows.len() >= COPIED_FROM => {
                copy(connection, table, account, rows).await?;
            }
            Some(rows) => put(connection, table, rows).await?,
            None => {}
        }
    }
    // What refers to others goes first, so that little is left to cascade.
    for (table, rows) in difference.deleted.iter().rev() {
        execute(connection, &remove_sql(*table), account, rows, None).await?;
    }
    Ok(())
}

/// Takes the revision now rather than at COMMIT, so that a conflict is known before it is too late.
async fn take_revision(
    connection: &mut Session,
    write: &Write<'_>,
    stored: Option<Head>,
) -> Result<Head, StoreError> {
    let taking = sqlx::raw_sql("SET CONSTRAINTS ambit.commit_revision IMMEDIATE");
    bounded(LARGE, async {
        taking.execute(&mut *connection).await.map_err(store_error)
    })
    .await?;
    let Some(taken) = bounded(SMALL, taken(connection, write.account)).await? else {
        return Err(StoreError::Conflict);
    };
    if !taken.is_ours {
        // Nothing of ours was written: the rows were so already, whoever made them so.
        if stored != Some(taken.head) {
            return Err(StoreError::Conflict);
        }
        note_unchanged(connection, write).await?;
        return Ok(taken.head);
    }
    let follows = match stored {
        // Else somebody made the account meanwhile.
        None => taken.head.revision == 1,
        Some(stored) => {
            taken.head.revision.checked_sub(1) == Some(stored.revision)
                && taken.before.is_none_or(|nonce| nonce == stored.nonce)
        }
    };
    if follows {
        Ok(taken.head)
    } else {
        Err(StoreError::Conflict)
    }
}

/// Where an account stands after the revision was taken.
struct Taken {
    head: Head,
    /// Whether it was this transaction that took it.
    is_ours: bool,
    /// The nonce of the revision before. `None` where the log was cut by hand: an account that was
    /// made anew in between would have all of it.
    before: Option<Nonce>,
}

async fn taken(connection: &mut Session, account: &Id) -> Result<Option<Taken>, StoreError> {
    let row = sqlx::query(
        "SELECT h.revision, h.nonce, coalesce(r.txid = pg_current_xact_id_if_assigned(), false),
                b.nonce
            FROM ambit.account_head AS h
            LEFT JOIN ambit.revision_log AS r
                ON r.account_id = h.account_id AND r.revision = h.revision
            LEFT JOIN ambit.revision_log AS b
                ON b.account_id = h.account_id AND b.revision = h.revision - 1
            WHERE h.account_id = $1",
    )
    .bind(account.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        let before: Option<&[u8]> = row.try_get(3).map_err(store_error)?;
        Ok(Taken {
            head: read::head_of(&row, account.as_str())?,
            is_ours: row.try_get(2).map_err(store_error)?,
            before: before.and_then(|nonce| nonce.try_into().ok()),
        })
    })
    .transpose()
}

/// Puts or removes rows, as many to a statement as a value holds well.
async fn execute(
    connection: &mut Session,
    sql: &str,
    account: &Id,
    rows: &[String],
    flag: Option<bool>,
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
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(account.as_str())
            .bind(value);
        if let Some(flag) = flag {
            query = query.bind(flag);
        }
        let executing = query.execute(&mut *connection);
        bounded(LARGE, async { executing.await.map_err(store_error) }).await?;
    }
    Ok(())
}

/// Writes rows whose keys are new. One that is there after all is a conflict.
async fn copy(
    connection: &mut Session,
    table: Table,
    account: &Id,
    rows: &[String],
) -> Result<(), StoreError> {
    let sql = copy_sql(table);
    let mut copying = bounded(LARGE, async {
        connection
            .driver()
            .copy_in_raw(&sql)
            .await
            .map_err(store_error)
    })
    .await?;
    let mut piece = String::with_capacity(COPY_BYTES + COPY_BYTES / 4);
    for row in rows {
        copied(table, account.as_str(), row, &mut piece)?;
        if piece.len() >= COPY_BYTES {
            let sending = copying.send(piece.as_bytes());
            bounded(LARGE, async {
                sending.await.map(|_| ()).map_err(store_error)
            })
            .await?;
            piece.clear();
        }
    }
    let sending = copying.send(piece.as_bytes());
    bounded(LARGE, async {
        sending.await.map(|_| ()).map_err(store_error)
    })
    .await?;
    // The triggers of the whole statement run here.
    bounded(DELETING, async {
        copying.finish().await.map_err(store_error)
    })
    .await?;
    Ok(())
}

/// Remembers a write, over an expired one of the same key, and forgets a few that are expired.
async fn remember(
    connection: &mut Session,
    account: &Id,
    key: IdempotencyKey<'_>,
    head: Head,
) -> Result<(), StoreError> {
    let forget = format!(
        "DELETE FROM ambit.idempotency WHERE account_id = $1 AND key IN (
            SELECT key FROM ambit.idempotency WHERE account_id = $1 AND at <= {}
            ORDER BY at LIMIT $3)",
        time_of("$2")
    );
    sqlx::query(sqlx::AssertSqlSafe(forget))
        .bind(account.as_str())
        .bind(key.now_micros.saturating_sub(key.ttl_micros))
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let remember = format!(
        "INSERT INTO ambit.idempotency (account_id, key, request_digest, revision, nonce, at, answer)
            VALUES ($1, $2, $3, $4, $5, {}, $7)
            ON CONFLICT (account_id, key) DO UPDATE SET request_digest = excluded.request_digest,
                revision = excluded.revision, nonce = excluded.nonce, at = excluded.at,
                answer = excluded.answer",
        time_of("$6")
    );
    sqlx::query(sqlx::AssertSqlSafe(remember))
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

/// The write that is remembered under a key, where its age is below the time to live.
pub(super) async fn remembered(
    connection: &mut Session,
    account: &Id,
    key: IdempotencyKey<'_>,
) -> Result<Option<RememberedWrite>, StoreError> {
    let sql = format!(
        "SELECT revision, nonce, request_digest, answer FROM ambit.idempotency
            WHERE account_id = $1 AND key = $2 AND at > {}",
        time_of("$3")
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
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

pub(super) async fn delete_account(
    lane: &Lane,
    account: &Id,
    expected: Option<Head>,
    author: &Author,
) -> Result<bool, StoreError> {
    let mut lease = lane.lease(Mode::Write).await?;
    let deleted = delete_in(lease.connection()?, account, expected, author).await;
    lease.settle(deleted).await
}

async fn delete_in(
    connection: &mut Session,
    account: &Id,
    expected: Option<Head>,
    author: &Author,
) -> Result<bool, StoreError> {
    let announced = announced(account, author, None)?;
    bounded(LARGE, queue_up(connection, account, &announced)).await?;
    let stored = bounded(SMALL, read::head(connection, account)).await?;
    match (stored, expected) {
        (None, _) => return Ok(false),
        (Some(stored), Some(expected)) if stored != expected => return Err(StoreError::Conflict),
        (Some(_), _) => {}
    }
    let deleting = sqlx::query("DELETE FROM ambit.account WHERE account_id = $1")
        .bind(account.as_str())
        .execute(&mut *connection);
    bounded(DELETING, async { deleting.await.map_err(store_error) }).await?;
    // Whatever a plain writer committed meanwhile moved the head, which only goes with the revision
    // of this transaction; and from here on nobody can write to the account.
    let now = bounded(SMALL, read::head(connection, account)).await?;
    if expected.is_some() && now != expected {
        return Err(StoreError::Conflict);
    }
    Ok(true)
}
