//! How requests end, and how what an approval gave is taken back.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AccessRequestError, AccessRequests, RequestWrite, unknown_account};
use crate::authz::access_request::{
    AccessRequest, Approval, RequestRefusal, RequestState, Transition, approve, cancel, deny,
    revoke, settle,
};
use crate::authz::access_set::check;
use crate::authz::decision::Decision;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Entity, EntityChange, Id, Timestamp};
use crate::directory::{DirectoryError, Planned, Planning, Written};
use crate::graph_cache::ReadGraph;
use crate::store::Head;

/// The ordinal of the event that ends a request: its filing is the only one before.
pub(super) const ENDING_ORDINAL: u32 = 1;

/// What somebody does to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Approve {
        approver: Id,
        approval: Approval,
        note: Option<String>,
    },
    Deny {
        approver: Id,
        /// Why, for the requester.
        reason: String,
    },
    Cancel {
        user: Id,
        note: Option<String>,
    },
    Revoke {
        approver: Id,
        note: Option<String>,
    },
}

impl Act {
    /// The method that does it.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "ApproveAccessRequest",
            Self::Deny { .. } => "DenyAccessRequest",
            Self::Cancel { .. } => "CancelAccessRequest",
            Self::Revoke { .. } => "RevokeAccessRequest",
        }
    }

    fn judge(
        &self,
        graph: &AccountGraph,
        request: &AccessRequest,
        ordinal: u32,
        now: Timestamp,
    ) -> Result<Transition, RequestRefusal> {
        match self {
            Self::Approve {
                approver,
                approval,
                note,
            } => approve(
                graph,
                request,
                approver,
                approval,
                note.clone(),
                ordinal,
                now,
            ),
            Self::Deny { approver, reason } => {
                deny(graph, request, approver, reason.clone(), ordinal, now)
            }
            Self::Cancel { user, note } => cancel(graph, request, user, note.clone(), ordinal, now),
            Self::Revoke { approver, note } => {
                revoke(graph, request, approver, note.clone(), ordinal, now)
            }
        }
    }

    /// Whether it changes what the request's check answers.
    fn changes_the_check(&self) -> bool {
        matches!(self, Self::Approve { .. } | Self::Revoke { .. })
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub request: AccessRequest,
    /// Where it is seen.
    pub head: Head,
    /// The request's check there, after an approval or a revocation.
    pub decision: Option<Decision>,
}

/// What a plan tells: how it went, or what it was refused with after the request was ended as what
/// it is by now.
enum Told {
    Done {
        request: Box<AccessRequest>,
        decision: Option<Decision>,
    },
    Refused(RequestRefusal),
}

pub(super) async fn resolve(
    requests: &AccessRequests,
    write: RequestWrite,
    id: &Id,
    act: Act,
) -> Result<Resolved, AccessRequestError> {
    let changes_the_check = act.changes_the_check();
    let planning = PlanAct {
        requests,
        account: &write.account,
        id,
        act: Arc::new(act),
    };
    match requests.write(&write, &planning).await? {
        Written::Made {
            told: Told::Refused(refusal),
            ..
        } => Err(refusal.into()),
        Written::Made {
            head: Some(head),
            told: Told::Done { request, decision },
        } => Ok(Resolved {
            request: *request,
            head,
            decision,
        }),
        // The plan of an account that is not there is an error.
        Written::Made { head: None, .. } => Err(unknown_account(&write.account)),
        Written::Replayed(before) => {
            let request = requests.request(&write.account, id).await?;
            let decision = if changes_the_check {
                let check = requests.check_at(&write.account, &request, before.head);
                Some(check.await?)
            } else {
                None
            };
            Ok(Resolved {
                request,
                head: before.head,
                decision,
            })
        }
    }
}

/// What an act makes of an account.
struct PlanAct<'a> {
    requests: &'a AccessRequests,
    account: &'a Id,
    id: &'a Id,
    act: Arc<Act>,
}

#[async_trait]
impl Planning for PlanAct<'_> {
    type Told = Told;
    type Error = AccessRequestError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Told>, AccessRequestError> {
        let read = present.ok_or_else(|| unknown_account(self.account))?;
        // Read after the head: where it has changed since, the write meets a conflict, or it has
        // ended, which it stays.
        let request = self.requests.request(self.account, self.id).await?;
        let ordinal = match request.state {
            RequestState::Pending => ENDING_ORDINAL,
            _ => self.next_ordinal().await?,
        };
        let now = self.requests.clock.now();
        let act = Arc::clone(&self.act);
        let plan = move || planned(&read.graph, request, &act, ordinal, now);
        let graphs = self.requests.directory.graphs();
        graphs.compute(self.account, plan).await?
    }
}

impl PlanAct<'_> {
    async fn next_ordinal(&self) -> Result<u32, AccessRequestError> {
        let store = &self.requests.store;
        let events = store.access_request_events(self.account, self.id).await?;
        let last = events.last().map_or(0, |event| event.ordinal);
        Ok(last.saturating_add(1))
    }
}

fn planned(
    graph: &AccountGraph,
    request: AccessRequest,
    act: &Act,
    ordinal: u32,
    now: Timestamp,
) -> Result<Planned<Told>, AccessRequestError> {
    let judged = act.judge(graph, &request, ordinal, now);
    if request.state == RequestState::Pending
        && let Some(settled) = settle(graph, &request, ordinal, now)
    {
        let refusal = match judged {
            Err(refusal) => refusal,
            Ok(_) => RequestRefusal::NotPending {
                state: settled.request.state,
            },
        };
        return Ok(Planned {
            events: vec![settled.event.clone()],
            changes: changes_of(settled),
            answer: None,
            batch: None,
            remembered: false,
            stored: true,
            told: Told::Refused(refusal),
        });
    }
    let transition = judged?;
    let decision = if act.changes_the_check() {
        let after = graph
            .apply(&transition.changes)
            .map_err(DirectoryError::Unusable)?;
        Some(request_check(&after, &request, now)?)
    } else {
        None
    };
    Ok(Planned {
        events: vec![transition.event.clone()],
        answer: Some(request.id),
        batch: None,
        remembered: true,
        stored: true,
        told: Told::Done {
            request: Box::new(transition.request.clone()),
            decision,
        },
        changes: changes_of(transition),
    })
}

/// Everything that a transition changes, the request included.
pub(super) fn changes_of(transition: Transition) -> Vec<EntityChange> {
    let mut changes = transition.changes;
    changes.push(EntityChange::Put(Entity::AccessRequest(transition.request)));
    changes
}

/// The check that a request is about.
pub(super) fn request_check(
    graph: &AccountGraph,
    request: &AccessRequest,
    now: Timestamp,
) -> Result<Decision, RequestRefusal> {
    let (user, target) = (request.user.as_str(), &request.target);
    let (resource_type, action) = (target.resource_type.as_str(), target.action.as_str());
    Ok(check(
        graph,
        user,
        resource_type,
        action,
        target.asked(),
        now,
    )?)
}
