//! A resolution as changes to the account (R5). Everything carries the provenance `request:ID`, so
//! that it can be taken back as a unit, the approver as its giver, and the end of the approval.

use super::{AccessRequest, Approval, GrantOffer, RequestRefusal, Resolution};
use crate::authz::access_set::{Liveness, Reaching, held_until, liveness};
use crate::authz::change::{Change, ChangeSet, GrantHolder, plan};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    EntityChange, Grant, Id, Level, Membership, MembershipOf, ObjectGrant, PermissionKey,
    Principal, Provenance, ResourceKey, Timestamp,
};

/// What a resolution writes, and the account with it.
pub(super) struct Outcome {
    pub changes: Vec<EntityChange>,
    pub graph: AccountGraph,
}

/// Plans a resolution and lays it over the snapshot. `giver`: the approver, where there is one yet.
pub(super) fn carry_out(
    graph: &AccountGraph,
    request: &AccessRequest,
    approval: &Approval,
    giver: Option<&Id>,
    now: Timestamp,
) -> Result<Outcome, RequestRefusal> {
    let changes = changes_of(graph, request, approval, giver, now)?;
    lay_over(graph, &changes)
}

/// Plans changes and lays them over the snapshot.
pub(super) fn lay_over(
    graph: &AccountGraph,
    changes: &[Change],
) -> Result<Outcome, RequestRefusal> {
    let ChangeSet { changes, .. } = plan(&graph.account().id, Some(graph), changes)?;
    let after = graph
        .apply(&changes)
        .map_err(|error| RequestRefusal::NotPlannable {
            field: "account".to_owned(),
            problem: error.to_string(),
        })?;
    Ok(Outcome {
        changes,
        graph: after,
    })
}

pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> RequestRefusal {
    RequestRefusal::InvalidField {
        field,
        problem: problem.into(),
    }
}

fn changes_of(
    graph: &AccountGraph,
    request: &AccessRequest,
    approval: &Approval,
    giver: Option<&Id>,
    now: Timestamp,
) -> Result<Vec<Change>, RequestRefusal> {
    let provenance = Provenance::Request(request.id.clone());
    let user = || request.user.clone();
    let change = match &approval.resolution {
        Resolution::ObjectGrant => {
            let resource = resource_of(request)?;
            let action = request.target.action.clone();
            Change::SetObjectGrant {
                user: user(),
                resource: resource.clone(),
                action: action.clone(),
                provenance: provenance.clone(),
                grant: Some(ObjectGrant {
                    resource,
                    action,
                    not_before: None,
                    expires_at: approval.expires_at,
                    provenance,
                    granted_by: giver.cloned(),
                }),
            }
        }
        Resolution::DirectGrant(offer) => grant_change(request, offer, approval.expires_at, giver)?,
        Resolution::RaiseLevel(offer) => {
            let held = held_of_key(graph, &request.user, &offer.key, now);
            if held.is_empty() {
                return Err(invalid(
                    "resolution.raise_level",
                    format!("the requester has no grant of `{}` to raise", offer.key),
                ));
            }
            if covers(&held, offer) {
                return Err(invalid(
                    "resolution.raise_level",
                    format!("the requester has `{}` as far already", offer.key),
                ));
            }
            grant_change(request, offer, approval.expires_at, giver)?
        }
        Resolution::AssignToUser => assign(graph, request, Principal::User(user()), approval)?,
        Resolution::AssignToTeam(team) => {
            if !is_member(graph, &request.user, team, now) {
                return Err(invalid(
                    "resolution.assign_to_team",
                    format!("the requester is in no team `{team}`"),
                ));
            }
            assign(graph, request, Principal::Team(team.clone()), approval)?
        }
        Resolution::PermissionSet(set) => {
            let of = MembershipOf::PermissionSet(set.clone());
            membership(request, of, approval.expires_at, giver)
        }
        Resolution::AddToTeam(team) => {
            let of = MembershipOf::Team(team.clone());
            membership(request, of, approval.expires_at, giver)
        }
    };
    Ok(vec![change])
}

/// The resource of an object request; a tool request has none that could be granted or assigned.
pub(super) fn resource_of(request: &AccessRequest) -> Result<ResourceKey, RequestRefusal> {
    request.target.resource().ok_or_else(|| {
        invalid(
            "resolution",
            "the request is for the tool as a whole, and has no resource to grant or assign",
        )
    })
}

fn grant_change(
    request: &AccessRequest,
    offer: &GrantOffer,
    expires_at: Option<Timestamp>,
    giver: Option<&Id>,
) -> Result<Change, RequestRefusal> {
    if offer.level == Level::None {
        return Err(invalid(
            "resolution.level",
            "a grant at none gives nothing; choose owned, team or everything",
        ));
    }
    let provenance = Provenance::Request(request.id.clone());
    Ok(Change::SetGrants {
        holder: GrantHolder::User(request.user.clone()),
        key: offer.key.clone(),
        provenance: provenance.clone(),
        grants: vec![Grant {
            key: offer.key.clone(),
            level: offer.level,
            include_unassigned: offer.include_unassigned,
            not_before: None,
            expires_at,
            provenance,
            granted_by: giver.cloned(),
        }],
    })
}

/// Only where the resource is partitioned already or assignments close nothing (mode SHARE): the
/// first assignment behind a wall would shut everyone else out.
fn assign(
    graph: &AccountGraph,
    request: &AccessRequest,
    principal: Principal,
    approval: &Approval,
) -> Result<Change, RequestRefusal> {
    let key = resource_of(request)?;
    let Some(resource) = graph.resource(&key) else {
        return Err(RequestRefusal::ResourceGone);
    };
    let type_ix = graph.catalog().type_ix(key.resource_type.as_str());
    let share = type_ix.is_some_and(|type_ix| graph.directory.mode(type_ix).share);
    if !resource.partitioned && !share {
        return Err(RequestRefusal::WouldTakeAway);
    }
    Ok(Change::PutAssignment {
        resource: key,
        principal,
        provenance: Provenance::Request(request.id.clone()),
        expires_at: approval.expires_at,
    })
}

fn membership(
    request: &AccessRequest,
    of: MembershipOf,
    expires_at: Option<Timestamp>,
    giver: Option<&Id>,
) -> Change {
    Change::PutMembership {
        user: request.user.clone(),
        membership: Membership {
            of,
            provenance: Provenance::Request(request.id.clone()),
            expires_at,
            granted_by: giver.cloned(),
        },
    }
}

/// Whether the user is in the team now, for good or for a time.
pub(super) fn is_member(graph: &AccountGraph, user: &Id, team: &Id, now: Timestamp) -> bool {
    let number = graph.names.teams.find(team.as_str());
    graph.team(team.as_str()).is_some()
        && graph
            .compiled_user(user.as_str())
            .zip(number)
            .is_some_and(|(user, number)| user.is_member(number, now))
}

/// The user's live grants of just this key, direct and by permission sets.
pub(super) fn held_of_key(
    graph: &AccountGraph,
    user: &Id,
    key: &PermissionKey,
    now: Timestamp,
) -> Vec<Reaching> {
    let Ok((type_ix, actions)) = graph.catalog().granted_actions(key) else {
        return Vec::new();
    };
    let holdings = graph
        .compiled_user(user.as_str())
        .map_or(&[][..], |user| user.holdings.as_slice());
    holdings
        .iter()
        .flat_map(|holding| {
            let grants = holding.table.of(type_ix, actions);
            grants.map(move |grant| (holding, grant))
        })
        .filter(|(holding, grant)| {
            let end = held_until(holding, grant);
            grant.grant.key == *key
                && liveness(grant.not_before, end, now, &mut None) == Liveness::Live
        })
        .map(|(_, grant)| Reaching {
            level: grant.level,
            include_unassigned: grant.include_unassigned,
        })
        .collect()
}

/// Whether these together reach as far as the offer: level and unassigned resources each for itself
/// (D3).
pub(super) fn covers(held: &[Reaching], offer: &GrantOffer) -> bool {
    let level = held.iter().map(|grant| grant.level).max();
    let unassigned = held.iter().any(|grant| grant.include_unassigned);
    level.is_some_and(|level| {
        level >= offer.level
            && (!offer.include_unassigned || unassigned || level == Level::Everything)
    })
}
