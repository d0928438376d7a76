//! `ambit token`: the bearer tokens of callers, made and revoked in the database itself.
//!
//! Not through a server: whoever owns the database says who is let in, and needs no token for it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use crate::app::{DirectStore, place};
use crate::authentication::tokens_file;
use crate::authz::model::{Id, Timestamp};
use crate::callers::{Accounts, BearerToken, Role, TokenId};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::randomness::SystemRandomness;
use crate::store::tokens::StoredToken;

use super::error::{CliError, Exit};
use super::output::{Format, FormatArgs, Output, note};
use super::request::duration;
use super::settings::SettingsArgs;

const EXAMPLES: &str = "Examples:
  ambit token create crm-backend --role check --role request --account northwind
  ambit token create operator --role admin --all-accounts --expires-in 90d
  ambit token list
  ambit token revoke 3f9c0a7be1d24586

A server honours what is made and revoked here within its staleness bound, without a restart. It asks
for tokens once it is started with --authentication required.";

const CREATE_EXAMPLES: &str = "Examples:
  ambit token create crm-backend --role check --account northwind > crm-backend.token
  ambit token create operator --role admin --all-accounts --expires-in 90d
  ambit token create batch --role check --all-accounts --append-to tokens.toml > batch.token

The token goes to standard output, this once; what is kept of it is a hash.";

const LIST_EXAMPLES: &str = "Examples:
  ambit token list
  ambit token list --database-url-file /run/secrets/ambit --output json";

const REVOKE_EXAMPLES: &str = "Examples:
  ambit token revoke 3f9c0a7be1d24586

Of a token `ambit_ID_SECRET` the id is named, as `ambit token list` shows it.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, this once
    Create(Box<CreateArguments>),
    /// List the tokens of the database, without their secrets
    List(Box<ListArguments>),
    /// Revoke a token for good
    Revoke(Box<RevokeArguments>),
}

#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArguments {
    /// Whose it is, as logs and lists name it; several tokens may have one name
    #[arg(value_name = "NAME", value_parser = parse_id)]
    name: Id,
    /// What it lets do: check, request, write or admin; may be given several times
    #[arg(long = "role", value_name = "ROLE", value_parser = parse_role, required = true)]
    roles: Vec<Role>,
    /// An account that it may name; may be given several times
    #[arg(long = "account", value_name = "ACCOUNT", value_parser = parse_id, required_unless_present = "all_accounts")]
    accounts: Vec<Id>,
    /// Let it name all accounts, those to come included
    #[arg(long, conflicts_with = "accounts")]
    all_accounts: bool,
    /// How long it is good, as 90d or 12h; for good without this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires_in: Option<Duration>,
    /// Add its hash to this file, for tokens_file, and not to the database
    #[arg(long, value_name = "FILE")]
    append_to: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArguments {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArguments {
    /// The id of the token: the 16 digits after `ambit_`
    #[arg(value_name = "TOKEN_ID")]
    token_id: String,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// A token as it is shown. The token itself is there when it is made, and never again.
#[derive(Debug, Serialize)]
struct Shown {
    token_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    name: String,
    roles: Vec<&'static str>,
    /// Absent: all accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<String>>,
    all_accounts: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Listed {
    tokens: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Revoked {
    token_id: String,
    revoked: bool,
}

fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse(text).map_err(|error| error.to_string())
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::from_word(text).ok_or_else(|| "a role is check, request, write or admin".to_owned())
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Create(arguments) => create(&arguments, output).await,
        Command::List(arguments) => list(&arguments, output).await,
        Command::Revoke(arguments) => revoke(&arguments, output).await,
    }
}

async fn create(arguments: &CreateArguments, output: &mut Output) -> Result<Exit, CliError> {
    let now = SystemClock::new().now();
    let token = BearerToken::make(&SystemRandomness).map_err(CliError::usage)?;
    let id = token
        .id()
        .ok_or_else(|| CliError::usage("no token could be made"))?;
    let kept = StoredToken {
        id,
        hash: token.hash(),
        name: arguments.name.clone(),
        roles: arguments.roles.iter().copied().collect(),
        accounts: if arguments.all_accounts {
            Accounts::All
        } else {
            Accounts::Only(arguments.accounts.iter().cloned().collect())
        },
        created_at: now,
        expires_at: arguments
            .expires_in
            .map(|duration| after(now, duration))
            .transpose()?,
        revoked_at: None,
    };
    let kept_in = match &arguments.append_to {
        Some(path) => {
            append(path, &tokens_file::entry(&kept))?;
            path.display().to_string()
        }
        None => {
            let config = arguments.settings.load()?;
            let store = open(&config).await?;
            let put = store.tokens.put_token(&kept).await;
            store.close().await;
            put.map_err(CliError::refused)?;
            place(&config.database)
        }
    };
    let mut shown = Shown::new(&kept, now);
    shown.token = Some(token.reveal().to_owned());
    match arguments.format.format {
        Format::Human => {
            note(&format!(
                "token {} of {} is kept as a hash in {kept_in}; it is shown here this once:",
                shown.token_id, shown.name
            ));
            output.line(token.reveal())?;
        }
        Format::Json => output.json(&shown)?,
    }
    Ok(Exit::Success)
}

fn after(now: Timestamp, duration: Duration) -> Result<Timestamp, CliError> {
    i64::try_from(duration.as_micros())
        .ok()
        .and_then(|micros| now.unix_micros().checked_add(micros))
        .and_then(Timestamp::from_unix_micros)
        .ok_or_else(|| CliError::usage("--expires-in lies beyond the year 9999; leave it out"))
}

/// Made readable by its owner only where it is absent.
fn append(path: &Path, entry: &str) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| {
        CliError::usage(format!("cannot write to {}: {error}", path.display()))
    };
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(wrong)?;
    file.write_all(entry.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(wrong)
}

async fn open(config: &Config) -> Result<DirectStore, CliError> {
    DirectStore::open(&config.database, Arc::new(SystemClock::new()))
        .await
        .map_err(CliError::refused)
}

async fn list(arguments: &ListArguments, output: &mut Output) -> Result<Exit, CliError> {
    let config = arguments.settings.load()?;
    let store = open(&config).await?;
    let read = store.tokens.tokens().await;
    store.close().await;
    let now = SystemClock::new().now();
    let tokens: Vec<Shown> = read
        .map_err(CliError::refused)?
        .tokens
        .iter()
        .map(|token| Shown::new(token, now))
        .collect();
    match arguments.format.format {
        Format::Json => output.json(&Listed { tokens })?,
        Format::Human if tokens.is_empty() => output.line("no tokens")?,
        Format::Human => {
            for token in &tokens {
                output.line(&token.line())?;
            }
        }
    }
    Ok(Exit::Success)
}

async fn revoke(arguments: &RevokeArguments, output: &mut Output) -> Result<Exit, CliError> {
    // Whoever pastes a whole token must not find it in a log of errors.
    let id = TokenId::parse(&arguments.token_id).ok_or_else(|| {
        CliError::usage(
            "name the token by its id: the 16 digits after `ambit_`, as `ambit token list` shows them",
        )
    })?;
    let config = arguments.settings.load()?;
    let store = open(&config).await?;
    let revoked = store
        .tokens
        .revoke_token(&id, SystemClock::new().now())
        .await;
    store.close().await;
    if !revoked.map_err(CliError::refused)? {
        return Err(CliError::refused(format!(
            "there is no token `{id}` in {}; see `ambit token list`, and take one of a tokens_file out of its file",
            place(&config.database)
        )));
    }
    match arguments.format.format {
        Format::Human => output.line(&format!(
            "token {id} is revoked; servers refuse it within their staleness bound"
        ))?,
        Format::Json => output.json(&Revoked {
            token_id: id.to_string(),
            revoked: true,
        })?,
    }
    Ok(Exit::Success)
}

impl Shown {
    fn new(token: &StoredToken, now: Timestamp) -> Self {
        let accounts = match &token.accounts {
            Accounts::All => None,
            Accounts::Only(accounts) => Some(accounts.iter().map(ToString::to_string).collect()),
        };
        Self {
            token_id: token.id.to_string(),
            token: None,
            name: token.name.to_string(),
            roles: token.roles.iter().map(Role::as_str).collect(),
            all_accounts: accounts.is_none(),
            accounts,
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|time| time.to_string()),
            revoked_at: token.revoked_at.map(|time| time.to_string()),
            state: match (token.revoked_at, token.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(expires_at)) if expires_at <= now => "expired",
                (None, _) => "live",
            },
        }
    }

    fn line(&self) -> String {
        let accounts = match &self.accounts {
            None => "all accounts".to_owned(),
            Some(accounts) => accounts.join(","),
        };
        let until = self
            .expires_at
            .as_ref()
            .map(|time| format!(" until {time}"))
            .unwrap_or_default();
        format!(
            "{} {:7} {}: {} on {accounts}, since {}{until}",
            self.token_id,
            self.state,
            self.name,
            self.roles.join(","),
            self.created_at
        )
    }
}
