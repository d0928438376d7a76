//! Many resources of one type, as a load brings them: columns instead of an entity each.
//!
//! A million resources as entities are some ten million small allocations that live for as long as
//! it takes to number what they name. Here the ids lie behind each other in one text, and users,
//! teams, groups and provenances are places in a list that names each once.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use hashbrown::HashMap;

use super::{
    Assignment, Entity, Id, IdError, Principal, PrincipalKind, Provenance, ProvenanceError,
    Resource, ResourceKey, Timestamp,
};

/// From names to their places.
type Places<K> = HashMap<K, u32, foldhash::quality::RandomState>;

/// Rows of resources that can't be what is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    #[error("the resource is not there, or out of order")]
    Order,
    #[error("there are more than can be counted")]
    TooMany,
}

/// Resources of one type in the byte order of their ids, without attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRows {
    resource_type: Id,
    ids: String,
    rows: Vec<Row>,
    /// Places in `names`.
    owners: Vec<u32>,
    assignments: Vec<AssignmentRow>,
    names: Vec<Id>,
    provenances: Vec<Provenance>,
}

/// A resource: where its part of each column ends, which begins where that of the row before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    id_end: u32,
    owners_end: u32,
    assignments_end: u32,
    owning_team: Option<u32>,
    partitioned: bool,
}

/// An assignment whose principal and provenance are places in the lists of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignmentRow {
    pub kind: PrincipalKind,
    pub principal: u32,
    pub expires_at: Option<Timestamp>,
    /// `None`: MANUAL.
    pub provenance: Option<u32>,
}

/// One resource of the rows.
#[derive(Debug, Clone, Copy)]
pub struct ResourceRow<'a> {
    pub id: &'a str,
    pub owning_team: Option<u32>,
    pub partitioned: bool,
    pub owners: &'a [u32],
    pub assignments: &'a [AssignmentRow],
}

impl ResourceRows {
    pub fn resource_type(&self) -> &Id {
        &self.resource_type
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the places of owners, teams and principals stand for.
    pub fn names(&self) -> &[Id] {
        &self.names
    }

    /// What the places of provenances stand for.
    pub fn provenances(&self) -> &[Provenance] {
        &self.provenances
    }

    pub fn last_id(&self) -> Option<&str> {
        let at = self.rows.len().checked_sub(1)?;
        Some(self.id(at))
    }

    pub fn iter(&self) -> impl Iterator<Item = ResourceRow<'_>> {
        (0..self.rows.len()).filter_map(|at| {
            let before = self.before(at);
            let row = self.rows.get(at)?;
            Some(ResourceRow {
                id: self.id(at),
                owning_team: row.owning_team,
                partitioned: row.partitioned,
                owners: part(&self.owners, before.owners_end, row.owners_end),
                assignments: part(
                    &self.assignments,
                    before.assignments_end,
                    row.assignments_end,
                ),
            })
        })
    }

    /// The same as entities, each with an allocation for everything that it names.
    pub fn entities(&self) -> impl Iterator<Item = Entity> {
        self.iter().filter_map(|row| {
            let name = |place: &u32| self.names.get(*place as usize).cloned();
            let assignments = row.assignments.iter().filter_map(|assignment| {
                Some(Assignment {
                    principal: Principal::new(assignment.kind, name(&assignment.principal)?),
                    provenance: match assignment.provenance {
                        None => Provenance::Manual,
                        Some(place) => self.provenances.get(place as usize)?.clone(),
                    },
                    expires_at: assignment.expires_at,
                })
            });
            let resource = Resource {
                key: ResourceKey {
                    resource_type: self.resource_type.clone(),
                    id: Id::parse(row.id).ok()?,
                },
                owners: row.owners.iter().filter_map(name).collect(),
                owning_team: row.owning_team.as_ref().and_then(name),
                partitioned: row.partitioned,
                assignments: assignments.collect::<BTreeSet<_>>(),
            };
            Some(Entity::Resource(resource, None))
        })
    }

    fn id(&self, at: usize) -> &str {
        let end = self.rows.get(at).map_or(0, |row| row.id_end);
        let range = self.before(at).id_end as usize..end as usize;
        self.ids.get(range).unwrap_or_default()
    }

    /// Where the parts of a row begin.
    fn before(&self, at: usize) -> Row {
        const START: Row = Row {
            id_end: 0,
            owners_end: 0,
            assignments_end: 0,
            owning_team: None,
            partitioned: false,
        };
        let before = at.checked_sub(1).and_then(|before| self.rows.get(before));
        before.copied().unwrap_or(START)
    }
}

fn part<T>(column: &[T], start: u32, end: u32) -> &[T] {
    let range = start as usize..end as usize;
    column.get(range).unwrap_or_default()
}

/// Puts rows together from what a database has of them: first all resources, then all owners, then
/// all assignments, each in the byte order of the resources' ids.
#[derive(Debug)]
pub struct ResourceRowsBuilder {
    rows: ResourceRows,
    names: Places<Id>,
    /// By what is written for each.
    provenances: Places<Box<str>>,
    /// The resource that the next owner may belong to, or one before it; likewise for assignments.
    owned: usize,
    assigned: usize,
}

impl ResourceRowsBuilder {
    pub fn new(resource_type: Id) -> Self {
        Self {
            rows: ResourceRows {
                resource_type,
                ids: String::new(),
                rows: Vec::new(),
                owners: Vec::new(),
                assignments: Vec::new(),
                names: Vec::new(),
                provenances: Vec::new(),
            },
            names: Places::default(),
            provenances: Places::default(),
            owned: 0,
            assigned: 0,
        }
    }

    /// What there is so far.
    pub fn rows(&self) -> &ResourceRows {
        &self.rows
    }

    /// The place of a user, team or group.
    pub fn name(&mut self, name: &str) -> Result<u32, RowError> {
        if let Some(place) = self.names.get(name) {
            return Ok(*place);
        }
        let name = Id::parse(name)?;
        let place = count(self.rows.names.len())?;
        self.rows.names.push(name.clone());
        self.names.insert(name, place);
        Ok(place)
    }

    /// The place of a provenance as it is written; `None`: MANUAL.
    pub fn provenance(&mut self, text: &str) -> Result<Option<u32>, RowError> {
        // Most of them by far, which need no table.
        if text == "manual" {
            return Ok(None);
        }
        if let Some(place) = self.provenances.get(text) {
            return Ok(Some(*place));
        }
        let provenance = Provenance::from_str(text)?;
        let place = count(self.rows.provenances.len())?;
        self.rows.provenances.push(provenance);
        self.provenances.insert(text.into(), place);
        Ok(Some(place))
    }

    pub fn resource(
        &mut self,
        id: &str,
        owning_team: Option<u32>,
        partitioned: bool,
    ) -> Result<(), RowError> {
        Id::validate(id)?;
        if self.rows.last_id().is_some_and(|last| last >= id) {
            return Err(RowError::Order);
        }
        self.rows.ids.push_str(id);
        self.rows.rows.push(Row {
            id_end: count(self.rows.ids.len())?,
            owners_end: 0,
            assignments_end: 0,
            owning_team,
            partitioned,
        });
        Ok(())
    }

    pub fn owner(&mut self, id: &str, owner: u32) -> Result<(), RowError> {
        let end = count(self.rows.owners.len())?;
        while self.rows.id(self.owned) < id {
            self.owned = self.past(self.owned, |row| row.owners_end = end)?;
        }
        if self.rows.id(self.owned) != id {
            return Err(RowError::Order);
        }
        self.rows.owners.push(owner);
        Ok(())
    }

    pub fn assignment(&mut self, id: &str, assignment: AssignmentRow) -> Result<(), RowError> {
        let end = count(self.rows.assignments.len())?;
        while self.rows.id(self.assigned) < id {
            self.assigned = self.past(self.assigned, |row| row.assignments_end = end)?;
        }
        if self.rows.id(self.assigned) != id {
            return Err(RowError::Order);
        }
        self.rows.assignments.push(assignment);
        Ok(())
    }

    /// Ends a column's part of a row; the row after it.
    fn past(&mut self, at: usize, end: impl FnOnce(&mut Row)) -> Result<usize, RowError> {
        end(self.rows.rows.get_mut(at).ok_or(RowError::Order)?);
        Ok(at + 1)
    }

    pub fn finish(mut self) -> Result<ResourceRows, RowError> {
        let owners_end = count(self.rows.owners.len())?;
        let assignments_end = count(self.rows.assignments.len())?;
        for row in self.rows.rows.iter_mut().skip(self.owned) {
            row.owners_end = owners_end;
        }
        for row in self.rows.rows.iter_mut().skip(self.assigned) {
            row.assignments_end = assignments_end;
        }
        Ok(self.rows)
    }
}

fn count(length: usize) -> Result<u32, RowError> {
    u32::try_from(length).map_err(|_| RowError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(ids: &[&str]) -> ResourceRowsBuilder {
        let mut builder = ResourceRowsBuilder::new(Id::parse("contact").unwrap());
        for id in ids {
            builder.resource(id, None, true).unwrap();
        }
        builder
    }

    fn to(principal: u32, expires_at: Option<Timestamp>) -> AssignmentRow {
        AssignmentRow {
            kind: PrincipalKind::User,
            principal,
            expires_at,
            provenance: None,
        }
    }

    #[test]
    fn rows_in_the_order_of_ids_are_put_together() {
        let mut builder = begun(&[]);
        let team = builder.name("t").unwrap();
        builder.resource("a", Some(team), true).unwrap();
        for id in ["b", "c", "d"] {
            builder.resource(id, None, false).unwrap();
        }
        let [u, v] = ["u", "v"].map(|name| builder.name(name).unwrap());
        assert_eq!(builder.name("u").unwrap(), u);
        for (id, owner) in [("a", u), ("a", v), ("c", u)] {
            builder.owner(id, owner).unwrap();
        }
        let made = builder.provenance("segment:s").unwrap();
        assert_eq!(builder.provenance("segment:s").unwrap(), made);
        assert_eq!(builder.provenance("manual").unwrap(), None);
        assert!(builder.provenance("segment:").is_err());
        assert!(builder.provenance("else").is_err());
        builder
            .assignment("b", to(v, Some(Timestamp::MIN)))
            .unwrap();
        let of_segment = AssignmentRow {
            provenance: made,
            ..to(u, None)
        };
        builder.assignment("b", of_segment).unwrap();
        let rows = builder.finish().unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.id,
                    row.owning_team.is_some(),
                    row.owners.to_vec(),
                    row.assignments.len(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a", true, vec![u, v], 0),
                ("b", false, vec![], 2),
                ("c", false, vec![u], 0),
                ("d", false, vec![], 0),
            ]
        );
        let entities: Vec<Entity> = rows.entities().collect();
        let [Entity::Resource(a, None), Entity::Resource(b, None), _, _] = entities.as_slice()
        else {
            panic!("{entities:?}");
        };
        assert_eq!(a.key.to_string(), "contact/a");
        assert_eq!(a.owning_team.as_ref().map(Id::as_str), Some("t"));
        assert_eq!(Vec::from_iter(a.owners.iter().map(Id::as_str)), ["u", "v"]);
        let told: Vec<String> = b
            .assignments
            .iter()
            .map(|assignment| format!("{} {}", assignment.principal.id(), assignment.provenance))
            .collect();
        assert_eq!(told, ["u segment:s", "v manual"]);
        assert!(a.partitioned && !b.partitioned);
    }

    #[test]
    fn what_is_out_of_order_or_no_id_is_refused() {
        let mut builder = begun(&["b", "d"]);
        for id in ["a", "d", "b"] {
            assert_eq!(builder.resource(id, None, false), Err(RowError::Order));
        }
        assert!(matches!(
            builder.resource("", None, false),
            Err(RowError::Id(_))
        ));
        assert!(matches!(builder.name(""), Err(RowError::Id(_))));
        let u = builder.name("u").unwrap();
        for id in ["a", "c", "e"] {
            let mut builder = begun(&["b", "d"]);
            assert_eq!(builder.owner(id, u), Err(RowError::Order), "{id}");
            assert_eq!(
                builder.assignment(id, to(u, None)),
                Err(RowError::Order),
                "{id}"
            );
        }
        builder.owner("d", u).unwrap();
        assert_eq!(builder.owner("b", u), Err(RowError::Order));
    }
}
