//! What a user writes before a case asks, judged by their rights as a write on their behalf is: so that
//! what the grant ceiling withholds and keeps can be proven without a server.

use std::collections::BTreeSet;

use super::case::CaseResult;
use super::part::Parts;
use super::read::{Lists, Reader, id, wrong};
use super::source::CaseSource;
use super::{Document, DocumentError};
use crate::authz::change;
use crate::authz::graph::{AccountGraph, GraphError};
use crate::authz::model::{Entity, Id, Timestamp};
use crate::authz::on_behalf::{self, CeilingReport, Noted};
use crate::authz::yaml::{At, Field};

/// The changes, by whom, and what is to be told of them.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    actor: Id,
    parts: Parts,
    /// `None`: whatever it is.
    withheld: Option<BTreeSet<String>>,
    kept: Option<BTreeSet<String>>,
}

/// Why the changes can't be made, with the place that asks for the one that is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TrialError {
    #[error("{0}")]
    Document(#[from] DocumentError),
    #[error("`apply` is refused: {0}")]
    Refused(DocumentError),
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Reader<'_> {
    /// `None` where the case writes nothing.
    pub(super) fn trial(self, source: &CaseSource) -> Result<Option<Trial>, DocumentError> {
        let Some(apply) = &source.apply else {
            for (name, told) in [("withheld", &source.withheld), ("kept", &source.kept)] {
                if told.is_some() {
                    let place = source.name.place;
                    return wrong(
                        place,
                        format!("`{name}` is told of an `apply`, and there is none"),
                    );
                }
            }
            return Ok(None);
        };
        let texts = |told: &Option<Vec<At<String>>>| {
            let told = told.as_ref()?.iter();
            Some(told.map(|one| one.value.clone()).collect())
        };
        Ok(Some(Trial {
            actor: id(&apply.actor, "as")?,
            parts: self.parts(
                super::part::AccountPart::default(),
                &Lists {
                    teams: &apply.teams,
                    permission_sets: &apply.permission_sets,
                    users: &apply.users,
                    access_groups: &apply.access_groups,
                    resources: &apply.resources,
                    segments: &Field::Absent,
                },
            )?,
            withheld: texts(&source.withheld),
            kept: texts(&source.kept),
        }))
    }
}

impl Trial {
    /// The account after the changes, with what the ceiling made of them.
    pub(super) fn run(
        &self,
        document: &Document,
        graph: &AccountGraph,
        at: Timestamp,
    ) -> Result<(AccountGraph, CeilingReport), TrialError> {
        let written = Document {
            account: document.account.clone(),
            catalog: None,
            parts: self.parts.clone(),
            cases: Vec::new(),
        };
        let placed = written.to_placed_changes(Some(&self.present(graph)), false)?;
        let places: Vec<_> = placed.iter().map(|at| at.place).collect();
        let changes: Vec<_> = placed.into_iter().map(|at| at.value).collect();
        let refused = |error: change::ChangeError| {
            let problem = format!("{}: {}", error.field, error.problem);
            let place = places.get(error.index).copied();
            TrialError::Refused(DocumentError { place, problem })
        };
        let mut set =
            change::plan(document.account_id(), Some(graph), &changes).map_err(refused)?;
        let report = on_behalf::judge(Some(graph), &self.actor, &changes, &mut set, at);
        let report = report.map_err(refused)?;
        Ok((graph.apply(&set.changes)?, report))
    }

    /// What is there of the entities that are named, for lists that are given as empty.
    fn present(&self, graph: &AccountGraph) -> Vec<Entity> {
        let parts = &self.parts;
        let sets = parts.permission_sets.iter();
        let sets = sets.filter_map(|set| graph.permission_set(set.id.value.as_str()));
        let users = parts.users.iter();
        let users = users.filter_map(|user| graph.user(user.id.value.as_str()));
        let groups = parts.access_groups.iter();
        let groups = groups.filter_map(|group| graph.access_group(group.id.value.as_str()));
        let resources = parts.resources.iter();
        let resources = resources.filter_map(|resource| graph.resource(&resource.key));
        sets.cloned()
            .map(Entity::PermissionSet)
            .chain(users.cloned().map(Entity::User))
            .chain(groups.cloned().map(Entity::AccessGroup))
            .chain(resources.map(|resource| Entity::Resource(resource, None)))
            .collect()
    }

    /// Adds what was told to the result of a case, which fails where it is something else.
    pub(super) fn compare(&self, report: &CeilingReport, result: &mut CaseResult) {
        for (name, expected, noted) in [
            ("withheld", &self.withheld, &report.withheld),
            ("kept", &self.kept, &report.kept),
        ] {
            let Some(expected) = expected else {
                continue;
            };
            let actual: BTreeSet<String> = noted.iter().map(Noted::to_string).collect();
            result.passed &= actual == *expected;
            result.expected.push_str(&told(name, expected));
            result.actual.push_str(&told(name, &actual));
        }
    }
}

fn told(name: &str, noted: &BTreeSet<String>) -> String {
    let noted: Vec<&str> = noted.iter().map(String::as_str).collect();
    format!("; {name} [{}]", noted.join("; "))
}
