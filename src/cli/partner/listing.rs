//! `ambit partner clients`, `employees` and `contractors`: who works where.

use serde::Serialize;

use super::{PAGE_SIZE, counted, refused, text};
use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::client::{ClientMembership, PartnerPerson};
use crate::grpc::wire;

const CLIENTS_EXAMPLES: &str = "Examples:
  ambit partner clients pixel-agency --as petra
  ambit partner clients pixel-agency --as petra --of agnes --output json";

const EMPLOYEES_EXAMPLES: &str = "Example:
  ambit partner employees pixel-agency --as petra";

const CONTRACTORS_EXAMPLES: &str = "Example:
  ambit partner contractors pixel-agency --as petra";

#[derive(Debug, clap::Args)]
#[command(after_help = CLIENTS_EXAMPLES)]
pub struct ClientsArguments {
    /// Of this user of the agency alone
    #[arg(long, value_name = "USER")]
    of: Option<Id>,
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EMPLOYEES_EXAMPLES)]
pub struct EmployeesArguments {
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = CONTRACTORS_EXAMPLES)]
pub struct ContractorsArguments {
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct AskingArgs {
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

#[derive(Serialize)]
struct Memberships {
    memberships: Vec<ClientMembership>,
}

#[derive(Serialize)]
struct Employees {
    employees: Vec<PartnerPerson>,
}

#[derive(Serialize)]
struct Contractors {
    contractors: Vec<PartnerPerson>,
}

pub async fn clients(arguments: ClientsArguments, output: &mut Output) -> Result<Exit, CliError> {
    let asking = arguments.asking;
    let mut client = asking.server.partners().await?;
    let mut request = wire::ListClientsRequest {
        account_id: asking.agency.to_string(),
        actor_user_id: asking.actor.to_string(),
        partner_user_id: text(arguments.of.as_ref()),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut memberships = Vec::new();
    loop {
        let page = client.list_clients(request.clone()).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        let found = page.memberships.into_iter();
        memberships.extend(found.map(ClientMembership::of_wire));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    match asking.format.format {
        Format::Human => {
            for membership in &memberships {
                output.line(&membership_in_a_line(membership, output))?;
            }
        }
        Format::Json => output.json(&Memberships { memberships })?,
    }
    Ok(Exit::Success)
}

pub async fn employees(
    arguments: EmployeesArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let asking = arguments.asking;
    let mut client = asking.server.partners().await?;
    let mut request = wire::ListPartnerEmployeesRequest {
        account_id: asking.agency.to_string(),
        actor_user_id: asking.actor.to_string(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut employees = Vec::new();
    loop {
        let page = client.list_partner_employees(request.clone()).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        employees.extend(page.employees.into_iter().map(PartnerPerson::of_wire));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    match asking.format.format {
        Format::Human => print_people(&employees, output)?,
        Format::Json => output.json(&Employees { employees })?,
    }
    Ok(Exit::Success)
}

pub async fn contractors(
    arguments: ContractorsArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let asking = arguments.asking;
    let mut client = asking.server.partners().await?;
    let mut request = wire::ListContractorsRequest {
        account_id: asking.agency.to_string(),
        actor_user_id: asking.actor.to_string(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut contractors = Vec::new();
    loop {
        let page = client.list_contractors(request.clone()).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        contractors.extend(page.contractors.into_iter().map(PartnerPerson::of_wire));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    match asking.format.format {
        Format::Human => print_people(&contractors, output)?,
        Format::Json => output.json(&Contractors { contractors })?,
    }
    Ok(Exit::Success)
}

/// As `northwind  petra is petra  admin  active  partner admin`: who of the agency is who there.
fn membership_in_a_line(membership: &ClientMembership, output: &Output) -> String {
    let client = output.painted(Colour::Bold, &one_line(&membership.client_account_id));
    let mut line = format!(
        "{client}  {} is {}  {}  {}",
        one_line(&membership.partner_user_id),
        one_line(&membership.user_id),
        membership.role,
        membership.status,
    );
    for (is_so, what) in [
        (membership.partner_admin, "partner admin"),
        (membership.super_admin, "super admin"),
        (membership.partnership == "ended", "partnership ended"),
    ] {
        if is_so {
            line.push_str("  ");
            line.push_str(what);
        }
    }
    line
}

/// As `agnes  active  2 clients`.
fn print_people(people: &[PartnerPerson], output: &mut Output) -> Result<(), CliError> {
    for person in people {
        let user = output.painted(Colour::Bold, &one_line(&person.user_id));
        let status = match person.status {
            "unspecified" => "not in the agency's account",
            status => status,
        };
        let clients = counted(person.clients, "client");
        output.line(&format!("{user}  {status}  {clients}"))?;
    }
    Ok(())
}
