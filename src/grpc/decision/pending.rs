//! The access request that would turn a denial.

use crate::authz::access_request::{RequestTarget, canonical};
use crate::authz::decision::{Decision, Requestable, Target};
use crate::authz::model::Id;
use crate::graph_cache::ReadGraph;

/// The user's pending request that would turn a denial: the one for just this, or where the tool as
/// a whole is denied the one for that. Empty where there is none.
pub(super) fn pending_request(
    read: &ReadGraph,
    decision: &Decision,
    user: &str,
    resource_type: &str,
    action: &str,
    asked: Target<'_>,
) -> String {
    let graph = &read.graph;
    if decision.is_allow() || graph.pending_requests_of(user).next().is_none() {
        return String::new();
    }
    let resource_id = match (decision.requestable, asked) {
        (Requestable::Tool, _) | (_, Target::Tool) => None,
        (_, Target::Resource(id) | Target::Described(id, _)) => Id::parse(id).ok(),
    };
    let target = Id::parse(resource_type)
        .and_then(|resource_type| {
            Ok(RequestTarget {
                resource_type,
                action: Id::parse(action)?,
                resource_id,
            })
        })
        .ok()
        .and_then(|target| canonical(graph, &target).ok());
    target
        .and_then(|target| graph.pending_request(user, &target))
        .map(|request| request.id.to_string())
        .unwrap_or_default()
}
