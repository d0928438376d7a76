//! `ambit apply`: account documents to a server or a store, one transaction an account.

use std::path::PathBuf;

use serde::Serialize;

use crate::authz::change::Change;
use crate::authz::document::Document;
use crate::authz::model::{Entity, Id};
use crate::authz::yaml::{At, Place};
use crate::client::{NotedRight, WrittenLine};

use super::access_preview::ShownAccess;
use super::destination::{self, Destination, DestinationArgs, WriteError, Writing, Written};
use super::documents::{self, DocumentFile};
use super::error::{CliError, Exit};
use super::output::{self, Colour, Format, FormatArgs, Output};

const EXAMPLES: &str = "Examples:
  ambit apply account.yaml
  ambit apply accounts/*.yaml --dry-run
  ambit apply account.yaml --prune
  ambit apply account.yaml --as lena
  ambit apply account.yaml --data-dir ./ambit-data
  ambit export acme --server http://old:50051 | ambit apply -

The printed revision is the token for --at-least-as-fresh: a question with it sees the change.";

/// Times that a pruning write is computed anew because the account changed meanwhile.
const TRIES_MAX: u32 = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Account documents; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also remove what the documents don't name
    #[arg(long)]
    prune: bool,
    /// Print what would change, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The user by whose rights it is judged; without one the caller must have the role `admin`
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct ApplyAnswer {
    dry_run: bool,
    accounts: Vec<AccountAnswer>,
}

#[derive(Serialize)]
struct AccountAnswer {
    account_id: String,
    revision: String,
    summary: Vec<WrittenLine>,
    /// Of a dry run; its lists are the first of each.
    #[serde(flatten)]
    access: ShownAccess,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<NotedRight>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<NotedRight>,
}

/// The documents of one account, in the order of the files.
pub(super) struct Account<'a> {
    pub id: &'a Id,
    documents: Vec<(&'a DocumentFile, &'a Document)>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let files = arguments
        .files
        .iter()
        .map(|path| documents::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let accounts = by_account(&files);
    // What can be told without the destination is told before anything is asked of it.
    for account in &accounts {
        account.changes(None, false)?;
    }
    let mut destination = arguments.destination.open(true).await?;
    let done = write_all(&arguments, &accounts, &mut destination, output).await;
    destination.close().await;
    done
}

async fn write_all(
    arguments: &Arguments,
    accounts: &[Account<'_>],
    destination: &mut Destination,
    output: &mut Output,
) -> Result<Exit, CliError> {
    // One account's changes stand or fall together; a document that would fail shall not leave the
    // accounts before it written.
    if accounts.len() > 1 && !arguments.dry_run {
        for account in accounts {
            account.write(destination, arguments, true).await?;
        }
    }
    let mut answer = ApplyAnswer {
        dry_run: arguments.dry_run,
        accounts: Vec::new(),
    };
    for account in accounts {
        let written = account
            .write(destination, arguments, arguments.dry_run)
            .await?;
        if arguments.format.format == Format::Human {
            print(account.id, &written, arguments.dry_run, output)?;
        }
        answer.accounts.push(AccountAnswer {
            account_id: account.id.to_string(),
            revision: written.revision,
            summary: written.lines,
            access: written.access,
            kept: written.kept,
            withheld: written.withheld,
        });
    }
    if arguments.format.format == Format::Json {
        output.json(&answer)?;
    }
    if arguments.dry_run {
        output.flush()?;
        output::note("nothing was written");
    }
    Ok(Exit::Success)
}

pub(super) fn by_account(files: &[DocumentFile]) -> Vec<Account<'_>> {
    let mut accounts: Vec<Account<'_>> = Vec::new();
    for file in files {
        for document in &file.documents {
            let id = document.account_id();
            match accounts.iter_mut().find(|account| account.id == id) {
                Some(account) => account.documents.push((file, document)),
                None => accounts.push(Account {
                    id,
                    documents: vec![(file, document)],
                }),
            }
        }
    }
    accounts
}

/// A change and the place in a file that asks for it.
struct PlacedChange<'a> {
    file: &'a str,
    place: Place,
    change: Change,
}

/// The changes that documents come to.
pub(super) struct Prepared<'a> {
    pub changes: Vec<Change>,
    /// The revision that they rest on, where they depend on what is there.
    pub revision: Option<String>,
    places: Vec<(&'a str, Place)>,
}

impl Prepared<'_> {
    /// An answer of the server, with the place in a file where it is about a change.
    pub(super) fn blamed(&self, status: &tonic::Status) -> CliError {
        match destination::write_error(status) {
            WriteError::Change { index, error } => self.about(index, error),
            WriteError::Aborted(error) | WriteError::Other(error) => error,
        }
    }

    fn about(&self, index: usize, error: CliError) -> CliError {
        match self.places.get(index) {
            Some((file, place)) => error.about(format!("{file}: {place}")),
            None => error,
        }
    }
}

impl<'a> Account<'a> {
    /// All changes of all documents, on the account as it stands where that matters.
    pub(super) async fn prepare(
        &self,
        destination: &mut Destination,
        prune: bool,
    ) -> Result<Prepared<'a>, CliError> {
        let empties = self
            .documents
            .iter()
            .any(|(_, document)| document.empties_a_list());
        let present = if prune || empties {
            destination.read(self.id).await?
        } else {
            None
        };
        let current = present.as_ref().map(|present| present.entities.as_slice());
        let placed = self.changes(current, prune)?;
        Ok(Prepared {
            places: placed.iter().map(|at| (at.file, at.place)).collect(),
            changes: placed.into_iter().map(|at| at.change).collect(),
            revision: present.map(|present| present.revision),
        })
    }

    async fn write(
        &self,
        destination: &mut Destination,
        arguments: &Arguments,
        dry_run: bool,
    ) -> Result<Written, CliError> {
        let bar = output::progress("writing", None);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut prepared = self.prepare(destination, arguments.prune).await?;
            let changes = std::mem::take(&mut prepared.changes);
            bar.set_position(changes.len() as u64);
            let writing = Writing {
                expected: prepared.revision.as_deref(),
                actor: arguments.actor.as_ref(),
                dry_run,
            };
            match destination.write(self.id, changes, writing).await {
                Ok(written) => {
                    bar.finish_and_clear();
                    return Ok(written);
                }
                Err(WriteError::Aborted(_)) if tries < TRIES_MAX => {}
                Err(WriteError::Change { index, error }) => {
                    return Err(prepared.about(index, error));
                }
                Err(WriteError::Aborted(error) | WriteError::Other(error)) => {
                    return Err(error.about(self.id));
                }
            }
        }
    }

    /// All changes of all documents. With `prune`, what one document names is named for all.
    fn changes(
        &self,
        current: Option<&[Entity]>,
        prune: bool,
    ) -> Result<Vec<PlacedChange<'a>>, CliError> {
        let mut upserts = Vec::new();
        let mut removals: Option<Vec<PlacedChange<'a>>> = None;
        for &(file, document) in &self.documents {
            let placed = |current, prune| {
                document
                    .to_placed_changes(current, prune)
                    .map_err(|error| documents::invalid(&file.name, &error))
            };
            let own = placed(current.filter(|_| !prune), false)?;
            if prune {
                let all = placed(current, true)?;
                let removed = without(all, &own);
                removals = Some(match removals {
                    None => in_file(file, removed),
                    Some(mut before) => {
                        before.retain(|at| removed.iter().any(|other| other.value == at.change));
                        before
                    }
                });
            }
            upserts.extend(in_file(file, own));
        }
        upserts.extend(removals.into_iter().flatten());
        Ok(upserts)
    }
}

/// The changes that a list has besides those of a shorter list, which it has in the same order.
fn without(all: Vec<At<Change>>, shorter: &[At<Change>]) -> Vec<At<Change>> {
    let mut rest = shorter.iter().peekable();
    all.into_iter()
        .filter(|at| rest.next_if(|other| other.value == at.value).is_none())
        .collect()
}

fn in_file(file: &DocumentFile, changes: Vec<At<Change>>) -> Vec<PlacedChange<'_>> {
    changes
        .into_iter()
        .map(|at| PlacedChange {
            file: &file.name,
            place: at.place,
            change: at.value,
        })
        .collect()
}

fn print(
    account: &Id,
    written: &Written,
    dry_run: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let name = output.painted(Colour::Bold, account.as_str());
    print_noted("kept", &written.kept, output)?;
    print_noted("withheld", &written.withheld, output)?;
    if dry_run {
        output.line(&format!(
            "{name}: {} entities would change",
            written.lines.len()
        ))?;
        for line in &written.lines {
            output.line(&format!("  {line}"))?;
        }
        return written.access.print(false, output);
    }
    let what = match written.lines.len() {
        0 => "nothing to change".to_owned(),
        1 => "1 entity changed".to_owned(),
        count => format!("{count} entities changed"),
    };
    output.line(&format!("{name}: {what}, revision {}", written.revision))
}

/// What the ceiling kept or withheld, a line a right.
pub(super) fn print_noted(
    what: &str,
    noted: &[NotedRight],
    output: &mut Output,
) -> Result<(), CliError> {
    for right in noted {
        output.line(&format!("{what}: {right}"))?;
    }
    Ok(())
}
