//! `ambit watch`: what a user may do an action on, and every difference as it happens.

use serde::Serialize;

use crate::authz::model::{Id, Timestamp};
use crate::grpc::wire;
use wire::watch_access_response::Event;

use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::question::TypeAction;

const EXAMPLES: &str = "Examples:
  ambit watch northwind pierre email.view
  ambit watch northwind - contact.view --output json
  ambit watch northwind pierre email.view --after REVISION --at 2026-11-30T12:00:00Z

Begins with all that is visible, each id on a line with +, and tells every difference with + and -,
also where a grant or an assignment ends by itself. Runs until it is interrupted.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The user; - for every user
    user: Id,
    /// What the user wants to do, as contact.view
    #[arg(value_name = "TYPE.ACTION")]
    question: TypeAction,
    /// Go on after the list of this revision, as --output json tells it
    #[arg(
        long,
        allow_hyphen_values = true,
        value_name = "REVISION",
        requires = "at",
        default_value = "",
        hide_default_value = true
    )]
    after: String,
    /// The moment of that list
    #[arg(long, value_name = "TIME", requires = "after", value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct ShownEvent {
    #[serde(skip_serializing_if = "String::is_empty")]
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(flatten)]
    event: What,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Heartbeat {},
    Listed {
        users: Vec<Visible>,
        more_follow: bool,
    },
    Changed {
        users: Vec<Change>,
    },
}

#[derive(Serialize)]
struct Visible {
    user_id: String,
    resource_ids: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    user_id: String,
    visible_ids: Vec<String>,
    hidden_ids: Vec<String>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let is_of_all = arguments.user.as_str() == "-";
    let mut client = arguments.server.partitions().await?;
    let mut events = client
        .watch_access(wire::WatchAccessRequest {
            account_id: arguments.account.to_string(),
            user_id: match is_of_all {
                true => String::new(),
                false => arguments.user.to_string(),
            },
            resource_type: arguments.question.resource_type.to_string(),
            action: arguments.question.action.to_string(),
            after_revision: arguments.after,
            at: arguments.at.map(connection::to_wire_time),
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    while let Some(told) = events
        .message()
        .await
        .map_err(|status| connection::refused(&status))?
    {
        let Some(event) = told.event else {
            // Of a server that tells more than this command knows.
            continue;
        };
        let shown = ShownEvent {
            revision: told.revision,
            at: connection::from_wire_time(told.at.as_ref()).map(|at| at.to_string()),
            event: What::of(event),
        };
        match arguments.format.format {
            Format::Json => output.json(&shown)?,
            Format::Human => shown.event.print(is_of_all, output)?,
        }
        output.flush()?;
        if output.closed() {
            break;
        }
    }
    Ok(Exit::Success)
}

impl What {
    fn of(event: Event) -> Self {
        match event {
            Event::Heartbeat(_) => Self::Heartbeat {},
            Event::Listed(listed) => Self::Listed {
                users: listed
                    .users
                    .into_iter()
                    .map(|user| Visible {
                        user_id: user.user_id,
                        resource_ids: user.resource_ids,
                    })
                    .collect(),
                more_follow: listed.more_follow,
            },
            Event::Changed(changed) => Self::Changed {
                users: changed
                    .users
                    .into_iter()
                    .map(|user| Change {
                        user_id: user.user_id,
                        visible_ids: user.visible_ids,
                        hidden_ids: user.hidden_ids,
                    })
                    .collect(),
            },
        }
    }

    /// A line an id, with the user before it where every user's are told.
    fn print(&self, names_users: bool, output: &mut Output) -> Result<(), CliError> {
        let none: &[String] = &[];
        let changes: Vec<(&str, &[String], &[String])> = match self {
            Self::Heartbeat {} => Vec::new(),
            Self::Listed { users, .. } => users
                .iter()
                .map(|user| (user.user_id.as_str(), user.resource_ids.as_slice(), none))
                .collect(),
            Self::Changed { users } => users
                .iter()
                .map(|user| {
                    let (visible, hidden) = (&user.visible_ids, &user.hidden_ids);
                    (user.user_id.as_str(), visible.as_slice(), hidden.as_slice())
                })
                .collect(),
        };
        for (user, visible, hidden) in changes {
            let signed = [("+", Colour::Green, visible), ("-", Colour::Red, hidden)];
            for (sign, colour, ids) in signed {
                for id in ids {
                    let line = match names_users {
                        true => format!("{sign} {user} {id}"),
                        false => format!("{sign} {id}"),
                    };
                    output.line(&output.painted(colour, &line))?;
                }
            }
        }
        Ok(())
    }
}
