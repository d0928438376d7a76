//! `ambit request file` and `cancel`: what the requester does.

use std::time::Duration;

use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::connection::{DEFAULT_SERVER, ServerArgs};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::cli::question::TypeAction;
use crate::grpc::wire;

use super::resolution::quoted;
use super::shown::{ShownChange, ShownRequest, print_change};
use super::{WriteArgs, duration, given, refused};

const FILE_EXAMPLES: &str = "Examples:
  ambit request file northwind pierre email.view spring-dach --reason 'I prepare the French edition'
  ambit request file northwind david email.publish --reason 'The campaign starts tomorrow' --for 7d
  ambit request file northwind pierre email.view spring-dach --reason 'French edition' \\
    --origin-url https://app.example.com/emails/spring-dach";

const CANCEL_EXAMPLES: &str = "Examples:
  ambit request cancel northwind REQUEST --by pierre
  ambit request cancel northwind REQUEST --by pierre --note 'Done without it'";

#[derive(Debug, clap::Args)]
#[command(after_help = FILE_EXAMPLES)]
pub struct FileArguments {
    /// The account
    account: Id,
    /// The user who asks
    user: Id,
    /// What the user wants to do, as contact.view
    #[arg(value_name = "TYPE.ACTION")]
    question: TypeAction,
    /// The resource; without it the tool as a whole is asked for
    id: Option<Id>,
    /// Why the user wants it, in 1 to 1,000 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, as 7d or 36h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    wanted: Option<Duration>,
    /// The page where the denial happened
    #[arg(long, value_name = "URL")]
    origin_url: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub struct CancelArguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    /// The requester
    #[arg(long, value_name = "USER")]
    by: Id,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct FiledAnswer<'a> {
    access_request: &'a ShownRequest,
    existing: bool,
    revision: &'a str,
}

pub async fn file(arguments: FileArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .file_access_request(wire::FileAccessRequestRequest {
            account_id: arguments.account.to_string(),
            user_id: arguments.user.to_string(),
            resource_type: arguments.question.resource_type.to_string(),
            action: arguments.question.action.to_string(),
            resource_id: arguments.id.as_ref().map(Id::to_string).unwrap_or_default(),
            reason: arguments.reason,
            wanted_seconds: arguments.wanted.map(|wanted| wanted.as_secs()),
            origin_url: arguments.origin_url.unwrap_or_default(),
            idempotency_key: arguments.write.key(),
            expected_revision: arguments.write.revision(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let request = ShownRequest::from(given(response.access_request)?);
    match arguments.format.format {
        Format::Human => {
            let line = request.in_a_line(output);
            output.line(&line)?;
            if response.existing {
                let there = output.painted(Colour::Dim, "it had been filed before");
                output.line(&there)?;
            }
        }
        Format::Json => output.json(&FiledAnswer {
            access_request: &request,
            existing: response.existing,
            revision: &response.revision,
        })?,
    }
    Ok(Exit::Success)
}

pub async fn cancel(arguments: CancelArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .cancel_access_request(wire::CancelAccessRequestRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            user_id: arguments.by.to_string(),
            note: arguments.note,
            idempotency_key: arguments.write.key(),
            expected_revision: arguments.write.revision(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let request = ShownRequest::from(given(response.access_request)?);
    let change = ShownChange {
        access_request: &request,
        check: None,
        revision: &response.revision,
    };
    match arguments.format.format {
        Format::Human => print_change(&change, output)?,
        Format::Json => output.json(&change)?,
    }
    Ok(Exit::Success)
}

/// The command that asks for what was denied; it works when pasted.
pub fn file_command(
    account: &Id,
    user: &Id,
    question: &TypeAction,
    resource: Option<&Id>,
    server: &ServerArgs,
) -> String {
    let mut words = vec![
        "ambit request file".to_owned(),
        quoted(account.as_str()),
        quoted(user.as_str()),
        quoted(&format!("{}.{}", question.resource_type, question.action)),
    ];
    words.extend(resource.map(|resource| quoted(resource.as_str())));
    words.push("--reason 'WHY'".to_owned());
    if server.server != DEFAULT_SERVER && std::env::var_os("AMBIT_SERVER").is_none() {
        words.push(format!("--server {}", quoted(&server.server)));
    }
    words.join(" ")
}
