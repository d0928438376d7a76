//! Taking back, as a unit, what the approval of a request gave.

use super::approver::may_resolve;
use super::ceiling::Ceiling;
use super::lifecycle::{Transition, reason};
use super::opening::Comparison;
use super::resolution::lay_over;
use super::text::check_note;
use super::{AccessRequest, RequestEvent, RequestEventKind, RequestRefusal, RequestState};
use crate::authz::change::{Change, GrantHolder};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Provenance, Timestamp, User};

/// Removes every grant, object grant, membership and assignment with the provenance of the request.
/// The request stays approved; its history says that this was taken back. Who is under the grant
/// ceiling takes back no more than they could give.
///
/// # Errors
/// Who may not; a request that was not approved, or of which nothing is left.
pub fn revoke(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    note: Option<String>,
    next_ordinal: u32,
    now: Timestamp,
) -> Result<Transition, RequestRefusal> {
    may_resolve(graph, request, approver, now)?;
    check_note(note.as_deref())?;
    let closing = request.closing.as_ref();
    let approval = closing.and_then(|closing| closing.approval.as_ref());
    let Some(approval) = approval.filter(|_| request.state == RequestState::Approved) else {
        return Err(RequestRefusal::NothingToRevoke);
    };
    let changes = removals(graph, request);
    if changes.is_empty() {
        return Err(RequestRefusal::NothingToRevoke);
    }
    let outcome = lay_over(graph, &changes)?;
    if let Some(mut ceiling) = Ceiling::of(graph, approver, Some(now), now)? {
        // What is taken away is what giving it again would open.
        let mut comparison = Comparison::new(&outcome.graph, &request.user, now)?;
        ceiling.check(request, &approval.resolution, graph, &mut comparison)?;
        // What is left of a set that has changed since goes as it is now.
        let provenance = Provenance::Request(request.id.clone());
        graph
            .users()
            .flat_map(|user| &user.grants)
            .filter(|grant| grant.provenance == provenance)
            .try_for_each(|grant| ceiling.check_grant(grant))?;
    }
    let event = RequestEvent {
        request: request.id.clone(),
        ordinal: next_ordinal,
        kind: RequestEventKind::Revoked,
        at: now,
        actor: Some(approver.clone()),
        from: Some(request.state),
        to: request.state,
        note,
        approval: Some(approval.clone()),
        before: reason(graph, request, now),
        after: Some(reason(&outcome.graph, request, now)),
    };
    Ok(Transition {
        changes: outcome.changes,
        event,
        request: request.clone(),
    })
}

fn removals(graph: &AccountGraph, request: &AccessRequest) -> Vec<Change> {
    let provenance = Provenance::Request(request.id.clone());
    let mut changes: Vec<Change> = graph
        .users()
        .flat_map(|user| removals_of(user, &provenance))
        .collect();
    let resource = request
        .target
        .resource()
        .and_then(|key| graph.resource(&key));
    if let Some(resource) = resource {
        let rows = resource.assignments.into_iter();
        changes.extend(rows.filter(|row| row.provenance == provenance).map(|row| {
            Change::DeleteAssignment {
                resource: resource.key.clone(),
                principal: row.principal,
                provenance: row.provenance,
            }
        }));
    }
    changes
}

fn removals_of(user: &User, provenance: &Provenance) -> Vec<Change> {
    let grants = user
        .grants
        .iter()
        .filter(|grant| grant.provenance == *provenance)
        .map(|grant| Change::SetGrants {
            holder: GrantHolder::User(user.id.clone()),
            key: grant.key.clone(),
            provenance: provenance.clone(),
            grants: Vec::new(),
        });
    let object_grants = user
        .object_grants
        .iter()
        .filter(|grant| grant.provenance == *provenance)
        .map(|grant| Change::SetObjectGrant {
            user: user.id.clone(),
            resource: grant.resource.clone(),
            action: grant.action.clone(),
            provenance: provenance.clone(),
            grant: None,
        });
    let memberships = user
        .memberships
        .iter()
        .filter(|membership| membership.provenance == *provenance)
        .map(|membership| Change::DeleteMembership {
            user: user.id.clone(),
            of: membership.of.clone(),
            provenance: provenance.clone(),
        });
    grants.chain(object_grants).chain(memberships).collect()
}
