//! Rows as CSV with a header row.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind, ReaderBuilder, Terminator};

use super::lines::{id, ids, moment, principal, too_long};
use super::reading::{ROW_BYTES_MAX, ReadRow, Reading, unreadable};
use crate::authz::change::ResourcePatch;
use crate::authz::model::{Id, ResourceKey};
use crate::cli::error::CliError;
use crate::grpc::convert;
use crate::imports::{Assigned, RowContent, Unreadable};

/// The columns that a table may have.
pub(super) const COLUMNS: [&str; 8] = [
    "type",
    "id",
    "owners",
    "owning_team",
    "partitioned",
    "assigned_to",
    "assigned_until",
    "attributes",
];

/// Separates the elements of a list within a cell.
const SEPARATOR: char = ';';
/// Takes the separator and itself literally.
const ESCAPE: char = '\\';

/// Where each column stands.
#[derive(Debug, Default)]
struct Header {
    columns: Vec<usize>,
    width: usize,
}

/// Gives every row with its bytes to `add`, until it wants no more.
pub(super) fn read(
    reader: impl BufRead,
    reading: &Reading,
    mut add: impl FnMut(ReadRow, usize) -> bool,
) -> Result<(), CliError> {
    let budget = Rc::new(Cell::new(ROW_BYTES_MAX));
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(reading.delimiter)
        // The line feed alone, since only then lines can be counted; what is left of a CRLF is cut
        // off the last cell.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(Limited {
            reader,
            budget: Rc::clone(&budget),
            is_at_line_start: true,
        });
    let mut record = ByteRecord::new();
    let first = reader.read_byte_record(&mut record);
    if !first.map_err(|error| CliError::usage(format!("line 1: {}", cannot(&error))))? {
        return Err(CliError::usage(
            "the file is empty: a table begins with a row of column names",
        ));
    }
    let header = Header::read(&without_carriage_return(record.clone()), reading)?;
    loop {
        budget.set(ROW_BYTES_MAX);
        let before = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                record = without_carriage_return(record);
                if record.len() == 1 && record.as_slice().is_empty() {
                    continue;
                }
                let line = line_of(&record, reader.position());
                let content = header.content(&record, reading);
                if !add(ReadRow { line, content }, record.as_slice().len()) {
                    return Ok(());
                }
            }
            // Where the row after this one begins can't be told.
            Err(error) if is_too_long(&error) => {
                let row = ReadRow {
                    line: before,
                    content: Err(unreadable(
                        "",
                        format_args!(
                            "{}; is there a quote that is not closed? what follows is not read",
                            too_long().message
                        ),
                    )),
                };
                add(row, 0);
                return Ok(());
            }
            Err(error) => {
                return Err(CliError::usage(format!(
                    "line {before}: {}",
                    cannot(&error)
                )));
            }
        }
    }
}

/// Where a record began: every record ends with a line feed, and those within it are kept.
fn line_of(record: &ByteRecord, after: &csv::Position) -> u64 {
    let within = record.as_slice().iter().filter(|byte| **byte == b'\n');
    let within = u64::try_from(within.count()).unwrap_or(u64::MAX);
    after.line().saturating_sub(1).saturating_sub(within)
}

fn without_carriage_return(mut record: ByteRecord) -> ByteRecord {
    let Some(last) = record.len().checked_sub(1) else {
        return record;
    };
    let shortened = record.get(last).and_then(|cell| cell.strip_suffix(b"\r"));
    if let Some(cell) = shortened.map(<[u8]>::to_vec) {
        record.truncate(last);
        record.push_field(&cell);
    }
    record
}

fn cannot(error: &csv::Error) -> String {
    match error.kind() {
        _ if is_too_long(error) => too_long().message,
        ErrorKind::Io(error) => format!("the file can't be read: {error}"),
        _ => format!("the row can't be read: {error}"),
    }
}

fn is_too_long(error: &csv::Error) -> bool {
    matches!(error.kind(), ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge)
}

/// Gives no more than a row may have, beside what the parser buffers, so that a quote that is never
/// closed doesn't take the whole file in. Ends the last line where the file doesn't.
struct Limited<R> {
    reader: R,
    budget: Rc<Cell<usize>>,
    is_at_line_start: bool,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let budget = self.budget.get();
        if budget == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut read = self.reader.read(buffer)?;
        if read == 0
            && !self.is_at_line_start
            && let Some(end) = buffer.first_mut()
        {
            *end = b'\n';
            read = 1;
        }
        if let Some(last) = buffer.get(..read).and_then(<[u8]>::last) {
            self.is_at_line_start = *last == b'\n';
        }
        self.budget.set(budget.saturating_sub(read));
        Ok(read)
    }
}

impl Header {
    fn read(record: &ByteRecord, reading: &Reading) -> Result<Self, CliError> {
        let wrong = |problem: String| Err(CliError::usage(format!("line 1: {problem}")));
        let mut columns = vec![usize::MAX; COLUMNS.len()];
        for (at, name) in record.iter().enumerate() {
            let name = String::from_utf8_lossy(name);
            let Some(found) = COLUMNS.iter().position(|column| *column == name) else {
                return wrong(format!(
                    "there is no column `{name}`; a table has the columns {}",
                    COLUMNS.join(", ")
                ));
            };
            match columns.get_mut(found) {
                Some(place) if *place == usize::MAX => *place = at,
                _ => return wrong(format!("the column `{name}` is there twice")),
            }
        }
        let header = Self {
            columns,
            width: record.len(),
        };
        if !header.has("id") {
            return wrong("the column `id` is missing".to_owned());
        }
        if !header.has("type") && reading.default_type.is_none() {
            return wrong(
                "the column `type` is missing: add it, or name one type for all rows with --type"
                    .to_owned(),
            );
        }
        if header.has("assigned_until") && !header.has("assigned_to") {
            return wrong("the column `assigned_until` needs the column `assigned_to`".to_owned());
        }
        Ok(header)
    }

    fn place(&self, column: &str) -> Option<usize> {
        let at = COLUMNS.iter().position(|name| *name == column)?;
        self.columns.get(at).copied()
    }

    fn has(&self, column: &str) -> bool {
        self.place(column).is_some_and(|place| place != usize::MAX)
    }

    /// `None`: the table has no such column.
    fn cell<'a>(
        &self,
        record: &'a ByteRecord,
        column: &str,
    ) -> Result<Option<&'a str>, Unreadable> {
        let Some(bytes) = self.place(column).and_then(|place| record.get(place)) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to() + 1;
            unreadable(column, format_args!("byte {at} of the cell is not UTF-8"))
        })?;
        Ok(Some(text))
    }

    fn content(&self, record: &ByteRecord, reading: &Reading) -> Result<RowContent, Unreadable> {
        if record.len() != self.width {
            return Err(unreadable(
                "",
                format_args!(
                    "the row has {} cells and the header {}",
                    record.len(),
                    self.width
                ),
            ));
        }
        let cell = |column| self.cell(record, column);
        let key = ResourceKey {
            resource_type: resource_type(cell("type")?, reading)?,
            id: id(cell("id")?.unwrap_or_default(), "id")?,
        };
        let owners = cell("owners")?
            .map(|text| ids(&elements(text, "owners")?, "owners"))
            .transpose()?;
        let owning_team = match cell("owning_team")? {
            None => None,
            Some("") => Some(None),
            Some(team) => Some(Some(id(team, "owning_team")?)),
        };
        let partitioned = match cell("partitioned")? {
            None | Some("") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                return Err(unreadable(
                    "partitioned",
                    format_args!("`{other}` is neither true nor false; empty leaves it as it is"),
                ));
            }
        };
        let attributes = cell("attributes")?
            .map(convert::attributes_from_text)
            .transpose()?;
        Ok(RowContent {
            resource: ResourcePatch {
                key,
                owners,
                owning_team,
                partitioned,
                attributes,
                creator: None,
            },
            assigned_to: assigned(cell("assigned_to")?, cell("assigned_until")?)?,
        })
    }
}

fn resource_type(cell: Option<&str>, reading: &Reading) -> Result<Id, Unreadable> {
    match (cell, &reading.default_type) {
        (None | Some(""), Some(resource_type)) => Ok(resource_type.clone()),
        (cell, _) => id(cell.unwrap_or_default(), "type"),
    }
}

fn assigned(to: Option<&str>, until: Option<&str>) -> Result<Vec<Assigned>, Unreadable> {
    let expires_at = match until {
        None | Some("") => None,
        Some(text) => Some(moment(text, "assigned_until")?),
    };
    elements(to.unwrap_or_default(), "assigned_to")?
        .iter()
        .enumerate()
        .map(|(index, text)| {
            Ok(Assigned {
                principal: principal(text, &format!("assigned_to[{index}]"))?,
                expires_at,
            })
        })
        .collect()
}

/// The elements of a list in a cell: `a;b`, with `\;` and `\\` for a separator and an escape that
/// are part of an element. An empty cell is an empty list.
fn elements(text: &str, field: &str) -> Result<Vec<String>, Unreadable> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut elements = Vec::new();
    let mut element = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            SEPARATOR => elements.push(std::mem::take(&mut element)),
            ESCAPE => match characters.next() {
                Some(literal @ (SEPARATOR | ESCAPE)) => element.push(literal),
                _ => {
                    return Err(unreadable(
                        field,
                        "a backslash stands before a semicolon or another backslash; write \\\\ for one that is part of an id",
                    ));
                }
            },
            other => element.push(other),
        }
    }
    elements.push(element);
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::FileFormat;

    #[test]
    fn a_list_in_a_cell_is_split_and_its_escapes_are_taken_literally() {
        let split = |text: &str| elements(text, "owners").map_err(|error| error.message);
        assert_eq!(split("").unwrap(), [""; 0]);
        assert_eq!(split("a;b").unwrap(), ["a", "b"]);
        assert_eq!(split("a\\;b;c\\\\").unwrap(), ["a;b", "c\\"]);
        assert_eq!(
            split(" a ; b ").unwrap(),
            [" a ", " b "],
            "ids are not trimmed"
        );
        assert_eq!(
            split("a;").unwrap(),
            ["a", ""],
            "an empty id is told as such"
        );
        assert!(split("a\\").is_err());
        assert!(split("a\\n").is_err());
    }

    fn rows(text: &[u8]) -> Result<Vec<ReadRow>, CliError> {
        let reading = Reading {
            format: FileFormat::Csv,
            delimiter: b',',
            default_type: Some(Id::parse("contact").unwrap()),
        };
        let mut rows = Vec::new();
        read(text, &reading, |row, _| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    #[test]
    fn lines_are_those_of_the_file_with_quoted_newlines_and_blank_lines() {
        let text = "id,attributes\na,\"{\n}\"\n\n\nb,\nc\nd,{}";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let rows = rows(text.as_bytes()).unwrap();
            let lines: Vec<(u64, bool)> = rows
                .iter()
                .map(|row| (row.line, row.content.is_ok()))
                .collect();
            assert_eq!(
                lines,
                [(2, true), (6, true), (7, false), (8, true)],
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_takes_no_more_than_a_row_in() {
        let mut text = b"id\na\n\"".to_vec();
        text.extend(std::iter::repeat_n(b'x', 4 * ROW_BYTES_MAX));
        let rows = rows(&text).unwrap();
        let problem = rows[1].content.as_ref().unwrap_err();
        assert_eq!((rows.len(), rows[1].line), (2, 3));
        assert!(problem.message.contains("quote"), "{problem:?}");
    }
}
