//! Who may assign a resource to whom (P1).
//!
//! Super admins and account owners are above it. `partition.assign` allows any target. An owner of
//! the resource who may `assign` its type reaches the own teams, their descendants and the users in
//! them; a member of a team that it is assigned to reaches what is below that team only (S2.18).

use crate::authz::access_set::AccessSet;
use crate::authz::decision::Target;
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Id, Principal, Resource, Timestamp};

const PARTITION_TYPE: &str = "partition";
const ASSIGN_ACTION: &str = "assign";

/// Whether the user may assign the resource to the principal now.
pub(super) fn may_assign(
    graph: &AccountGraph,
    user: &Id,
    resource: &Resource,
    to: &Principal,
    now: Timestamp,
) -> bool {
    let may = |resource_type: &str| {
        AccessSet::new(graph, user.as_str(), resource_type, ASSIGN_ACTION, now)
            .is_ok_and(|set| set.decide(Target::Tool).is_allow())
    };
    if may(PARTITION_TYPE) {
        return true;
    }
    if !may(resource.key.resource_type.as_str()) {
        return false;
    }
    let Some(user) = graph.compiled_user(user.as_str()) else {
        return false;
    };
    let targets = teams_of(graph, to, now);
    let tree = &graph.directory.tree;
    if resource.owners.contains(&user.user.id)
        && targets.iter().any(|team| user.reaches(tree, *team, now))
    {
        return true;
    }
    // A type without a wall yet: the first assignment needs ownership or partition.assign.
    resource.partitioned
        && assigned_teams(graph, resource, user, now)
            .any(|assigned| targets.iter().any(|team| is_below(graph, *team, assigned)))
}

/// The team itself, or the teams that a user is in.
fn teams_of(graph: &AccountGraph, to: &Principal, now: Timestamp) -> Vec<u32> {
    match to {
        Principal::Team(team) => graph.names.teams.find(team.as_str()).into_iter().collect(),
        Principal::User(user) => graph
            .compiled_user(user.as_str())
            .map_or_else(Vec::new, |user| user.teams(now).collect()),
        Principal::Group(_) => Vec::new(),
    }
}

/// The teams with a live assignment that the user is a member of.
fn assigned_teams<'r>(
    graph: &'r AccountGraph,
    resource: &'r Resource,
    user: &'r CompiledUser,
    now: Timestamp,
) -> impl Iterator<Item = u32> + 'r {
    resource.assignments.iter().filter_map(move |assignment| {
        let live = assignment
            .expires_at
            .is_none_or(|expires_at| now < expires_at);
        match &assignment.principal {
            Principal::Team(team) if live => graph
                .names
                .teams
                .find(team.as_str())
                .filter(|team| user.is_member(*team, now)),
            Principal::Team(_) | Principal::User(_) | Principal::Group(_) => None,
        }
    })
}

/// Whether a team is a descendant of another one, where the plan has nested teams.
fn is_below(graph: &AccountGraph, team: u32, above: u32) -> bool {
    let tree = &graph.directory.tree;
    let spans = tree.span(team).zip(tree.span(above));
    graph.plan().nested_teams
        && spans.is_some_and(|((position, _), (start, end))| start < position && position < end)
}
