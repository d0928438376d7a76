//! From the places of a load's rows to the numbers of the graph.

use super::names::Names;
use super::row::{AssignmentFact, Facts};
use crate::authz::model::{AssignmentRow, PrincipalKind, ResourceRow, ResourceRows};

/// The numbers that the names of some rows have, each found when a row first needs it: what a name
/// is of, a user, a team or a group, only its use tells, and it may be all three.
pub(super) struct RowNumbers<'a> {
    rows: &'a ResourceRows,
    users: Vec<Option<u32>>,
    teams: Vec<Option<u32>>,
    groups: Vec<Option<u32>>,
    provenances: Vec<Option<u32>>,
}

impl<'a> RowNumbers<'a> {
    pub(super) fn new(rows: &'a ResourceRows) -> Self {
        let names = rows.names().len();
        Self {
            rows,
            users: vec![None; names],
            teams: vec![None; names],
            groups: vec![None; names],
            provenances: vec![None; rows.provenances().len()],
        }
    }

    /// Places that the rows don't have (there are none) are left out.
    pub(super) fn facts(&mut self, row: &ResourceRow<'_>, names: &mut Names) -> Facts {
        let mut facts = Facts {
            owning_team: row
                .owning_team
                .and_then(|team| self.principal(PrincipalKind::Team, team, names)),
            // 3.5, as for an entity: an assigned resource is a partitioned one.
            partitioned: row.partitioned || !row.assignments.is_empty(),
            ..Facts::default()
        };
        for owner in row.owners {
            let number = self.principal(PrincipalKind::User, *owner, names);
            facts.owners.extend(number);
        }
        for assignment in row.assignments {
            facts.assignments.extend(self.assignment(assignment, names));
        }
        facts
    }

    fn assignment(&mut self, row: &AssignmentRow, names: &mut Names) -> Option<AssignmentFact> {
        Some(AssignmentFact {
            kind: row.kind,
            principal: self.principal(row.kind, row.principal, names)?,
            expires_at: row.expires_at,
            provenance: match row.provenance {
                None => None,
                Some(place) => Some(self.provenance(place, names)?),
            },
        })
    }

    fn principal(&mut self, kind: PrincipalKind, place: u32, names: &mut Names) -> Option<u32> {
        let numbers = match kind {
            PrincipalKind::User => &mut self.users,
            PrincipalKind::Team => &mut self.teams,
            PrincipalKind::Group => &mut self.groups,
        };
        let number = numbers.get_mut(place as usize)?;
        if number.is_none() {
            *number = Some(names.principal(kind, self.rows.names().get(place as usize)?));
        }
        *number
    }

    fn provenance(&mut self, place: u32, names: &mut Names) -> Option<u32> {
        let number = self.provenances.get_mut(place as usize)?;
        if number.is_none() {
            *number = Some(names.provenance(self.rows.provenances().get(place as usize)?));
        }
        *number
    }
}
