//! `ambit request link`: a link to the console for one approver.

use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::answer;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::grpc::wire;

use super::refused;

const EXAMPLES: &str = "Examples:
  ambit request link northwind REQUEST --for ada
  xdg-open \"$(ambit request link northwind REQUEST --for ada --output json | jq -r .url)\"

Whoever opens the link is taken for that approver, so hand it to nobody else.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    /// The approver whom the link is for
    #[arg(long = "for", value_name = "USER")]
    approver: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// The field names of the wire.
#[derive(Serialize)]
struct ShownLink {
    url: String,
    expires_at: Option<String>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .create_request_link(wire::CreateRequestLinkRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            approver_user_id: arguments.approver.to_string(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let link = ShownLink {
        url: response.url,
        expires_at: answer::time(response.expires_at.as_ref()),
    };
    match arguments.format.format {
        Format::Human => {
            output.line(&link.url)?;
            if let Some(expires_at) = &link.expires_at {
                let until = output.painted(Colour::Dim, &format!("until {expires_at}"));
                output.line(&until)?;
            }
        }
        Format::Json => output.json(&link)?,
    }
    Ok(Exit::Success)
}
