//! The contract between Ambit and the database that is its source of truth.
//!
//! A store keeps accounts as rows and gives them back as [`Entity`] values. It knows nothing of
//! decisions. What the types can't say, every implementation must hold, and
//! `tests/it/store_contract.rs` proves for each of them:
//!
//! - **Revision.** Each account has a revision: 1 at its creation, one more at each committed
//!   transaction that changed it, whoever wrote it (for a plain SQL writer on SQLite: at each
//!   changed row). No gaps, in commit order. Each revision carries a random nonce, so that equal
//!   numbers of two histories are told apart; an account that is deleted and created again gets
//!   other nonces.
//! - **Change log.** Every change of a row is logged by triggers with the key of the entity that
//!   it belongs to, so any SQL writer is followed. [`Store::changes_since`] reads the logged keys
//!   and the *present* state of those entities in one transaction.
//! - **Audit.** Every transaction that takes a revision, deletes an account or writes events writes
//!   one record of it, whoever writes (for a plain SQL writer on SQLite: one a changed row), with the
//!   author that the write names. What changes nothing leaves none. Records are never changed, and
//!   outlive the account.
//! - **Snapshots.** What one call reads, it reads in one transaction: whole commits, or nothing.
//! - **Atomicity.** [`Store::apply`] writes everything or nothing; after `Ok` it survives a crash
//!   of the process. More rows than a statement can bind are written in several statements of the
//!   one transaction.
//! - **Identity.** A database that was restored, promoted or replaced under the running process
//!   answers with another epoch from [`Store::refresh_identity`] on, so that tokens of its past
//!   are refused and pictures of it are dropped.
//! - **Notifications** only lower latency: a store may lose them, and have none. What is true is
//!   what [`Store::heads`] and [`Store::changes_since`] say.
//! - **Access requests** begin as pending; what they are for never changes, nor does anything of one
//!   that has ended. Their events are only added to. Both stay when user and resource are gone, and
//!   go with the account.
//! - **Ids** compare bytewise. **Not found** is `Ok(None)`.
//! - **Errors** never carry SQL, driver text or paths outward: [`StoreError`]'s display is safe
//!   to show, its source is for the log.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::authz::access_request::{AccessRequest, RequestEvent, RequestState, RequestTarget};
use crate::authz::model::{
    Attributes, Entity, EntityChange, Id, ResourceKey, ResourceRows, Timestamp,
};

use audit::{AuditFilter, AuditPage, AuditStep, Author};
use batches::BatchStep;

pub mod audit;
pub mod batches;
mod change_keys;
mod difference;
pub mod forms;
mod kinds;
pub mod outbox;
mod outbox_rows;
pub mod partners;
pub mod postgres;
mod request_rows;
mod rows;
pub mod segment_jobs;
mod snapshots;
pub mod sqlite;
mod steps;
mod tables;
pub mod tokens;

/// A random value that tells two histories with the same revision number apart.
pub type Nonce = [u8; 8];

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub revision: u64,
    pub nonce: Nonce,
}

/// What makes this database itself.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Part of every revision token: a token of another database is refused.
    pub epoch: [u8; 8],
    /// Key of the MAC over page tokens; shared by all replicas, never shown.
    pub token_key: [u8; 32],
}

impl fmt::Debug for StoreIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreIdentity")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// An account read in one transaction, in chunks, so that a reader of any size needs little memory.
pub struct Snapshot {
    pub head: Head,
    /// First the account, then teams (a parent before its children where there is no cycle),
    /// permission sets, users, access groups, segments, access requests that are pending, then
    /// resources ordered bytewise by (type, id). Chunks are never empty. An `Err` is the last item;
    /// the channel closes after the last chunk.
    pub chunks: mpsc::Receiver<Result<Chunk, StoreError>>,
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    Entities(Vec<Entity>),
    /// Resources without their attributes, lean, as a store may give them that wasn't asked for
    /// attributes.
    Resources(ResourceRows),
}

impl Chunk {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Entities(entities) => entities.is_empty(),
            Self::Resources(rows) => rows.is_empty(),
        }
    }

    /// Whatever it is, as entities.
    pub fn into_entities(self) -> Vec<Entity> {
        match self {
            Self::Entities(entities) => entities,
            Self::Resources(rows) => rows.entities().collect(),
        }
    }
}

/// The answer of [`Store::changes_since`].
#[derive(Debug, Clone, PartialEq)]
pub enum Changes {
    /// The account still stands at the head that was named.
    None,
    Delta {
        head: Head,
        /// Revisions after the one that was named up to the new head, without a gap, oldest first.
        history: Vec<Head>,
        /// Each changed entity once, as it is at `head`: deletions last, so that nothing in
        /// between refers to what is gone.
        changes: Vec<EntityChange>,
    },
    /// Not known in steps: the log is trimmed, the history forked, or too much has changed.
    Reload,
    /// There is no such account (any more).
    Gone,
}

/// One atomic write to one account.
#[derive(Debug, Clone)]
pub struct Write<'a> {
    pub account: &'a Id,
    /// The head that the changes were computed against; `None`: the account must not exist, and
    /// the first change puts it. Anything else in the store: [`StoreError::Conflict`].
    pub expected: Option<Head>,
    pub changes: &'a [EntityChange],
    /// What happened to access requests, written after the changes. An event is at once an entry of
    /// the outbox. Nothing of it changes the account: events without changes take no revision.
    pub events: &'a [RequestEvent],
    pub idempotency: Option<IdempotencyKey<'a>>,
    /// How far a bulk comes by this write, kept with it.
    pub batch: Option<&'a BatchStep>,
    /// Who makes it, for the audit.
    pub author: &'a Author,
}

#[derive(Debug, Clone, Copy)]
pub struct IdempotencyKey<'a> {
    pub key: &'a Id,
    /// SHA-256 of the request, so that the same key with another request is told.
    pub request_digest: [u8; 32],
    /// Unix microseconds now, and how old a remembered key may be (`api.md`: 24 h).
    pub now_micros: i64,
    pub ttl_micros: i64,
    /// What the write is about, for who repeats it to be told, e.g. the access request that it
    /// files.
    pub answer: Option<&'a Id>,
}

/// What an idempotency key is remembered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedWrite {
    pub request_digest: [u8; 32],
    pub head: Head,
    /// [`IdempotencyKey::answer`] of the write that was made.
    pub answer: Option<Id>,
}

/// Which access requests are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Empty: all.
    pub states: Vec<RequestState>,
    pub user: Option<Id>,
}

/// An account with pending access requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAccount {
    pub account: Id,
    pub head: Head,
    pub pending: u64,
    /// When the first of them expires.
    pub next_expiry: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    pub id: Id,
    pub head: Head,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The account no longer stands at the expected head: reload and plan again.
    #[error("the account was changed meanwhile")]
    Conflict,
    /// A rule that the database itself enforces was broken; the text names the rule, no SQL.
    #[error("the change breaks a rule of the database: {rule}")]
    Constraint { rule: String },
    /// What is stored can't be read as what it should be, e.g. after a plain SQL write.
    #[error("stored data is inconsistent: {table}.{column} of row {row}: {problem}")]
    Inconsistent {
        table: &'static str,
        column: &'static str,
        row: String,
        problem: String,
    },
    #[error("the database is full")]
    Full,
    #[error("the database is not reachable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema is newer than this binary knows, or older and not migrated.
    #[error("the database's schema is not one that this version can use: {0}")]
    Schema(String),
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Who the database was when it was last asked.
    fn identity(&self) -> Arc<StoreIdentity>;

    /// Asks the database who it is, and remembers the answer for [`Store::identity`].
    ///
    /// # Errors
    /// [`StoreError::Schema`] where the schema has meanwhile become one that this version can't
    /// use.
    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError>;

    /// `None`: no such account.
    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError>;

    /// Heads of those of the named accounts that exist, in one query.
    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError>;

    /// The nonce of a revision that is still logged.
    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError>;

    /// Accounts after `after` in bytewise order of ids, at most `limit`.
    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError>;

    /// Everything of an account; `attributes` only where they are asked for, since they are large.
    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError>;

    /// What changed after `have`.
    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError>;

    /// Attributes of those of the named resources that exist and have any.
    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError>;

    /// Writes all changes in one transaction and answers the new head. Where they change nothing (a
    /// put of what is already so, a deletion of what is not there, no changes at all): `Ok` with
    /// the expected head, nothing bumped.
    ///
    /// A key that is remembered is not written again, whatever head is expected: the same request
    /// is answered with the head that it had, another one with [`StoreError::Conflict`], so that
    /// the caller looks at [`Store::remembered`] and tells.
    ///
    /// The order of changes does not matter but for one entity named twice, where the last one
    /// holds. What a deletion takes along is logged like any other change.
    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError>;

    /// The write remembered under an idempotency key that is not older than its time to live.
    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError>;

    /// An access request, in whatever state.
    async fn access_request(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<Option<AccessRequest>, StoreError>;

    /// Access requests after an id, in byte order of ids, at most `limit`.
    async fn access_requests(
        &self,
        account: &Id,
        filter: &RequestFilter,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError>;

    /// What happened to an access request, from its filing on; empty for one that is not there.
    async fn access_request_events(
        &self,
        account: &Id,
        request: &Id,
    ) -> Result<Vec<RequestEvent>, StoreError>;

    /// When a user was last denied just this (R2).
    async fn last_denial(
        &self,
        account: &Id,
        user: &Id,
        target: &RequestTarget,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Accounts with pending access requests, after `after` in byte order of ids, at most `limit`.
    async fn accounts_with_pending(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingAccount>, StoreError>;

    /// Takes note that a link was used; `false`: it was used before, or there is no such account.
    /// What is noted is forgotten once the link has expired.
    async fn spend_link(
        &self,
        account: &Id,
        link: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whether a link was used, as long as that is noted. Changes nothing.
    async fn is_link_spent(&self, account: &Id, link: [u8; 16]) -> Result<bool, StoreError>;

    /// Removes an account with everything in it; `Ok(false)` if there is none.
    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
        author: &Author,
    ) -> Result<bool, StoreError>;

    /// Records what was done about an access request and is stored nowhere else, e.g. a link that
    /// was made; `false`: there is no such account.
    async fn note_access_request(
        &self,
        account: &Id,
        request: &Id,
        author: &Author,
    ) -> Result<bool, StoreError>;

    /// Records of who changed what, of an account that may be gone; looks at
    /// [`audit::SCANNED_MAX`] of them at most, so a page may hold fewer than there are.
    async fn audit_records(
        &self,
        account: &Id,
        filter: &AuditFilter,
        step: AuditStep,
    ) -> Result<AuditPage, StoreError>;

    /// Removes at most `limit` records of the audit, of any accounts, that are older than a moment,
    /// the oldest first, and never one that is younger than [`audit::AGE_LEAST_S`]; answers how
    /// many.
    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// A cheap probe for changes by anyone, this process included. Each caller gets its own.
    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError>;

    /// A channel on which the database tells of commits by anyone; `None`: this store has none.
    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError>;

    /// Sends a heartbeat through the database to every channel of [`Store::notifications`], the
    /// sender's own included. Nothing is sent where the store has none.
    async fn send_heartbeat(&self, heartbeat: Heartbeat) -> Result<(), StoreError>;

    /// How full the database's queue of notifications is, from 0 to 1; `None`: there is none.
    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError>;

    /// Removes from the change log at most `limit` revisions, of any accounts, whose successor is
    /// older than a moment; answers how many. Who is further behind reloads.
    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// What time the database has, where that is another machine's; a round trip in any case.
    async fn clock(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Waits for running calls and gives the connections up. Later calls answer
    /// [`StoreError::Unavailable`].
    async fn close(&self);
}

/// What came on a channel of notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// An account reached a revision; 0: it is gone.
    Changed {
        account: Id,
        revision: u64,
    },
    Heartbeat(Heartbeat),
    /// Something that is none of ours: anyone may write to the channel.
    Foreign,
}

/// Proof that notifications arrive: its sender waits for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Random, made by each feed for itself.
    pub sender: Nonce,
    pub sequence: u64,
}

/// A channel of notifications on a connection of its own.
#[async_trait]
pub trait Notifications: Send {
    /// Waits for the next one; safe to cancel. After an error the channel is of no use any more,
    /// and what was sent meanwhile is lost: make another, and compare.
    async fn next(&mut self) -> Result<Notification, StoreError>;
}

#[async_trait]
pub trait ChangeProbe: Send {
    /// Whether anything was committed since the last call (or since the probe was made); true when
    /// in doubt.
    async fn changed(&mut self) -> Result<bool, StoreError>;
}
