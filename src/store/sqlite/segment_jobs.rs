//! How far the rules of segments are, on SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::error::store_error;
use super::read;
use crate::authz::model::{Id, Timestamp};
use crate::store::request_rows::account_of;
use crate::store::rows;
use crate::store::segment_jobs::{
    FollowedAccount, JOBS_KEPT, JobFilter, JobRow, SegmentJob, SegmentJobs, record_of,
    stored_revision,
};
use crate::store::{Head, StoreError};

#[async_trait]
impl SegmentJobs for SqliteStore {
    async fn accounts_to_reconcile(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<FollowedAccount>, StoreError> {
        sqlx::query(
            "SELECT h.revision, h.nonce, h.account_id, f.revision, f.nonce
                FROM segment_follow AS f JOIN account_head AS h ON h.account_id = f.account_id
                WHERE f.account_id > ?1
                    AND (f.revision <> h.revision OR f.nonce <> h.nonce
                        OR EXISTS (SELECT 1 FROM segment_job AS j WHERE j.account_id = f.account_id
                            AND j.state IN ('pending', 'running')))
                ORDER BY f.account_id LIMIT ?2",
        )
        .bind(after.map_or("", Id::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(followed)
        .collect()
    }

    async fn claim_reconciling(
        &self,
        account: &Id,
        holder: [u8; 16],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        let claimed = sqlx::query(
            "INSERT INTO segment_follow (account_id, revision, nonce, holder, lease_until)
                SELECT account_id, 0, zeroblob(8), ?2, ?4 FROM account WHERE account_id = ?1
                ON CONFLICT (account_id) DO UPDATE
                    SET holder = excluded.holder, lease_until = excluded.lease_until
                    WHERE holder IS excluded.holder OR lease_until < ?3",
        )
        .bind(account.as_str())
        .bind(&holder[..])
        .bind(now.unix_micros())
        .bind(until.unix_micros())
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(claimed.rows_affected() > 0)
    }

    async fn set_reconciled(
        &self,
        account: &Id,
        holder: [u8; 16],
        head: Head,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        let set = sqlx::query(
            "UPDATE segment_follow SET revision = ?3, nonce = ?4
                WHERE account_id = ?1 AND holder = ?2",
        )
        .bind(account.as_str())
        .bind(&holder[..])
        .bind(stored_revision(head.revision))
        .bind(&head.nonce[..])
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(set.rows_affected() > 0)
    }

    async fn put_segment_jobs(
        &self,
        account: &Id,
        jobs: &[SegmentJob],
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(store_error)?;
        let is_there = sqlx::query("SELECT 1 FROM account WHERE account_id = ?1")
            .bind(account.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?
            .is_some();
        for job in jobs.iter().filter(|_| is_there) {
            put(&mut transaction, account, job).await?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(is_there)
    }

    async fn segment_jobs(
        &self,
        account: &Id,
        filter: JobFilter<'_>,
        limit: u32,
    ) -> Result<Vec<SegmentJob>, StoreError> {
        let (after, revision) = filter.after.unzip();
        sqlx::query(
            "SELECT segment_id, revision, state, record FROM segment_job
                WHERE account_id = ?1 AND (?2 IS NULL OR segment_id = ?2)
                    AND (?3 = 0 OR state IN ('pending', 'running'))
                    AND (?4 IS NULL OR segment_id > ?4 OR segment_id = ?4 AND revision < ?5)
                ORDER BY segment_id, revision DESC LIMIT ?6",
        )
        .bind(account.as_str())
        .bind(filter.segment.map(Id::as_str))
        .bind(i64::from(filter.unfinished))
        .bind(after.map(Id::as_str))
        .bind(revision.map(stored_revision))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(job_of)
        .collect()
    }
}

async fn put(
    connection: &mut SqliteConnection,
    account: &Id,
    job: &SegmentJob,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO segment_job (account_id, segment_id, revision, state, record)
            VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (account_id, segment_id, revision)
                DO UPDATE SET state = excluded.state, record = excluded.record",
    )
    .bind(account.as_str())
    .bind(job.segment.as_str())
    .bind(stored_revision(job.revision))
    .bind(job.state.as_str())
    .bind(record_of(job)?)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    if job.state.has_ended() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE segment_job SET state = 'replaced'
            WHERE account_id = ?1 AND segment_id = ?2 AND revision < ?3
                AND state IN ('pending', 'running')",
    )
    .bind(account.as_str())
    .bind(job.segment.as_str())
    .bind(stored_revision(job.revision))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM segment_job WHERE account_id = ?1 AND segment_id = ?2 AND revision <= (
            SELECT revision FROM segment_job WHERE account_id = ?1 AND segment_id = ?2
                ORDER BY revision DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(account.as_str())
    .bind(job.segment.as_str())
    .bind(JOBS_KEPT)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

fn followed(row: &SqliteRow) -> Result<FollowedAccount, StoreError> {
    let text: &str = row.try_get(2).map_err(store_error)?;
    let revision: i64 = row.try_get(3).map_err(store_error)?;
    let nonce: &[u8] = row.try_get(4).map_err(store_error)?;
    Ok(FollowedAccount {
        account: account_of("account_head", text)?,
        head: read::head_of(row, text)?,
        reconciled: match revision {
            0 => None,
            _ => Some(rows::head(text, revision, nonce)?),
        },
    })
}

fn job_of(row: &SqliteRow) -> Result<SegmentJob, StoreError> {
    JobRow {
        segment: row.try_get(0).map_err(store_error)?,
        revision: row.try_get(1).map_err(store_error)?,
        state: row.try_get(2).map_err(store_error)?,
        record: row.try_get(3).map_err(store_error)?,
    }
    .job()
}
