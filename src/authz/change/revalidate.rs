//! A new catalog: everything that stands after the list is checked against it.

use super::super::graph::AccountGraph;
use super::super::model::{Grant, Id, ResourceKey};
use super::grant::{check_key, check_level, check_object_action};
use super::overlay::Slot;
use super::planner::Planner;
use super::verify::problem;
use super::{ChangeError, ChangeProblem};

impl Planner<'_> {
    /// `index` is the change that named the catalog.
    pub(super) fn revalidate(&self, index: usize, graph: &AccountGraph) -> Result<(), ChangeError> {
        let refuse = |what: String| {
            problem(
                index,
                "account.catalog",
                ChangeProblem::Invalid(format!("the account does not fit this catalog: {what}")),
            )
        };
        self.revalidate_users().map_err(refuse)?;
        self.revalidate_permission_sets(graph).map_err(refuse)?;
        self.revalidate_access_groups(graph).map_err(refuse)?;
        self.revalidate_segments(graph).map_err(refuse)?;
        self.revalidate_resources(graph).map_err(refuse)
    }

    fn revalidate_users(&self) -> Result<(), String> {
        let catalog = &self.terms.catalog;
        for user in self.users() {
            let named = |why: String| format!("user `{}`: {why}", user.id);
            for seat in &user.seats {
                if catalog.seat_ix(seat.as_str()).is_none() {
                    return Err(named(format!("the catalog has no seat `{seat}`")));
                }
            }
            for grant in &user.grants {
                self.revalidate_grant(grant).map_err(named)?;
            }
            for grant in &user.object_grants {
                check_object_action(catalog, &grant.resource.resource_type, &grant.action)
                    .map_err(named)?;
            }
        }
        Ok(())
    }

    fn revalidate_permission_sets(&self, graph: &AccountGraph) -> Result<(), String> {
        let touched = &self.overlay.permission_sets;
        let stored = graph
            .permission_sets()
            .filter(|set| !touched.contains_key(&set.id));
        for set in touched.values().filter_map(Slot::get).chain(stored) {
            for grant in &set.grants {
                self.revalidate_grant(grant)
                    .map_err(|why| format!("permission set `{}`: {why}", set.id))?;
            }
        }
        Ok(())
    }

    fn revalidate_grant(&self, grant: &Grant) -> Result<(), String> {
        check_key(&self.terms.catalog, &grant.key)?;
        check_level(&self.terms.catalog, &grant.key, grant.level)
    }

    fn revalidate_access_groups(&self, graph: &AccountGraph) -> Result<(), String> {
        let touched = &self.overlay.access_groups;
        let stored = graph
            .access_groups()
            .filter(|group| !touched.contains_key(&group.id));
        for group in touched.values().filter_map(Slot::get).chain(stored) {
            let unknown = group
                .members
                .values()
                .flatten()
                .find(|action| self.terms.catalog.action_ix(action.as_str()).is_none());
            if let Some(action) = unknown {
                return Err(format!(
                    "access group `{}`: the catalog has no action `{action}`",
                    group.id
                ));
            }
        }
        Ok(())
    }

    fn revalidate_segments(&self, graph: &AccountGraph) -> Result<(), String> {
        let touched = &self.overlay.segments;
        let stored = graph
            .segments()
            .filter(|segment| !touched.contains_key(&segment.id));
        for segment in touched.values().filter_map(Slot::get).chain(stored) {
            let resource_type = &segment.resource_type;
            if self.terms.catalog.type_ix(resource_type.as_str()).is_none() {
                return Err(format!(
                    "segment `{}`: the catalog has no resource type `{resource_type}`",
                    segment.id
                ));
            }
        }
        Ok(())
    }

    /// Of a type that is gone there is no resource left. Only such types are read.
    fn revalidate_resources(&self, graph: &AccountGraph) -> Result<(), String> {
        let gone = graph
            .catalog()
            .types
            .iter()
            .map(|resource_type| &resource_type.name)
            .filter(|name| self.terms.catalog.type_ix(name.as_str()).is_none());
        for resource_type in gone {
            if let Some(key) = self.resource_left(graph, resource_type) {
                return Err(format!(
                    "resource `{key}`: the catalog has no resource type `{resource_type}`"
                ));
            }
        }
        Ok(())
    }

    fn resource_left(&self, graph: &AccountGraph, resource_type: &Id) -> Option<ResourceKey> {
        const PAGE: usize = 1_000;
        let mut after: Option<Id> = None;
        loop {
            let page =
                graph.resource_page(resource_type.as_str(), after.as_ref().map(Id::as_str), PAGE);
            after = Some(page.last()?.clone());
            let left = page.into_iter().find_map(|id| {
                let key = ResourceKey {
                    resource_type: resource_type.clone(),
                    id,
                };
                let slot = self.overlay.resources.get(&key);
                slot.is_none_or(|slot| slot.resource.is_there())
                    .then_some(key)
            });
            if left.is_some() {
                return left;
            }
        }
    }
}
