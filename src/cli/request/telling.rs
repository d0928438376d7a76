//! `ambit request deliveries` and `replay`: what is told of requests and of partnerships, and to whom.

use clap::ValueEnum;
use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::answer;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::grpc::wire;

use super::refused;

const DELIVERIES_EXAMPLES: &str = "Examples:
  ambit request deliveries northwind
  ambit request deliveries northwind --state dead --output json";

const REPLAY_EXAMPLES: &str = "Examples:
  ambit request replay northwind REQUEST 0 webhook:crm
  ambit request replay northwind REQUEST 1 email:ada
  ambit request replay northwind kite 3 webhook:crm --partner";

/// Notifications of one call.
const PAGE_SIZE: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    Delivered,
    Dead,
}

impl State {
    fn to_wire(self) -> wire::NotificationState {
        match self {
            Self::Pending => wire::NotificationState::Pending,
            Self::Delivered => wire::NotificationState::Delivered,
            Self::Dead => wire::NotificationState::Dead,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = DELIVERIES_EXAMPLES)]
pub struct DeliveriesArguments {
    /// The account
    account: Id,
    /// Only notifications in this state
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<State>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_EXAMPLES)]
pub struct ReplayArguments {
    /// The account
    account: Id,
    /// The request; with --partner the other account, an agency or a client
    subject: Id,
    /// The event of the request or the partnership, counted from 0
    ordinal: u32,
    /// To whom, as `deliveries` names it
    destination: String,
    /// It is an event of a partnership
    #[arg(long)]
    partner: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct DeliveriesAnswer {
    notifications: Vec<ShownNotification>,
    revision: String,
}

#[derive(Serialize)]
struct ReplayAnswer {
    revision: String,
}

#[derive(Serialize)]
struct ShownNotification {
    /// Empty for an event of a partnership.
    access_request_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    partner_account_id: String,
    event_ordinal: u32,
    destination: String,
    state: &'static str,
    attempts: u32,
    created_at: Option<String>,
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_problem: String,
}

pub async fn deliveries(
    arguments: DeliveriesArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let mut request = wire::ListNotificationsRequest {
        account_id: arguments.account.to_string(),
        state: arguments
            .state
            .map_or(wire::NotificationState::Unspecified, State::to_wire)
            .into(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut answer = DeliveriesAnswer {
        notifications: Vec::new(),
        revision: String::new(),
    };
    loop {
        let page = client
            .list_notifications(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        let found = page.notifications.into_iter().map(ShownNotification::from);
        match arguments.format.format {
            Format::Human => {
                for notification in found {
                    let line = notification.in_a_line(output);
                    output.line(&line)?;
                }
            }
            Format::Json => answer.notifications.extend(found),
        }
        answer.revision = page.revision;
        if page.next_page_token.is_empty() || output.closed() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if arguments.format.format == Format::Json {
        output.json(&answer)?;
    }
    Ok(Exit::Success)
}

pub async fn replay(arguments: ReplayArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let subject = arguments.subject.to_string();
    let (request, partner) = match arguments.partner {
        true => (String::new(), subject),
        false => (subject, String::new()),
    };
    let response = client
        .replay_notification(wire::ReplayNotificationRequest {
            account_id: arguments.account.to_string(),
            access_request_id: request,
            partner_account_id: partner,
            event_ordinal: arguments.ordinal,
            destination: arguments.destination,
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    match arguments.format.format {
        Format::Human => output.line("it is sent once more")?,
        Format::Json => output.json(&ReplayAnswer {
            revision: response.revision,
        })?,
    }
    Ok(Exit::Success)
}

impl From<wire::Notification> for ShownNotification {
    fn from(notification: wire::Notification) -> Self {
        Self {
            state: match wire::NotificationState::try_from(notification.state) {
                Ok(wire::NotificationState::Pending) => "pending",
                Ok(wire::NotificationState::Delivered) => "delivered",
                Ok(wire::NotificationState::Dead) => "dead",
                Ok(wire::NotificationState::Unspecified) | Err(_) => "unknown",
            },
            access_request_id: notification.access_request_id,
            partner_account_id: notification.partner_account_id,
            event_ordinal: notification.event_ordinal,
            destination: notification.destination,
            attempts: notification.attempts,
            created_at: answer::time(notification.created_at.as_ref()),
            next_attempt_at: answer::time(notification.next_attempt_at.as_ref()),
            settled_at: answer::time(notification.settled_at.as_ref()),
            last_problem: notification.last_problem,
        }
    }
}

impl ShownNotification {
    fn in_a_line(&self, output: &Output) -> String {
        let colour = match self.state {
            "delivered" => Colour::Green,
            "dead" => Colour::Red,
            _ => Colour::Yellow,
        };
        let subject = match self.partner_account_id.as_str() {
            "" => self.access_request_id.clone(),
            partner => format!("partner {}", one_line(partner)),
        };
        let mut line = format!(
            "{} {}  {}  {}  {}",
            subject,
            self.event_ordinal,
            one_line(&self.destination),
            output.painted(colour, self.state),
            output.painted(Colour::Dim, &format!("attempts {}", self.attempts)),
        );
        if self.state == "pending"
            && let Some(next) = &self.next_attempt_at
        {
            line.push_str(&format!("  next {next}"));
        }
        if !self.last_problem.is_empty() {
            line.push_str(&format!("  {}", one_line(&self.last_problem)));
        }
        line
    }
}
