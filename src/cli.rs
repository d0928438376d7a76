//! The command line: one file a command, all with the same way of asking, answering and failing.
//!
//! Answers go to standard output, for people by default and for programs with `--output json`.
//! Whatever goes wrong is one line on standard error that says what to do, and an exit status of
//! the closed list in [`error::Exit`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod access_preview;
pub mod answer;
pub mod apply;
pub mod assign;
pub mod audit;
pub mod author;
pub mod batch_check;
pub mod bench;
pub mod check;
pub mod completions;
pub mod connection;
pub mod destination;
pub mod doctor;
pub mod documents;
pub mod encryption;
pub mod error;
pub mod explain;
pub mod export;
pub mod filter;
mod form;
pub mod import;
pub mod list;
pub mod migrate;
pub mod output;
mod partner;
pub mod preview;
pub mod question;
pub mod ready;
mod request;
mod segment;
pub mod serve;
pub mod settings;
pub mod test;
pub mod token;
pub mod watch;
pub mod who;

use error::{CliError, Exit};
use output::Output;

const EXAMPLES: &str = "Examples:
  ambit serve --demo
  ambit check northwind heike deal.edit bosch-2027
  ambit list northwind pierre email.view
  ambit who northwind email.edit spring-dach
  ambit explain northwind pierre email.view spring-dach
  ambit request file northwind lena contact.view bosch --reason 'I take over this customer'
  ambit test examples/demo/northwind.yaml

Exit status: 0 done (check: allow), 1 deny or a failed case, 2 wrong use or bad input,
3 server unreachable, 4 the server answered an error.";

/// Decides who may do what in CRM and marketing suites: exact checks and lists, each with its reason
#[derive(Debug, Parser)]
#[command(
    name = "ambit",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve decisions over gRPC
    Serve(Box<serve::Arguments>),
    /// Write account documents to a server or a store
    Apply(apply::Arguments),
    /// Write an account out as a document
    Export(export::Arguments),
    /// Write resources by the million from a table or JSON lines
    Import(Box<import::Arguments>),
    /// Limit resources to teams, users or access groups, one or many
    Assign(Box<assign::AssignArguments>),
    /// Take assignments of resources back
    Unassign(Box<assign::UnassignArguments>),
    /// Open resources that are limited to some
    Unpartition(Box<assign::UnpartitionArguments>),
    /// Take back what a batch of assignments did, or what an import assigned
    Undo(Box<assign::UndoArguments>),
    /// Run the cases of account documents, without server and database
    Test(test::Arguments),
    /// Ask whether a user may do an action
    Check(check::Arguments),
    /// Ask many checks of one account
    BatchCheck(batch_check::Arguments),
    /// List every resource on which a user may do an action
    List(list::Arguments),
    /// Keep those ids of standard input on which a user may do an action
    Filter(filter::Arguments),
    /// List the users who may do an action on a resource
    Who(who::Arguments),
    /// Say why a user may or may not do an action
    Explain(explain::Arguments),
    /// Say who would gain or lose what by an account document, before it is applied
    Preview(preview::Arguments),
    /// Follow what a user may do an action on, as it changes
    Watch(watch::Arguments),
    /// Ask for what is denied, and answer what others ask for
    Request(request::Arguments),
    /// Read, try and run the rules that assign records by their attributes
    Segment(segment::Arguments),
    /// Say to whom what is submitted with a form is assigned
    Form(Box<form::Arguments>),
    /// Let an agency's people into clients, manage them there, and let them out
    Partner(Box<partner::Arguments>),
    /// List who changed an account, and what
    Audit(audit::Arguments),
    /// Make, list and revoke the tokens that callers present
    Token(token::Arguments),
    /// Bring the database to the schema of this version
    Migrate(Box<migrate::Arguments>),
    /// Check configuration, database, server, clock and limits
    Doctor(Box<doctor::Arguments>),
    /// Ask whether a server is ready
    Ready(ready::Arguments),
    /// Measure checks, batches and lists, beside the ceiling of the same stack
    Bench(bench::Arguments),
    /// Write the completions of a shell
    Completions(completions::Arguments),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error).into(),
    };
    let mut output = Output::stdout();
    let done = dispatch(cli.command, &mut output);
    let flushed = output.flush();
    match done.and_then(|exit| flushed.map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(&error.to_string());
            error.exit().into()
        }
    }
}

/// Help and version go to whom they were asked by; wrong use is one line like any other error.
fn not_run(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A reader that went away is no further trouble.
        let _ = error.print();
        return Exit::Success;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        output::complain(&in_one_line(&error.render().to_string()));
    }
    Exit::Usage
}

/// clap's words, which stand in paragraphs, without its own heading and closing.
fn in_one_line(text: &str) -> String {
    text.trim_start_matches("error: ")
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty() && !paragraph.starts_with("For more information"))
        .chain(["see --help".to_owned()])
        .collect::<Vec<_>>()
        .join("; ")
}

fn dispatch(command: Command, output: &mut Output) -> Result<Exit, CliError> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments, output),
        Command::Apply(arguments) => block_on(apply::run(arguments, output)),
        Command::Export(arguments) => block_on(export::run(arguments, output)),
        Command::Import(arguments) => block_on(import::run(*arguments, output)),
        Command::Assign(arguments) => block_on(assign::assign(*arguments, output)),
        Command::Unassign(arguments) => block_on(assign::unassign(*arguments, output)),
        Command::Unpartition(arguments) => block_on(assign::unpartition(*arguments, output)),
        Command::Undo(arguments) => block_on(assign::undo(*arguments, output)),
        Command::Test(arguments) => test::run(&arguments, output),
        Command::Check(arguments) => block_on(check::run(arguments, output)),
        Command::BatchCheck(arguments) => block_on(batch_check::run(arguments, output)),
        Command::List(arguments) => block_on(list::run(arguments, output)),
        Command::Filter(arguments) => block_on(filter::run(arguments, output)),
        Command::Who(arguments) => block_on(who::run(arguments, output)),
        Command::Explain(arguments) => block_on(explain::run(arguments, output)),
        Command::Preview(arguments) => block_on(preview::run(arguments, output)),
        Command::Watch(arguments) => block_on(watch::run(arguments, output)),
        Command::Request(arguments) => block_on(request::run(arguments, output)),
        Command::Segment(arguments) => block_on(segment::run(arguments, output)),
        Command::Form(arguments) => block_on(form::run(*arguments, output)),
        Command::Partner(arguments) => block_on(partner::run(*arguments, output)),
        Command::Audit(arguments) => block_on(audit::run(arguments, output)),
        Command::Token(arguments) => block_on(token::run(arguments, output)),
        Command::Migrate(arguments) => block_on(migrate::run(&arguments, output)),
        Command::Doctor(arguments) => block_on(doctor::run(&arguments, output)),
        Command::Ready(arguments) => block_on(ready::run(&arguments, output)),
        Command::Bench(arguments) => bench::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
    }
}

/// Runs a client command to its end.
fn block_on<F>(command: F) -> Result<Exit, CliError>
where
    F: Future<Output = Result<Exit, CliError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::usage(format!("cannot start: {error}")))?;
    let exit = runtime.block_on(command);
    // A read of standard input that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    exit
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_use_is_told_in_one_line() {
        let error = Cli::try_parse_from(["ambit", "check", "acme"]).unwrap_err();
        let line = in_one_line(&error.render().to_string());
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.contains("<USER>") && line.contains("Usage: ambit check"),
            "{line}"
        );
        assert!(line.ends_with("see --help"), "{line}");
    }

    #[test]
    fn every_command_has_examples() {
        fn assert_examples(command: &clap::Command, name: &str) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains(name),
                "`{name}` has no example in its help"
            );
            for below in command.get_subcommands() {
                assert_examples(below, &format!("{name} {}", below.get_name()));
            }
        }
        for command in Cli::command().get_subcommands() {
            assert_examples(command, &format!("ambit {}", command.get_name()));
        }
    }
}
