//! Use cases on access requests: file, read, suggest, approve, deny, cancel, revoke, watch.
//!
//! What may be done is judged by the pure rules on the graph at the head of the account, and stored
//! on top of just that head by the one write path of the directory. So everything that a judgement
//! rests on (the approver's authority, the plan, the resource, the denial) still holds at the commit,
//! and of many who resolve one request at once one wins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::authz::access_request::{
    AccessRequest, Filing, RequestEvent, RequestRefusal, RequestState, Suggestion, Wish, canonical,
    file, may_resolve, suggest, suggest_for,
};
use crate::authz::decision::Decision;
use crate::authz::model::{Entity, EntityChange, Id, IdError, Timestamp};
use crate::clock::Clock;
use crate::directory::{
    Directory, DirectoryError, Idempotency, Planned, Planning, WRITE_TRIES_MAX, WriteHeader,
    Written,
};
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::randomness::{Randomness, RandomnessError};
use crate::revision::RevisionToken;
use crate::store::audit::Author;
use crate::store::outbox::{Delivery, DeliveryKey, DeliveryState, Outbox, Subject};
use crate::store::{Head, RequestFilter, Store, StoreError};

mod id;
pub mod keeper;
mod linking;
mod resolving;
mod watch;

use id::request_id;
pub use linking::RequestLink;
pub use resolving::{Act, Resolved};
use resolving::{changes_of, request_check};
pub use watch::{RequestWatch, RequestWatchEvent};

/// Requests that one look at the store reads for a list.
const LIST_STEP: u32 = 500;

/// Requests that one page passes over before it ends with fewer than asked for.
const LIST_SCAN_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum AccessRequestError {
    /// The rules don't allow it, with the rule that says so.
    #[error(transparent)]
    Refusal(RequestRefusal),
    /// Also one of another account.
    #[error("the account has no access request `{0}`")]
    UnknownRequest(Id),
    #[error(
        "the account has no settled notification of event {ordinal} of {subject} to `{destination}`: list them, and replay one that is dead or delivered"
    )]
    UnknownNotification {
        subject: Subject,
        ordinal: u32,
        destination: String,
    },
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    #[error("the id of a request can't be made: {0}")]
    Id(#[from] IdError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl From<RequestRefusal> for AccessRequestError {
    fn from(refusal: RequestRefusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<ReadError> for AccessRequestError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<StoreError> for AccessRequestError {
    fn from(error: StoreError) -> Self {
        Self::Directory(error.into())
    }
}

/// What every change of a request has.
#[derive(Debug, Clone)]
pub struct RequestWrite {
    pub account: Id,
    /// Refused with [`DirectoryError::ExpectedRevision`] where the account stands elsewhere.
    pub expected: Option<RevisionToken>,
    pub idempotency: Option<Idempotency>,
    /// Who makes it, for the audit.
    pub author: Author,
}

impl RequestWrite {
    /// One that is made wherever the account stands, and not remembered.
    pub fn of(account: Id, author: Author) -> Self {
        Self {
            account,
            expected: None,
            idempotency: None,
            author,
        }
    }
}

/// The request that is pending after a filing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    pub request: AccessRequest,
    pub head: Head,
    /// It had been there before.
    pub existing: bool,
}

/// Which requests a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub filter: RequestFilter,
    /// Only what this user may resolve now, or has resolved.
    pub approver: Option<Id>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub requests: Vec<AccessRequest>,
    /// The id that the next page goes on after; `None`: there is none.
    pub next: Option<Id>,
}

/// What would answer a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggested {
    pub suggestions: Vec<Suggestion>,
    pub head: Head,
}

/// Where links lead, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSettings {
    pub url: Arc<str>,
    pub link_ttl: Duration,
}

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct AccessRequests {
    directory: Directory,
    store: Arc<dyn Store>,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    console: ConsoleSettings,
    /// Told of after each event that was written here, so that it is sent at once.
    written: Arc<Notify>,
}

impl AccessRequests {
    pub fn new(
        directory: Directory,
        store: Arc<dyn Store>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        console: ConsoleSettings,
    ) -> Self {
        Self {
            directory,
            store,
            outbox,
            clock,
            randomness,
            console,
            written: Arc::new(Notify::new()),
        }
    }

    /// Is notified after each event that is written through this use case.
    pub fn written(&self) -> Arc<Notify> {
        Arc::clone(&self.written)
    }

    /// Files a request, or answers the one that is pending for the same.
    pub async fn file(&self, write: RequestWrite, wish: Wish) -> Result<Filed, AccessRequestError> {
        let id = request_id(self.clock.now(), self.randomness.bytes()?)?;
        let planning = PlanFiling {
            requests: self,
            account: &write.account,
            wish: &wish,
            id,
            remembers: write.idempotency.is_some(),
        };
        match self.write(&write, &planning).await? {
            Written::Made {
                head: Some(head),
                told: (request, existing),
            } => Ok(Filed {
                request,
                head,
                existing,
            }),
            // The plan of an account that is not there is an error.
            Written::Made { head: None, .. } => Err(unknown_account(&write.account)),
            Written::Replayed(before) => {
                let id = before.answer.ok_or(DirectoryError::Contended)?;
                Ok(Filed {
                    request: self.request(&write.account, &id).await?,
                    head: before.head,
                    existing: true,
                })
            }
        }
    }

    /// One request, with a head up to which everything is seen.
    pub async fn get(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<(AccessRequest, Head), AccessRequestError> {
        let read = self.present(account).await?;
        Ok((self.request(account, id).await?, read.head))
    }

    /// A page of requests in id order, read after a graph, whose users say who may resolve what.
    pub async fn list(
        &self,
        account: &Id,
        read: &Arc<ReadGraph>,
        listing: &Listing,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Listed, AccessRequestError> {
        let now = self.clock.now();
        let mut requests = Vec::new();
        let mut after = after.cloned();
        let mut passed = 0;
        loop {
            let step = self
                .store
                .access_requests(account, &listing.filter, after.as_ref(), LIST_STEP)
                .await?;
            let is_last = step.len() < usize::try_from(LIST_STEP).unwrap_or(usize::MAX);
            passed += step.len();
            let judged = self.judged(account, read, listing, step, now).await?;
            for (request, is_listed) in judged {
                let id = request.id.clone();
                if is_listed {
                    if requests.len() == limit {
                        return Ok(Listed {
                            requests,
                            next: after,
                        });
                    }
                    requests.push(request);
                }
                after = Some(id);
            }
            if is_last {
                return Ok(Listed {
                    requests,
                    next: None,
                });
            }
            if passed >= LIST_SCAN_MAX {
                return Ok(Listed {
                    requests,
                    next: after,
                });
            }
        }
    }

    /// The history of a request, oldest first, with a head up to which everything is seen.
    pub async fn events(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<(Vec<RequestEvent>, Head), AccessRequestError> {
        let read = self.present(account).await?;
        let events = self.store.access_request_events(account, id).await?;
        if events.is_empty() {
            return Err(AccessRequestError::UnknownRequest(id.clone()));
        }
        Ok((events, read.head))
    }

    /// What would turn the request's check to ALLOW, what opens least first, each with whether the
    /// approver who is named may give it. Other resources than
    /// the requested one are named only where an approver is, who may resolve the request.
    pub async fn suggest(
        &self,
        account: &Id,
        id: &Id,
        approver: Option<&Id>,
        expires_at: Option<Timestamp>,
    ) -> Result<Suggested, AccessRequestError> {
        let read = self.present(account).await?;
        let request = self.request(account, id).await?;
        let (now, head) = (self.clock.now(), read.head);
        let approver = approver.cloned();
        let work = move || {
            if let Some(approver) = &approver {
                return suggest_for(&read.graph, &request, approver, expires_at, now);
            }
            let mut suggestions = suggest(&read.graph, &request, expires_at, now)?;
            for suggestion in &mut suggestions {
                suggestion.opens.sample.retain(|opened| {
                    opened.resource_id.is_none() || opened.resource_id == request.target.resource_id
                });
            }
            Ok::<_, RequestRefusal>(suggestions)
        };
        let suggestions = self.directory.graphs().compute(account, work).await??;
        Ok(Suggested { suggestions, head })
    }

    /// Ends a request, or revokes what its approval gave. A request that has lost its ground is
    /// ended as what it is by now before the refusal is answered.
    pub async fn resolve(
        &self,
        write: RequestWrite,
        id: &Id,
        act: Act,
    ) -> Result<Resolved, AccessRequestError> {
        resolving::resolve(self, write, id, act).await
    }

    /// Follows the requests of an account after a revision, or from what is pending now.
    pub async fn watch(
        &self,
        account: &Id,
        after: Option<RevisionToken>,
        user: Option<Id>,
        heartbeat: Duration,
    ) -> Result<RequestWatch, AccessRequestError> {
        RequestWatch::begin(
            &self.directory,
            &self.store,
            account,
            after,
            user,
            heartbeat,
        )
        .await
    }

    /// A page of what is told of the account's requests and partnerships; `after` is the last key of
    /// the page before. A partnership with an account that is not among the `visible` ones is left
    /// out.
    pub async fn notifications(
        &self,
        account: &Id,
        (state, visible): (Option<DeliveryState>, Option<&BTreeSet<Id>>),
        after: Option<&DeliveryKey>,
        limit: usize,
    ) -> Result<Vec<Delivery>, AccessRequestError> {
        let is_visible = |delivery: &Delivery| match (&delivery.key.subject, visible) {
            (Subject::Partner(counterpart), Some(visible)) => visible.contains(counterpart),
            (Subject::Partner(_), None) | (Subject::Request(_), _) => true,
        };
        let step = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut after = after.cloned();
        let mut found = Vec::new();
        loop {
            let page = self
                .outbox
                .deliveries(account, state, after.as_ref(), step)
                .await?;
            let is_last = page.len() < limit;
            after = page.last().map(|last| last.key.clone());
            found.extend(page.into_iter().filter(is_visible));
            if is_last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// Lets a settled notification be sent once more; answers where the account stands.
    pub async fn replay(
        &self,
        key: &DeliveryKey,
        author: &Author,
    ) -> Result<Head, AccessRequestError> {
        let read = self.present(&key.account).await?;
        let now = self.clock.now();
        if !self.outbox.replay_delivery(key, now, author).await? {
            return Err(AccessRequestError::UnknownNotification {
                subject: key.subject.clone(),
                ordinal: key.ordinal,
                destination: key.destination.clone(),
            });
        }
        self.written.notify_one();
        Ok(read.head)
    }

    /// Carries out a write of requests, and has its events sent.
    async fn write<P>(
        &self,
        write: &RequestWrite,
        planning: &P,
    ) -> Result<Written<P::Told>, AccessRequestError>
    where
        P: Planning<Error = AccessRequestError>,
    {
        let precondition = self
            .directory
            .precondition(&write.account, write.expected.as_ref())
            .map_err(DirectoryError::from)?;
        let header = WriteHeader {
            account: &write.account,
            precondition,
            idempotency: write.idempotency.as_ref(),
            tries_max: WRITE_TRIES_MAX,
            author: &write.author,
        };
        let written = self.directory.write_planned(&header, planning).await?;
        self.written.notify_one();
        Ok(written)
    }

    /// The account as the store has it now.
    async fn present(&self, account: &Id) -> Result<Arc<ReadGraph>, AccessRequestError> {
        let consistency = Consistency::FullyConsistent;
        Ok(self.directory.graphs().read(account, &consistency).await?)
    }

    async fn request(&self, account: &Id, id: &Id) -> Result<AccessRequest, AccessRequestError> {
        self.store
            .access_request(account, id)
            .await?
            .ok_or_else(|| AccessRequestError::UnknownRequest(id.clone()))
    }

    /// The request's check at a head or later.
    async fn check_at(
        &self,
        account: &Id,
        request: &AccessRequest,
        head: Head,
    ) -> Result<Decision, AccessRequestError> {
        let graphs = self.directory.graphs();
        let consistency = Consistency::AtLeastAsFresh(graphs.token(account, head));
        let read = graphs.read(account, &consistency).await?;
        Ok(request_check(&read.graph, request, self.clock.now())?)
    }
}

/// What filing makes of an account.
struct PlanFiling<'a> {
    requests: &'a AccessRequests,
    account: &'a Id,
    wish: &'a Wish,
    id: Id,
    /// Whether an idempotency key is to be remembered, be there anything to write or not.
    remembers: bool,
}

#[async_trait]
impl Planning for PlanFiling<'_> {
    type Told = (AccessRequest, bool);
    type Error = AccessRequestError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Self::Told>, AccessRequestError> {
        let read = present.ok_or_else(|| unknown_account(self.account))?;
        let target = canonical(&read.graph, &self.wish.target).map_err(RequestRefusal::from)?;
        let last_denial = self
            .requests
            .store
            .last_denial(self.account, &self.wish.user, &target)
            .await?;
        let now = self.requests.clock.now();
        let filing = file(&read.graph, self.wish, self.id.clone(), last_denial, now)?;
        Ok(match filing {
            Filing::Pending(request) => Planned {
                changes: Vec::new(),
                events: Vec::new(),
                answer: Some(request.id.clone()),
                batch: None,
                remembered: true,
                stored: self.remembers,
                told: (request, true),
            },
            Filing::New {
                request,
                event,
                lapsed,
            } => {
                let (mut changes, mut events) = (Vec::new(), Vec::new());
                if let Some(lapsed) = lapsed {
                    events.push(lapsed.event.clone());
                    changes.extend(changes_of(*lapsed));
                }
                events.push(event);
                changes.push(EntityChange::Put(Entity::AccessRequest(request.clone())));
                Planned {
                    changes,
                    events,
                    answer: Some(request.id.clone()),
                    batch: None,
                    remembered: true,
                    stored: true,
                    told: (request, false),
                }
            }
        })
    }
}

impl AccessRequests {
    /// Each request with whether it is listed. Who may resolve it may take a look at every user.
    async fn judged(
        &self,
        account: &Id,
        read: &Arc<ReadGraph>,
        listing: &Listing,
        step: Vec<AccessRequest>,
        now: Timestamp,
    ) -> Result<Vec<(AccessRequest, bool)>, AccessRequestError> {
        if listing.approver.is_none() {
            return Ok(step.into_iter().map(|request| (request, true)).collect());
        }
        let (read, listing) = (Arc::clone(read), listing.clone());
        let judged = move || {
            let judge = |request| {
                let is_listed = is_listed(&read, &listing, &request, now);
                (request, is_listed)
            };
            step.into_iter().map(judge).collect()
        };
        Ok(self.directory.graphs().compute(account, judged).await?)
    }
}

fn is_listed(read: &ReadGraph, listing: &Listing, request: &AccessRequest, now: Timestamp) -> bool {
    let Some(approver) = &listing.approver else {
        return true;
    };
    match &request.closing {
        None => may_resolve(&read.graph, request, approver, now).is_ok(),
        Some(closing) => {
            matches!(request.state, RequestState::Approved | RequestState::Denied)
                && closing.by.as_ref() == Some(approver)
        }
    }
}

fn unknown_account(account: &Id) -> AccessRequestError {
    ReadError::UnknownAccount(account.clone()).into()
}
