//! `ambit ready`: asks a server's HTTP port whether it is ready, for probes where there is no shell.

use std::time::Duration;

use reqwest::{Client, redirect};
use url::Url;

use super::error::{CliError, Exit};
use super::output::Output;

const EXAMPLES: &str = "Examples:
  ambit ready
  ambit ready --url http://ambit.access.svc:8080

The exit status is 0 where it is ready, 1 where it is not, 3 where nobody answers.";

/// What an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// HTTP port of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
}

pub async fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let url = arguments
        .url
        .join("/readyz")
        .map_err(|error| CliError::Usage(format!("--url: {error}")))?;
    let unreachable = |error: reqwest::Error| {
        CliError::Unreachable(format!("{}: {}", arguments.url, error.without_url()))
    };
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(unreachable)?;
    let answer = client.get(url).send().await.map_err(unreachable)?;
    if answer.status().is_success() {
        output.line("ready")?;
        return Ok(Exit::Success);
    }
    let why = answer.text().await.map_err(unreachable)?;
    output.line(&format!("not ready: {}", super::error::one_line(&why)))?;
    Ok(Exit::No)
}
