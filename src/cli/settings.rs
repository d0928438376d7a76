//! The settings of the server as flags, made from the one table that the file and the environment
//! are read by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PathBufValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Config, Form, KEYS, flag_of, variable_of};

use super::error::CliError;

const CONFIG_FLAG: &str = "config";

/// Every setting of the server, and the file that the others are read from.
#[derive(Debug, Clone, Default)]
pub struct SettingsArgs {
    file: Option<PathBuf>,
    flags: BTreeMap<String, String>,
}

impl SettingsArgs {
    /// The settings as the server would read them.
    pub fn load(&self) -> Result<Config, CliError> {
        Config::load(&self.flags, environment(), self.file.as_deref()).map_err(CliError::usage)
    }
}

/// Variables whose name or value is not Unicode can't be settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Names of the flags, which clap keeps for as long as the process lives.
static FLAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| KEYS.iter().map(|key| flag_of(key.name)).collect());

fn arguments() -> Vec<Arg> {
    let mut arguments = vec![
        Arg::new(CONFIG_FLAG)
            .long(CONFIG_FLAG)
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .help("Read settings from this file [default: ambit.toml, where it exists]"),
    ];
    for (key, flag) in KEYS.iter().zip(FLAGS.iter()) {
        let argument = Arg::new(key.name).long(flag.as_str());
        arguments.push(if key.form == Form::Switch {
            argument.action(ArgAction::SetTrue).help(format!(
                "{} [env: {}]",
                key.help,
                variable_of(key.name)
            ))
        } else {
            let default = match key.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            argument.value_name("VALUE").help(format!(
                "{}{default} [env: {}]",
                key.help,
                variable_of(key.name)
            ))
        });
    }
    arguments
        .into_iter()
        .map(|argument| argument.help_heading("Settings"))
        .collect()
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        command.args(arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = BTreeMap::new();
        for key in KEYS {
            if key.form == Form::Switch {
                if matches.get_flag(key.name) {
                    flags.insert(key.name.to_owned(), "true".to_owned());
                }
            } else if let Some(value) = matches.get_one::<String>(key.name) {
                flags.insert(key.name.to_owned(), value.clone());
            }
        }
        Ok(Self {
            file: matches.get_one::<PathBuf>(CONFIG_FLAG).cloned(),
            flags,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
