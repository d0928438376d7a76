//! Use cases on the directory of an account: create, change, delete, export, watch.
//!
//! A write is: the graph at the head -> the pure plan -> one transaction of the store, which
//! refuses if the head has moved -> the cache catches up through the same path as for anyone
//! else's change -> the new head goes back to the caller. A conflict plans again, a bounded number
//! of times.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::authz::change::{AccountPatch, Change, ChangeError, ChangeLine, ChangeSet};
use crate::authz::graph::{AccountGraph, GraphError};
use crate::authz::model::Id;
use crate::clock::Clock;
use crate::graph_cache::{Consistency, GraphCache, ReadError, ReadGraph};
use crate::revision::{RevisionError, RevisionToken};
use crate::store::{AccountSummary, Head, IdempotencyKey, Snapshot, Store, StoreError, Write};

mod plan;
mod watch;

use plan::plan;

pub use watch::{ChangeWatch, WatchEvent};

/// Times that a write is planned before it gives up to other writers.
const WRITE_TRIES_MAX: u32 = 8;

/// Wait before a write is planned again, times the tries so far; writers in this process queue,
/// so this is for those in other processes.
const CONFLICT_BACKOFF: Duration = Duration::from_millis(2);

/// Who waits longer and longer loses to those who come anew.
const BACKOFF_STEPS_MAX: u32 = 8;

/// How long an idempotency key is remembered (`api.md`: 24 h).
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("there is already an account `{0}`")]
    AlreadyExists(Id),
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The changes are well-formed, but no graph can be made of what they lead to.
    #[error("the changes lead to an account that can't be used: {0}")]
    Unusable(GraphError),
    #[error(
        "the account has been changed since the expected revision: read it again, then decide anew"
    )]
    ExpectedRevision,
    #[error("the idempotency key `{0}` was used for another request in the last 24 hours")]
    IdempotencyKeyReused(Id),
    #[error("the account was changed by others on each try: try again later")]
    Contended,
    /// The text is safe to show; the source is for the log.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for DirectoryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RevisionError> for DirectoryError {
    fn from(error: RevisionError) -> Self {
        Self::Read(ReadError::Revision(error))
    }
}

/// One atomic list of changes to one account.
#[derive(Debug, Clone)]
pub struct ApplyChanges {
    pub account: Id,
    pub changes: Vec<Change>,
    /// Refused with [`DirectoryError::ExpectedRevision`] where the account stands elsewhere.
    pub expected: Option<RevisionToken>,
    pub idempotency: Option<Idempotency>,
    /// Plans and checks everything, writes nothing.
    pub dry_run: bool,
}

/// A caller's name for a write, so that a repeated request is carried out once.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: Id,
    /// SHA-256 of the request.
    pub request_digest: [u8; 32],
}

/// What a write is to make of an account, told anew for each state that it is planned on.
pub(crate) trait Intent: Send + Sync + 'static {
    fn changes(&self, present: Option<&AccountGraph>) -> Cow<'_, [Change]>;
}

impl Intent for Vec<Change> {
    fn changes(&self, _present: Option<&AccountGraph>) -> Cow<'_, [Change]> {
        Cow::Borrowed(self)
    }
}

/// A write whose changes depend on the account as it stands.
pub(crate) struct IntentWrite {
    pub(crate) account: Id,
    pub(crate) intent: Arc<dyn Intent>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) dry_run: bool,
    /// Times that it is planned before it gives up to other writers.
    pub(crate) tries_max: u32,
}

impl From<ApplyChanges> for IntentWrite {
    fn from(request: ApplyChanges) -> Self {
        Self {
            account: request.account,
            intent: Arc::new(request.changes),
            idempotency: request.idempotency,
            dry_run: request.dry_run,
            tries_max: WRITE_TRIES_MAX,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Where the account stands now; of a dry run where it stood, `None` if there is no account.
    pub head: Option<Head>,
    /// What was done, a line an entity; empty for a replay.
    pub lines: Vec<ChangeLine>,
    /// The write had been carried out before under its idempotency key.
    pub replayed: bool,
}

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
}

/// What a write starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precondition {
    None,
    NoSuchAccount,
    StandsAt(Head),
}

impl Directory {
    pub fn new(store: Arc<dyn Store>, graphs: GraphCache, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            graphs,
            clock,
        }
    }

    pub fn graphs(&self) -> &GraphCache {
        &self.graphs
    }

    /// Creates an account; [`DirectoryError::AlreadyExists`] if there is one.
    pub async fn create_account(
        &self,
        account: Id,
        patch: AccountPatch,
        idempotency: Option<Idempotency>,
    ) -> Result<Applied, DirectoryError> {
        let request = ApplyChanges {
            account,
            changes: vec![Change::PutAccount(patch)],
            expected: None,
            idempotency,
            dry_run: false,
        };
        self.write(request.into(), Precondition::NoSuchAccount)
            .await
    }

    /// Carries out a list of changes that creates its account; [`DirectoryError::AlreadyExists`] if
    /// there is one, which is left as it is.
    pub async fn create_with(&self, request: ApplyChanges) -> Result<Applied, DirectoryError> {
        self.write(request.into(), Precondition::NoSuchAccount)
            .await
    }

    /// Carries out a list of changes in one transaction, or none of it.
    pub async fn apply_changes(&self, request: ApplyChanges) -> Result<Applied, DirectoryError> {
        let precondition = match &request.expected {
            Some(token) => Precondition::StandsAt(self.head_of(token, &request.account)?),
            None => Precondition::None,
        };
        self.write(request.into(), precondition).await
    }

    /// Carries out what an intent makes of the account in one transaction, or none of it.
    pub(crate) async fn write_intent(&self, write: IntentWrite) -> Result<Applied, DirectoryError> {
        self.write(write, Precondition::None).await
    }

    /// Whether a request was carried out under its idempotency key, by anyone.
    pub(crate) async fn was_written(
        &self,
        account: &Id,
        idempotency: &Idempotency,
    ) -> Result<bool, DirectoryError> {
        let remembered = self.remembered(account, idempotency).await?;
        Ok(remembered.is_some())
    }

    /// Removes an account with everything in it.
    pub async fn delete_account(
        &self,
        account: &Id,
        expected: Option<RevisionToken>,
    ) -> Result<(), DirectoryError> {
        let expected = expected
            .map(|token| self.head_of(&token, account))
            .transpose()?;
        match self.store.delete_account(account, expected).await {
            Ok(true) => {
                self.graphs.forget(account).await;
                Ok(())
            }
            Ok(false) => Err(ReadError::UnknownAccount(account.clone()).into()),
            Err(StoreError::Conflict) => Err(DirectoryError::ExpectedRevision),
            Err(error) => Err(error.into()),
        }
    }

    /// Accounts after `after` in bytewise order of ids, at most `limit`.
    pub async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, DirectoryError> {
        Ok(self.store.accounts(after, limit).await?)
    }

    /// The whole account at one revision, attributes included, in chunks.
    pub async fn export(&self, account: &Id) -> Result<Snapshot, DirectoryError> {
        self.store
            .snapshot(account, true)
            .await?
            .ok_or_else(|| ReadError::UnknownAccount(account.clone()).into())
    }

    /// Follows the changes of an account after a revision, or from now on.
    ///
    /// A token that the account never stood at is refused here; one that is too old for the
    /// change log begins with [`WatchEvent::Reload`].
    pub async fn watch(
        &self,
        account: &Id,
        after: Option<RevisionToken>,
        heartbeat: Duration,
    ) -> Result<ChangeWatch, DirectoryError> {
        let from = match after {
            Some(token) => {
                let from = self.head_of(&token, account)?;
                let consistency = Consistency::AtLeastAsFresh(token);
                self.graphs.read(account, &consistency).await?;
                from
            }
            None => {
                let consistency = Consistency::FullyConsistent;
                self.graphs.read(account, &consistency).await?.head
            }
        };
        Ok(ChangeWatch::new(
            Arc::clone(&self.store),
            self.graphs.clone(),
            account.clone(),
            from,
            heartbeat,
        ))
    }

    async fn write(
        &self,
        request: IntentWrite,
        precondition: Precondition,
    ) -> Result<Applied, DirectoryError> {
        for tries in 1..=request.tries_max {
            match self.write_once(&request, precondition).await {
                Err(DirectoryError::Store(StoreError::Conflict)) => {
                    tracing::debug!(account = %request.account, tries, "write met another, plans again");
                    tokio::time::sleep(CONFLICT_BACKOFF * tries.min(BACKOFF_STEPS_MAX)).await;
                }
                done => return done,
            }
        }
        Err(DirectoryError::Contended)
    }

    async fn write_once(
        &self,
        request: &IntentWrite,
        precondition: Precondition,
    ) -> Result<Applied, DirectoryError> {
        // Writers to one account queue here, so that they don't spend their tries on each other.
        let live = match self.graphs.live(&request.account).await {
            Ok(live) => Some(live),
            Err(ReadError::UnknownAccount(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let _turn = match &live {
            Some(live) => Some(live.write_turn().await),
            None => None,
        };
        let present = self.present(&request.account).await?;
        // Looked up after the head was read: a twin of this request that commits earlier is found
        // here, and one that commits later makes the store answer with a conflict.
        if let Some(applied) = self.replay(request).await? {
            return Ok(applied);
        }
        check(precondition, &request.account, present.as_deref())?;
        let mut planned = plan(self.store.as_ref(), request, present).await?;
        self.settle_attributes(&request.account, &mut planned.set)
            .await?;
        if request.dry_run {
            return Ok(Applied {
                head: planned.expected,
                lines: planned.set.summary,
                replayed: false,
            });
        }
        let idempotency = request.idempotency.as_ref();
        let head = self
            .store
            .apply(Write {
                account: &request.account,
                expected: planned.expected,
                changes: &planned.set.changes,
                events: &[],
                idempotency: idempotency.map(|idempotency| self.key(idempotency)),
            })
            .await?;
        // The write is made, whatever happens here: a reader with its token catches up itself.
        if let Err(error) = self.graphs.catch_up_cached(&request.account).await {
            tracing::warn!(account = %request.account, error = %error, "written, but the cache could not follow yet");
        }
        Ok(Applied {
            head: Some(head),
            lines: planned.set.summary,
            replayed: false,
        })
    }

    /// Takes attributes that are stored just so out of a plan: the graph doesn't hold any. Where
    /// the account has moved on since the plan, the store answers the write with a conflict.
    async fn settle_attributes(
        &self,
        account: &Id,
        set: &mut ChangeSet,
    ) -> Result<(), DirectoryError> {
        let keys = set.attribute_keys();
        if !keys.is_empty() {
            set.settle_attributes(self.store.attributes(account, &keys).await?);
        }
        Ok(())
    }

    /// The account as the store has it now; `None` if it has none.
    async fn present(&self, account: &Id) -> Result<Option<Arc<ReadGraph>>, DirectoryError> {
        let consistency = Consistency::FullyConsistent;
        match self.graphs.read(account, &consistency).await {
            Ok(read) => Ok(Some(read)),
            Err(ReadError::UnknownAccount(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn replay(&self, request: &IntentWrite) -> Result<Option<Applied>, DirectoryError> {
        let Some(idempotency) = request.idempotency.as_ref().filter(|_| !request.dry_run) else {
            return Ok(None);
        };
        let head = self.remembered(&request.account, idempotency).await?;
        Ok(head.map(|head| Applied {
            head: Some(head),
            lines: Vec::new(),
            replayed: true,
        }))
    }

    /// The head that the same request came to before.
    async fn remembered(
        &self,
        account: &Id,
        idempotency: &Idempotency,
    ) -> Result<Option<Head>, DirectoryError> {
        let remembered = self
            .store
            .remembered(account, self.key(idempotency))
            .await?;
        match remembered {
            None => Ok(None),
            Some(write) if write.request_digest == idempotency.request_digest => {
                Ok(Some(write.head))
            }
            Some(_) => Err(DirectoryError::IdempotencyKeyReused(
                idempotency.key.clone(),
            )),
        }
    }

    fn key<'a>(&self, idempotency: &'a Idempotency) -> IdempotencyKey<'a> {
        IdempotencyKey {
            key: &idempotency.key,
            request_digest: idempotency.request_digest,
            now_micros: self.clock.now().unix_micros(),
            ttl_micros: i64::try_from(IDEMPOTENCY_TTL.as_micros()).unwrap_or(i64::MAX),
            answer: None,
        }
    }

    fn head_of(&self, token: &RevisionToken, account: &Id) -> Result<Head, RevisionError> {
        token.head_of(self.store.identity().epoch, account)
    }
}

fn check(
    precondition: Precondition,
    account: &Id,
    present: Option<&ReadGraph>,
) -> Result<(), DirectoryError> {
    match (precondition, present) {
        (Precondition::None, _) | (Precondition::NoSuchAccount, None) => Ok(()),
        (Precondition::NoSuchAccount, Some(_)) => {
            Err(DirectoryError::AlreadyExists(account.clone()))
        }
        (Precondition::StandsAt(_), None) => Err(ReadError::UnknownAccount(account.clone()).into()),
        (Precondition::StandsAt(head), Some(present)) if present.head == head => Ok(()),
        (Precondition::StandsAt(_), Some(_)) => Err(DirectoryError::ExpectedRevision),
    }
}
