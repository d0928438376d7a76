//! The smallest sufficient grant (R6): every candidate that turns the request's check to ALLOW, and
//! what each opens, on the snapshot.

use std::collections::BTreeSet;

use super::approval::{check_end, revalidate, takes_away};
use super::approver::may_resolve;
use super::ceiling::Ceiling;
use super::lifecycle::{access_of, check, check_pending};
use super::opening::{Comparison, Opening};
use super::resolution::{carry_out, covers, held_of_key};
use super::{AccessRequest, Approval, GrantOffer, RequestRefusal, Resolution};
use crate::authz::access_set::AccessSet;
use crate::authz::catalog::{ActionSet, TypeIx};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Id, Level, MembershipOf, PermissionKey, Principal, Resource, Timestamp, User,
};

/// Most candidates that are tried for one request.
const CANDIDATES_MAX: usize = 20_000;

/// A resolution that would turn the request's check, and what else it would open.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    pub resolution: Resolution,
    pub opens: Opening,
    /// Why the approver who asks may not give it; `None` too where nobody in particular asks.
    pub withheld: Option<RequestRefusal>,
}

/// What would turn the check of a pending request to ALLOW without taking access from anyone, what
/// opens least first; between equals the order of R6: kind, lowest level, bytewise id.
///
/// # Errors
/// A request that has ended or lost its ground, and a bound on the work, which is an error rather
/// than a shortened list.
pub fn suggest(
    graph: &AccountGraph,
    request: &AccessRequest,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<Suggestion>, RequestRefusal> {
    rank(graph, request, expires_at, None, now)
}

/// As [`suggest`], and says of each whether this approver may give it until then.
///
/// # Errors
/// As [`suggest`], and where the approver may not resolve the request at all.
pub fn suggest_for(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<Suggestion>, RequestRefusal> {
    may_resolve(graph, request, approver, now)?;
    let ceiling = Ceiling::of(graph, approver, expires_at, now)?;
    rank(graph, request, expires_at, ceiling, now)
}

fn rank<'g>(
    graph: &'g AccountGraph,
    request: &AccessRequest,
    expires_at: Option<Timestamp>,
    mut ceiling: Option<Ceiling<'g>>,
    now: Timestamp,
) -> Result<Vec<Suggestion>, RequestRefusal> {
    check_pending(request, now)?;
    check_end(expires_at, now)?;
    revalidate(graph, request, now)?;
    let mut comparison = Comparison::new(graph, &request.user, now)?;
    let mut suggestions = Vec::new();
    for resolution in candidates(graph, request, now)? {
        let approval = Approval {
            resolution,
            expires_at,
        };
        // What can't be written (a limit of the account's, a plan without partitions) is no candidate.
        let Ok(outcome) = carry_out(graph, request, &approval, None, now) else {
            continue;
        };
        let resolution = approval.resolution;
        if !check(&outcome.graph, request, now)?.is_allow()
            || takes_away(request, &resolution, &outcome.graph, &mut comparison)?
        {
            continue;
        }
        let pieces = comparison.pieces(request, &resolution, &outcome.graph)?;
        let withheld = ceiling.as_mut().and_then(|ceiling| {
            ceiling
                .check(request, &resolution, &outcome.graph, &mut comparison)
                .err()
        });
        suggestions.push(Suggestion {
            opens: comparison.opening(&pieces),
            resolution,
            withheld,
        });
    }
    suggestions.sort_by(|left, right| rank_of(left).cmp(&rank_of(right)));
    Ok(suggestions)
}

/// R6: fewest triples, then the order of kinds, then the lowest level, then the bytewise id.
fn rank_of(suggestion: &Suggestion) -> impl Ord {
    let (level, include_unassigned, id) = match &suggestion.resolution {
        Resolution::ObjectGrant | Resolution::AssignToUser => (Level::None, false, String::new()),
        Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => {
            (offer.level, offer.include_unassigned, offer.key.to_string())
        }
        Resolution::AssignToTeam(id)
        | Resolution::PermissionSet(id)
        | Resolution::AddToTeam(id) => (Level::None, false, id.to_string()),
    };
    let kind = suggestion.resolution.kind();
    (suggestion.opens.count, kind, level, include_unassigned, id)
}

/// Everything of R5 that could turn the check; most of what couldn't is left out.
fn candidates(
    graph: &AccountGraph,
    request: &AccessRequest,
    now: Timestamp,
) -> Result<Vec<Resolution>, RequestRefusal> {
    let Some(user) = graph.user(request.user.as_str()) else {
        return Err(RequestRefusal::RequesterInactive);
    };
    let set = access_of(graph, &request.user, &request.target, now)?;
    let mut candidates = Vec::new();
    for key in keys_for(graph, &set) {
        let offers = offers_of(graph, &key);
        candidates.extend(offers.into_iter().map(Resolution::DirectGrant));
    }
    for key in held_keys(graph, user, &set) {
        let held = held_of_key(graph, &user.id, &key, now);
        let raised = offers_of(graph, &key)
            .into_iter()
            .filter(|offer| !held.is_empty() && !covers(&held, offer));
        candidates.extend(raised.map(Resolution::RaiseLevel));
    }
    let sets = graph
        .permission_sets()
        .filter(|held| !user.permission_sets.contains(&held.id))
        .filter(|held| {
            held.grants
                .iter()
                .any(|grant| gives(graph, &grant.key, &set.rule.sources))
        });
    candidates.extend(sets.map(|set| Resolution::PermissionSet(set.id.clone())));
    let resource = request
        .target
        .resource()
        .and_then(|key| graph.resource(&key));
    if let Some(resource) = resource {
        candidates.extend([Resolution::ObjectGrant, Resolution::AssignToUser]);
        let own: BTreeSet<&Id> = user.teams_at(now).collect();
        candidates.extend(
            own.iter()
                .map(|team| Resolution::AssignToTeam((*team).clone())),
        );
        let leading = teams_leading_to(graph, &resource, now);
        let leading = leading.into_iter().filter(|team| !own.contains(team));
        candidates.extend(leading.map(Resolution::AddToTeam));
    }
    if candidates.len() > CANDIDATES_MAX {
        return Err(RequestRefusal::TooMuch {
            what: "trying all that could be given",
            limit: CANDIDATES_MAX as u64,
        });
    }
    Ok(candidates)
}

/// Whether a grant of the key counts for an action with these sources.
fn gives(graph: &AccountGraph, key: &PermissionKey, sources: &[(TypeIx, ActionSet)]) -> bool {
    graph
        .catalog()
        .granted_actions(key)
        .is_ok_and(|(of, granted)| {
            sources
                .iter()
                .any(|(type_ix, actions)| *type_ix == of && actions.intersects(granted))
        })
}

/// The keys of which a new grant answers the request: those that grant the very action, alone or
/// bundled with others; for a derived action, those of its ANY_OF. A key that only implies the action
/// gives more by its nature, and might hide it: its other actions may be in no plan today.
fn keys_for(graph: &AccountGraph, set: &AccessSet<'_>) -> Vec<PermissionKey> {
    let catalog = graph.catalog();
    let own = [(set.type_ix, ActionSet::of(set.action))];
    let sources = match set.rule.derived {
        true => set.rule.sources.as_slice(),
        false => &own,
    };
    let mut keys = Vec::new();
    for (type_ix, actions) in sources {
        let Some(resource_type) = catalog.resource_type(*type_ix) else {
            continue;
        };
        let granting = resource_type
            .grantable
            .iter()
            .filter(|(_, granted)| granted.intersects(*actions));
        keys.extend(granting.map(|(permission, _)| PermissionKey {
            resource_type: resource_type.name.clone(),
            permission: permission.clone(),
        }));
    }
    keys.sort();
    keys.dedup();
    keys
}

/// The keys of the user's own grants, direct and by sets, that count for the action.
fn held_keys(graph: &AccountGraph, user: &User, set: &AccessSet<'_>) -> BTreeSet<PermissionKey> {
    let by_membership = user
        .memberships
        .iter()
        .filter_map(|membership| match &membership.of {
            MembershipOf::PermissionSet(set) => Some(set),
            MembershipOf::Team(_) => None,
        });
    let of_sets = user
        .permission_sets
        .iter()
        .chain(by_membership)
        .filter_map(|set| graph.permission_set(set.as_str()))
        .flat_map(|set| &set.grants);
    user.grants
        .iter()
        .chain(of_sets)
        .filter(|grant| gives(graph, &grant.key, &set.rule.sources))
        .map(|grant| grant.key.clone())
        .collect()
}

/// All that a grant of a key can say.
fn offers_of(graph: &AccountGraph, key: &PermissionKey) -> Vec<GrantOffer> {
    let catalog = graph.catalog();
    let flag = catalog
        .type_ix(key.resource_type.as_str())
        .and_then(|type_ix| catalog.resource_type(type_ix))
        .is_some_and(|resource_type| resource_type.flag);
    let reaches: &[(Level, bool)] = match flag {
        true => &[(Level::Everything, false)],
        false => &[
            (Level::Owned, false),
            (Level::Owned, true),
            (Level::Team, false),
            (Level::Team, true),
            (Level::Everything, false),
        ],
    };
    reaches
        .iter()
        .map(|(level, include_unassigned)| GrantOffer {
            key: key.clone(),
            level: *level,
            include_unassigned: *include_unassigned,
        })
        .collect()
}

/// The teams whose members the resource's assignments, groups, stamp or owners may admit, and where
/// teams are nested all above them. Any other team leads nowhere near.
fn teams_leading_to(graph: &AccountGraph, resource: &Resource, now: Timestamp) -> BTreeSet<Id> {
    let mut near: Vec<Id> = Vec::new();
    for assignment in &resource.assignments {
        match &assignment.principal {
            Principal::Team(team) => near.push(team.clone()),
            Principal::Group(group) => {
                let group = graph.access_group(group.as_str());
                let members = group.into_iter().flat_map(|group| group.members.keys());
                near.extend(members.filter_map(|member| match member {
                    Principal::Team(team) => Some(team.clone()),
                    Principal::User(_) | Principal::Group(_) => None,
                }));
            }
            Principal::User(_) => {}
        }
    }
    near.extend(resource.owning_team.clone());
    let owners = resource
        .owners
        .iter()
        .filter_map(|owner| graph.user(owner.as_str()));
    near.extend(owners.flat_map(|owner| owner.teams_at(now)).cloned());
    let mut leading = BTreeSet::new();
    while let Some(id) = near.pop() {
        let Some(team) = graph.team(id.as_str()) else {
            continue;
        };
        if leading.insert(id) && graph.plan().nested_teams {
            near.extend(team.parent.clone());
        }
    }
    leading
}
