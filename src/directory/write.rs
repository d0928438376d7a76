//! The one way in which an account is written, whatever is written: its writers queue, a write that
//! was made before is found by its key, the account must stand where it is expected to, the plan is
//! made on the graph at the head and stored on top of just that head, and the cache follows. Where
//! another writer was faster, all of it is done again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Directory, DirectoryError, IDEMPOTENCY_TTL, Idempotency};
use crate::authz::access_request::RequestEvent;
use crate::authz::model::{EntityChange, Id};
use crate::authz::on_behalf::CeilingReport;
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::revision::{RevisionError, RevisionToken};
use crate::store::audit::Author;
use crate::store::batches::BatchStep;
use crate::store::{Head, IdempotencyKey, RememberedWrite, StoreError, Write};

/// Times that a write is planned before it gives up to other writers.
pub(crate) const WRITE_TRIES_MAX: u32 = 8;

/// Wait before a write is planned again, times the tries so far; writers in this process queue,
/// so this is for those in other processes.
pub(super) const CONFLICT_BACKOFF: Duration = Duration::from_millis(2);

/// Who waits longer and longer loses to those who come anew.
pub(super) const BACKOFF_STEPS_MAX: u32 = 8;

/// What a write starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precondition {
    None,
    NoSuchAccount,
    StandsAt(Head),
}

/// What every write has, whatever it writes.
#[derive(Debug)]
pub(crate) struct WriteHeader<'a> {
    pub(crate) account: &'a Id,
    pub(crate) precondition: Precondition,
    /// `None` also for a write that is only tried.
    pub(crate) idempotency: Option<&'a Idempotency>,
    /// Times that it is planned before it gives up to other writers.
    pub(crate) tries_max: u32,
    /// Who makes it, for the audit.
    pub(crate) author: &'a Author,
}

/// A planned write: what to store on top of the head that it was planned on.
#[derive(Debug)]
pub(crate) struct Planned<T> {
    pub(crate) changes: Vec<EntityChange>,
    pub(crate) events: Vec<RequestEvent>,
    /// What is remembered under the idempotency key beside the head.
    pub(crate) answer: Option<Id>,
    /// How far a bulk comes by this write.
    pub(crate) batch: Option<BatchStep>,
    /// Whether the key is remembered: a refusal that writes is no answer to remember.
    pub(crate) remembered: bool,
    /// Where not, nothing is stored at all.
    pub(crate) stored: bool,
    /// What the caller is told.
    pub(crate) told: T,
}

/// What a write makes of an account, planned anew for each state that it meets.
#[async_trait]
pub(crate) trait Planning: Sync {
    type Told: Send;
    type Error: From<DirectoryError> + Send;

    /// What the grant ceiling made of what was planned, for the audit.
    fn ceiling(_told: &Self::Told) -> Option<&CeilingReport> {
        None
    }

    /// `None`: there is no such account.
    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Self::Told>, Self::Error>;
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written<T> {
    /// It was carried out. The head is where the account stands after it; of one that stored
    /// nothing where it stood, `None` if there is no account.
    Made { head: Option<Head>, told: T },
    /// It had been carried out before under its idempotency key.
    Replayed(RememberedWrite),
}

impl Directory {
    /// Carries out a write in one transaction, or none of it.
    pub(crate) async fn write_planned<P: Planning>(
        &self,
        header: &WriteHeader<'_>,
        planning: &P,
    ) -> Result<Written<P::Told>, P::Error> {
        for tries in 1..=header.tries_max {
            if let Some(written) = self.write_once(header, planning).await? {
                return Ok(written);
            }
            tracing::debug!(account = %header.account, tries, "write met another, plans again");
            tokio::time::sleep(CONFLICT_BACKOFF * tries.min(BACKOFF_STEPS_MAX)).await;
        }
        Err(DirectoryError::Contended.into())
    }

    /// `None`: another writer was faster.
    async fn write_once<P: Planning>(
        &self,
        header: &WriteHeader<'_>,
        planning: &P,
    ) -> Result<Option<Written<P::Told>>, P::Error> {
        // Writers to one account queue here, so that they don't spend their tries on each other.
        let live = match self.graphs.live(header.account).await {
            Ok(live) => Some(live),
            Err(ReadError::UnknownAccount(_)) => None,
            Err(error) => return Err(DirectoryError::Read(error).into()),
        };
        let _turn = match &live {
            Some(live) => Some(live.write_turn().await),
            None => None,
        };
        let present = self.present(header.account).await?;
        // Looked up after the head was read: a twin of this request that commits earlier is found
        // here, and one that commits later makes the store answer with a conflict.
        if let Some(idempotency) = header.idempotency
            && let Some(before) = self.remembered(header.account, idempotency).await?
        {
            return Ok(Some(Written::Replayed(before)));
        }
        check(header.precondition, header.account, present.as_deref())?;
        let expected = present.as_ref().map(|present| present.head);
        let planned = planning.plan(present).await?;
        if !planned.stored {
            return Ok(Some(Written::Made {
                head: expected,
                told: planned.told,
            }));
        }
        let idempotency = header.idempotency.filter(|_| planned.remembered);
        let author = match P::ceiling(&planned.told) {
            Some(ceiling) => &header.author.clone().under(ceiling),
            None => header.author,
        };
        let applied = self
            .store
            .apply(Write {
                account: header.account,
                expected,
                changes: &planned.changes,
                events: &planned.events,
                idempotency: idempotency.map(|idempotency| IdempotencyKey {
                    answer: planned.answer.as_ref(),
                    ..self.key(idempotency)
                }),
                batch: planned.batch.as_ref(),
                author,
            })
            .await;
        let head = match applied {
            Ok(head) => head,
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => return Err(DirectoryError::Store(error).into()),
        };
        // The write is made, whatever happens here: a reader with its token catches up itself.
        if let Err(error) = self.graphs.catch_up_cached(header.account).await {
            tracing::warn!(account = %header.account, error = %error, "written, but the cache could not follow yet");
        }
        Ok(Some(Written::Made {
            head: Some(head),
            told: planned.told,
        }))
    }

    /// The account as the store has it now; `None` if it has none.
    pub(crate) async fn present(
        &self,
        account: &Id,
    ) -> Result<Option<Arc<ReadGraph>>, DirectoryError> {
        let consistency = Consistency::FullyConsistent;
        match self.graphs.read(account, &consistency).await {
            Ok(read) => Ok(Some(read)),
            Err(ReadError::UnknownAccount(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the same request came to before.
    pub(super) async fn remembered(
        &self,
        account: &Id,
        idempotency: &Idempotency,
    ) -> Result<Option<RememberedWrite>, DirectoryError> {
        let remembered = self
            .store
            .remembered(account, self.key(idempotency))
            .await?;
        match remembered {
            Some(write) if write.request_digest != idempotency.request_digest => Err(
                DirectoryError::IdempotencyKeyReused(idempotency.key.clone()),
            ),
            same_or_none => Ok(same_or_none),
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

    /// What an `expected_revision` asks for.
    pub(crate) fn precondition(
        &self,
        account: &Id,
        expected: Option<&RevisionToken>,
    ) -> Result<Precondition, RevisionError> {
        match expected {
            Some(token) => Ok(Precondition::StandsAt(self.head_of(token, account)?)),
            None => Ok(Precondition::None),
        }
    }
}

pub(super) fn check(
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
