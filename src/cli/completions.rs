//! `ambit completions`: the shell's completions, from the same definition as the arguments.

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::{CliError, Exit};
use super::output::Output;

const EXAMPLES: &str = "Examples:
  ambit completions bash > ~/.local/share/bash-completion/completions/ambit
  ambit completions zsh > ~/.zfunc/_ambit
  ambit completions fish > ~/.config/fish/completions/ambit.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::Cli::command(),
        "ambit",
        &mut script,
    );
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
