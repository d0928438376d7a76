//! Use cases on the directory of an account: create, change, delete, export, watch.
//!
//! A write is: the graph at the head -> the pure plan -> one transaction of the store, which
//! refuses if the head has moved -> the cache catches up through the same path as for anyone
//! else's change -> the new head goes back to the caller. A conflict plans again, a bounded number
//! of times.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::authz::change::{AccountPatch, Change, ChangeError, ChangeLine};
use crate::authz::graph::{AccountGraph, GraphError};
use crate::authz::model::{Id, Timestamp};
use crate::authz::on_behalf::CeilingReport;
use crate::clock::Clock;
use crate::graph_cache::{Consistency, GraphCache, ReadError};
use crate::revision::{RevisionError, RevisionToken};
use crate::store::audit::Author;
use crate::store::{AccountSummary, Head, Snapshot, Store, StoreError};

mod access_watch;
mod across;
mod plan;
mod preview;
mod supposed;
mod watch;
mod write;

pub(crate) use across::{AccountWrite, PlannedAcross, PlanningAcross, Present, entity_changes};
use plan::PlanIntent;
pub(crate) use write::{Planned, Planning, Precondition, WRITE_TRIES_MAX, WriteHeader, Written};

pub use access_watch::{AccessWatch, AccessWatchError, Due, Moment, VisibilityChange};
pub use preview::{Foreseen, Ids, PreviewChanges, PreviewedAccess};
pub(crate) use supposed::Judged;
pub use supposed::Supposed;
pub use watch::{ChangeWatch, WatchEvent};

/// Accounts whose heads are asked for in one query.
const HEADS_AT_ONCE: usize = 1_000;

/// Watches of access that tell at a time; the others wait for their turn.
const WATCHES_TELLING_MAX: usize = 64;

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
    /// The user in whose name it is done and by whose rights it is judged; `None`: an operator's.
    pub actor: Option<Id>,
    /// Who asks for it, for the audit.
    pub author: Author,
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
    /// # Errors
    /// Why whoever asks may not; the index counts the changes that would have been.
    fn changes(&self, present: Option<&AccountGraph>) -> Result<Cow<'_, [Change]>, ChangeError>;
}

impl Intent for Vec<Change> {
    fn changes(&self, _present: Option<&AccountGraph>) -> Result<Cow<'_, [Change]>, ChangeError> {
        Ok(Cow::Borrowed(self))
    }
}

/// A write whose changes depend on the account as it stands.
pub(crate) struct IntentWrite {
    pub(crate) account: Id,
    pub(crate) intent: Arc<dyn Intent>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) dry_run: bool,
    /// The user by whose rights the changes are judged; `None`: an operator's, or judged by the
    /// intent itself.
    pub(crate) actor: Option<Id>,
    /// Times that it is planned before it gives up to other writers.
    pub(crate) tries_max: u32,
    /// Who asks for it, for the audit.
    pub(crate) author: Author,
}

impl From<ApplyChanges> for IntentWrite {
    fn from(request: ApplyChanges) -> Self {
        Self {
            account: request.account,
            intent: Arc::new(request.changes),
            idempotency: request.idempotency,
            dry_run: request.dry_run,
            tries_max: WRITE_TRIES_MAX,
            author: request.author.for_actor(request.actor.clone()),
            actor: request.actor,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Where the account stands now; of a dry run where it stood, `None` if there is no account.
    pub head: Option<Head>,
    /// What was done, a line an entity; empty for a replay.
    pub lines: Vec<ChangeLine>,
    /// What the grant ceiling made of it; empty for a replay.
    pub ceiling: CeilingReport,
    /// The write had been carried out before under its idempotency key.
    pub replayed: bool,
}

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
    /// Watches that tell at a time: each holds a thread, and its reader may be slow.
    telling: Arc<Semaphore>,
}

impl Directory {
    pub fn new(store: Arc<dyn Store>, graphs: GraphCache, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            graphs,
            clock,
            telling: Arc::new(Semaphore::new(WATCHES_TELLING_MAX)),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
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
        author: Author,
    ) -> Result<Applied, DirectoryError> {
        let request = ApplyChanges {
            account,
            changes: vec![Change::PutAccount(patch)],
            expected: None,
            idempotency,
            dry_run: false,
            actor: None,
            author,
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
        let precondition = self.precondition(&request.account, request.expected.as_ref())?;
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
        author: &Author,
    ) -> Result<(), DirectoryError> {
        let expected = expected
            .map(|token| self.head_of(&token, account))
            .transpose()?;
        match self.store.delete_account(account, expected, author).await {
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

    /// Those of some accounts that exist, as [`Directory::accounts`] lists all of them.
    pub async fn accounts_of(
        &self,
        accounts: &BTreeSet<Id>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, DirectoryError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = accounts.range::<Id, _>((from, Bound::Unbounded)).peekable();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        while rest.peek().is_some() && found.len() < limit {
            let some: Vec<Id> = rest.by_ref().take(HEADS_AT_ONCE).cloned().collect();
            found.extend(self.store.heads(&some).await?);
        }
        found.truncate(limit);
        Ok(found)
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
        let header = WriteHeader {
            account: &request.account,
            precondition,
            idempotency: request.idempotency.as_ref().filter(|_| !request.dry_run),
            tries_max: request.tries_max,
            author: &request.author,
        };
        let planning = PlanIntent {
            store: self.store.as_ref(),
            graphs: &self.graphs,
            clock: self.clock.as_ref(),
            request: &request,
        };
        Ok(match self.write_planned(&header, &planning).await? {
            Written::Made { head, told } => Applied {
                head,
                lines: told.lines,
                ceiling: told.ceiling,
                replayed: false,
            },
            Written::Replayed(before) => Applied {
                head: Some(before.head),
                lines: Vec::new(),
                ceiling: CeilingReport::default(),
                replayed: true,
            },
        })
    }

    fn head_of(&self, token: &RevisionToken, account: &Id) -> Result<Head, RevisionError> {
        token.head_of(self.store.identity().epoch, account)
    }
}
