//! Which resources a bulk is about.

use roaring::RoaringBitmap;

use crate::authz::graph::AccountGraph;
use crate::authz::model::{Attributes, Id, Principal, Resource, Timestamp};

/// Resources of a type that meet every named condition.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFilter {
    pub resource_type: Id,
    pub owner: Option<Id>,
    /// The team that the resource is stamped with.
    pub owning_team: Option<Id>,
    /// Those with a live assignment to it.
    pub assigned_to: Option<Principal>,
    /// Each is stored just so.
    pub attributes: Attributes,
}

impl ResourceFilter {
    /// Whether it names no condition, and so means all of the type.
    pub fn is_everything(&self) -> bool {
        self.owner.is_none()
            && self.owning_team.is_none()
            && self.assigned_to.is_none()
            && self.attributes.is_empty()
    }

    /// Ids of the resources that may meet it, in byte order: those that meet what the graph knows
    /// without looking at a row.
    pub fn candidates(&self, graph: &AccountGraph) -> Vec<Id> {
        let index = graph
            .catalog()
            .type_ix(self.resource_type.as_str())
            .and_then(|type_ix| graph.index(type_ix));
        let Some(index) = index else {
            return Vec::new();
        };
        let postings = &index.postings;
        let mut found = (*postings.alive).clone();
        let mut keep = |of: Option<&RoaringBitmap>| match of {
            Some(of) => found &= of,
            None => found.clear(),
        };
        if let Some(owner) = &self.owner {
            let number = graph.names.users.find(owner.as_str());
            keep(number.and_then(|number| postings.owners.get(number)));
        }
        if let Some(team) = &self.owning_team {
            let number = graph.names.teams.find(team.as_str());
            keep(number.and_then(|number| postings.owning_teams.get(number)));
        }
        if let Some(principal) = &self.assigned_to {
            let number = graph
                .names
                .principals(principal.kind())
                .find(principal.id().as_str());
            let assigned = match principal {
                Principal::User(_) => &postings.assigned_users,
                Principal::Team(_) => &postings.assigned_teams,
                Principal::Group(_) => &postings.assigned_groups,
            };
            // What expires is in no posting: the rows themselves tell, see `matches`.
            let mut of = (*postings.timed).clone();
            if let Some(assigned) = number.and_then(|number| assigned.get(number)) {
                of |= assigned;
            }
            keep(Some(&of));
        }
        index
            .ordered(&found, None, usize::MAX)
            .into_iter()
            .filter_map(|ordinal| Id::parse(index.row(ordinal).id()).ok())
            .collect()
    }

    /// Whether a resource meets it at a moment, attributes aside.
    pub fn matches(&self, resource: &Resource, now: Timestamp) -> bool {
        let is_assigned = |principal: &Principal| {
            resource.assignments.iter().any(|row| {
                row.principal == *principal
                    && row.expires_at.is_none_or(|expires_at| now < expires_at)
            })
        };
        resource.key.resource_type == self.resource_type
            && self
                .owner
                .as_ref()
                .is_none_or(|owner| resource.owners.contains(owner))
            && (self.owning_team.is_none() || resource.owning_team == self.owning_team)
            && self.assigned_to.as_ref().is_none_or(is_assigned)
    }

    /// Whether stored attributes meet it.
    pub fn matches_attributes(&self, stored: Option<&Attributes>) -> bool {
        self.attributes
            .iter()
            .all(|(name, value)| stored.and_then(|stored| stored.get(name)) == Some(value))
    }
}
