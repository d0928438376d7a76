//! `ambit check`: one question, answered by the exit status too.

use serde::Serialize;

use crate::authz::model::Id;
use crate::grpc::wire;

use super::answer::Answer;
use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{Format, FormatArgs, Output};
use super::question::{ReadArgs, TypeAction};
use super::request;

const EXAMPLES: &str = "Examples:
  ambit check northwind heike deal.edit bosch-2027
  ambit check northwind david email.publish
  ambit check northwind tom contact.export --at 2027-01-01T00:00:00Z
  ambit check northwind lena contact.view bosch --output json

Exit status: 0 allow, 1 deny.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The user
    user: Id,
    /// What the user wants to do, as contact.view
    #[arg(value_name = "TYPE.ACTION")]
    question: TypeAction,
    /// The resource; without it the tool as a whole is asked about
    id: Option<Id>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

impl Arguments {
    /// Of a denial that an access request could turn: how to file it, or where it stands.
    fn what_to_request(&self, answer: &Answer) -> Option<String> {
        if !answer.pending_access_request_id.is_empty() {
            return Some(format!(
                "requested already: ambit request show {} {}",
                request::quoted(self.account.as_str()),
                request::quoted(&answer.pending_access_request_id)
            ));
        }
        let resource = match answer.requestable {
            "object" => self.id.as_ref(),
            "tool" => None,
            _ => return None,
        };
        let command = request::file_command(
            &self.account,
            &self.user,
            &self.question,
            resource,
            &self.server,
        );
        Some(format!("request it: {command}"))
    }
}

#[derive(Serialize)]
struct CheckAnswer<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    revision: &'a str,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.decisions().await?;
    let response = client
        .check(wire::CheckRequest {
            account_id: arguments.account.to_string(),
            user_id: arguments.user.to_string(),
            action: arguments.question.action.to_string(),
            resource_type: arguments.question.resource_type.to_string(),
            resource_id: arguments.id.as_ref().map(Id::to_string).unwrap_or_default(),
            resource_facts: None,
            at: arguments.read.at.map(connection::to_wire_time),
            consistency: connection::consistency(&arguments.read),
            explain: false,
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let revision = response.revision.clone();
    let answer = Answer::of(response)?;
    match arguments.format.format {
        Format::Human => {
            output.line(&answer.in_words(output))?;
            if let Some(hint) = arguments.what_to_request(&answer) {
                output.line(&hint)?;
            }
        }
        Format::Json => output.json(&CheckAnswer {
            answer: &answer,
            revision: &revision,
        })?,
    }
    Ok(if answer.is_allow() {
        Exit::Success
    } else {
        Exit::No
    })
}
