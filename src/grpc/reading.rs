//! What the handlers of the services share: reading an account at the freshness asked for, and
//! going on with a list where a page token says.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use super::admission::AdmittedAccount;
use super::chunks::{ChunkSender, Chunks};
use super::convert;
use super::page_token::{Binding, PageTokens, Place};
use super::status::{Failure, Reason};
use super::wire;
use crate::authz::model::{Id, Timestamp};
use crate::clock::Clock;
use crate::graph_cache::{Consistency, GraphCache, ReadError, ReadGraph, Turn};
use crate::revision::RevisionToken;
use crate::store::{Head, Store};

const AT_LEAST_AS_FRESH: &str = "consistency.at_least_as_fresh";

/// Cheap to clone; all clones read the same accounts.
#[derive(Clone)]
pub struct Reading {
    graphs: GraphCache,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    stall_timeout: Duration,
}

impl Reading {
    pub fn new(
        graphs: GraphCache,
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
        stall_timeout: Duration,
    ) -> Self {
        Self {
            graphs,
            clock,
            store,
            stall_timeout,
        }
    }

    /// A stream of chunks, made by a task that ends when they are not taken.
    pub fn chunks<T, Making>(&self, make: impl FnOnce(ChunkSender<T>) -> Making) -> Chunks<T>
    where
        T: Send + 'static,
        Making: Future<Output = Result<(), Status>> + Send + 'static,
    {
        super::chunks::chunks(self.stall_timeout, make)
    }

    /// Runs work on a whole account off the async workers, when it is its account's turn.
    pub async fn compute<T: Send + 'static>(
        &self,
        account: &Id,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(self.graphs.compute(account, work).await?)
    }

    /// Waits for an account's turn to make a part of a long answer.
    pub async fn turn(&self, account: &Id) -> Turn {
        self.graphs.turn(account).await
    }

    /// Under the key of the database as it is now, which may have been replaced.
    fn page_tokens(&self) -> PageTokens {
        PageTokens::new(self.store.identity().token_key)
    }

    /// The account at the freshness asked for.
    pub async fn account(
        &self,
        account: &AdmittedAccount,
        consistency: Option<&wire::Consistency>,
    ) -> Result<Arc<ReadGraph>, Failure> {
        let consistency = consistency_from_wire(consistency)?;
        let span = tracing::Span::current();
        span.record("ambit.account_id", account.as_str());
        let read = self
            .graphs
            .read(account, &consistency)
            .await
            .map_err(|error| read_failure(error, AT_LEAST_AS_FRESH))?;
        span.record("ambit.revision", read.head.revision);
        Ok(read)
    }

    /// The account for one page of a list: at the freshness asked for, and not before the revision
    /// of the page before.
    pub async fn page(
        &self,
        account: &AdmittedAccount,
        consistency: Option<&wire::Consistency>,
        after: Option<&Place>,
    ) -> Result<Arc<ReadGraph>, Failure> {
        let asked = consistency_from_wire(consistency)?;
        let Some(place) = after else {
            return self.account(account, consistency).await;
        };
        let before = Consistency::AtLeastAsFresh(self.graphs.token(account, place.head));
        let read = |consistency: Consistency, field: &'static str| async move {
            self.graphs
                .read(account, &consistency)
                .await
                .map_err(|error| read_failure(error, field))
        };
        if asked != Consistency::MinimizeLatency {
            let read = read(asked, AT_LEAST_AS_FRESH).await?;
            if read.head.revision > place.head.revision {
                return Ok(read);
            }
        }
        read(before, "page_token").await
    }

    /// Where a list goes on; `None` at its beginning.
    pub fn place(&self, binding: &Binding, page_token: &str) -> Result<Option<Place>, Failure> {
        self.page_tokens().decode(binding, page_token)
    }

    pub fn page_token(&self, binding: &Binding, after: &str, head: Head) -> String {
        self.page_tokens().encode(binding, after, head)
    }

    /// The revision token of an answer.
    pub fn revision(&self, account: &Id, head: Head) -> String {
        self.graphs.token(account, head).encode()
    }

    /// The decision time: the one that is asked for, or now.
    pub fn at(&self, at: Option<&prost_types::Timestamp>) -> Result<Timestamp, Failure> {
        match at {
            Some(at) => convert::moment(at, "at"),
            None => Ok(self.clock.now()),
        }
    }
}

/// A revision token in a field of a request; `None` where it is empty.
pub fn revision_token(text: &str, field: &'static str) -> Result<Option<RevisionToken>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    RevisionToken::decode(text)
        .map(Some)
        .map_err(|error| blamed(error.into(), field))
}

fn consistency_from_wire(consistency: Option<&wire::Consistency>) -> Result<Consistency, Failure> {
    use wire::consistency::Requirement;
    match consistency.and_then(|consistency| consistency.requirement.as_ref()) {
        None | Some(Requirement::MinimizeLatency(_) | Requirement::FullyConsistent(false)) => {
            Ok(Consistency::MinimizeLatency)
        }
        Some(Requirement::FullyConsistent(true)) => Ok(Consistency::FullyConsistent),
        Some(Requirement::AtLeastAsFresh(token)) => RevisionToken::decode(token)
            .map(Consistency::AtLeastAsFresh)
            .map_err(|error| blamed(error.into(), AT_LEAST_AS_FRESH)),
    }
}

/// A failed read, with the field that carried the token where a token is to blame.
fn read_failure(error: ReadError, field: &'static str) -> Failure {
    match error {
        ReadError::Revision(error) => blamed(error.into(), field),
        error => error.into(),
    }
}

/// A revision can only be wrong in the one field of a write that holds one.
pub fn blamed_on_revision(failure: Failure, field: &str) -> Failure {
    match failure.reason {
        Reason::RevisionOfAnotherAccount
        | Reason::RevisionOfAnotherHistory
        | Reason::RevisionNotReached
        | Reason::RevisionMalformed => blamed(failure, field),
        _ => failure,
    }
}

pub fn blamed(failure: Failure, field: &str) -> Failure {
    Failure {
        field: failure.field.or_else(|| Some(field.to_owned())),
        ..failure
    }
}
