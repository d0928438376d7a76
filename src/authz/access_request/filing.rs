//! Filing a request (R1, R2, R8, S1.8, S1.9, S1.11).

use super::lifecycle::{Transition, access_of, settle};
use super::text::{check_origin_url, check_text};
use super::{
    AccessRequest, RequestEvent, RequestEventKind, RequestRefusal, RequestState, RequestTarget,
};
use crate::authz::decision::{Requestable, UnknownName};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};

/// Longest wanted time, in seconds: ten years of 365 days.
pub const WANTED_SECONDS_MAX: u64 = 315_360_000;

/// Seconds until a pending request expires, where the account does not say (R7).
const TTL_SECONDS: u64 = 14 * 24 * 3_600;
/// Seconds after a denial in which the same request is refused, where the account does not say (R2).
const COOL_DOWN_SECONDS: u64 = 24 * 3_600;
/// Pending requests of one user, where the account does not say (R2).
const PENDING_PER_USER: u32 = 20;

/// What a user asks for, on their own behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub user: Id,
    pub target: RequestTarget,
    pub reason: String,
    pub wanted_seconds: Option<u64>,
    pub origin_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Filing {
    /// The same was filed before, and waits for an answer (R2).
    Pending(AccessRequest),
    New {
        request: AccessRequest,
        event: RequestEvent,
        /// An earlier request for the same whose time is over, and which nobody has ended yet: it is
        /// ended in the same transaction, before the new one is written.
        lapsed: Option<Box<Transition>>,
    },
}

/// The target in the words of the catalog: an action that is the same as another one by that one's
/// name. Requests are kept and looked up so, or `bulk_delete` would be a second request for `delete`
/// that knows no cool-down.
///
/// # Errors
/// A type or an action that the catalog does not have.
pub fn canonical(
    graph: &AccountGraph,
    target: &RequestTarget,
) -> Result<RequestTarget, UnknownName> {
    let (resource_type, action) = (target.resource_type.as_str(), target.action.as_str());
    let catalog = graph.catalog();
    let (_, resolved) = catalog.resolve(resource_type, action)?;
    Ok(RequestTarget {
        action: catalog
            .action_name(resolved)
            .unwrap_or(&target.action)
            .clone(),
        ..target.clone()
    })
}

/// Files a wish, or finds the pending request that is the same. `last_denial`: when the same was
/// last denied to this user, of the [`canonical`] target.
///
/// An object-level check that fails already for lack of the tool's permission (row 57) can't be
/// requested as an object: the refusal names the tool's own request, so that nobody is let in to one
/// resource of a tool that is closed to them without anyone having seen that.
///
/// # Errors
/// A field that is wrong, an unknown name, and what R1, R2 and R8 refuse.
pub fn file(
    graph: &AccountGraph,
    wish: &Wish,
    id: Id,
    last_denial: Option<Timestamp>,
    now: Timestamp,
) -> Result<Filing, RequestRefusal> {
    check_fields(wish)?;
    let target = canonical(graph, &wish.target)?;
    let decision = access_of(graph, &wish.user, &target, now)?.decide(target.asked());
    if decision.is_allow() {
        return Err(RequestRefusal::AlreadyAllowed {
            reason: decision.reason,
        });
    }
    check_requestable(&target, decision.requestable, decision.reason)?;

    let mut lapsed = None;
    if let Some(pending) = graph.pending_request(wish.user.as_str(), &target) {
        if pending.expires_at > now {
            return Ok(Filing::Pending(pending.clone()));
        }
        // The filing is event 0, so the end of a pending request is event 1.
        lapsed = settle(graph, pending, 1, now).map(Box::new);
    }
    let settings = &graph.account().settings;
    let cool_down = settings
        .request_cool_down_seconds
        .unwrap_or(COOL_DOWN_SECONDS);
    let until = last_denial.map(|denied| denied.later_by(u128::from(cool_down) * 1_000_000));
    if let Some(until) = until.filter(|until| now < *until) {
        return Err(RequestRefusal::CoolingDown { until });
    }
    let limit = settings.request_limit_per_user.unwrap_or(PENDING_PER_USER);
    let waiting = graph
        .pending_requests_of(wish.user.as_str())
        .filter(|pending| pending.expires_at > now)
        .count();
    if waiting >= usize::try_from(limit).unwrap_or(usize::MAX) {
        return Err(RequestRefusal::TooManyPending { limit });
    }

    let ttl = settings.request_ttl_seconds.unwrap_or(TTL_SECONDS);
    let event = RequestEvent {
        request: id.clone(),
        ordinal: 0,
        kind: RequestEventKind::Filed,
        at: now,
        actor: Some(wish.user.clone()),
        from: None,
        to: RequestState::Pending,
        note: Some(wish.reason.clone()),
        approval: None,
        before: decision.reason,
        after: None,
    };
    let request = AccessRequest {
        id,
        user: wish.user.clone(),
        target,
        reason: wish.reason.clone(),
        denied_as: decision.reason,
        wanted_seconds: wish.wanted_seconds,
        origin_url: wish.origin_url.clone(),
        filed_at: now,
        expires_at: now.later_by(u128::from(ttl) * 1_000_000),
        state: RequestState::Pending,
        closing: None,
    };
    Ok(Filing::New {
        request,
        event,
        lapsed,
    })
}

fn check_fields(wish: &Wish) -> Result<(), RequestRefusal> {
    check_text("reason", &wish.reason)?;
    wish.origin_url
        .as_deref()
        .map_or(Ok(()), check_origin_url)?;
    match wish.wanted_seconds {
        Some(seconds) if seconds == 0 || seconds > WANTED_SECONDS_MAX => {
            Err(RequestRefusal::InvalidField {
                field: "wanted_seconds",
                problem: format!("between 1 and {WANTED_SECONDS_MAX}, this is {seconds}"),
            })
        }
        _ => Ok(()),
    }
}

fn check_requestable(
    target: &RequestTarget,
    requestable: Requestable,
    reason: crate::authz::decision::ReasonCode,
) -> Result<(), RequestRefusal> {
    let tool = match (requestable, &target.resource_id) {
        (Requestable::Tool, None) | (Requestable::Object, Some(_)) => return Ok(()),
        (Requestable::Tool, Some(_)) => Some(format!("{}.{}", target.resource_type, target.action)),
        (Requestable::None | Requestable::Object, _) => None,
    };
    Err(RequestRefusal::NotRequestable { reason, tool })
}
