//! Use cases of agencies and their clients (S4, D1-D11): personal access links, who works for which
//! client, and the end of a partnership.
//!
//! A call reads the agency's account and the client's, judges both on them as they stand, and writes
//! whatever it touches of them in one transaction ([`Directory::write_across`]). So a right that is
//! lost meanwhile, a link that is revoked and a partnership that ends are seen by it or come after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::authz::model::{Id, IdError};
use crate::authz::partnership::PartnerRefusal;
use crate::clock::Clock;
use crate::directory::{Directory, DirectoryError};
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::randomness::{Randomness, RandomnessError};
use crate::revision::RevisionToken;
use crate::store::partners::PartnerStore;
use crate::store::{Head, StoreError};

mod ending;
mod link_text;
mod links;
mod listing;
mod news;
mod removing;
mod staffing;

pub use ending::{EndPartnership, Ended, Side};
pub use link_text::LinkText;
pub use links::{ApproveLink, ApprovedLink, LINK_TTL_MICROS, NewLink};
pub use listing::Person;
pub use removing::{CommitRemoval, PreviewedRemoval, RemovalOf, RemovedFrom, Resolution};
pub use staffing::{Asking, InClient, Migrate, SetStatus, Staffed, Staffing};

/// Clients that one call touches at most.
pub const CLIENTS_MAX: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum PartnerError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Refusal(#[from] PartnerRefusal),
    /// Of one of several clients.
    #[error("client `{client}`: {refusal}")]
    In { client: Id, refusal: PartnerRefusal },
    #[error(
        "what was previewed has changed since, or was not previewed so: preview it again, then decide anew"
    )]
    PreviewStale,
    #[error("more than {CLIENTS_MAX} clients at once: name some of them")]
    TooManyClients,
    /// The other account that a call names, beside the one of whoever acts.
    #[error("there is no account `{0}`")]
    NoSuchCounterpart(Id),
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    #[error(transparent)]
    Id(#[from] IdError),
}

impl From<StoreError> for PartnerError {
    fn from(error: StoreError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<ReadError> for PartnerError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct Partners {
    directory: Directory,
    store: Arc<dyn PartnerStore>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    written: Arc<Notify>,
}

impl Partners {
    /// `written` is notified after each write that has something to tell.
    pub fn new(
        directory: Directory,
        store: Arc<dyn PartnerStore>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        written: Arc<Notify>,
    ) -> Self {
        Self {
            directory,
            store,
            clock,
            randomness,
            written,
        }
    }

    async fn read(&self, account: &Id) -> Result<Arc<ReadGraph>, PartnerError> {
        let graphs = self.directory.graphs();
        Ok(graphs.read(account, &Consistency::FullyConsistent).await?)
    }

    fn token(&self, account: &Id, head: Option<&Head>) -> Result<RevisionToken, PartnerError> {
        let head = head.ok_or_else(|| ReadError::UnknownAccount(account.clone()))?;
        Ok(self.directory.graphs().token(account, *head))
    }
}

/// The accounts of a write, each once.
fn accounts<const COUNT: usize>(ids: [&Id; COUNT]) -> BTreeSet<Id> {
    ids.into_iter().cloned().collect()
}
