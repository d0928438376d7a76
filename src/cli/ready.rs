//! `ambit ready`: asks a server's HTTP port whether it is ready, for probes where there is no shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, redirect};
use url::Url;

use super::connection::innermost;
use super::error::{CliError, Exit};
use super::output::Output;

const EXAMPLES: &str = "Examples:
  ambit ready
  ambit ready --url https://ambit.access.svc:8080 --server-ca-file /etc/ambit/ca.crt

The exit status is 0 where it is ready, 1 where it is not, 3 where nobody answers.";

/// What an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// HTTP port of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// Authorities (PEM) that the server's certificate must come from, instead of the system's
    #[arg(long, value_name = "FILE", env = "AMBIT_SERVER_CA_FILE")]
    server_ca_file: Option<PathBuf>,
}

pub async fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let url = arguments
        .url
        .join("/readyz")
        .map_err(|error| CliError::Usage(format!("--url: {error}")))?;
    let unreachable = |error: reqwest::Error| {
        let error = error.without_url();
        CliError::Unreachable(format!("{}: {}", arguments.url, innermost(&error)))
    };
    let mut client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .no_proxy();
    let file = arguments.server_ca_file.as_deref();
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        client = client.tls_certs_only(authorities(file)?);
    }
    let client = client.build().map_err(unreachable)?;
    let answer = client.get(url).send().await.map_err(unreachable)?;
    if answer.status().is_success() {
        output.line("ready")?;
        return Ok(Exit::Success);
    }
    let why = answer.text().await.map_err(unreachable)?;
    output.line(&format!("not ready: {}", super::error::one_line(&why)))?;
    Ok(Exit::No)
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, CliError> {
    let wrong = |problem: &dyn std::fmt::Display| {
        CliError::usage(format!("--server-ca-file {}: {problem}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
    let read = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
    match read.is_empty() {
        true => Err(wrong(&"it holds no certificate in PEM")),
        false => Ok(read),
    }
}
