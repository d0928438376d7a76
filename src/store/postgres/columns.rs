//! Resources out of the columns in which the database joins them.
//!
//! Each column of a table's part is one text, its values joined by line feeds, which no id has: what
//! a message for each row would cost on either side is many times what the row itself does. The first
//! column counts the rows.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::error::store_error;
use crate::authz::model::{AssignmentRow, Id, PrincipalKind, ResourceRows, ResourceRowsBuilder};
use crate::store::StoreError;
use crate::store::rows::{At, inconsistent};

/// What a statement told of a round.
pub(super) enum Told {
    /// Of resources of one type, which begin a round.
    Resources(Id, PgRow),
    /// Of owners of these, then of assignments.
    Owners(PgRow),
    Assignments(PgRow),
    /// The round is told whole.
    End,
}

/// A round as far as it is put together.
#[derive(Default)]
pub(super) struct Round(Option<ResourceRowsBuilder>);

impl Round {
    /// Adds what was told; the resources, where that was all.
    pub(super) fn add(&mut self, told: &Told) -> Result<Option<ResourceRows>, StoreError> {
        match told {
            Told::Resources(resource_type, part) => {
                let builder = self
                    .0
                    .insert(ResourceRowsBuilder::new(resource_type.clone()));
                rows(part, "resource", |row| add_resource(builder, row))?;
            }
            Told::Owners(part) => {
                let builder = self.begun()?;
                rows(part, "resource_owner", |row| add_owner(builder, row))?;
            }
            Told::Assignments(part) => {
                let builder = self.begun()?;
                rows(part, "assignment", |row| add_assignment(builder, row))?;
            }
            Told::End => {
                let finished = self.0.take().map(ResourceRowsBuilder::finish).transpose();
                return finished
                    .map_err(|error| inconsistent("resource", "*", "of a round", error));
            }
        }
        Ok(None)
    }

    fn begun(&mut self) -> Result<&mut ResourceRowsBuilder, StoreError> {
        self.0
            .as_mut()
            .ok_or_else(|| inconsistent("resource", "*", "of a round", "it has no resources"))
    }
}

/// How many rows a part has.
pub(super) fn count(part: &PgRow) -> Result<usize, StoreError> {
    let count: i64 = part.try_get(0).map_err(store_error)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The last value of a column, where there is any.
pub(super) fn last(part: &PgRow, column: usize) -> Result<Option<&str>, StoreError> {
    let values: Option<&str> = part.try_get(1 + column).map_err(store_error)?;
    Ok(values.and_then(|values| values.rsplit('\n').next()))
}

/// Reads the columns side by side, row by row, as many as were counted.
fn rows<'r, const N: usize>(
    part: &'r PgRow,
    table: &'static str,
    mut take: impl FnMut([&'r str; N]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut columns = [const { None }; N];
    for (at, column) in columns.iter_mut().enumerate() {
        let text: Option<&str> = part.try_get(1 + at).map_err(store_error)?;
        *column = text.map(|text| text.split('\n'));
    }
    let counted = count(part)?;
    let mut taken = 0;
    loop {
        let mut row = [""; N];
        let mut values = 0;
        for (column, value) in columns.iter_mut().zip(&mut row) {
            if let Some(found) = column.as_mut().and_then(Iterator::next) {
                *value = found;
                values += 1;
            }
        }
        match values {
            0 if taken == counted => return Ok(()),
            all if all == N => {
                take(row)?;
                taken += 1;
            }
            _ => return Err(inconsistent(table, "*", row.concat(), "a line feed in it")),
        }
    }
}

fn add_resource(builder: &mut ResourceRowsBuilder, row: [&str; 3]) -> Result<(), StoreError> {
    let [id, team, partitioned] = row;
    let at = At {
        table: "resource",
        row: id,
    };
    let owning_team = match team {
        "" => None,
        team => {
            let place = builder.name(team);
            Some(place.map_err(|error| at.wrong("owning_team", error))?)
        }
    };
    let partitioned = match partitioned {
        "true" => true,
        "false" => false,
        _ => return Err(at.wrong("partitioned", "it is neither true nor false")),
    };
    let added = builder.resource(id, owning_team, partitioned);
    added.map_err(|error| at.wrong("resource_id", error))
}

fn add_owner(builder: &mut ResourceRowsBuilder, row: [&str; 2]) -> Result<(), StoreError> {
    let [id, user] = row;
    let at = At {
        table: "resource_owner",
        row: id,
    };
    let owner = builder.name(user);
    let owner = owner.map_err(|error| at.wrong("user_id", error))?;
    let added = builder.owner(id, owner);
    added.map_err(|error| at.wrong("resource_id", error))
}

fn add_assignment(builder: &mut ResourceRowsBuilder, row: [&str; 5]) -> Result<(), StoreError> {
    let [id, kind, principal, provenance, expires_at] = row;
    let at = At {
        table: "assignment",
        row: id,
    };
    let expires_at = match expires_at {
        "" => None,
        micros => {
            let micros = micros.parse();
            Some(micros.map_err(|error| at.wrong("expires_at", error))?)
        }
    };
    let principal = builder.name(principal);
    let provenance = builder.provenance(provenance);
    let assignment = AssignmentRow {
        kind: at.word("principal_kind", kind, PrincipalKind::from_word)?,
        principal: principal.map_err(|error| at.wrong("principal_id", error))?,
        expires_at: at.time("expires_at", expires_at)?,
        provenance: provenance.map_err(|error| at.wrong("provenance", error))?,
    };
    let added = builder.assignment(id, assignment);
    added.map_err(|error| at.wrong("resource_id", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_a_resource_is_inconsistent() {
        let mut builder = ResourceRowsBuilder::new(Id::parse("contact").unwrap());
        add_resource(&mut builder, ["b", "", "true"]).unwrap();
        let refused = [
            add_resource(&mut builder, ["", "", "true"]),
            add_resource(&mut builder, ["a", "", "true"]),
            add_resource(&mut builder, ["x", "", ""]),
            add_owner(&mut builder, ["a", "u"]),
            add_owner(&mut builder, ["b", ""]),
            add_assignment(&mut builder, ["b", "nobody", "v", "manual", ""]),
            add_assignment(&mut builder, ["b", "user", "", "manual", ""]),
            add_assignment(&mut builder, ["b", "user", "v", "by hand", ""]),
            add_assignment(&mut builder, ["b", "user", "v", "manual", "soon"]),
            add_assignment(
                &mut builder,
                ["b", "user", "v", "manual", "9223372036854775807"],
            ),
            add_assignment(&mut builder, ["a", "user", "v", "manual", ""]),
        ];
        for answer in refused {
            assert!(
                matches!(answer, Err(StoreError::Inconsistent { .. })),
                "{answer:?}"
            );
        }
        add_owner(&mut builder, ["b", "u"]).unwrap();
        add_assignment(&mut builder, ["b", "user", "v", "manual", "17"]).unwrap();
        assert_eq!(builder.finish().unwrap().len(), 1);
    }
}
