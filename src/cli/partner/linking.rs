//! `ambit partner link`: the personal links that let an agency's people into clients.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{PAGE_SIZE, counted, refused, text};
use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output, note};
use crate::client::{AccessLink, CreatedLink, LetIn};
use crate::grpc::wire;

const EXAMPLES: &str = "Examples:
  ambit partner link create pixel-agency --as petra > petra.link
  ambit partner link list pixel-agency --as petra
  ambit partner link approve bonbon petra.link --as camille
  ambit partner link revoke pixel-agency LINK --as petra";

const CREATE_EXAMPLES: &str = "Examples:
  ambit partner link create pixel-agency --as petra > petra.link
  ambit partner link create pixel-agency --as petra --output json | jq -r .link

The link goes to standard output, this once; what is kept is a hash.";

const LIST_EXAMPLES: &str = "Example:
  ambit partner link list pixel-agency --as petra --output json";

const REVOKE_EXAMPLES: &str = "Example:
  ambit partner link revoke pixel-agency 5d0c8a2f31b44e7f9a6dd1c0e8b27f43 --as petra

What was approved with it stays.";

const APPROVE_EXAMPLES: &str = "Examples:
  ambit partner link approve bonbon petra.link --as camille
  ambit partner link approve bonbon - --as camille --user petra < petra.link
  ambit partner link approve bonbon --link ambitlink.cGl4ZWwtYWdlbmN5.LINK.SECRET --as camille

Arguments are seen by others of the machine, and kept by shells: a file or standard input keeps the link
to yourself.";

/// Bytes that are read of a file with a link, which has a few hundred at most.
const LINK_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a personal link and print it, this once
    Create(CreateArguments),
    /// List an agency's links, without their secrets
    List(ListArguments),
    /// Make a link one that no client approves any more
    Revoke(RevokeArguments),
    /// Let the user of a link into a client as a partner admin
    Approve(Box<ApproveArguments>),
}

#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArguments {
    /// The agency's account
    agency: Id,
    /// The user of the agency who asks, and whose link it is
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArguments {
    /// The agency's account
    agency: Id,
    /// The user of the agency who asks
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArguments {
    /// The agency's account
    agency: Id,
    /// The link's id, as `list` shows it
    link: String,
    /// The user of the agency who asks
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = APPROVE_EXAMPLES)]
struct ApproveArguments {
    /// The client's account
    client: Id,
    /// File that holds the link, as the agency's user sent it; - for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "link",
        conflicts_with = "link"
    )]
    file: Option<PathBuf>,
    /// The link itself
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// The user of the client who approves
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    /// The id that the agency's user is to have in the client; by default the one that they have
    /// there, else AGENCY/USER of their ids
    #[arg(long, value_name = "USER")]
    user: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Listed {
    access_links: Vec<AccessLink>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Create(arguments) => create(arguments, output).await,
        Command::List(arguments) => list(arguments, output).await,
        Command::Revoke(arguments) => revoke(arguments, output).await,
        Command::Approve(arguments) => approve(*arguments, output).await,
    }
}

async fn create(arguments: CreateArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::CreateAccessLinkRequest {
        account_id: arguments.agency.to_string(),
        actor_user_id: arguments.actor.to_string(),
    };
    let mut client = arguments.server.partners().await?;
    let created = client.create_access_link(request).await;
    let created = created.map_err(|status| refused(&status))?.into_inner();
    let created = CreatedLink::of_wire(created).map_err(CliError::refused)?;
    match arguments.format.format {
        Format::Human => {
            let link = &created.access_link;
            let until = link.expires_at.map(|time| format!(", good until {time}"));
            note(&format!(
                "link {} of {}{}; it is shown here this once:",
                one_line(&link.id),
                one_line(&link.user_id),
                until.unwrap_or_default()
            ));
            output.line(&one_line(&created.link))?;
        }
        Format::Json => output.json(&created)?,
    }
    Ok(Exit::Success)
}

async fn list(arguments: ListArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.partners().await?;
    let mut request = wire::ListAccessLinksRequest {
        account_id: arguments.agency.to_string(),
        actor_user_id: arguments.actor.to_string(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut answer = Listed {
        access_links: Vec::new(),
    };
    loop {
        let page = client.list_access_links(request.clone()).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        let links = page.access_links.into_iter().map(AccessLink::of_wire);
        match arguments.format.format {
            Format::Human => {
                for link in links {
                    output.line(&in_a_line(&link, output))?;
                }
            }
            Format::Json => answer.access_links.extend(links),
        }
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

/// As `5d0c...  petra  good until 2026-12-30T00:00:00Z, approved by 2 clients`.
fn in_a_line(link: &AccessLink, output: &Output) -> String {
    let id = output.painted(Colour::Bold, &one_line(&link.id));
    let state = match (link.revoked_at, link.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) => format!("good until {at}"),
        (None, None) => "good".to_owned(),
    };
    let approved = counted(link.approvals, "client");
    let user = one_line(&link.user_id);
    format!("{id}  {user}  {state}, approved by {approved}")
}

async fn revoke(arguments: RevokeArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::RevokeAccessLinkRequest {
        account_id: arguments.agency.to_string(),
        link_id: arguments.link,
        actor_user_id: arguments.actor.to_string(),
    };
    let mut client = arguments.server.partners().await?;
    let revoked = client.revoke_access_link(request).await;
    revoked.map_err(|status| refused(&status))?;
    output.line("revoked, what was approved with it stays")?;
    Ok(Exit::Success)
}

async fn approve(arguments: ApproveArguments, output: &mut Output) -> Result<Exit, CliError> {
    let link = match (&arguments.link, &arguments.file) {
        (Some(link), _) => link.trim().to_owned(),
        (None, Some(file)) => read_link(file)?,
        (None, None) => return Err(CliError::usage("name the file that holds the link")),
    };
    let request = wire::ApproveAccessLinkRequest {
        account_id: arguments.client.to_string(),
        link,
        actor_user_id: arguments.actor.to_string(),
        user_id: text(arguments.user.as_ref()),
    };
    let mut client = arguments.server.partners().await?;
    let approved = client.approve_access_link(request).await;
    let approved = approved.map_err(|status| refused(&status))?.into_inner();
    let approved = LetIn::of_wire(approved);
    match arguments.format.format {
        Format::Human => {
            let user = output.painted(Colour::Bold, &one_line(&approved.user_id));
            let client = &arguments.client;
            let before = match approved.already_approved {
                true => ", as before",
                false => "",
            };
            let revision = &approved.revision;
            output.line(&format!(
                "{user} is a partner admin in {client}{before}, revision {revision}"
            ))?;
        }
        Format::Json => output.json(&approved)?,
    }
    Ok(Exit::Success)
}

/// The link in a file or on standard input, without what surrounds it.
fn read_link(path: &Path) -> Result<String, CliError> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let wrong = |error: std::io::Error| CliError::usage(format!("cannot read {name}: {error}"));
    let reader: Box<dyn Read> = match is_stdin {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(wrong)?),
    };
    let mut text = String::new();
    let mut reader = reader.take(LINK_BYTES_MAX);
    reader.read_to_string(&mut text).map_err(wrong)?;
    match text.trim() {
        "" => Err(CliError::usage(format!("{name} holds no link"))),
        link => Ok(link.to_owned()),
    }
}
