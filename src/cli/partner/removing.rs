//! `ambit partner remove`: reviewed first, then done.

use serde::Serialize;
use wire::commit_removal_request::Resolution;

use super::{counted, refused, texts};
use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::client::{ClientRemoval, PreviewedRemoval, RemovedFrom};
use crate::grpc::wire;

const EXAMPLES: &str = "Examples:
  ambit partner remove pixel-agency agnes --as petra --preview
  ambit partner remove pixel-agency agnes --as petra --token TOKEN --unassign
  ambit partner remove pixel-agency agnes --client northwind --as petra --preview
  ambit partner remove pixel-agency agnes --client northwind --as petra --token TOKEN \\
    --reassign-to luca --skip-blocked

From all of their clients, or from those that are named; from all of them or from none. The token is of
what was previewed: what has changed since of it is PREVIEW_STALE.";

/// Ids of a list that a line for people names.
const NAMED_MAX: usize = 5;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("step").required(true).args(["preview", "token"]))]
#[command(group = clap::ArgGroup::new("resolution").args(["unassign", "reassign_to"]))]
pub struct Arguments {
    /// The agency's account
    agency: Id,
    /// Whom to take out, by the id in the agency's account
    person: Id,
    /// Of this client; may be given several times, and stands for all without
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Vec<Id>,
    /// The user of the agency who asks, a partner admin in each client
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    /// Say what it would touch and what stands in its way, and write nothing
    #[arg(long)]
    preview: bool,
    /// Take them out, as it was previewed with this token
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "resolution",
        allow_hyphen_values = true
    )]
    token: Option<String>,
    /// Nobody takes over what they own and are assigned to
    #[arg(long, conflicts_with = "preview")]
    unassign: bool,
    /// This user of the agency takes it over in each client
    #[arg(long, value_name = "PERSON", conflicts_with = "preview")]
    reassign_to: Option<Id>,
    /// Leave out the clients where something stands in the way
    #[arg(long, conflicts_with = "preview")]
    skip_blocked: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Removed {
    clients: Vec<RemovedFrom>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.token.clone() {
        Some(token) => commit(&arguments, token, output).await,
        None => preview(&arguments, output).await,
    }
}

/// Ends with 1 where something stands in the way.
async fn preview(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::PreviewRemovalRequest {
        account_id: arguments.agency.to_string(),
        actor_user_id: arguments.actor.to_string(),
        partner_user_id: arguments.person.to_string(),
        client_account_ids: texts(&arguments.clients),
    };
    let mut partners = arguments.server.partners().await?;
    let previewed = partners.preview_removal(request).await;
    let previewed = previewed.map_err(|status| refused(&status))?.into_inner();
    let previewed = PreviewedRemoval::of_wire(previewed);
    match arguments.format.format {
        Format::Human => {
            for client in &previewed.clients {
                print(client, output)?;
            }
            output.line(&format!("token: {}", one_line(&previewed.preview_token)))?;
        }
        Format::Json => output.json(&previewed)?,
    }
    let is_free = previewed.clients.iter().all(|one| one.blocker.is_empty());
    Ok(match is_free {
        true => Exit::Success,
        false => Exit::No,
    })
}

/// Ends with 1 where a client was left out.
async fn commit(
    arguments: &Arguments,
    preview_token: String,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let resolution = match &arguments.reassign_to {
        Some(person) => Resolution::ReassignToPartnerUserId(person.to_string()),
        None => Resolution::Unassign(arguments.unassign),
    };
    let request = wire::CommitRemovalRequest {
        account_id: arguments.agency.to_string(),
        actor_user_id: arguments.actor.to_string(),
        partner_user_id: arguments.person.to_string(),
        client_account_ids: texts(&arguments.clients),
        preview_token,
        resolution: Some(resolution),
        skip_blocked: arguments.skip_blocked,
    };
    let mut partners = arguments.server.partners().await?;
    let committed = partners.commit_removal(request).await;
    let committed = committed.map_err(|status| refused(&status))?.into_inner();
    let clients = committed.clients.into_iter();
    let clients: Vec<RemovedFrom> = clients.map(RemovedFrom::of_wire).collect();
    let exit = match clients.iter().all(|one| one.done) {
        true => Exit::Success,
        false => Exit::No,
    };
    match arguments.format.format {
        Format::Human => {
            for one in &clients {
                let client = output.painted(Colour::Bold, &one_line(&one.client_account_id));
                let user = one_line(&one.user_id);
                let line = match one.done {
                    true => format!("{client}: {user} is out, revision {}", one.revision),
                    false => {
                        let reason = output.painted(Colour::Red, &one_line(&one.skipped));
                        format!("{client}: {user} stays: {reason}")
                    }
                };
                output.line(&line)?;
            }
        }
        Format::Json => output.json(&Removed { clients })?,
    }
    Ok(exit)
}

/// A line for the client, then a line for each thing that it touches.
fn print(client: &ClientRemoval, output: &mut Output) -> Result<(), CliError> {
    let name = output.painted(Colour::Bold, &one_line(&client.client_account_id));
    let user = one_line(&client.user_id);
    output.line(&format!(
        "{name}: {user}  {}  {}",
        client.role, client.status
    ))?;
    for owned in &client.owned {
        let what = format!("owns {} {}", owned.total, one_line(&owned.resource_type));
        output.line(&format!("  {what}: {}", named(&owned.ids, owned.total)))?;
    }
    if client.assigned_total > 0 {
        let resources = counted(client.assigned_total, "resource");
        output.line(&format!("  assigned by name to {resources}"))?;
    }
    if client.orphans_total > 0 {
        let orphans = named(&client.orphans, client.orphans_total);
        output.line(&format!("  nobody else is assigned to: {orphans}"))?;
    }
    if client.pending_requests > 0 {
        let requests = counted(client.pending_requests, "access request");
        output.line(&format!("  ends {requests} of theirs"))?;
    }
    if !client.blocker.is_empty() {
        let reason = output.painted(Colour::Red, &one_line(&client.blocker));
        let message = one_line(&client.blocker_message);
        output.line(&format!("  in the way: {reason}: {message}"))?;
    }
    Ok(())
}

/// The first ids, and how many more there are.
fn named(ids: &[String], total: u64) -> String {
    let first: Vec<String> = ids.iter().take(NAMED_MAX).map(|id| one_line(id)).collect();
    let shown = u64::try_from(first.len()).unwrap_or(u64::MAX);
    match total.saturating_sub(shown) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
