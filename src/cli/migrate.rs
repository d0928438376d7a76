//! `ambit migrate`: brings the database up apart from a server, by a role that may.

use serde::Serialize;

use crate::app;

use super::error::{CliError, Exit};
use super::output::{Format, FormatArgs, Output, note};
use super::settings::SettingsArgs;

const EXAMPLES: &str = "Examples:
  ambit migrate --database-url postgres://ambit_owner@db/ambit
  AMBIT_DATABASE_URL_FILE=/run/secrets/owner ambit migrate

Run it once before servers of a new version start with --no-migrate; those of the old version may
go on. Several at a time wait for each other. On a database that is up already nothing changes.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Serialize)]
struct Migrated {
    database: String,
    schema: i64,
}

pub async fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let config = arguments.settings.load()?;
    let done = app::migrate(&config.database)
        .await
        .map_err(CliError::refused)?;
    let migrated = Migrated {
        database: app::place(&config.database),
        schema: done.schema,
    };
    for role in &done.roles_missing {
        note(&format!(
            "warning: there is no role `{role}`, and this one may not create it: have it made (CREATE ROLE {role} NOLOGIN), then run `ambit migrate` again"
        ));
    }
    match arguments.format.format {
        Format::Human => output.line(&format!(
            "{} has schema {}",
            migrated.database, migrated.schema
        ))?,
        Format::Json => output.json(&migrated)?,
    }
    Ok(Exit::Success)
}
