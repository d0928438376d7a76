//! `ambit list`: every resource on which a user may do an action, an id a line, as they arrive.

use crate::authz::model::Id;
use crate::grpc::wire;

use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{self, Format, FormatArgs, Output};
use super::question::{ReadArgs, TypeAction};

const EXAMPLES: &str = "Examples:
  ambit list northwind pierre email.view
  ambit list northwind heike contact.edit --team germany
  ambit list lumen marek contact.communicate --output json
  ambit list lumen piotr contact.view | wc -l";

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
    /// Only resources that this user owns
    #[arg(long, value_name = "USER")]
    owner: Option<Id>,
    /// Only resources that are stamped with or assigned to this team
    #[arg(long, value_name = "TEAM")]
    team: Option<Id>,
    /// Only resources that are assigned to this access group
    #[arg(long, value_name = "GROUP")]
    group: Option<Id>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let named = |id: &Option<Id>| id.as_ref().map(Id::to_string).unwrap_or_default();
    let mut client = arguments.server.decisions().await?;
    let mut chunks = client
        .list_accessible(wire::ListAccessibleRequest {
            account_id: arguments.account.to_string(),
            user_id: arguments.user.to_string(),
            action: arguments.question.action.to_string(),
            resource_type: arguments.question.resource_type.to_string(),
            at: arguments.read.at.map(connection::to_wire_time),
            consistency: connection::consistency(&arguments.read),
            owner_id: named(&arguments.owner),
            team_id: named(&arguments.team),
            access_group_id: named(&arguments.group),
            page_size: 0,
            page_token: String::new(),
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let mut ids = IdPrinter::new(arguments.format.format);
    let mut bar = None;
    while let Some(chunk) = chunks
        .message()
        .await
        .map_err(|status| connection::refused(&status))?
    {
        let bar = bar.get_or_insert_with(|| output::progress("listing", chunk.total));
        ids.head(chunk.total, &chunk.revision, output)?;
        for id in &chunk.ids {
            ids.id(id, output)?;
        }
        bar.inc(chunk.ids.len() as u64);
        if output.closed() {
            break;
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ids.tail(output)?;
    Ok(Exit::Success)
}

/// Prints ids as they come: a line each, or the members of one JSON object, so that a list of any
/// length needs little memory.
pub struct IdPrinter {
    format: Format,
    opened: bool,
    printed: u64,
}

impl IdPrinter {
    pub fn new(format: Format) -> Self {
        Self {
            format,
            opened: false,
            printed: 0,
        }
    }

    /// What the first message says of the whole answer; does nothing for later ones.
    pub fn head(
        &mut self,
        total: Option<u64>,
        revision: &str,
        output: &mut Output,
    ) -> Result<(), CliError> {
        if self.opened {
            return Ok(());
        }
        self.opened = true;
        if self.format == Format::Json {
            output.text("{")?;
            if let Some(total) = total {
                output.text(&format!("\"total\":{total},"))?;
            }
            output.text(&format!("\"revision\":{},\"ids\":[", quoted(revision)))?;
        }
        Ok(())
    }

    pub fn id(&mut self, id: &str, output: &mut Output) -> Result<(), CliError> {
        match self.format {
            Format::Human => output.line(id)?,
            Format::Json => {
                if self.printed > 0 {
                    output.text(",")?;
                }
                output.text(&quoted(id))?;
            }
        }
        self.printed += 1;
        Ok(())
    }

    pub fn tail(&mut self, output: &mut Output) -> Result<(), CliError> {
        if self.format == Format::Json {
            self.head(None, "", output)?;
            output.line("]}")?;
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
