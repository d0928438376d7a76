//! `ambit partner add`, `link-contractor`, `set`, `deactivate` and `reactivate`: people in clients.

use serde::Serialize;

use super::{refused, text, texts};
use crate::authz::model::Id;
use crate::cli::apply::print_noted;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::client::{Placed, StatusInClient};
use crate::grpc::wire;

const ADD_EXAMPLES: &str = "Examples:
  ambit partner add pixel-agency northwind luca --set marketer --as petra
  ambit partner add pixel-agency northwind luca nora --set marketer --as petra
  ambit partner add pixel-agency northwind luca --user luca --set marketer --as petra

What the partner admin lacks is withheld, and what they could not give is kept; both are printed.";

const LINK_CONTRACTOR_EXAMPLES: &str = "Example:
  ambit partner link-contractor pixel-agency northwind milan --set marketer --as petra";

const SET_EXAMPLES: &str = "Example:
  ambit partner set pixel-agency northwind agnes --set marketer --as petra";

const DEACTIVATE_EXAMPLES: &str = "Examples:
  ambit partner deactivate pixel-agency agnes --as petra
  ambit partner deactivate pixel-agency agnes --client northwind --as petra

In all of their clients, or in those that are named; in all of them or in none.";

const REACTIVATE_EXAMPLES: &str = "Examples:
  ambit partner reactivate pixel-agency agnes --as petra
  ambit partner reactivate pixel-agency agnes --client northwind --as petra";

#[derive(Debug, clap::Args)]
#[command(after_help = ADD_EXAMPLES)]
pub struct AddArguments {
    #[command(flatten)]
    place: PlaceArgs,
    /// Users of the agency's account; those of the kind `contractor` become contractors
    #[arg(value_name = "PERSON", required = true)]
    people: Vec<Id>,
    /// The id in the client, of one person; by default the one that they have there, else
    /// AGENCY/PERSON
    #[arg(long, value_name = "USER")]
    user: Option<Id>,
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LINK_CONTRACTOR_EXAMPLES)]
pub struct LinkContractorArguments {
    #[command(flatten)]
    place: PlaceArgs,
    /// Who is a contractor of the agency, by the id in its account
    person: Id,
    /// The id in the client; by default the one that they have there, else AGENCY/PERSON
    #[arg(long, value_name = "USER")]
    user: Option<Id>,
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SET_EXAMPLES)]
pub struct SetArguments {
    #[command(flatten)]
    place: PlaceArgs,
    /// Whose set is changed, by the id in the agency's account
    person: Id,
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct PlaceArgs {
    /// The agency's account
    agency: Id,
    /// The client's account
    client: Id,
}

#[derive(Debug, Clone, clap::Args)]
struct AskingArgs {
    /// The permission set of the client that they get
    #[arg(long, value_name = "SET")]
    set: Id,
    /// The user of the agency who asks, a partner admin in the client
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = DEACTIVATE_EXAMPLES)]
pub struct DeactivateArguments {
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REACTIVATE_EXAMPLES)]
pub struct ReactivateArguments {
    #[command(flatten)]
    person: PersonArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct PersonArgs {
    /// The agency's account
    agency: Id,
    /// Whom, by the id in the agency's account
    person: Id,
    /// In this client; may be given several times, and stands for all without
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Vec<Id>,
    /// The user of the agency who asks, a partner admin in each client
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Stands {
    clients: Vec<StatusInClient>,
}

pub async fn add(arguments: AddArguments, output: &mut Output) -> Result<Exit, CliError> {
    if arguments.user.is_some() && arguments.people.len() > 1 {
        return Err(CliError::usage(
            "--user is the id of one person in the client: add the others by another command",
        ));
    }
    let member = |person: &Id| wire::StaffMember {
        partner_user_id: person.to_string(),
        user_id: text(arguments.user.as_ref()),
    };
    let AddArguments { place, asking, .. } = &arguments;
    let request = wire::AddStaffRequest {
        account_id: place.agency.to_string(),
        client_account_id: place.client.to_string(),
        actor_user_id: asking.actor.to_string(),
        people: arguments.people.iter().map(member).collect(),
        permission_set_id: asking.set.to_string(),
    };
    let added = asking.server.partners().await?.add_staff(request).await;
    let added = added.map_err(|status| refused(&status))?.into_inner();
    let placed = Placed::of_wire(added.staff, added.revision);
    print(&placed, place, asking.format.format, output)
}

pub async fn link_contractor(
    arguments: LinkContractorArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let LinkContractorArguments { place, asking, .. } = &arguments;
    let request = wire::LinkContractorRequest {
        account_id: place.agency.to_string(),
        client_account_id: place.client.to_string(),
        actor_user_id: asking.actor.to_string(),
        contractor: Some(wire::StaffMember {
            partner_user_id: arguments.person.to_string(),
            user_id: text(arguments.user.as_ref()),
        }),
        permission_set_id: asking.set.to_string(),
    };
    let mut partners = asking.server.partners().await?;
    let linked = partners.link_contractor(request).await;
    let linked = linked.map_err(|status| refused(&status))?.into_inner();
    let placed = Placed::of_wire(linked.staff, linked.revision);
    print(&placed, place, asking.format.format, output)
}

pub async fn set(arguments: SetArguments, output: &mut Output) -> Result<Exit, CliError> {
    let SetArguments { place, asking, .. } = &arguments;
    let request = wire::ChangePermissionSetRequest {
        account_id: place.agency.to_string(),
        client_account_id: place.client.to_string(),
        actor_user_id: asking.actor.to_string(),
        partner_user_id: arguments.person.to_string(),
        permission_set_id: asking.set.to_string(),
    };
    let mut partners = asking.server.partners().await?;
    let changed = partners.change_permission_set(request).await;
    let changed = changed.map_err(|status| refused(&status))?.into_inner();
    let placed = Placed::of_wire(changed.staff, changed.revision);
    print(&placed, place, asking.format.format, output)
}

/// What the ceiling made of their rights as `ambit apply --as` tells it, then who they are there.
fn print(
    placed: &Placed,
    place: &PlaceArgs,
    format: Format,
    output: &mut Output,
) -> Result<Exit, CliError> {
    match format {
        Format::Human => {
            for one in &placed.staff {
                print_noted("kept", &one.kept, output)?;
                print_noted("withheld", &one.withheld, output)?;
            }
            for one in &placed.staff {
                let user = output.painted(Colour::Bold, &one_line(&one.user_id));
                let person = one_line(&one.partner_user_id);
                output.line(&format!("{person} is {user} in {}", place.client))?;
            }
            output.line(&format!("revision {}", placed.revision))?;
        }
        Format::Json => output.json(placed)?,
    }
    Ok(Exit::Success)
}

pub async fn deactivate(
    arguments: DeactivateArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let person = arguments.person;
    let request = wire::DeactivateEmployeeRequest {
        account_id: person.agency.to_string(),
        actor_user_id: person.actor.to_string(),
        partner_user_id: person.person.to_string(),
        client_account_ids: texts(&person.clients),
    };
    let mut partners = person.server.partners().await?;
    let done = partners.deactivate_employee(request).await;
    let done = done.map_err(|status| refused(&status))?.into_inner();
    print_status(done.clients, "deactivated", person.format.format, output)
}

pub async fn reactivate(
    arguments: ReactivateArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let person = arguments.person;
    let request = wire::ReactivateEmployeeRequest {
        account_id: person.agency.to_string(),
        actor_user_id: person.actor.to_string(),
        partner_user_id: person.person.to_string(),
        client_account_ids: texts(&person.clients),
    };
    let mut partners = person.server.partners().await?;
    let done = partners.reactivate_employee(request).await;
    let done = done.map_err(|status| refused(&status))?.into_inner();
    print_status(done.clients, "active", person.format.format, output)
}

/// As `northwind: agnes is deactivated, revision ...`.
fn print_status(
    clients: Vec<wire::StatusInClient>,
    status: &str,
    format: Format,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let clients: Vec<StatusInClient> = clients.into_iter().map(StatusInClient::of_wire).collect();
    match format {
        Format::Human => {
            for one in &clients {
                let client = output.painted(Colour::Bold, &one_line(&one.client_account_id));
                let user = one_line(&one.user_id);
                let is = match one.changed {
                    true => "is",
                    false => "was already",
                };
                let revision = &one.revision;
                output.line(&format!(
                    "{client}: {user} {is} {status}, revision {revision}"
                ))?;
            }
        }
        Format::Json => output.json(&Stands { clients })?,
    }
    Ok(Exit::Success)
}
