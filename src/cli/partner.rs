//! `ambit partner`: agencies and their people in the accounts of their clients.
//!
//! Each command names the user by whose rights it is judged, as the API does.

use clap::Subcommand;

use crate::authz::model::Id;

use super::connection;
use super::error::{CliError, Exit};
use super::output::Output;

mod ending;
mod linking;
mod listing;
mod removing;
mod staffing;

const EXAMPLES: &str = "Examples:
  ambit partner link create pixel-agency --as petra > petra.link
  ambit partner link approve bonbon petra.link --as camille
  ambit partner add pixel-agency northwind luca --set marketer --as petra
  ambit partner clients pixel-agency --as petra
  ambit partner remove pixel-agency agnes --as petra --preview
  ambit partner end pixel-agency northwind --side client --as ada";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, list, revoke and approve the links that let an agency's people into clients
    Link(Box<linking::Arguments>),
    /// End what an agency has in a client, from either side
    End(ending::EndArguments),
    /// List in which clients an agency's people are users
    Clients(listing::ClientsArguments),
    /// List an agency's full-time staff
    Employees(listing::EmployeesArguments),
    /// List an agency's contractors
    Contractors(listing::ContractorsArguments),
    /// Make people of an agency users of a client, with one permission set
    Add(Box<staffing::AddArguments>),
    /// Make a contractor of an agency a user of a further client
    LinkContractor(Box<staffing::LinkContractorArguments>),
    /// Give somebody another permission set in a client
    Set(Box<staffing::SetArguments>),
    /// Review what taking somebody out of clients touches, and take them out
    Remove(Box<removing::Arguments>),
    /// Deny an employee everything in clients, and keep what they have
    Deactivate(Box<staffing::DeactivateArguments>),
    /// Take a deactivation back
    Reactivate(Box<staffing::ReactivateArguments>),
    /// Become a partner admin of a client in place of a super admin
    Migrate(ending::MigrateArguments),
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Link(arguments) => linking::run(*arguments, output).await,
        Command::End(arguments) => ending::end(arguments, output).await,
        Command::Clients(arguments) => listing::clients(arguments, output).await,
        Command::Employees(arguments) => listing::employees(arguments, output).await,
        Command::Contractors(arguments) => listing::contractors(arguments, output).await,
        Command::Add(arguments) => staffing::add(*arguments, output).await,
        Command::LinkContractor(arguments) => staffing::link_contractor(*arguments, output).await,
        Command::Set(arguments) => staffing::set(*arguments, output).await,
        Command::Remove(arguments) => removing::run(*arguments, output).await,
        Command::Deactivate(arguments) => staffing::deactivate(*arguments, output).await,
        Command::Reactivate(arguments) => staffing::reactivate(*arguments, output).await,
        Command::Migrate(arguments) => ending::migrate(arguments, output).await,
    }
}

/// Entries of one call.
const PAGE_SIZE: u32 = 1_000;

fn refused(status: &tonic::Status) -> CliError {
    connection::refused(status)
}

fn texts(ids: &[Id]) -> Vec<String> {
    ids.iter().map(Id::to_string).collect()
}

fn text(id: Option<&Id>) -> String {
    id.map(Id::to_string).unwrap_or_default()
}

/// `1 client`, `2 clients`.
fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}
