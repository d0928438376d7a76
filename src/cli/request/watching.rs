//! `ambit request watch`: what is pending and what becomes of it, a line a request as it happens.

use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, FormatArgs, Output};
use crate::grpc::wire;
use wire::watch_access_requests_response::Event;

use super::refused;
use super::shown::ShownRequest;

const EXAMPLES: &str = "Examples:
  ambit request watch northwind
  ambit request watch northwind --user pierre --output json
  ambit request watch northwind --after REVISION

Runs until it is interrupted.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// Go on after this revision, as --output json tells it; without it begin with what is pending
    #[arg(
        long,
        allow_hyphen_values = true,
        value_name = "REVISION",
        default_value = "",
        hide_default_value = true
    )]
    after: String,
    /// Only requests of this user
    #[arg(long, value_name = "USER")]
    user: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct ShownEvent {
    #[serde(skip_serializing_if = "String::is_empty")]
    revision: String,
    #[serde(flatten)]
    event: What,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Heartbeat {},
    Pending {
        access_requests: Vec<ShownRequest>,
        more_follow: bool,
    },
    Changed {
        access_requests: Vec<ShownRequest>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revoked_access_request_ids: Vec<String>,
    },
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let mut events = client
        .watch_access_requests(wire::WatchAccessRequestsRequest {
            account_id: arguments.account.to_string(),
            after_revision: arguments.after,
            user_id: arguments
                .user
                .as_ref()
                .map(Id::to_string)
                .unwrap_or_default(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    while let Some(told) = events.message().await.map_err(|status| refused(&status))? {
        let Some(event) = told.event else {
            // Of a server that tells more than this command knows.
            continue;
        };
        let shown = ShownEvent {
            revision: told.revision,
            event: What::from(event),
        };
        match arguments.format.format {
            Format::Json => output.json(&shown)?,
            Format::Human => shown.event.print(output)?,
        }
        output.flush()?;
        if output.closed() {
            break;
        }
    }
    Ok(Exit::Success)
}

impl What {
    /// A line a request; one whose approval was taken back says that rather than its state.
    fn print(&self, output: &mut Output) -> Result<(), CliError> {
        let (requests, revoked): (&[ShownRequest], &[String]) = match self {
            Self::Heartbeat {} => return Ok(()),
            Self::Pending {
                access_requests, ..
            } => (access_requests, &[]),
            Self::Changed {
                access_requests,
                revoked_access_request_ids,
            } => (access_requests, revoked_access_request_ids),
        };
        for request in requests {
            let line = if revoked.contains(&request.id) {
                request.in_a_line_as("revoked", output)
            } else {
                request.in_a_line(output)
            };
            output.line(&line)?;
        }
        Ok(())
    }
}

impl From<Event> for What {
    fn from(event: Event) -> Self {
        let shown =
            |requests: Vec<wire::AccessRequest>| requests.into_iter().map(Into::into).collect();
        match event {
            Event::Heartbeat(_) => Self::Heartbeat {},
            Event::Pending(pending) => Self::Pending {
                access_requests: shown(pending.access_requests),
                more_follow: pending.more_follow,
            },
            Event::Changed(changed) => Self::Changed {
                access_requests: shown(changed.access_requests),
                revoked_access_request_ids: changed.revoked_access_request_ids,
            },
        }
    }
}
