//! Rows as JSON objects, one a line, with the fields of a resource in an account document.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};

use serde::Deserialize;
use serde_json::Value;

use super::reading::{ROW_BYTES_MAX, ReadRow, Reading, unreadable};
use crate::authz::change::ResourcePatch;
use crate::authz::model::{Attributes, Id, Principal, ResourceKey, Timestamp};
use crate::cli::error::CliError;
use crate::imports::{Assigned, RowContent, Unreadable};

/// Gives every row with its bytes to `add`, until it wants no more.
pub(super) fn read(
    mut reader: impl BufRead,
    reading: &Reading,
    mut add: impl FnMut(ReadRow, usize) -> bool,
) -> Result<(), CliError> {
    let mut number = 0;
    let mut line = Vec::new();
    let limit = u64::try_from(ROW_BYTES_MAX).unwrap_or(u64::MAX);
    loop {
        line.clear();
        number += 1;
        let mut limited = reader.by_ref().take(limit);
        let bytes = limited
            .read_until(b'\n', &mut line)
            .map_err(|error| CliError::usage(format!("line {number} can't be read: {error}")))?;
        if bytes == 0 {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n') || bytes < ROW_BYTES_MAX;
        if !is_whole {
            skip_line(&mut reader).map_err(|error| {
                CliError::usage(format!("line {number} can't be read: {error}"))
            })?;
        } else if line.trim_ascii().is_empty() {
            continue;
        }
        let content = if is_whole {
            content(&line, reading)
        } else {
            Err(too_long())
        };
        let row = ReadRow {
            line: number,
            content,
        };
        if !add(row, bytes) {
            return Ok(());
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() {
            return Ok(());
        }
    }
}

pub(super) fn too_long() -> Unreadable {
    unreadable(
        "",
        format_args!("the row has more than {ROW_BYTES_MAX} bytes"),
    )
}

/// A row as it is written. A field that is there and `null` is emptied, one that is absent is left.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "type")]
    resource_type: Option<String>,
    id: String,
    #[serde(default, deserialize_with = "given")]
    owners: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    owning_team: Option<Option<String>>,
    partitioned: Option<bool>,
    assigned_to: Option<Vec<To>>,
    #[serde(default, deserialize_with = "given")]
    attributes: Option<Option<Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum To {
    Principal(String),
    Until(Until),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Until {
    to: String,
    expires_at: Option<String>,
}

/// Tells a field that is `null` from one that is absent.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn content(text: &[u8], reading: &Reading) -> Result<RowContent, Unreadable> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to() + 1;
        unreadable("", format_args!("byte {at} of the line is not UTF-8"))
    })?;
    let line: Line = serde_json::from_str(text).map_err(|error| unreadable("", told(&error)))?;
    let resource_type = match (&line.resource_type, &reading.default_type) {
        (Some(resource_type), _) => id(resource_type, "type")?,
        (None, Some(resource_type)) => resource_type.clone(),
        (None, None) => {
            return Err(unreadable(
                "type",
                "the row has no type: add one to it, or name one for all rows with --type",
            ));
        }
    };
    let resource = ResourcePatch {
        key: ResourceKey {
            resource_type,
            id: id(&line.id, "id")?,
        },
        owners: line
            .owners
            .map(|owners| ids(&owners.unwrap_or_default(), "owners"))
            .transpose()?,
        owning_team: line
            .owning_team
            .map(|team| team.map(|team| id(&team, "owning_team")).transpose())
            .transpose()?,
        partitioned: line.partitioned,
        attributes: line
            .attributes
            .map(|value| attributes(value.unwrap_or_else(|| Value::Object(Attributes::new()))))
            .transpose()?,
        creator: None,
    };
    let assigned_to = line.assigned_to.unwrap_or_default();
    let assigned_to = assigned_to
        .iter()
        .enumerate()
        .map(|(index, to)| assigned(index, to))
        .collect::<Result<Vec<Assigned>, Unreadable>>()?;
    Ok(RowContent {
        resource,
        assigned_to,
    })
}

/// serde's words without the line, which is always the first.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let column = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&column) {
        Some(problem) => format!("column {}: {problem}", error.column()),
        None => text,
    }
}

fn assigned(index: usize, to: &To) -> Result<Assigned, Unreadable> {
    let field = format!("assigned_to[{index}]");
    let (to, expires_at) = match to {
        To::Principal(to) => (to, None),
        To::Until(until) => (&until.to, until.expires_at.as_deref()),
    };
    Ok(Assigned {
        principal: principal(to, &field)?,
        expires_at: expires_at.map(|text| moment(text, &field)).transpose()?,
    })
}

fn attributes(value: Value) -> Result<Attributes, Unreadable> {
    match value {
        Value::Object(attributes) => Ok(attributes),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(unreadable("attributes", "attributes are a JSON object"))
        }
    }
}

pub(super) fn id(text: &str, field: &str) -> Result<Id, Unreadable> {
    Id::parse(text).map_err(|error| unreadable(field, error))
}

pub(super) fn ids(texts: &[String], field: &str) -> Result<BTreeSet<Id>, Unreadable> {
    texts.iter().map(|text| id(text, field)).collect()
}

pub(super) fn principal(text: &str, field: &str) -> Result<Principal, Unreadable> {
    text.parse().map_err(|error| unreadable(field, error))
}

pub(super) fn moment(text: &str, field: &str) -> Result<Timestamp, Unreadable> {
    Timestamp::parse(text).map_err(|error| unreadable(field, error))
}
