//! The store for production: PostgreSQL 15 or later, shared by any number of servers and by
//! whoever else writes to it.
//!
//! - Rules are held, changes are logged and revisions are taken by the database itself
//!   (`migrations/postgres`), for every SQL writer alike.
//! - Nothing of a session is relied on: everything is named with its schema, transactions bring
//!   along what they set, statements have names only in sessions that are ours alone (`session`).
//!   Only the channel of notifications needs a session, and nothing but latency hangs on it.
//! - Every call has an end, see `connect`.

mod apply;
mod audit;
mod batches;
mod changes;
mod columns;
mod connect;
mod error;
mod examine;
mod forms;
mod notifications;
mod outbox;
mod partners;
mod read;
mod requests;
mod resources;
mod rounds;
mod schema;
mod segment_jobs;
mod session;
mod snapshot;
mod statements;
mod tokens;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use sqlx::postgres::PgRow;

use self::connect::{Mode, Pools, SMALL, bounded};
use self::error::{Rules, store_error};
use self::session::Route;
use super::audit::{AuditFilter, AuditPage, AuditStep, Author};
use super::batches::{Batch, BatchEntry, BatchStore};
use super::forms::{Form, FormStore};
use super::rows::inconsistent;
use super::{
    AccountSummary, ChangeProbe, Changes, Head, Heartbeat, IdempotencyKey, Nonce, Notifications,
    PendingAccount, RememberedWrite, RequestFilter, Snapshot, Store, StoreError, StoreIdentity,
    Write,
};
use crate::authz::access_request::{AccessRequest, RequestEvent, RequestTarget};
use crate::authz::model::{Attributes, Id, ResourceKey, Timestamp};

pub use self::connect::OpenError;
pub use self::examine::Examination;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether to bring up an empty database or an older schema.
    pub migrate: bool,
    /// Connections at a time, the one for notifications not counted; at least 4.
    pub connections_max: u32,
}

/// What a database has after a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// May be that of a later version.
    pub schema: i64,
    /// Roles of least privilege that are not there, where the owner may not make them.
    pub roles_missing: Vec<String>,
}

/// A store in a database; cheap to clone, all clones share the connections.
#[derive(Clone)]
pub struct PostgresStore {
    identity: Arc<ArcSwap<StoreIdentity>>,
    rules: Arc<Rules>,
    pools: Pools,
    /// For the connection of notifications.
    route: Route,
}

impl PostgresStore {
    /// Connects to the database of a URL and looks whether this version can work on it.
    ///
    /// # Errors
    /// See [`OpenError`]; none of them holds anything of the URL.
    #[tracing::instrument(name = "store.open", skip_all)]
    pub async fn open(url: &str, open: OpenOptions) -> Result<Self, OpenError> {
        let (route, mut session) = connect::connect(url).await?;
        if open.migrate {
            schema::migrate(&mut session).await?;
        }
        session.begin(Mode::Read).await?;
        match bounded(SMALL, schema::installed(&mut session)).await? {
            Some(installed) => installed.verify()?,
            None => {
                return Err(StoreError::Schema(
                    "the database is empty; run `ambit migrate`, or start without --no-migrate"
                        .to_owned(),
                )
                .into());
            }
        }
        let (identity, _) = bounded(SMALL, schema::identity(&mut session)).await?;
        let rules = bounded(SMALL, Rules::read(&mut session)).await?;
        session.commit(SMALL).await?;
        session.close().await;
        Ok(Self {
            identity: Arc::new(ArcSwap::from_pointee(identity)),
            rules: Arc::new(rules),
            pools: Pools::new(&route, open.connections_max),
            route,
        })
    }

    /// Brings the database of a URL to this version's schema and gives the roles their rights.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn migrate(url: &str) -> Result<Migrated, OpenError> {
        let (_, mut session) = connect::connect(url).await?;
        schema::migrate(&mut session).await?;
        session.begin(Mode::Alone).await?;
        let installed = bounded(SMALL, schema::installed(&mut session)).await?;
        let version = installed.map_or(0, |installed| installed.version);
        // The rights of a later schema are for its own version to give.
        if version == schema::newest() {
            schema::grant(&mut session).await?;
        }
        let roles_missing = bounded(SMALL, schema::roles_missing(&mut session)).await?;
        session.commit(SMALL).await?;
        session.close().await;
        Ok(Migrated {
            schema: version,
            roles_missing,
        })
    }

    /// Looks at the database of a URL without changing it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn examine(url: &str) -> Result<Examination, OpenError> {
        examine::examine(url).await
    }
}

#[async_trait]
impl BatchStore for PostgresStore {
    async fn batch(&self, account: &Id, id: &Id) -> Result<Option<(Batch, Head)>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = bounded(SMALL, batches::batch(lease.connection()?, account, id)).await;
        lease.settle(found).await
    }

    async fn batch_entries(
        &self,
        account: &Id,
        batch: &Id,
        after: Option<&ResourceKey>,
        limit: u32,
    ) -> Result<Vec<BatchEntry>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let entries = batches::entries(lease.connection()?, account, batch, after, limit);
        let entries = bounded(connect::LARGE, entries).await;
        lease.settle(entries).await
    }

    async fn trim_batches(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let trimmed = batches::trim(lease.connection()?, before, limit);
        let trimmed = bounded(connect::LARGE, trimmed).await;
        lease.settle(trimmed).await
    }
}

#[async_trait]
impl FormStore for PostgresStore {
    async fn form(&self, account: &Id, id: &Id) -> Result<Option<Form>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = bounded(SMALL, forms::form(lease.connection()?, account, id)).await;
        lease.settle(found).await
    }

    async fn forms(
        &self,
        account: &Id,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Form>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = forms::forms(lease.connection()?, account, after, limit);
        let page = bounded(SMALL, page).await;
        lease.settle(page).await
    }

    async fn put_form(
        &self,
        account: &Id,
        form: &Form,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let written = forms::write(lease.connection()?, account, &form.id, Some(form), author);
        let written = bounded(connect::LARGE, written).await;
        lease.settle(written).await
    }

    async fn delete_form(
        &self,
        account: &Id,
        id: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let written = forms::write(lease.connection()?, account, id, None, author);
        let written = bounded(connect::LARGE, written).await;
        lease.settle(written).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn identity(&self) -> Arc<StoreIdentity> {
        self.identity.load_full()
    }

    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = bounded(SMALL, schema::identity(lease.connection()?)).await;
        let (identity, installed) = lease.settle(found).await?;
        installed.verify()?;
        if **self.identity.load() != identity {
            // First the connections: what is read from here on is read from the new one.
            self.pools.renew();
            self.identity.store(Arc::new(identity));
        }
        Ok(self.identity())
    }

    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let head = bounded(SMALL, read::head(lease.connection()?, account)).await;
        lease.settle(head).await
    }

    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError> {
        let ids: Vec<&str> = accounts.iter().map(Id::as_str).collect();
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let query = sqlx::query(
            "SELECT revision, nonce, account_id FROM ambit.account_head
                WHERE account_id = ANY($1) ORDER BY account_id",
        )
        .bind(ids)
        .fetch_all(lease.connection()?);
        let rows = bounded(SMALL, async { query.await.map_err(store_error) }).await;
        lease.settle(rows).await?.iter().map(summary).collect()
    }

    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let nonce = changes::nonce_at(lease.connection()?, account, revision);
        let nonce = bounded(SMALL, nonce).await;
        lease.settle(nonce).await
    }

    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let query = sqlx::query(
            "SELECT revision, nonce, account_id FROM ambit.account_head WHERE account_id > $1
                ORDER BY account_id LIMIT $2",
        )
        .bind(after.map_or("", Id::as_str))
        .bind(i64::from(limit))
        .fetch_all(lease.connection()?);
        let rows = bounded(SMALL, async { query.await.map_err(store_error) }).await;
        lease.settle(rows).await?.iter().map(summary).collect()
    }

    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        snapshot::snapshot(&self.pools.loads, account, attributes).await
    }

    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError> {
        changes::changes_since(&self.pools.loads, account, have).await
    }

    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
        let keys: Vec<&ResourceKey> = resources.iter().collect();
        let mut lease = self.pools.loads.lease(Mode::Read).await?;
        let attributes = resources::attributes(lease.connection()?, account, &keys).await;
        lease.settle(attributes).await
    }

    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError> {
        apply::apply(&self.pools.writes, write)
            .await
            .map_err(|error| self.rules.told(error))
    }

    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = apply::remembered(lease.connection()?, account, idempotency);
        let found = bounded(SMALL, found).await;
        lease.settle(found).await
    }

    async fn access_request(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<Option<AccessRequest>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = bounded(SMALL, requests::request(lease.connection()?, account, id)).await;
        lease.settle(found).await
    }

    async fn access_requests(
        &self,
        account: &Id,
        filter: &RequestFilter,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = requests::requests(lease.connection()?, account, filter, after, limit);
        let page = bounded(SMALL, page).await;
        lease.settle(page).await
    }

    async fn access_request_events(
        &self,
        account: &Id,
        request: &Id,
    ) -> Result<Vec<RequestEvent>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let events = requests::events(lease.connection()?, account, request);
        let events = bounded(SMALL, events).await;
        lease.settle(events).await
    }

    async fn last_denial(
        &self,
        account: &Id,
        user: &Id,
        target: &RequestTarget,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let denial = requests::last_denial(lease.connection()?, account, user, target);
        let denial = bounded(SMALL, denial).await;
        lease.settle(denial).await
    }

    async fn accounts_with_pending(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingAccount>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let accounts = requests::accounts_with_pending(lease.connection()?, after, limit);
        let accounts = bounded(SMALL, accounts).await;
        lease.settle(accounts).await
    }

    async fn is_link_spent(&self, account: &Id, link: [u8; 16]) -> Result<bool, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let spent = requests::is_link_spent(lease.connection()?, account, link);
        let spent = bounded(SMALL, spent).await;
        lease.settle(spent).await
    }

    async fn spend_link(
        &self,
        account: &Id,
        link: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let spent = requests::spend_link(lease.connection()?, account, link, expires_at, now);
        let spent = bounded(SMALL, spent).await;
        lease.settle(spent).await
    }

    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
        author: &Author,
    ) -> Result<bool, StoreError> {
        apply::delete_account(&self.pools.writes, account, expected, author)
            .await
            .map_err(|error| self.rules.told(error))
    }

    async fn note_access_request(
        &self,
        account: &Id,
        request: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let noted = audit::note_one(lease.connection()?, account, request, author);
        let noted = bounded(SMALL, noted).await;
        lease.settle(noted).await
    }

    async fn audit_records(
        &self,
        account: &Id,
        filter: &AuditFilter,
        step: AuditStep,
    ) -> Result<AuditPage, StoreError> {
        let mut lease = self.pools.loads.lease(Mode::Read).await?;
        let page = audit::records(lease.connection()?, account, filter, step);
        let page = bounded(connect::LARGE, page).await;
        lease.settle(page).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let trimmed = bounded(
            connect::LARGE,
            audit::trim(lease.connection()?, before, limit),
        )
        .await;
        lease.settle(trimmed).await
    }

    /// There is nothing cheaper to ask than the heads themselves.
    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError> {
        Ok(Box::new(InDoubt))
    }

    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        let channel = notifications::listen(&self.route).await?;
        Ok(Some(Box::new(channel)))
    }

    async fn send_heartbeat(&self, heartbeat: Heartbeat) -> Result<(), StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let sent = bounded(SMALL, notifications::send(lease.connection()?, heartbeat)).await;
        lease.settle(sent).await
    }

    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let query = sqlx::query_scalar("SELECT pg_notification_queue_usage()")
            .fetch_one(lease.connection()?);
        let usage: Result<f64, _> =
            bounded(SMALL, async { query.await.map_err(store_error) }).await;
        lease.settle(usage).await.map(Some)
    }

    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let trimmed = changes::trim_history(lease.connection()?, before, limit);
        let trimmed = bounded(connect::LARGE, trimmed).await;
        lease.settle(trimmed).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 FROM ambit.store_identity",
        )
        .fetch_one(lease.connection()?);
        let now = bounded(SMALL, async { query.await.map_err(store_error) }).await;
        let now = lease.settle(now).await?;
        Ok(Timestamp::from_unix_micros(now))
    }

    #[tracing::instrument(name = "store.close", level = "debug", skip_all)]
    async fn close(&self) {
        self.pools.close().await;
    }
}

/// From a row of revision, nonce and account id.
fn summary(row: &PgRow) -> Result<AccountSummary, StoreError> {
    use sqlx::Row as _;
    let id: &str = row.try_get(2).map_err(store_error)?;
    Ok(AccountSummary {
        id: Id::parse(id).map_err(|error| inconsistent("account_head", "account_id", id, error))?,
        head: read::head_of(row, id)?,
    })
}

/// Always says that something may have changed, so that whoever asks compares heads.
struct InDoubt;

#[async_trait]
impl ChangeProbe for InDoubt {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }
}
