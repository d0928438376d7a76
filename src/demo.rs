//! The demo: three accounts, one a catalog, that people of this field recognise, the agency whose
//! people work in them, and what to ask of them. They are account documents like any other, with their own cases.

use crate::authz::document::{self, Document, DocumentError};
use crate::authz::model::Id;
use crate::directory::{ApplyChanges, Directory, DirectoryError};
use crate::store::audit::Author;

/// The documents by file name.
pub const DOCUMENTS: [(&str, &str); 4] = [
    (
        "northwind.yaml",
        include_str!("../examples/demo/northwind.yaml"),
    ),
    ("bonbon.yaml", include_str!("../examples/demo/bonbon.yaml")),
    ("lumen.yaml", include_str!("../examples/demo/lumen.yaml")),
    (
        "pixel-agency.yaml",
        include_str!("../examples/demo/pixel-agency.yaml"),
    ),
];

/// Questions to try, without the program's name and `--server`. Each has an answer that is worth
/// a look, and ends with status 0.
pub const COMMANDS: [DemoCommand; 6] = [
    DemoCommand {
        about: "May the head of EMEA edit a deal of a team far below?",
        before: "",
        command: "check",
        arguments: "northwind heike deal.edit bosch-2027",
    },
    DemoCommand {
        about: "Why is this walled email closed to the French marketer, and what would open it?",
        before: "",
        command: "explain",
        arguments: "northwind pierre email.view spring-dach",
    },
    DemoCommand {
        about: "Which contacts may marketing write to?",
        before: "",
        command: "list",
        arguments: "lumen marek contact.communicate",
    },
    DemoCommand {
        about: "Who may send the spring campaign?",
        before: "",
        command: "who",
        arguments: "bonbon email_campaign.send spring",
    },
    DemoCommand {
        about: "Which of these recipients may sales write to?",
        before: "printf 'anna\\nbogdan\\ncelina\\nemil\\n' | ",
        command: "filter",
        arguments: "lumen sylwia contact.communicate",
    },
    DemoCommand {
        about: "In which clients do the agency's people work, and as what?",
        before: "",
        command: "partner",
        arguments: "clients pixel-agency --as petra",
    },
];

/// A command to paste into a shell.
#[derive(Debug, Clone, Copy)]
pub struct DemoCommand {
    /// The question in words.
    pub about: &'static str,
    before: &'static str,
    command: &'static str,
    arguments: &'static str,
}

impl DemoCommand {
    /// The line for a shell; `program` and `server` are quoted where they must be.
    pub fn line(&self, program: &str, server: Option<&str>) -> String {
        let mut line = format!(
            "{}{} {} {}",
            self.before,
            quoted(program),
            self.command,
            self.arguments
        );
        if let Some(server) = server {
            line.push_str(" --server ");
            line.push_str(&quoted(server));
        }
        line
    }
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '/' | '.' | '-' | '_' | ':')
    };
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo document {file} is not valid: {source}")]
    Document {
        file: &'static str,
        source: DocumentError,
    },
    #[error("the demo account `{account}` can't be written: {source}")]
    Write { account: Id, source: DirectoryError },
}

/// What became of one demo account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub account: Id,
    /// False where there was such an account already, which is left as it is.
    pub created: bool,
}

/// Writes the demo accounts that are absent.
pub async fn load(directory: &Directory) -> Result<Vec<Loaded>, DemoError> {
    let mut loaded = Vec::new();
    for (file, text) in DOCUMENTS {
        let invalid = |source| DemoError::Document { file, source };
        let documents = parse(text).map_err(invalid)?;
        for document in documents {
            let account = document.account_id().clone();
            let created = create(directory, &document)
                .await
                .map_err(|error| match error {
                    CreateError::Document(source) => invalid(source),
                    CreateError::Write(source) => DemoError::Write {
                        account: account.clone(),
                        source: *source,
                    },
                })?;
            loaded.push(Loaded { account, created });
        }
    }
    Ok(loaded)
}

/// The documents are embedded and name built-in catalogs only.
fn parse(text: &str) -> Result<Vec<Document>, DocumentError> {
    document::parse_file(text, &mut |catalog| {
        Err(format!("the demo has no catalog file `{catalog}`"))
    })
}

enum CreateError {
    Document(DocumentError),
    Write(Box<DirectoryError>),
}

async fn create(directory: &Directory, document: &Document) -> Result<bool, CreateError> {
    let changes = document
        .to_changes(None, false)
        .map_err(CreateError::Document)?;
    let created = directory
        .create_with(ApplyChanges {
            account: document.account_id().clone(),
            changes,
            expected: None,
            idempotency: None,
            dry_run: false,
            actor: None,
            author: Author::named("ambit:demo", "CreateAccount"),
        })
        .await;
    match created {
        Ok(_) => Ok(true),
        Err(DirectoryError::AlreadyExists(_)) => Ok(false),
        Err(error) => Err(CreateError::Write(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_a_path_with_a_blank() {
        let [first, ..] = COMMANDS;
        assert_eq!(
            first.line("/a b/ambit", Some("http://127.0.0.1:1")),
            "'/a b/ambit' check northwind heike deal.edit bosch-2027 --server http://127.0.0.1:1"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn every_demo_document_is_valid() {
        for (file, text) in DOCUMENTS {
            let documents = parse(text).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(documents.len(), 1, "{file}");
        }
    }
}
