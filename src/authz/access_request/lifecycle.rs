//! The state machine: a request is PENDING until one transition ends it, and what ended stays.

use super::approver::may_resolve;
use super::text::{check_note, check_text};
use super::{
    AccessRequest, Approval, Closing, RequestEvent, RequestEventKind, RequestRefusal, RequestState,
    RequestTarget,
};
use crate::authz::access_set::AccessSet;
use crate::authz::decision::{Decision, ReasonCode, Target, UnknownName};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{EntityChange, Id, Timestamp, UserStatus};

/// What one call does to a request: the request as it is then, the entry of its history, and what
/// else of the account changes with it. All of it is written in one transaction or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What is given or taken back, the request itself aside.
    pub changes: Vec<EntityChange>,
    pub event: RequestEvent,
    pub request: AccessRequest,
}

/// How a pending request ends.
pub(super) struct Ending {
    pub to: RequestState,
    /// `None`: Ambit itself.
    pub by: Option<Id>,
    pub note: Option<String>,
    pub approval: Option<Approval>,
    pub before: ReasonCode,
    pub after: Option<ReasonCode>,
    pub ordinal: u32,
    pub at: Timestamp,
}

impl Ending {
    pub(super) fn of(self, request: &AccessRequest, changes: Vec<EntityChange>) -> Transition {
        let event = RequestEvent {
            request: request.id.clone(),
            ordinal: self.ordinal,
            kind: kind_of(self.to),
            at: self.at,
            actor: self.by.clone(),
            from: Some(request.state),
            to: self.to,
            note: self.note.clone(),
            approval: self.approval.clone(),
            before: self.before,
            after: self.after,
        };
        let request = AccessRequest {
            state: self.to,
            closing: Some(Closing {
                at: self.at,
                by: self.by,
                note: self.note,
                approval: self.approval,
            }),
            ..request.clone()
        };
        Transition {
            changes,
            event,
            request,
        }
    }
}

/// What is told of the transition into a state.
fn kind_of(state: RequestState) -> RequestEventKind {
    match state {
        RequestState::Pending => RequestEventKind::Filed,
        RequestState::Approved => RequestEventKind::Approved,
        RequestState::Denied => RequestEventKind::Denied,
        RequestState::Cancelled => RequestEventKind::Cancelled,
        RequestState::Expired => RequestEventKind::Expired,
        RequestState::Obsolete => RequestEventKind::Obsolete,
    }
}

impl RequestTarget {
    /// What the request's check asks about.
    pub fn asked(&self) -> Target<'_> {
        match &self.resource_id {
            Some(id) => Target::Resource(id.as_str()),
            None => Target::Tool,
        }
    }
}

/// The access set behind the check of a request.
pub(super) fn access_of<'g>(
    graph: &'g AccountGraph,
    user: &Id,
    target: &RequestTarget,
    at: Timestamp,
) -> Result<AccessSet<'g>, UnknownName> {
    let (resource_type, action) = (target.resource_type.as_str(), target.action.as_str());
    AccessSet::new(graph, user.as_str(), resource_type, action, at)
}

/// The check of a request, as it is answered now.
pub(super) fn check(
    graph: &AccountGraph,
    request: &AccessRequest,
    now: Timestamp,
) -> Result<Decision, UnknownName> {
    Ok(access_of(graph, &request.user, &request.target, now)?.decide(request.target.asked()))
}

/// The code of that check. A type or an action that the catalog has lost gives none: then it is
/// still denied as it was.
pub(super) fn reason(graph: &AccountGraph, request: &AccessRequest, now: Timestamp) -> ReasonCode {
    check(graph, request, now).map_or(request.denied_as, |decision| decision.reason)
}

/// Whether a call may still end the request.
pub(super) fn check_pending(request: &AccessRequest, now: Timestamp) -> Result<(), RequestRefusal> {
    let state = match request.state {
        RequestState::Pending if request.expires_at <= now => RequestState::Expired,
        state => state,
    };
    match state {
        RequestState::Pending => Ok(()),
        state => Err(RequestRefusal::NotPending { state }),
    }
}

/// Whether the resource of an object request does not exist any more.
pub(super) fn is_resource_gone(graph: &AccountGraph, target: &RequestTarget) -> bool {
    target
        .resource()
        .is_some_and(|key| graph.resource(&key).is_none())
}

/// PENDING -> DENIED, with the approver's reason.
///
/// # Errors
/// As [`may_resolve`]; a request that has ended; a reason that is none.
pub fn deny(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    note: String,
    next_ordinal: u32,
    now: Timestamp,
) -> Result<Transition, RequestRefusal> {
    may_resolve(graph, request, approver, now)?;
    check_pending(request, now)?;
    check_text("note", &note)?;
    let ending = Ending {
        to: RequestState::Denied,
        by: Some(approver.clone()),
        note: Some(note),
        approval: None,
        before: reason(graph, request, now),
        after: None,
        ordinal: next_ordinal,
        at: now,
    };
    Ok(ending.of(request, Vec::new()))
}

/// PENDING -> CANCELLED, by the requester.
///
/// # Errors
/// Anyone else; a request that has ended; a note that is none.
pub fn cancel(
    graph: &AccountGraph,
    request: &AccessRequest,
    actor: &Id,
    note: Option<String>,
    next_ordinal: u32,
    now: Timestamp,
) -> Result<Transition, RequestRefusal> {
    if *actor != request.user {
        return Err(RequestRefusal::NotTheRequester);
    }
    check_pending(request, now)?;
    check_note(note.as_deref())?;
    let ending = Ending {
        to: RequestState::Cancelled,
        by: Some(actor.clone()),
        note,
        approval: None,
        before: reason(graph, request, now),
        after: None,
        ordinal: next_ordinal,
        at: now,
    };
    Ok(ending.of(request, Vec::new()))
}

/// What becomes of a pending request by itself: EXPIRED when its time is over, CANCELLED when the
/// requester is no active user, OBSOLETE when the check is ALLOW or the resource (or its type) is
/// gone. `None`: it stays as it is.
pub fn settle(
    graph: &AccountGraph,
    request: &AccessRequest,
    next_ordinal: u32,
    now: Timestamp,
) -> Option<Transition> {
    if request.state.is_terminal() {
        return None;
    }
    let active = graph
        .user(request.user.as_str())
        .is_some_and(|user| user.status == UserStatus::Active);
    let decision = check(graph, request, now);
    let to = if request.expires_at <= now {
        RequestState::Expired
    } else if !active {
        RequestState::Cancelled
    } else if decision.as_ref().map_or(true, Decision::is_allow)
        || is_resource_gone(graph, &request.target)
    {
        RequestState::Obsolete
    } else {
        return None;
    };
    let ending = Ending {
        to,
        by: None,
        note: None,
        approval: None,
        before: decision.map_or(request.denied_as, |decision| decision.reason),
        after: None,
        ordinal: next_ordinal,
        at: now,
    };
    Some(ending.of(request, Vec::new()))
}
