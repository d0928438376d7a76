//! `ambit doctor`: looks at everything that a server needs and says what to do about each finding.

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Database};

use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::settings::SettingsArgs;

mod callers;
mod postgres;

const EXAMPLES: &str = "Examples:
  ambit doctor
  ambit doctor --data-dir /var/lib/ambit --server http://127.0.0.1:50051
  ambit doctor --database-url-file /run/secrets/ambit
  ambit doctor --server https://ambit.example.com:50051 --token-file crm.token
  ambit doctor --output json

Exit status: 0 nothing to mend, 1 something is.";

/// Difference of the clocks that is worth a word: boundaries of grants are judged by the server's.
const CLOCK_SKEW_SECONDS_MAX: i64 = 5;
/// Descriptors that the server needs besides its connections: database, log, ports.
const DESCRIPTORS_RESERVED: u64 = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Works, but not as one may expect.
    Warning,
    /// Does not work.
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Serialize)]
struct Diagnosis {
    problems: usize,
    findings: Vec<Finding>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warning,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn problem(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Problem,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

pub async fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut findings = Vec::new();
    match arguments.settings.load() {
        Ok(config) => {
            findings.push(configuration(&config));
            match &config.database {
                Database::Directory(data_dir) => {
                    findings.push(place(data_dir));
                    findings.push(database(data_dir).await);
                }
                Database::Url(url) => findings.extend(postgres::findings(url).await),
            }
            findings.push(descriptors(&config));
            findings.extend(callers::of_server(&config).await);
        }
        Err(error) => findings.push(Finding::problem(
            "configuration",
            error.to_string(),
            "mend the setting; `ambit serve --help` lists all of them",
        )),
    }
    findings.extend(callers::of_client(&arguments.server));
    findings.extend(server(&arguments.server).await);
    let problems = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Problem)
        .count();
    match arguments.format.format {
        Format::Human => print(&findings, output)?,
        Format::Json => output.json(&Diagnosis { problems, findings })?,
    }
    Ok(if problems == 0 {
        Exit::Success
    } else {
        Exit::No
    })
}

fn configuration(config: &Config) -> Finding {
    const CHECK: &str = "configuration";
    if config.ignored_variables.is_empty() {
        return Finding::ok(CHECK, "all settings can be read");
    }
    Finding::warning(
        CHECK,
        format!(
            "environment variables that are no setting: {}",
            config.ignored_variables.join(", ")
        ),
        "compare them with `ambit serve --help`, a slip in a name leaves the default in place",
    )
}

/// Whether the directory can be written, found out by writing.
fn place(data_dir: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let shown = data_dir.display();
    if !data_dir.exists() {
        return Finding::warning(
            CHECK,
            format!("{shown} is not there yet"),
            "nothing, where no server has run here; else name its directory with --data-dir",
        );
    }
    if !data_dir.is_dir() {
        return Finding::problem(
            CHECK,
            format!("{shown} is not a directory"),
            "name another with --data-dir",
        );
    }
    let probe: PathBuf = data_dir.join(format!("doctor-{}.tmp", std::process::id()));
    let written = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&probe);
    match written.and(removed) {
        Ok(()) => Finding::ok(CHECK, format!("{shown} can be written")),
        Err(error) => Finding::problem(
            CHECK,
            format!("{shown} can't be written: {error}"),
            "give the user that runs the server the right to write there, and room on the disk",
        ),
    }
}

async fn database(data_dir: &Path) -> Finding {
    const CHECK: &str = "database";
    let examined = match app::examine_directory(data_dir).await {
        Ok(Some(examined)) => examined,
        Ok(None) => return Finding::ok(CHECK, "none yet, the server makes it at its first start"),
        Err(error) => {
            return Finding::problem(
                CHECK,
                format!("{error}{}", causes(&error)),
                "see that the file `ambit.db` is a database of ambit and may be read; else restore it from a backup",
            );
        }
    };
    if !examined.is_ours && examined.schema != 0 {
        return Finding::problem(
            CHECK,
            "the file `ambit.db` is the database of another application",
            "name another directory with --data-dir",
        );
    }
    if examined.schema > examined.schema_newest {
        return Finding::problem(
            CHECK,
            format!(
                "it has schema {}, this version knows schemas up to {}",
                examined.schema, examined.schema_newest
            ),
            "use the version of ambit that wrote it, or a newer one",
        );
    }
    if !examined.damage.is_empty() {
        return Finding::problem(
            CHECK,
            format!("it is damaged: {}", examined.damage.join("; ")),
            "stop the server, keep a copy of the directory, and restore it from a backup or with the `.recover` command of sqlite3",
        );
    }
    if examined.schema < examined.schema_newest {
        return Finding::warning(
            CHECK,
            format!(
                "it has schema {}, this version writes schema {}",
                examined.schema, examined.schema_newest
            ),
            "keep a copy; the next start of the server brings it up",
        );
    }
    Finding::ok(
        CHECK,
        format!(
            "whole, with schema {} and {} accounts",
            examined.schema, examined.accounts
        ),
    )
}

/// What an error was caused by; this is the machine of the one who asks, so nothing is hidden.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    // The first cause is part of the error's own words.
    let mut cause = error.source().and_then(std::error::Error::source);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The server raises its limit as far as it may.
fn descriptors(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let needed = u64::try_from(config.transport.connections_max)
        .unwrap_or(u64::MAX)
        .saturating_add(DESCRIPTORS_RESERVED);
    match limit.maximum {
        Some(maximum) if maximum < needed => Finding::warning(
            CHECK,
            format!(
                "a process may have {maximum}, and `connections_max` is {}",
                config.transport.connections_max
            ),
            format!(
                "raise the hard limit to {needed} (`ulimit -Hn`, LimitNOFILE= of systemd), or lower connections_max"
            ),
        ),
        Some(maximum) => Finding::ok(CHECK, format!("a process may have {maximum}")),
        None => Finding::ok(CHECK, "a process may have any number"),
    }
}

async fn server(server: &ServerArgs) -> Vec<Finding> {
    const CHECK: &str = "server";
    let channel = match server.channel().await {
        Ok(channel) => channel,
        Err(error) => {
            return vec![Finding::problem(
                CHECK,
                error.to_string(),
                "start it, or name the right one with --server; then run this again",
            )];
        }
    };
    let asked_at = SystemClock::new().now();
    let answered = HealthClient::new(channel)
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await;
    let (metadata, health, _) = match answered {
        Ok(response) => response.into_parts(),
        Err(status) => {
            return vec![Finding::problem(
                CHECK,
                connection::refused(&status).to_string(),
                "see that --server names an ambit server, and look into its log",
            )];
        }
    };
    let date = metadata.get("date").and_then(|date| date.to_str().ok());
    vec![
        serving(&server.server, &health),
        clock(date, asked_at.unix_micros() / 1_000_000),
        callers::caller(server).await,
    ]
}

fn serving(url: &str, health: &HealthCheckResponse) -> Finding {
    const CHECK: &str = "server";
    if health.status() == ServingStatus::Serving {
        return Finding::ok(CHECK, format!("{url} is serving"));
    }
    Finding::problem(
        CHECK,
        format!("{url} answers, but is not serving"),
        "look into its log: it can't follow its database, or it is shutting down",
    )
}

/// The server's clock as far as its answer tells it, in whole seconds.
fn clock(date: Option<&str>, now_seconds: i64) -> Finding {
    const CHECK: &str = "clock";
    let server_seconds = date
        .and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok())
        .map(OffsetDateTime::unix_timestamp);
    let Some(server_seconds) = server_seconds else {
        return Finding::ok(CHECK, "the server's answer does not tell its time");
    };
    let ahead = server_seconds.saturating_sub(now_seconds);
    if ahead.abs() <= CLOCK_SKEW_SECONDS_MAX {
        return Finding::ok(CHECK, "the server's clock agrees with this machine's");
    }
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    Finding::warning(
        CHECK,
        format!(
            "the server's clock is {} s {direction} this machine's",
            ahead.abs()
        ),
        "set both by NTP: grants begin and expire by the server's clock",
    )
}

fn print(findings: &[Finding], output: &mut Output) -> Result<(), CliError> {
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => output.painted(Colour::Green, "ok      "),
            Verdict::Warning => output.painted(Colour::Yellow, "warning "),
            Verdict::Problem => output.painted(Colour::Red, "problem "),
        };
        output.line(&format!(
            "{verdict} {}: {}",
            finding.check,
            super::error::one_line(&finding.found)
        ))?;
        if let Some(remedy) = &finding.remedy {
            output.line(&format!("         what to do: {remedy}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_in_their_direction() {
        let date = Some("Sun, 22 Nov 2026 00:00:00 GMT");
        let then = 1_795_305_600;
        assert_eq!(clock(date, then).verdict, Verdict::Ok);
        assert_eq!(clock(date, then + 5).verdict, Verdict::Ok);
        let behind = clock(date, then + 60);
        assert_eq!(behind.verdict, Verdict::Warning);
        assert!(behind.found.contains("60 s behind"), "{}", behind.found);
        assert!(clock(date, then - 60).found.contains("60 s ahead of"));
        assert_eq!(clock(None, then).verdict, Verdict::Ok);
        assert_eq!(clock(Some("yesterday"), then).verdict, Verdict::Ok);
    }

    #[test]
    fn a_data_directory_is_probed_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(place(directory.path()).verdict, Verdict::Ok);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let absent = place(&directory.path().join("absent"));
        assert_eq!(absent.verdict, Verdict::Warning);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(place(&file).verdict, Verdict::Problem);
    }
}
