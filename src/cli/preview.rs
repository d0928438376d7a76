//! `ambit preview`: who would gain or lose what by account documents, before they are applied.

use std::path::PathBuf;

use prost::Message as _;
use serde::Serialize;
use tokio_stream::iter;

use crate::authz::change::Change;
use crate::authz::model::{Id, Timestamp};
use crate::client::NotedRight;
use crate::grpc::convert::change_to_wire;
use crate::grpc::wire;

use super::access_preview::ShownPreview;
use super::apply;
use super::connection::{self, ServerArgs};
use super::destination::Destination;
use super::documents;
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::question::TypeAction;

const EXAMPLES: &str = "Examples:
  ambit preview northwind change.yaml
  ambit preview northwind change.yaml --at 2027-01-01T00:00:00Z --all
  ambit preview northwind change.yaml --of pierre email.view
  ambit preview northwind change.yaml --as lena
  ambit preview northwind - --output json < change.yaml

Nothing is written. --of lists every resource that one user would gain (+) or lose (-) by one action.";

/// Bytes of changes in one message: below the 4 MiB that a server takes, with room for the last.
const MESSAGE_BYTES: usize = 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// An account document with the changes; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also remove what the document doesn't name
    #[arg(long)]
    prune: bool,
    /// Compare as at this time (RFC 3339); without it now
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
    /// List all that this user would gain and lose by this action
    #[arg(long, num_args = 2, value_names = ["USER", "TYPE.ACTION"])]
    of: Vec<String>,
    /// The user by whose rights the changes are judged
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    /// Print every line for people, not only the first of each list
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct PreviewAnswer {
    account_id: String,
    revision: String,
    #[serde(flatten)]
    preview: ShownPreview,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<NotedRight>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<NotedRight>,
}

fn actor_of(arguments: &Arguments) -> String {
    arguments
        .actor
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[derive(Serialize, Default)]
struct ListAnswer {
    revision: String,
    gained_total: u64,
    lost_total: u64,
    gained_ids: Vec<String>,
    lost_ids: Vec<String>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let of = whose(&arguments.of)?;
    let file = documents::read(&arguments.file)?;
    let files = [file];
    let accounts = apply::by_account(&files);
    let [account] = accounts.as_slice() else {
        return Err(CliError::usage(format!(
            "{} must hold documents of `{}` alone",
            arguments.file.display(),
            arguments.account
        )));
    };
    if *account.id != arguments.account {
        return Err(CliError::usage(format!(
            "{} is about `{}`, not about `{}`",
            arguments.file.display(),
            account.id,
            arguments.account
        )));
    }
    let mut destination = Destination::Server(arguments.server.directory().await?);
    let prepared = account.prepare(&mut destination, arguments.prune).await?;
    match of {
        None => preview(&arguments, prepared, output).await?,
        Some((user, question)) => list(&arguments, prepared, (user, question), output).await?,
    }
    Ok(Exit::Success)
}

fn whose(of: &[String]) -> Result<Option<(Id, TypeAction)>, CliError> {
    match of {
        [] => Ok(None),
        [user, question] => {
            let user = Id::parse(user).map_err(CliError::usage)?;
            let question = question
                .parse()
                .map_err(|error: String| CliError::usage(error))?;
            Ok(Some((user, question)))
        }
        _ => Err(CliError::usage("--of takes a user and TYPE.ACTION")),
    }
}

async fn preview(
    arguments: &Arguments,
    prepared: apply::Prepared<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let at = arguments.at.map(connection::to_wire_time);
    let mut messages: Vec<wire::PreviewChangesRequest> = in_messages(&prepared.changes)
        .map(|changes| wire::PreviewChangesRequest {
            changes,
            ..wire::PreviewChangesRequest::default()
        })
        .collect();
    if let Some(first) = messages.first_mut() {
        first.account_id = arguments.account.to_string();
        first.expected_revision = prepared.revision.clone().unwrap_or_default();
        first.actor_user_id = actor_of(arguments);
        first.at = at;
    }
    let mut client = arguments.server.partitions().await?;
    let mut parts = client
        .preview_changes(iter(messages))
        .await
        .map_err(|status| prepared.blamed(&status))?
        .into_inner();
    let mut answer = PreviewAnswer {
        account_id: arguments.account.to_string(),
        revision: String::new(),
        preview: ShownPreview::default(),
        kept: Vec::new(),
        withheld: Vec::new(),
    };
    while let Some(part) = parts
        .message()
        .await
        .map_err(|status| prepared.blamed(&status))?
    {
        if !part.revision.is_empty() {
            answer.revision = part.revision;
        }
        if let Some(preview) = part.preview {
            answer.preview.add(preview);
        }
        if let Some(ceiling) = part.ceiling {
            answer.kept = NotedRight::of_all(&ceiling.kept);
            answer.withheld = NotedRight::of_all(&ceiling.withheld);
        }
    }
    match arguments.format.format {
        Format::Json => output.json(&answer),
        Format::Human => {
            let name = output.painted(Colour::Bold, arguments.account.as_str());
            let changes = prepared.changes.len();
            let noun = if changes == 1 { "change" } else { "changes" };
            output.line(&format!("{name}: {changes} {noun}, not made"))?;
            apply::print_noted("kept", &answer.kept, output)?;
            apply::print_noted("withheld", &answer.withheld, output)?;
            answer.preview.print(arguments.all, output)
        }
    }
}

async fn list(
    arguments: &Arguments,
    prepared: apply::Prepared<'_>,
    (user, question): (Id, TypeAction),
    output: &mut Output,
) -> Result<(), CliError> {
    let mut messages: Vec<wire::ListPreviewedAccessRequest> = in_messages(&prepared.changes)
        .map(|changes| wire::ListPreviewedAccessRequest {
            changes,
            ..wire::ListPreviewedAccessRequest::default()
        })
        .collect();
    if let Some(first) = messages.first_mut() {
        first.account_id = arguments.account.to_string();
        first.expected_revision = prepared.revision.clone().unwrap_or_default();
        first.actor_user_id = actor_of(arguments);
        first.at = arguments.at.map(connection::to_wire_time);
        first.user_id = user.to_string();
        first.resource_type = question.resource_type.to_string();
        first.action = question.action.to_string();
    }
    let mut client = arguments.server.partitions().await?;
    let mut parts = client
        .list_previewed_access(iter(messages))
        .await
        .map_err(|status| prepared.blamed(&status))?
        .into_inner();
    let mut answer = ListAnswer::default();
    while let Some(part) = parts
        .message()
        .await
        .map_err(|status| prepared.blamed(&status))?
    {
        if !part.revision.is_empty() {
            answer.revision = part.revision;
        }
        answer.gained_total = part.gained_total.unwrap_or(answer.gained_total);
        answer.lost_total = part.lost_total.unwrap_or(answer.lost_total);
        match arguments.format.format {
            Format::Json => {
                answer.gained_ids.extend(part.gained_ids);
                answer.lost_ids.extend(part.lost_ids);
            }
            Format::Human => {
                for id in &part.gained_ids {
                    output.line(&format!("+ {id}"))?;
                }
                for id in &part.lost_ids {
                    output.line(&format!("- {id}"))?;
                }
            }
        }
    }
    match arguments.format.format {
        Format::Json => output.json(&answer),
        Format::Human => Ok(()),
    }
}

/// The changes in messages of about [`MESSAGE_BYTES`]; at least one, be it empty.
fn in_messages(changes: &[Change]) -> impl Iterator<Item = Vec<wire::Change>> {
    let mut rest = changes.iter().map(change_to_wire).peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        let (mut message, mut bytes) = (Vec::new(), 0);
        while bytes < MESSAGE_BYTES
            && let Some(change) = rest.next()
        {
            bytes += change.encoded_len();
            message.push(change);
        }
        let is_sent = std::mem::take(&mut is_first) || !message.is_empty();
        is_sent.then_some(message)
    })
}
