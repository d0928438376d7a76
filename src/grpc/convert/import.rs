//! Rows of an import.

use super::{Path, principal, principal_to_wire, timestamp, timestamp_to_wire};
use crate::authz::model::Attributes;
use crate::grpc::status::{Failure, Reason, truncated};
use crate::grpc::wire;
use crate::imports::{
    Assigned, LineProblem, Mode, Progress, Row, RowContent, RowProblem, Unreadable, Withheld,
};

/// A row as it came; what is wrong with it is a matter of its line alone.
pub fn row_from_wire(row: &wire::ImportRow, position: u64) -> Row {
    let line = match row.line {
        0 => position,
        line => line,
    };
    let content = match &row.unreadable {
        Some(unreadable) => Err(unreadable_from_wire(unreadable)),
        None => content_from_wire(row).map_err(|failure| unreadable(&failure)),
    };
    Row::new(line, content)
}

fn content_from_wire(row: &wire::ImportRow) -> Result<RowContent, Failure> {
    let Some(resource) = &row.resource else {
        return Err(Failure::invalid("resource", "a resource is required"));
    };
    // Nameless, so that a field of the resource is named as a field of the row.
    let resource = super::change::resource_patch(resource, &Path::root(""))?;
    let list = Path::root("assigned_to");
    let mut assigned_to = Vec::with_capacity(row.assigned_to.len());
    for (index, assigned) in row.assigned_to.iter().enumerate() {
        let path = list.at(index);
        assigned_to.push(Assigned {
            principal: principal(assigned.principal.as_ref(), path.field("principal"))?,
            expires_at: assigned
                .expires_at
                .as_ref()
                .map(|moment| timestamp(moment, path.field("expires_at")))
                .transpose()?,
        });
    }
    Ok(RowContent {
        resource,
        assigned_to,
    })
}

/// A failure to read a row, as the row's own problem.
fn unreadable(failure: &Failure) -> Unreadable {
    Unreadable {
        field: core_field(failure.field.as_deref().unwrap_or_default()),
        reason: failure.reason.name().to_owned(),
        message: truncated(&failure.message),
    }
}

fn unreadable_from_wire(error: &wire::ImportLineError) -> Unreadable {
    let message = match error.message.as_str() {
        "" => "the caller could not read the row",
        message => message,
    };
    Unreadable {
        field: core_field(&truncated(&error.field)),
        reason: Reason::from_name(&error.reason)
            .unwrap_or(Reason::InvalidField)
            .name()
            .to_owned(),
        message: truncated(message),
    }
}

/// A row as a client sends it.
pub fn row_to_wire(line: u64, content: &Result<RowContent, Unreadable>) -> wire::ImportRow {
    let (resource, assigned_to, unreadable) = match content {
        Ok(content) => {
            let assigned = |assigned: &Assigned| wire::ImportAssignment {
                principal: Some(principal_to_wire(&assigned.principal)),
                expires_at: assigned.expires_at.map(timestamp_to_wire),
            };
            (
                Some(super::change_to_wire::resource_patch_to_wire(
                    &content.resource,
                )),
                content.assigned_to.iter().map(assigned).collect(),
                None,
            )
        }
        Err(unreadable) => (None, Vec::new(), Some(unreadable_to_wire(line, unreadable))),
    };
    wire::ImportRow {
        line,
        resource,
        assigned_to,
        unreadable,
    }
}

fn unreadable_to_wire(line: u64, unreadable: &Unreadable) -> wire::ImportLineError {
    wire::ImportLineError {
        line,
        field: wire_field(&unreadable.field),
        reason: unreadable.reason.clone(),
        message: unreadable.message.clone(),
    }
}

/// What is told of a refused row.
pub fn line_problem_to_wire(problem: &LineProblem) -> wire::ImportLineError {
    let reason = match &problem.problem {
        RowProblem::Change(change) => Reason::of_change(change).name(),
        RowProblem::Repeated(_) => Reason::InvalidField.name(),
        RowProblem::Unreadable(unreadable) => &unreadable.reason,
    };
    wire::ImportLineError {
        line: problem.line,
        field: wire_field(&problem.field),
        reason: reason.to_owned(),
        message: truncated(&problem.problem.to_string()),
    }
}

/// What is told of a target that was not applied.
pub fn withheld_to_wire(withheld: &Withheld) -> wire::ImportWithheld {
    wire::ImportWithheld {
        line: withheld.line,
        target: Some(principal_to_wire(&withheld.target)),
        reason: withheld.reason.to_owned(),
        message: truncated(&withheld.message),
    }
}

/// The fields that have another name on the wire, there and in the core.
const RENAMED: [(&str, &str); 3] = [
    ("resource_type", "type"),
    ("attributes_json", "attributes"),
    ("creator_user_id", "creator"),
];

fn wire_field(field: &str) -> String {
    let renamed = RENAMED.iter().find(|(_, core)| *core == field);
    renamed.map_or(field, |(wire, _)| wire).to_owned()
}

/// A field of a row as documents name it, from its path on the wire.
pub fn core_field(field: &str) -> String {
    let renamed = RENAMED.iter().find(|(wire, _)| *wire == field);
    renamed.map_or(field, |(_, core)| core).to_owned()
}

pub fn mode_from_wire(mode: i32, path: Path<'_>) -> Result<Mode, Failure> {
    match super::entity::known(wire::ImportMode::try_from(mode), path)? {
        wire::ImportMode::Unspecified | wire::ImportMode::Merge => Ok(Mode::Merge),
        wire::ImportMode::Replace => Ok(Mode::Replace),
    }
}

pub fn mode_to_wire(mode: Mode) -> wire::ImportMode {
    match mode {
        Mode::Merge => wire::ImportMode::Merge,
        Mode::Replace => wire::ImportMode::Replace,
    }
}

pub fn progress_to_wire(progress: Progress) -> wire::ImportProgress {
    wire::ImportProgress {
        read: progress.read,
        written: progress.written,
        unchanged: progress.unchanged,
        skipped: progress.skipped,
        refused: progress.refused,
        held_back: progress.held_back,
        withheld: progress.withheld,
    }
}

/// Attributes from the text of a JSON object, as a field of a row has them.
pub fn attributes_from_text(text: &str) -> Result<Attributes, Unreadable> {
    super::change::attributes(text, Path::root("attributes"))
        .map_err(|failure| unreadable(&failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::change::ResourcePatch;
    use crate::authz::model::{Id, Principal, ResourceKey, Timestamp};

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn a_row_survives_the_wire() {
        let content = RowContent {
            resource: ResourcePatch {
                key: ResourceKey {
                    resource_type: id("contact"),
                    id: id("c1"),
                },
                owners: Some([id("a"), id("b")].into()),
                owning_team: Some(None),
                partitioned: Some(true),
                attributes: Some(attributes_from_text("{\"country\":\"DE\"}").unwrap()),
                creator: None,
            },
            assigned_to: vec![
                Assigned {
                    principal: Principal::Team(id("de")),
                    expires_at: Timestamp::from_unix_micros(1_000_001),
                },
                Assigned {
                    principal: Principal::Group(id("vip")),
                    expires_at: None,
                },
            ],
        };
        let sent = row_to_wire(7, &Ok(content.clone()));
        let came = content_from_wire(&sent).unwrap();
        assert_eq!(came, content);
        assert_eq!(row_from_wire(&sent, 1).line, 7);
    }

    #[test]
    fn a_row_is_blamed_by_its_own_fields() {
        let blamed = |row: wire::ImportRow| {
            let failure = content_from_wire(&row).unwrap_err();
            failure.field.unwrap_or_default()
        };
        assert_eq!(blamed(wire::ImportRow::default()), "resource");
        let mut row = wire::ImportRow {
            resource: Some(wire::ResourcePatch::default()),
            ..wire::ImportRow::default()
        };
        assert_eq!(blamed(row.clone()), "resource_type");
        if let Some(resource) = &mut row.resource {
            resource.resource_type = "contact".to_owned();
            resource.id = "c1".to_owned();
        }
        row.assigned_to = vec![wire::ImportAssignment::default()];
        assert_eq!(blamed(row), "assigned_to[0].principal");
        assert_eq!(
            wire_field(&core_field("attributes_json")),
            "attributes_json"
        );
    }

    #[test]
    fn what_a_caller_says_of_a_row_is_bounded() {
        let row = wire::ImportRow {
            unreadable: Some(wire::ImportLineError {
                reason: "MADE_UP".to_owned(),
                message: "x".repeat(100_000),
                ..wire::ImportLineError::default()
            }),
            ..wire::ImportRow::default()
        };
        let Some(unreadable) = row.unreadable.as_ref().map(unreadable_from_wire) else {
            panic!("it was set");
        };
        assert_eq!(unreadable.reason, "INVALID_FIELD");
        assert!(unreadable.message.len() <= 1_024);
    }
}
