//! The requests of one account, followed without a gap.

use std::sync::Arc;
use std::time::Duration;

use super::AccessRequestError;
use crate::authz::access_request::{AccessRequest, RequestEventKind, RequestState};
use crate::authz::model::{Entity, EntityChange, Id};
use crate::directory::{ChangeWatch, Directory, WatchEvent};
use crate::graph_cache::Consistency;
use crate::revision::RevisionToken;
use crate::store::{Head, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestWatchEvent {
    /// All that is pending at a head, in id order; whatever else was pending before has ended.
    Pending {
        at: Head,
        requests: Vec<AccessRequest>,
    },
    /// Requests that were filed, ended or revoked after `from` up to `to`, each once.
    Changed {
        from: Head,
        to: Head,
        requests: Vec<AccessRequest>,
        /// Those of them whose approval is taken back: a request itself does not say so.
        revoked: Vec<Id>,
    },
    /// No request changed; the watch is alive.
    Heartbeat { at: Head },
}

/// Pulled by its reader, so a slow reader costs nothing: what it missed comes as one event.
pub struct RequestWatch {
    directory: Directory,
    store: Arc<dyn Store>,
    account: Id,
    user: Option<Id>,
    watch: ChangeWatch,
    heartbeat: Duration,
    /// What to begin with.
    first: Option<RequestWatchEvent>,
}

impl RequestWatch {
    pub(super) async fn begin(
        directory: &Directory,
        store: &Arc<dyn Store>,
        account: &Id,
        after: Option<RevisionToken>,
        user: Option<Id>,
        heartbeat: Duration,
    ) -> Result<Self, AccessRequestError> {
        let begins_with_pending = after.is_none();
        let after = match after {
            Some(after) => after,
            None => {
                let graphs = directory.graphs();
                let consistency = Consistency::FullyConsistent;
                let read = graphs.read(account, &consistency).await?;
                graphs.token(account, read.head)
            }
        };
        let watch = directory.watch(account, Some(after), heartbeat).await?;
        let mut begun = Self {
            directory: directory.clone(),
            store: Arc::clone(store),
            account: account.clone(),
            user,
            heartbeat,
            first: None,
            watch,
        };
        let at = begun.watch.head();
        begun.first = Some(if begins_with_pending {
            begun.pending(at).await?
        } else {
            RequestWatchEvent::Heartbeat { at }
        });
        Ok(begun)
    }

    /// The next event. After an error the watch is at an end. Dropped before it is done, nothing is
    /// lost.
    pub async fn next(&mut self) -> Result<RequestWatchEvent, AccessRequestError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        // Counted here, since changes of other things keep the watch beneath from being quiet.
        let heartbeat = tokio::time::sleep(self.heartbeat);
        tokio::pin!(heartbeat);
        loop {
            let event = tokio::select! {
                event = self.watch.next() => event?,
                () = &mut heartbeat => WatchEvent::Heartbeat { at: self.watch.head() },
            };
            match event {
                WatchEvent::Heartbeat { at } => return Ok(RequestWatchEvent::Heartbeat { at }),
                WatchEvent::Reload { to } => return self.pending(to).await,
                WatchEvent::Changes { from, to, changes } => {
                    let requests = self.requests_of(changes);
                    if !requests.is_empty() {
                        let revoked = self.revoked(&requests).await?;
                        return Ok(RequestWatchEvent::Changed {
                            from,
                            to,
                            requests,
                            revoked,
                        });
                    }
                }
            }
        }
    }

    fn requests_of(&self, changes: Vec<EntityChange>) -> Vec<AccessRequest> {
        changes
            .into_iter()
            .filter_map(|change| match change {
                EntityChange::Put(Entity::AccessRequest(request)) => Some(request),
                EntityChange::Put(_) | EntityChange::Delete(_) => None,
            })
            .filter(|request| self.is_wanted(request))
            .collect()
    }

    /// Those whose history ends with a revocation. An approved request is told of when it is
    /// approved and when that is taken back, so this is asked about few.
    async fn revoked(&self, requests: &[AccessRequest]) -> Result<Vec<Id>, AccessRequestError> {
        let mut revoked = Vec::new();
        for request in requests {
            if request.state != RequestState::Approved {
                continue;
            }
            let events = self.store.access_request_events(&self.account, &request.id);
            let is_revoked = events
                .await?
                .last()
                .is_some_and(|last| last.kind == RequestEventKind::Revoked);
            if is_revoked {
                revoked.push(request.id.clone());
            }
        }
        Ok(revoked)
    }

    fn is_wanted(&self, request: &AccessRequest) -> bool {
        self.user.as_ref().is_none_or(|user| *user == request.user)
    }

    /// What is pending at a head or later; what is later is told once more as a change.
    async fn pending(&self, at: Head) -> Result<RequestWatchEvent, AccessRequestError> {
        let graphs = self.directory.graphs();
        let consistency = Consistency::AtLeastAsFresh(graphs.token(&self.account, at));
        let read = graphs.read(&self.account, &consistency).await?;
        let requests = match &self.user {
            Some(user) => read
                .graph
                .pending_requests_of(user.as_str())
                .cloned()
                .collect(),
            None => read.graph.pending_requests().cloned().collect(),
        };
        Ok(RequestWatchEvent::Pending { at, requests })
    }
}
