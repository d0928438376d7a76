//! What a user may import (P1, P8): which records, and to whom the job's targets may assign them.
//!
//! Targets belong to the job, never to a row. Whoever imports stands to a record that the import
//! makes like an owner; a record that is there is assigned by whoever may assign it (P1), and is
//! otherwise written without the target, which is told.

use std::collections::BTreeSet;

use crate::authz::assignment::{AssignRefusal, Authority};
use crate::authz::change::{ChangeProblem, ResourcePatch};
use crate::authz::decision::Target;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Principal, Resource, Timestamp};

use super::row::RowContent;

/// What a row asks for where it is not for the user who imports: its field, and why.
pub(super) struct Overreach {
    /// Index in the row's list of assignments.
    pub(super) assignment: Option<usize>,
    pub(super) field: &'static str,
    pub(super) problem: ChangeProblem,
}

pub(super) struct Rights<'g> {
    graph: &'g AccountGraph,
    actor: Option<&'g Id>,
    authority: Authority<'g>,
}

impl<'g> Rights<'g> {
    /// `None` is an operator.
    pub(super) fn of(graph: &'g AccountGraph, actor: Option<&'g Id>, now: Timestamp) -> Self {
        Self {
            graph,
            actor,
            authority: Authority::of(graph, actor, now),
        }
    }

    pub(super) fn is_somebody(&self) -> bool {
        self.authority.is_somebody()
    }

    /// Whether targets outside of the own teams may be named for a job at all.
    pub(super) fn reaches(&self, to: &Principal) -> bool {
        self.authority.reaches(to)
    }

    /// Whether a target applies to a record; `before` is what is there.
    pub(super) fn target(
        &self,
        resource_type: &Id,
        before: Option<&Resource>,
        to: &Principal,
    ) -> Result<(), AssignRefusal> {
        match before {
            Some(resource) => self.authority.judge(resource, to),
            None => self.authority.judge_new(resource_type, to),
        }
    }

    /// Whether the user may write a row as it says, its targets aside.
    pub(super) fn check(
        &self,
        content: &RowContent,
        patch: &ResourcePatch,
        before: Option<&Resource>,
    ) -> Result<(), Overreach> {
        let Some(actor) = self.actor else {
            return Ok(());
        };
        self.check_action(patch, before)?;
        if patch
            .creator
            .as_ref()
            .is_some_and(|creator| creator != actor)
        {
            return Err(overreach(
                "resource.creator",
                "an import for a user makes records for that user",
            ));
        }
        if self.authority.is_unlimited() {
            return Ok(());
        }
        if !content.assigned_to.is_empty() {
            return Err(Overreach {
                assignment: Some(0),
                ..overreach(
                    "assignment.principal",
                    "an import for a user takes its targets from the job, not from rows (P8)",
                )
            });
        }
        if patch.partitioned.is_some() {
            return Err(overreach(
                "resource.partitioned",
                "opening and closing need `partition.assign` (P1)",
            ));
        }
        self.check_owners(patch, before)
    }

    /// Whether assignments of the job may go from a record: what takes somebody's access needs
    /// `partition.assign` (P1).
    pub(super) fn check_taking(&self) -> Result<(), Overreach> {
        match self.authority.is_unlimited() {
            true => Ok(()),
            false => Err(overreach(
                "delete_assignment",
                "taking away what the job assigned before needs `partition.assign` (P1)",
            )),
        }
    }

    /// The user imports what they may import, or where a type can't be imported, make and edit.
    fn check_action(
        &self,
        patch: &ResourcePatch,
        before: Option<&Resource>,
    ) -> Result<(), Overreach> {
        let resource_type = &patch.key.resource_type;
        let catalog = self.graph.catalog();
        let imports = catalog.resolve(resource_type.as_str(), "import").is_ok();
        let (action, target) = match (before, imports) {
            (None, true) => ("import", Target::Tool),
            (None, false) => ("create", Target::Tool),
            (Some(_), true) => ("import", Target::Resource(patch.key.id.as_str())),
            (Some(_), false) => ("edit", Target::Resource(patch.key.id.as_str())),
        };
        match self.authority.may(resource_type, action, target) {
            true => Ok(()),
            false => Err(overreach(
                "resource.id",
                &format!("the user may not {action} it"),
            )),
        }
    }

    /// Ownership and a stamp give access and authority, so they are given like assignments: of a
    /// new record to the own teams and below, of one that is there by its owners only.
    fn check_owners(
        &self,
        patch: &ResourcePatch,
        before: Option<&Resource>,
    ) -> Result<(), Overreach> {
        let none = BTreeSet::new();
        let owners = before.map_or(&none, |before| &before.owners);
        let owns = before.is_none() || self.actor.is_some_and(|actor| owners.contains(actor));
        if let Some(wanted) = patch.owners.as_ref().filter(|wanted| *wanted != owners) {
            let beyond = wanted.difference(owners).find(|owner| {
                self.actor != Some(*owner)
                    && !self.authority.reaches(&Principal::User((*owner).clone()))
            });
            if !owns || beyond.is_some() {
                return Err(overreach(
                    "resource.owners",
                    "the user may not give the record to these owners (P1)",
                ));
            }
        }
        let team = before.and_then(|before| before.owning_team.as_ref());
        if let Some(wanted) = patch
            .owning_team
            .as_ref()
            .filter(|wanted| wanted.as_ref() != team)
        {
            let is_beyond = wanted
                .as_ref()
                .is_some_and(|team| !self.authority.reaches(&Principal::Team(team.clone())));
            if !owns || is_beyond {
                return Err(overreach(
                    "resource.owning_team",
                    "the user may not stamp the record with this team (P1)",
                ));
            }
        }
        Ok(())
    }
}

fn overreach(field: &'static str, why: &str) -> Overreach {
    Overreach {
        assignment: None,
        field,
        problem: ChangeProblem::Forbidden(why.to_owned()),
    }
}
