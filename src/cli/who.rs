//! `ambit who`: the users who may do an action on a resource, each with the reason.

use serde::Serialize;

use crate::authz::model::Id;
use crate::grpc::wire;

use super::answer;
use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::question::{ReadArgs, TypeAction};

const EXAMPLES: &str = "Examples:
  ambit who northwind email.edit spring-dach
  ambit who bonbon email_campaign.send spring --output json
  ambit who bonbon sender_settings.manage";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// What they may do, as contact.view
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

#[derive(Serialize)]
struct WhoAnswer {
    total: u64,
    revision: String,
    users: Vec<UserAccess>,
}

#[derive(Serialize)]
struct UserAccess {
    user_id: String,
    reason: String,
    level: &'static str,
    include_unassigned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.decisions().await?;
    let mut chunks = client
        .list_users_with_access(wire::ListUsersWithAccessRequest {
            account_id: arguments.account.to_string(),
            action: arguments.question.action.to_string(),
            resource_type: arguments.question.resource_type.to_string(),
            resource_id: arguments.id.as_ref().map(Id::to_string).unwrap_or_default(),
            resource_facts: None,
            at: arguments.read.at.map(connection::to_wire_time),
            consistency: connection::consistency(&arguments.read),
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let mut answer = WhoAnswer {
        total: 0,
        revision: String::new(),
        users: Vec::new(),
    };
    while let Some(chunk) = chunks
        .message()
        .await
        .map_err(|status| connection::refused(&status))?
    {
        if let Some(total) = chunk.total {
            answer.total = total;
            answer.revision = chunk.revision;
        }
        answer
            .users
            .extend(chunk.users.into_iter().map(user_access));
    }
    match arguments.format.format {
        Format::Human => print(&answer.users, output)?,
        Format::Json => output.json(&answer)?,
    }
    Ok(Exit::Success)
}

fn user_access(access: wire::UserAccess) -> UserAccess {
    UserAccess {
        level: answer::level(access.level),
        valid_until: answer::time(access.valid_until.as_ref()),
        user_id: access.user_id,
        reason: access.reason,
        include_unassigned: access.include_unassigned,
    }
}

fn print(users: &[UserAccess], output: &mut Output) -> Result<(), CliError> {
    let width = users
        .iter()
        .map(|user| user.user_id.chars().count())
        .max()
        .unwrap_or(0);
    for user in users {
        let mut line = format!("{:width$}  {}", user.user_id, user.reason);
        if let Some(until) = &user.valid_until {
            line.push_str("  ");
            line.push_str(&output.painted(Colour::Dim, &format!("until {until}")));
        }
        output.line(&line)?;
    }
    Ok(())
}
