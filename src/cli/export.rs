//! `ambit export`: an account as the documents that make it.

use crate::authz::document;
use crate::authz::model::Id;

use super::destination::DestinationArgs;
use super::error::{CliError, Exit};
use super::output::{Format, FormatArgs, Output};

const EXAMPLES: &str = "Examples:
  ambit export northwind > northwind.yaml
  ambit export northwind --output json | jq .users
  ambit export northwind --data-dir ./ambit-data

The file holds a second document where the account's present plan would no longer let its walls be
set up: apply it as it is.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut destination = arguments.destination.open(false).await?;
    let account = &arguments.account;
    let present = destination.read(account).await;
    destination.close().await;
    let Some(present) = present? else {
        return Err(CliError::refused(format!(
            "there is no account `{account}`; write one with `ambit apply`"
        )));
    };
    let text = document::export(&present.entities).map_err(CliError::refused)?;
    match arguments.format.format {
        Format::Human => output.text(&text)?,
        Format::Json => {
            // The same documents, a line each; a file of them is one that `apply` takes.
            let documents: Vec<serde_json::Value> =
                serde_saphyr::from_multiple(&text).map_err(CliError::refused)?;
            for document in documents {
                output.json(&document)?;
            }
        }
    }
    Ok(Exit::Success)
}
