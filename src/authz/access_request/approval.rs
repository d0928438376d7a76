//! Approving a request (R4, R5, R7, R8).

use super::approver::{is_active, may_resolve};
use super::ceiling::Ceiling;
use super::lifecycle::{Ending, Transition, check, check_pending, is_resource_gone};
use super::opening::Comparison;
use super::resolution::{carry_out, resource_of};
use super::text::check_note;
use super::{AccessRequest, Approval, RequestRefusal, RequestState, Resolution};
use crate::authz::decision::{Decision, ReasonCode, Requestable};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};

/// PENDING -> APPROVED, with the changes that make the very check ALLOW and take nothing from
/// anybody. Everything is judged on this snapshot; whoever writes it expects the snapshot's revision.
///
/// # Errors
/// Who may not (R4); a request that has ended or has lost its ground (R7, R8); a resolution that
/// can't be made, is beyond the approver's own rights, takes something away, or does not suffice.
pub fn approve(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    approval: &Approval,
    note: Option<String>,
    next_ordinal: u32,
    now: Timestamp,
) -> Result<Transition, RequestRefusal> {
    may_resolve(graph, request, approver, now)?;
    check_pending(request, now)?;
    check_note(note.as_deref())?;
    check_end(approval.expires_at, now)?;
    let before = revalidate(graph, request, now)?;

    let outcome = carry_out(graph, request, approval, Some(approver), now)?;
    let mut comparison = Comparison::new(graph, &request.user, now)?;
    if let Some(mut ceiling) = Ceiling::of(graph, approver, approval.expires_at, now)? {
        ceiling.check(
            request,
            &approval.resolution,
            &outcome.graph,
            &mut comparison,
        )?;
    }
    let after = check(&outcome.graph, request, now)?;
    if !after.is_allow() {
        return Err(RequestRefusal::InsufficientResolution {
            reason: after.reason,
        });
    }
    if takes_away(
        request,
        &approval.resolution,
        &outcome.graph,
        &mut comparison,
    )? {
        return Err(RequestRefusal::WouldTakeAway);
    }
    let ending = Ending {
        to: RequestState::Approved,
        by: Some(approver.clone()),
        note,
        approval: Some(approval.clone()),
        before: before.reason,
        after: Some(after.reason),
        ordinal: next_ordinal,
        at: now,
    };
    Ok(ending.of(request, outcome.changes))
}

/// Grants and memberships only ever add. An assignment may take away: where it is a resource's first
/// one, the resource stops being an unassigned one.
pub(super) fn takes_away(
    request: &AccessRequest,
    resolution: &Resolution,
    after: &AccountGraph,
    comparison: &mut Comparison<'_>,
) -> Result<bool, RequestRefusal> {
    match resolution {
        Resolution::AssignToUser | Resolution::AssignToTeam(_) => {
            comparison.takes_away(after, &resource_of(request)?)
        }
        Resolution::ObjectGrant
        | Resolution::DirectGrant(_)
        | Resolution::PermissionSet(_)
        | Resolution::AddToTeam(_)
        | Resolution::RaiseLevel(_) => Ok(false),
    }
}

pub(super) fn check_end(
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), RequestRefusal> {
    match expires_at {
        Some(end) if end <= now => Err(RequestRefusal::InvalidField {
            field: "expires_at",
            problem: format!("{end} is not in the future"),
        }),
        _ => Ok(()),
    }
}

/// R7 and R8: the requester is active, the resource exists, the check is still denied, and the plan
/// still has what is asked for. Answers the check.
pub(super) fn revalidate(
    graph: &AccountGraph,
    request: &AccessRequest,
    now: Timestamp,
) -> Result<Decision, RequestRefusal> {
    if !is_active(graph, &request.user) {
        return Err(RequestRefusal::RequesterInactive);
    }
    let decision = check(graph, request, now)?;
    if is_resource_gone(graph, &request.target) {
        return Err(RequestRefusal::ResourceGone);
    }
    if decision.is_allow() {
        return Err(RequestRefusal::NoLongerDenied {
            reason: decision.reason,
        });
    }
    let objects = graph.plan().object_access_requests;
    if decision.reason == ReasonCode::NotEntitled
        || (request.target.resource_id.is_some() && !objects)
    {
        return Err(RequestRefusal::NotEntitled);
    }
    if decision.requestable == Requestable::None {
        return Err(RequestRefusal::NotRequestable {
            reason: decision.reason,
            tool: None,
        });
    }
    Ok(decision)
}
