//! `ambit segment`: the rules that assign records by their attributes, and how far they have come.

use clap::Subcommand;

use super::connection;
use super::error::{CliError, Exit};
use super::output::Output;

mod reading;
mod running;
mod shown;
mod testing;

const EXAMPLES: &str = "Examples:
  ambit segment list lumen
  ambit segment show lumen readers
  ambit segment recalculate lumen readers --dry-run
  ambit segment test 'resource.score > 20' --record '{\"score\": 21}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the segments of an account, and how far each is
    List(reading::ListArguments),
    /// Show one segment with its jobs
    Show(reading::ShowArguments),
    /// Run a rule over all records, or say what that would come to
    Recalculate(running::Arguments),
    /// Ask an expression of records: of a server, or written out
    Test(Box<testing::Arguments>),
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::List(arguments) => reading::list(arguments, output).await,
        Command::Show(arguments) => reading::show(arguments, output).await,
        Command::Recalculate(arguments) => running::run(arguments, output).await,
        Command::Test(arguments) => testing::run(*arguments, output).await,
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
