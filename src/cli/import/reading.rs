//! Rows from a file, a piece at a time: whatever is in it, only so much of it is held.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Arguments, FileFormat, lines, table};
use crate::authz::model::Id;
use crate::cli::error::CliError;
use crate::grpc::status::Reason;
use crate::imports::{RowContent, Unreadable};

/// Longest row of a file. The largest that the rules allow has less.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024;

/// Rows that are handed on together.
const PIECE_ROWS: usize = 1_000;
/// About the bytes of a row beyond which a piece is handed on.
const PIECE_BYTES: usize = 256 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A row and where it stands.
#[derive(Debug)]
pub(super) struct ReadRow {
    pub(super) line: u64,
    pub(super) content: Result<RowContent, Unreadable>,
}

/// What a row is read with.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) format: FileFormat,
    pub(super) delimiter: u8,
    pub(super) default_type: Option<Id>,
}

/// A file that is looked through before it is imported.
pub(super) struct Survey {
    /// The same for the same content.
    pub(super) digest: [u8; 32],
    /// Lines with anything on them: about as many as rows.
    pub(super) lines: u64,
}

/// Where a row begins or ends badly, in words.
pub(super) fn unreadable(field: &str, message: impl std::fmt::Display) -> Unreadable {
    Unreadable {
        field: field.to_owned(),
        reason: Reason::InvalidField.name().to_owned(),
        message: message.to_string(),
    }
}

pub(super) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// `None`: it can be read only once.
pub(super) fn survey(file: &Path) -> Result<Option<Survey>, CliError> {
    if is_stdin(file) {
        return Ok(None);
    }
    let opened = open_file(file)?;
    let is_regular = opened.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_regular {
        return Ok(None);
    }
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    let mut digest = Sha256::new();
    let mut lines = 0;
    let mut is_in_line = false;
    loop {
        let bytes = reader.fill_buf().map_err(|error| unread(file, &error))?;
        if bytes.is_empty() {
            break;
        }
        digest.update(bytes);
        for byte in bytes {
            match byte {
                b'\n' if is_in_line => {
                    lines += 1;
                    is_in_line = false;
                }
                b'\n' | b'\r' => {}
                _ => is_in_line = true,
            }
        }
        let taken = bytes.len();
        reader.consume(taken);
    }
    Ok(Some(Survey {
        digest: digest.finalize().into(),
        lines: lines + u64::from(is_in_line),
    }))
}

pub(super) fn name_of(file: &Path) -> String {
    if is_stdin(file) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn open_file(file: &Path) -> Result<File, CliError> {
    File::open(file).map_err(|error| unread(file, &error))
}

fn unread(file: &Path, error: &io::Error) -> CliError {
    CliError::usage(format!("cannot read {}: {error}", name_of(file)))
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, CliError> {
    let reader: Box<dyn Read> = if is_stdin(file) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(open_file(file)?)
    };
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    // A pipe may give less than three bytes at first; then there is no mark worth the name.
    let begins = reader.fill_buf().map_err(|error| unread(file, &error))?;
    if begins.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(reader))
}

/// Reads all rows in order and hands them on in pieces, until `take` says that it takes no more.
pub(super) fn read(
    file: &Path,
    reading: &Reading,
    take: impl FnMut(Vec<ReadRow>) -> bool,
) -> Result<(), CliError> {
    let reader = open(file)?;
    let mut pieces = Pieces {
        take,
        piece: Vec::new(),
        bytes: 0,
        is_wanted: true,
    };
    let read = match reading.format {
        FileFormat::Csv => table::read(reader, reading, |row, bytes| pieces.add(row, bytes)),
        FileFormat::Ndjson => lines::read(reader, reading, |row, bytes| pieces.add(row, bytes)),
    };
    read.map_err(|error| error.about(name_of(file)))?;
    pieces.hand_on();
    Ok(())
}

struct Pieces<T> {
    take: T,
    piece: Vec<ReadRow>,
    bytes: usize,
    is_wanted: bool,
}

impl<T: FnMut(Vec<ReadRow>) -> bool> Pieces<T> {
    /// Whether more is wanted.
    fn add(&mut self, row: ReadRow, bytes: usize) -> bool {
        self.piece.push(row);
        self.bytes += bytes;
        if self.piece.len() >= PIECE_ROWS || self.bytes >= PIECE_BYTES {
            self.hand_on();
        }
        self.is_wanted
    }

    fn hand_on(&mut self) {
        self.bytes = 0;
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() && self.is_wanted {
            self.is_wanted = (self.take)(piece);
        }
    }
}

impl Reading {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, CliError> {
        let format = match arguments.file_format {
            Some(format) => format,
            None => FileFormat::of(&arguments.file)?,
        };
        let delimiter = u8::try_from(arguments.delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\"\r\n\\".contains(byte))
            .ok_or_else(|| {
                CliError::usage(format!(
                    "--delimiter {:?} can't separate columns: name one ASCII character, such as ; or a tab",
                    arguments.delimiter
                ))
            })?;
        Ok(Self {
            format,
            delimiter,
            default_type: arguments.default_type.clone(),
        })
    }
}
