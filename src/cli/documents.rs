//! Account documents as files: read whole, judged whole, with the file's name in every complaint.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::authz::document::{self, Document, DocumentError, FILE_BYTES_MAX};

use super::error::CliError;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// A file of account documents.
#[derive(Debug)]
pub struct DocumentFile {
    /// As the caller wrote it.
    pub name: String,
    pub documents: Vec<Document>,
}

/// A document, or what is wrong with it, as `FILE: line 3, column 5: ...`.
pub fn invalid(name: &str, error: &DocumentError) -> CliError {
    CliError::usage(error).about(name)
}

pub fn read(path: &Path) -> Result<DocumentFile, CliError> {
    let name = name_of(path);
    let text =
        read_text(path).map_err(|error| CliError::usage(format!("cannot read {name}: {error}")))?;
    // A catalog that a document names by its path lies beside the document.
    let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut load_catalog = |catalog: &str| load_catalog(&directory, catalog);
    let documents =
        document::parse_file(&text, &mut load_catalog).map_err(|error| invalid(&name, &error))?;
    Ok(DocumentFile { name, documents })
}

fn name_of(path: &Path) -> String {
    if path == Path::new(STDIN) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads no more than a document may have, so that an endless stream is told and not taken in.
fn read_text(path: &Path) -> std::io::Result<String> {
    let reader: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    let mut text = String::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    reader
        .take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    Ok(text)
}

fn load_catalog(directory: &Path, catalog: &str) -> Result<String, String> {
    let path: PathBuf = directory.join(catalog);
    std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}
