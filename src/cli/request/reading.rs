//! `ambit request list`, `show` and `suggest`: what there is, and what would answer it.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::authz::model::{Id, Timestamp};
use crate::cli::connection::{self, ServerArgs};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::clock::{Clock, SystemClock};
use crate::grpc::wire;

use super::resolution::{ShownResolution, quoted};
use super::shown::{ShownEvent, ShownRequest};
use super::{duration, given, refused};

const LIST_EXAMPLES: &str = "Examples:
  ambit request list northwind --state pending
  ambit request list northwind --approver ada --output json
  ambit request list northwind --user pierre";

const SHOW_EXAMPLES: &str = "Examples:
  ambit request show northwind REQUEST
  ambit request show northwind REQUEST --output json";

const SUGGEST_EXAMPLES: &str = "Examples:
  ambit request suggest northwind REQUEST
  ambit request suggest northwind REQUEST --by ada --expires-in 7d";

/// Requests of one call.
const PAGE_SIZE: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    Approved,
    Denied,
    Cancelled,
    Expired,
    Obsolete,
}

impl State {
    fn to_wire(self) -> wire::AccessRequestState {
        match self {
            Self::Pending => wire::AccessRequestState::Pending,
            Self::Approved => wire::AccessRequestState::Approved,
            Self::Denied => wire::AccessRequestState::Denied,
            Self::Cancelled => wire::AccessRequestState::Cancelled,
            Self::Expired => wire::AccessRequestState::Expired,
            Self::Obsolete => wire::AccessRequestState::Obsolete,
        }
    }
}

/// `--expires-at` and `--expires-in`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExpiryArgs {
    /// What is given ends at this time (RFC 3339); without it it stays
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse, conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
    /// What is given ends after this time, as 7d or 36h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires_in: Option<Duration>,
}

impl ExpiryArgs {
    pub fn to_wire(&self) -> Result<Option<prost_types::Timestamp>, CliError> {
        let moment = match (self.expires_at, self.expires_in) {
            (Some(at), _) => Some(at),
            (None, None) => None,
            (None, Some(after)) => {
                let ends = i64::try_from(after.as_micros()).ok().and_then(|after| {
                    let now = SystemClock::new().now().unix_micros();
                    Timestamp::from_unix_micros(now.checked_add(after)?)
                });
                let too_late = || CliError::usage("--expires-in reaches beyond the year 9999");
                Some(ends.ok_or_else(too_late)?)
            }
        };
        Ok(moment.map(connection::to_wire_time))
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArguments {
    /// The account
    account: Id,
    /// Only requests in this state; may be given several times
    #[arg(long, value_name = "STATE", value_enum)]
    state: Vec<State>,
    /// Only requests of this user
    #[arg(long, value_name = "USER")]
    user: Option<Id>,
    /// Only what this user may resolve now, or has resolved
    #[arg(long, value_name = "USER")]
    approver: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct ShowArguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SUGGEST_EXAMPLES)]
pub struct SuggestArguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    /// The approver who wants to know; only then resources are named
    #[arg(long, value_name = "USER")]
    by: Option<Id>,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct ListAnswer {
    access_requests: Vec<ShownRequest>,
    revision: String,
}

#[derive(Serialize)]
struct ShowAnswer {
    access_request: ShownRequest,
    events: Vec<ShownEvent>,
    revision: String,
}

#[derive(Serialize)]
struct SuggestAnswer {
    suggestions: Vec<ShownSuggestion>,
    revision: String,
}

#[derive(Serialize)]
struct ShownSuggestion {
    resolution: ShownResolution,
    opens: u64,
    users: u64,
    sample: Vec<ShownOpened>,
    /// Why the approver who is named may not give it.
    #[serde(skip_serializing_if = "String::is_empty")]
    withheld_reason: String,
}

#[derive(Serialize)]
struct ShownOpened {
    user_id: String,
    resource_type: String,
    action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_id: String,
}

pub async fn list(arguments: ListArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let mut request = wire::ListAccessRequestsRequest {
        account_id: arguments.account.to_string(),
        states: arguments
            .state
            .iter()
            .map(|state| state.to_wire().into())
            .collect(),
        user_id: arguments
            .user
            .as_ref()
            .map(Id::to_string)
            .unwrap_or_default(),
        approver_user_id: arguments
            .approver
            .as_ref()
            .map(Id::to_string)
            .unwrap_or_default(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut answer = ListAnswer {
        access_requests: Vec::new(),
        revision: String::new(),
    };
    loop {
        let page = client
            .list_access_requests(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        let found = page.access_requests.into_iter().map(ShownRequest::from);
        match arguments.format.format {
            Format::Human => {
                for request in found {
                    let line = request.in_a_line(output);
                    output.line(&line)?;
                }
            }
            Format::Json => answer.access_requests.extend(found),
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

pub async fn show(arguments: ShowArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let found = client
        .get_access_request(wire::GetAccessRequestRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let history = client
        .list_access_request_events(wire::ListAccessRequestEventsRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let answer = ShowAnswer {
        access_request: given(found.access_request)?.into(),
        events: history.events.into_iter().map(ShownEvent::from).collect(),
        revision: found.revision,
    };
    match arguments.format.format {
        Format::Human => {
            answer.access_request.print(output)?;
            for event in &answer.events {
                let line = event.in_a_line(output);
                output.line(&format!("  {line}"))?;
            }
        }
        Format::Json => output.json(&answer)?,
    }
    Ok(Exit::Success)
}

pub async fn suggest(arguments: SuggestArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .suggest_resolutions(wire::SuggestResolutionsRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            approver_user_id: arguments.by.as_ref().map(Id::to_string).unwrap_or_default(),
            expires_at: arguments.expiry.to_wire()?,
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let answer = SuggestAnswer {
        suggestions: response
            .suggestions
            .into_iter()
            .map(ShownSuggestion::from)
            .collect(),
        revision: response.revision,
    };
    if arguments.format.format == Format::Json {
        output.json(&answer)?;
        return Ok(Exit::Success);
    }
    if answer.suggestions.is_empty() {
        output.line("nothing that this command could give would do: see `ambit explain`")?;
    }
    for suggestion in &answer.suggestions {
        let resolution = output.painted(Colour::Bold, &suggestion.resolution.in_words());
        output.line(&format!(
            "{resolution}  {}",
            output.painted(Colour::Dim, &suggestion.opens_in_words())
        ))?;
    }
    let first = answer
        .suggestions
        .iter()
        .find(|suggestion| suggestion.withheld_reason.is_empty());
    if let Some(first) = first {
        let by = arguments
            .by
            .as_ref()
            .map_or("APPROVER".to_owned(), |by| quoted(by.as_str()));
        let command = format!(
            "ambit request approve {} {} --by {by} --resolution {}",
            quoted(arguments.account.as_str()),
            quoted(arguments.request.as_str()),
            first.resolution.in_words()
        );
        output.line(&format!("approve the smallest: {command}"))?;
    }
    Ok(Exit::Success)
}

impl From<wire::Suggestion> for ShownSuggestion {
    fn from(suggestion: wire::Suggestion) -> Self {
        Self {
            resolution: ShownResolution::of(suggestion.resolution.as_ref()),
            withheld_reason: suggestion.withheld_reason,
            opens: suggestion.opens,
            users: suggestion.users,
            sample: suggestion
                .sample
                .into_iter()
                .map(|opened| ShownOpened {
                    user_id: opened.user_id,
                    resource_type: opened.resource_type,
                    action: opened.action,
                    resource_id: opened.resource_id,
                })
                .collect(),
        }
    }
}

impl ShownSuggestion {
    fn opens_in_words(&self) -> String {
        let mut words = match (self.opens, self.users) {
            (1, _) => "opens just that".to_owned(),
            (opens, 1) => format!("opens {opens} things to one user"),
            (opens, users) => format!("opens {opens} things to {users} users"),
        };
        if !self.withheld_reason.is_empty() {
            words.push_str(&format!("; not this approver's: {}", self.withheld_reason));
        }
        words
    }
}
