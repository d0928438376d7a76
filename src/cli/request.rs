//! `ambit request`: from a denial to a grant, filed, read, resolved and followed.

use clap::Subcommand;

use super::connection;
use super::error::{CliError, Exit};
use super::output::Output;

mod asking;
pub mod duration;
mod linking;
mod reading;
mod resolution;
mod resolving;
mod shown;
mod telling;
mod watching;

pub use asking::file_command;
pub use resolution::quoted;

const EXAMPLES: &str = "Examples:
  ambit request file northwind pierre email.view spring-dach --reason 'I prepare the French edition'
  ambit request list northwind --state pending
  ambit request suggest northwind REQUEST --by ada
  ambit request approve northwind REQUEST --by ada --expires-in 7d
  ambit request watch northwind";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for what is denied to a user
    File(Box<asking::FileArguments>),
    /// Withdraw a request
    Cancel(asking::CancelArguments),
    /// List requests
    List(Box<reading::ListArguments>),
    /// Show one request with its history
    Show(reading::ShowArguments),
    /// Say what would answer a request, and what else that would open
    Suggest(reading::SuggestArguments),
    /// Grant what answers a request
    Approve(Box<resolving::ApproveArguments>),
    /// Refuse a request
    Deny(resolving::DenyArguments),
    /// Take back what the approval of a request gave
    Revoke(resolving::RevokeArguments),
    /// Make a link to the console for one approver
    Link(linking::Arguments),
    /// Follow what is pending and what becomes of it
    Watch(watching::Arguments),
    /// List what is told of requests, and to whom
    Deliveries(telling::DeliveriesArguments),
    /// Send a dead or delivered notification once more
    Replay(telling::ReplayArguments),
}

/// What every change of a request takes.
#[derive(Debug, Clone, clap::Args)]
struct WriteArgs {
    /// A name for this write, kept for 24 hours: repeated under it, it is carried out once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Only where the account stands at this revision
    #[arg(long, value_name = "REVISION", allow_hyphen_values = true)]
    expected_revision: Option<String>,
}

impl WriteArgs {
    fn key(&self) -> String {
        self.idempotency_key.clone().unwrap_or_default()
    }

    fn revision(&self) -> String {
        self.expected_revision.clone().unwrap_or_default()
    }
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::File(arguments) => asking::file(*arguments, output).await,
        Command::Cancel(arguments) => asking::cancel(arguments, output).await,
        Command::List(arguments) => reading::list(*arguments, output).await,
        Command::Show(arguments) => reading::show(arguments, output).await,
        Command::Suggest(arguments) => reading::suggest(arguments, output).await,
        Command::Approve(arguments) => resolving::approve(*arguments, output).await,
        Command::Deny(arguments) => resolving::deny(arguments, output).await,
        Command::Revoke(arguments) => resolving::revoke(arguments, output).await,
        Command::Link(arguments) => linking::run(arguments, output).await,
        Command::Watch(arguments) => watching::run(arguments, output).await,
        Command::Deliveries(arguments) => telling::deliveries(arguments, output).await,
        Command::Replay(arguments) => telling::replay(arguments, output).await,
    }
}

/// The part of an answer that every server gives.
fn given<T>(part: Option<T>) -> Result<T, CliError> {
    part.ok_or_else(|| {
        CliError::refused(
            "the server's answer lacks a part; it may be of another version than this command",
        )
    })
}

fn refused(status: &tonic::Status) -> CliError {
    connection::refused(status)
}
