//! The embedded store: one SQLite file in the data directory.
//!
//! - Any process may write to the file beside this one: rules are held and changes are logged by
//!   triggers (`migrations/sqlite`), never by this code alone.
//! - WAL with `synchronous = FULL`: readers see whole transactions while one writer writes, and a
//!   commit that was acknowledged survives a crash of the process and of the machine.
//! - A process whose file is moved away or replaced neither writes nor reports freshness any more.
//! - One connection writes, with `BEGIN IMMEDIATE`; several read.

mod apply;
mod audit;
mod batches;
mod changes;
mod error;
mod examine;
mod forms;
mod open;
mod outbox;
mod partners;
mod read;
mod requests;
mod resources;
mod segment_jobs;
mod snapshot;
mod statements;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteRow};
use sqlx::{ConnectOptions, SqliteConnection};

use self::error::store_error;
use self::open::OpenFile;
use super::audit::{AuditFilter, AuditPage, AuditStep, Author};
use super::batches::{Batch, BatchEntry, BatchStore};
use super::forms::{Form, FormStore};
use super::rows::{inconsistent, not_json};
use super::{
    AccountSummary, ChangeProbe, Changes, Head, Heartbeat, IdempotencyKey, Nonce, Notifications,
    PendingAccount, RememberedWrite, RequestFilter, Snapshot, Store, StoreError, StoreIdentity,
    Write,
};
use crate::authz::access_request::{AccessRequest, RequestEvent, RequestTarget};
use crate::authz::model::{Attributes, Id, ResourceKey, Timestamp};

pub use self::examine::Examination;

/// A store in a file; cheap to clone, all clones share the connections.
#[derive(Clone)]
pub struct SqliteStore {
    identity: Arc<StoreIdentity>,
    file: OpenFile,
    writer: SqlitePool,
    readers: SqlitePool,
    /// For connections beside the pools: a probe's own.
    options: SqliteConnectOptions,
}

impl SqliteStore {
    /// Opens `ambit.db` in a directory and brings it to this version's schema; makes both where
    /// they are absent, the directory readable by its owner only.
    ///
    /// # Errors
    /// [`StoreError::Schema`] for a newer schema or another application's file,
    /// [`StoreError::Unavailable`] where the place can't be read or written.
    #[tracing::instrument(name = "store.open", skip_all)]
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let opened = open::open(data_dir).await?;
        Ok(Self {
            identity: Arc::new(opened.identity),
            file: opened.file,
            writer: opened.writer,
            readers: opened.readers,
            options: opened.options,
        })
    }

    /// Looks at the file in a directory without changing or migrating it; `None`: there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the file can't be read, or is no database.
    pub async fn examine(data_dir: &Path) -> Result<Option<Examination>, StoreError> {
        examine::examine(data_dir).await
    }
}

#[async_trait]
impl BatchStore for SqliteStore {
    async fn batch(&self, account: &Id, id: &Id) -> Result<Option<(Batch, Head)>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        batches::batch(&mut connection, account, id).await
    }

    async fn batch_entries(
        &self,
        account: &Id,
        batch: &Id,
        after: Option<&ResourceKey>,
        limit: u32,
    ) -> Result<Vec<BatchEntry>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        batches::entries(&mut connection, account, batch, after, limit).await
    }

    async fn trim_batches(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.verify()?;
        batches::trim(&self.writer, before, limit).await
    }
}

#[async_trait]
impl FormStore for SqliteStore {
    async fn form(&self, account: &Id, id: &Id) -> Result<Option<Form>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        forms::form(&mut connection, account, id).await
    }

    async fn forms(
        &self,
        account: &Id,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Form>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        forms::forms(&mut connection, account, after, limit).await
    }

    async fn put_form(
        &self,
        account: &Id,
        form: &Form,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        forms::write(&self.writer, account, &form.id, Some(form), author).await
    }

    async fn delete_form(
        &self,
        account: &Id,
        id: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        forms::write(&self.writer, account, id, None, author).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn identity(&self) -> Arc<StoreIdentity> {
        Arc::clone(&self.identity)
    }

    /// A file that is replaced is refused until the process is started again, so this one never
    /// becomes another.
    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError> {
        self.file.verify()?;
        Ok(self.identity())
    }

    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        read::head(&mut connection, account).await
    }

    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError> {
        let ids = serde_json::to_string(accounts).map_err(not_json)?;
        sqlx::query(
            "SELECT revision, nonce, account_id FROM account_head
                WHERE account_id IN (SELECT value FROM json_each(?1)) ORDER BY account_id",
        )
        .bind(ids)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(summary)
        .collect()
    }

    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        changes::nonce_at(&mut connection, account, revision).await
    }

    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError> {
        sqlx::query(
            "SELECT revision, nonce, account_id FROM account_head WHERE account_id > ?1
                ORDER BY account_id LIMIT ?2",
        )
        .bind(after.map_or("", Id::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(summary)
        .collect()
    }

    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        snapshot::snapshot(&self.readers, account, attributes).await
    }

    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError> {
        changes::changes_since(&self.readers, account, have).await
    }

    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
        let keys: Vec<&ResourceKey> = resources.iter().collect();
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        resources::attributes(&mut connection, account, &keys).await
    }

    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError> {
        self.file.verify()?;
        apply::apply(&self.writer, write).await
    }

    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        apply::remembered(&mut connection, account, idempotency).await
    }

    async fn access_request(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<Option<AccessRequest>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::request(&mut connection, account, id).await
    }

    async fn access_requests(
        &self,
        account: &Id,
        filter: &RequestFilter,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::requests(&mut connection, account, filter, after, limit).await
    }

    async fn access_request_events(
        &self,
        account: &Id,
        request: &Id,
    ) -> Result<Vec<RequestEvent>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::events(&mut connection, account, request).await
    }

    async fn last_denial(
        &self,
        account: &Id,
        user: &Id,
        target: &RequestTarget,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::last_denial(&mut connection, account, user, target).await
    }

    async fn accounts_with_pending(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingAccount>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::accounts_with_pending(&mut connection, after, limit).await
    }

    async fn is_link_spent(&self, account: &Id, link: [u8; 16]) -> Result<bool, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        requests::is_link_spent(&mut connection, account, link).await
    }

    async fn spend_link(
        &self,
        account: &Id,
        link: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        requests::spend_link(&self.writer, account, link, expires_at, now).await
    }

    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        apply::delete_account(&self.writer, account, expected, author).await
    }

    async fn note_access_request(
        &self,
        account: &Id,
        request: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.file.verify()?;
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(store_error)?;
        let noted = audit::note_one(&mut transaction, account, request, author).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(noted)
    }

    async fn audit_records(
        &self,
        account: &Id,
        filter: &AuditFilter,
        step: AuditStep,
    ) -> Result<AuditPage, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        audit::records(&mut transaction, account, filter, step).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.verify()?;
        audit::trim(&self.writer, before, limit).await
    }

    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError> {
        let mut connection = self.options.connect().await.map_err(store_error)?;
        let seen = data_version(&mut connection).await?;
        Ok(Box::new(SqliteProbe {
            connection,
            seen,
            file: self.file.clone(),
        }))
    }

    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        Ok(None)
    }

    async fn send_heartbeat(&self, _heartbeat: Heartbeat) -> Result<(), StoreError> {
        Ok(())
    }

    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError> {
        Ok(None)
    }

    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.verify()?;
        changes::trim_history(&self.writer, before, limit).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        self.file.verify()?;
        sqlx::query("SELECT 1 FROM store_identity")
            .fetch_one(&self.readers)
            .await
            .map_err(store_error)?;
        Ok(None)
    }

    /// Leaves no write-ahead log behind where nobody else has the file open.
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// From a row of revision, nonce and account id.
fn summary(row: &SqliteRow) -> Result<AccountSummary, StoreError> {
    let id = read::text(row, 2, "account_head", "account_id")?;
    Ok(AccountSummary {
        id: Id::parse(id).map_err(|error| inconsistent("account_head", "account_id", id, error))?,
        head: read::head_of(row, id)?,
    })
}

/// Counts commits by others than its own connection, which never writes: so by everyone.
struct SqliteProbe {
    connection: SqliteConnection,
    seen: i64,
    file: OpenFile,
}

#[async_trait]
impl ChangeProbe for SqliteProbe {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        self.file.verify()?;
        let version = data_version(&mut self.connection).await?;
        let changed = version != self.seen;
        self.seen = version;
        Ok(changed)
    }
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
        .map_err(store_error)
}
