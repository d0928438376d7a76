//! `ambit serve`: the server, with or without the demo accounts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::app::{App, AppError, place};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::demo;
use crate::shutdown::Shutdown;
use crate::telemetry;

use super::connection::DEFAULT_SERVER;
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::settings::SettingsArgs;

const EXAMPLES: &str = "Examples:
  ambit serve
  ambit serve --demo
  ambit serve --data-dir /var/lib/ambit --grpc-address 127.0.0.1:0

Flags go over the environment, the environment over ambit.toml. Ctrl-C ends the calls that run and
stops.";

/// What the spans that wait may take to be sent at the end.
const EXPORT_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Load the demo accounts where they are absent, and print commands to try
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What is said once the server can be asked.
#[derive(Debug, Serialize)]
struct Started {
    server: String,
    http: String,
    /// The directory of the embedded database, or which kind of server it is.
    database: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    demo: Option<Demo>,
}

#[derive(Debug, Serialize)]
struct Demo {
    accounts: Vec<DemoAccount>,
    commands: Vec<DemoCommand>,
}

#[derive(Debug, Serialize)]
struct DemoAccount {
    account_id: String,
    created: bool,
}

#[derive(Debug, Serialize)]
struct DemoCommand {
    about: &'static str,
    command: String,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let config = arguments.settings.load()?;
    let telemetry = telemetry::init(&config).map_err(CliError::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::usage(format!("cannot start: {error}")))?;
    let served = runtime.block_on(serve(&config, arguments, output));
    telemetry.end(EXPORT_MAX.min(config.shutdown_grace / 5));
    // Whatever still runs had its grace.
    runtime.shutdown_background();
    served.map(|()| Exit::Success)
}

async fn serve(
    config: &Config,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<(), CliError> {
    let shutdown = Shutdown::new();
    shutdown
        .on_signals()
        .map_err(|error| CliError::usage(format!("cannot listen to signals: {error}")))?;
    let started = App::start(config, Arc::new(SystemClock::new()), shutdown.clone()).await;
    let app = match started {
        Ok(app) => app,
        // As it was told to.
        Err(AppError::Ended) => return Ok(()),
        Err(error) => return Err(start_error(error)),
    };
    let demo = if arguments.demo {
        Some(load_demo(&app, config).await?)
    } else {
        None
    };
    let started = Started {
        server: url(config.transport.is_encrypted(), app.grpc_address()),
        http: url(config.http_tls, app.http_address()),
        database: place(&config.database),
        demo,
    };
    match arguments.format.format {
        Format::Human => started.print(output)?,
        Format::Json => output.json(&started)?,
    }
    output.flush()?;
    app.run().await.map_err(CliError::refused)
}

fn start_error(error: AppError) -> CliError {
    match error {
        AppError::Bind { .. } => CliError::usage(format!(
            "{error}; end what listens there, or choose another with --grpc-address and --http-address"
        )),
        AppError::Store { .. } => CliError::usage(format!(
            "{error}; see `ambit doctor`, or choose another with --data-dir"
        )),
        AppError::Postgres(_) => CliError::usage(format!("{error}; see `ambit doctor`")),
        AppError::Authentication(_)
        | AppError::DecisionLog(_)
        | AppError::Notifications(_)
        | AppError::Tls(_) => CliError::usage(error),
        AppError::Ended
        | AppError::Metrics(_)
        | AppError::Telemetry(_)
        | AppError::Language(_)
        | AppError::Thread(_)
        | AppError::Randomness(_)
        | AppError::Died { .. } => CliError::refused(error),
    }
}

fn url(is_encrypted: bool, address: SocketAddr) -> String {
    let scheme = if is_encrypted { "https" } else { "http" };
    format!("{scheme}://{address}")
}

async fn load_demo(app: &App, config: &Config) -> Result<Demo, CliError> {
    let loaded = demo::load(app.directory())
        .await
        .map_err(CliError::refused)?;
    let program = program();
    let server = url(config.transport.is_encrypted(), app.grpc_address());
    let named = (server != DEFAULT_SERVER).then_some(server.as_str());
    Ok(Demo {
        accounts: loaded
            .into_iter()
            .map(|loaded| DemoAccount {
                account_id: loaded.account.to_string(),
                created: loaded.created,
            })
            .collect(),
        commands: demo::COMMANDS
            .iter()
            .map(|command| DemoCommand {
                about: command.about,
                command: command.line(&program, named),
            })
            .collect(),
    })
}

impl Started {
    fn print(&self, output: &mut Output) -> Result<(), CliError> {
        let serving = output.painted(Colour::Bold, "Serving");
        output.line(&format!(
            "{serving} gRPC on {}, health on {}, data in {}",
            self.server, self.http, self.database
        ))?;
        let Some(demo) = &self.demo else {
            return Ok(());
        };
        for account in &demo.accounts {
            let what = if account.created {
                "loaded"
            } else {
                "was there already, left as it is"
            };
            output.line(&format!("Demo account {}: {what}", account.account_id))?;
        }
        output.line("\nTry in another terminal:")?;
        for command in &demo.commands {
            let about = output.painted(Colour::Dim, &format!("# {}", command.about));
            output.line(&format!("\n  {about}\n  {}", command.command))?;
        }
        output.line("")
    }
}

/// How this program is called from a shell: by its name where the shell finds it by that, else by
/// its path, which works from any directory.
fn program() -> String {
    const NAME: &str = "ambit";
    let Ok(this) = std::env::current_exe() else {
        return NAME.to_owned();
    };
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(NAME))
            .find(|candidate| candidate.is_file())
    });
    if found.is_some_and(|found| is_same_file(&found, &this)) {
        NAME.to_owned()
    } else {
        this.display().to_string()
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
