//! `ambit import`: resources by the million, from a table or from JSON lines.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::authz::model::{Id, Principal};
use crate::clock::{Clock as _, SystemClock};
use crate::grpc::convert;
use crate::grpc::wire;
use crate::imports::{BATCH_ROWS_MAX, ERRORS_MAX_DEFAULT, ImportRequest, Mode};

use super::access_preview::ShownAccess;
use super::author::author;
use super::destination::DestinationArgs;
use super::error::{CliError, Exit, one_line};
use super::output::{self, Colour, Format, FormatArgs, Output};

mod lines;
mod reading;
mod sending;
mod table;

use reading::Reading;
use sending::Told;

const EXAMPLES: &str = "Examples:
  ambit import acme contacts.csv --type contact
  ambit import acme contacts.csv --dry-run
  ambit import acme contacts.ndjson --mode replace --job crm-nightly
  ambit import acme export.csv --delimiter ';' --errors refused.csv
  ambit import acme fair.csv --type contact --to team:sales --job fair-2027 --as lena
  zcat contacts.csv.gz | ambit import acme - --format csv --key crm-2026-11-22
  ambit import acme contacts.csv --data-dir ./ambit-data

A table has a header row with columns out of: type, id, owners, owning_team, partitioned,
assigned_to, assigned_until, attributes. Lists in a cell are separated by semicolons (\\; and \\\\
stand for a semicolon and a backslash), assigned_to holds user:ID, team:ID or group:ID, attributes
a JSON object. A column that is not there leaves its field as it is, an empty cell empties it.

JSON lines have the fields of a resource in an account document:
  {\"type\": \"contact\", \"id\": \"c1\", \"owners\": [\"lena\"], \"assigned_to\": [\"team:germany\",
   {\"to\": \"group:vip\", \"expires_at\": \"2027-01-01T00:00:00Z\"}]}

An import that broke off is taken up by the same command: what is written is not written again.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account, which must be there
    account: Id,
    /// The rows; - for standard input
    file: PathBuf,
    /// How the rows are written; by default as the file's name ends
    #[arg(long = "format", value_name = "FORMAT", value_enum)]
    file_format: Option<FileFormat>,
    /// The type of rows that name none
    #[arg(long = "type", value_name = "TYPE")]
    default_type: Option<Id>,
    /// What separates the columns of a table
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    delimiter: char,
    /// What a row means for a resource that is there already
    #[arg(long, value_enum, default_value = "merge")]
    mode: ModeArg,
    /// The name of the job: assignments get the provenance import:JOB; by default the file's name
    #[arg(long, value_name = "JOB")]
    job: Option<Id>,
    /// To whom every record is assigned, as team:ID, user:ID or group:ID; may be given several times
    #[arg(long, value_name = "PRINCIPAL")]
    to: Vec<Principal>,
    /// The user whose rights it is judged by; without one the caller must have the role `admin`
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    /// By which a broken import is taken up within 24 hours; by default made of the file's content
    #[arg(long, value_name = "KEY")]
    key: Option<Id>,
    /// Most rows of one transaction
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_rows: u32,
    /// Stop after the batch in which this many rows were refused
    #[arg(long, value_name = "COUNT", default_value_t = ERRORS_MAX_DEFAULT, value_parser = clap::value_parser!(u64).range(1..))]
    max_errors: u64,
    /// Write the refused rows to this file: line, field, reason and message, as a table
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Judge every row, write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// A table with a header row
    Csv,
    /// A JSON object a line
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Set what the row names, leave the rest, add its assignments
    Merge,
    /// The row is all that this job says of the resource
    Replace,
}

#[derive(Serialize)]
struct ImportAnswer {
    account_id: String,
    import_key: String,
    job: String,
    dry_run: bool,
    complete: bool,
    revision: String,
    progress: ProgressAnswer,
    errors: Vec<ErrorAnswer>,
    /// Of a dry run.
    #[serde(flatten)]
    access: ShownAccess,
}

#[derive(Serialize)]
struct ProgressAnswer {
    read: u64,
    written: u64,
    unchanged: u64,
    skipped: u64,
    refused: u64,
    held_back: u64,
    withheld: u64,
}

#[derive(Debug, Clone, Serialize)]
struct ErrorAnswer {
    line: u64,
    field: String,
    reason: String,
    message: String,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let reading = Reading::new(&arguments)?;
    let survey = reading::survey(&arguments.file)?;
    let job = match &arguments.job {
        Some(job) => job.clone(),
        None => job_of(&arguments.file)?,
    };
    let key = match (&arguments.key, &survey) {
        (Some(key), _) => key.clone(),
        (None, Some(survey)) => key_of(&arguments, &job, &survey.digest)?,
        (None, None) => id_of(&format!("once-{}", SystemClock::new().now().unix_micros()))?,
    };
    let can_be_repeated = arguments.key.is_some() || survey.is_some();
    let request = ImportRequest {
        account: arguments.account.clone(),
        key,
        job,
        mode: match arguments.mode {
            ModeArg::Merge => Mode::Merge,
            ModeArg::Replace => Mode::Replace,
        },
        targets: arguments.to.clone(),
        actor: arguments.actor.clone(),
        batch_rows: usize::try_from(arguments.batch_rows).unwrap_or(BATCH_ROWS_MAX),
        errors_max: arguments.max_errors,
        dry_run: arguments.dry_run,
        author: author("ImportResources"),
    };
    let header_lines = u64::from(reading.format == FileFormat::Csv);
    let length = survey.map(|survey| survey.lines.saturating_sub(header_lines));
    let mut report = Report::new(&arguments, length)?;
    let mut destination = arguments.destination.open(true).await?;
    let rows = sending::spawn_reader(&arguments.file, reading);
    let sent = sending::send(&mut destination, &request, rows, |told| report.add(told)).await;
    destination.close().await;
    report.bar.finish_and_clear();
    report.flush()?;
    let unreadable = sent.map_err(|error| as_broken_off(error, &report, can_be_repeated))?;
    report.print(&request, output)?;
    Ok(report.exit(unreadable))
}

/// The same for the same rows under the same options, so that a repeated command takes up what it
/// broke off.
fn key_of(arguments: &Arguments, job: &Id, content: &[u8; 32]) -> Result<Id, CliError> {
    let default_type = arguments.default_type.as_ref().map_or("", Id::as_str);
    let options = serde_json::to_vec(&(
        job.as_str(),
        default_type,
        arguments.mode == ModeArg::Replace,
        arguments.delimiter,
        arguments.batch_rows,
    ))
    .map_err(CliError::usage)?;
    let mut digest = Sha256::new();
    digest.update(content);
    digest.update(&options);
    // Nothing where there are none, as before there were any.
    for target in &arguments.to {
        digest.update(format!("to {target}\n"));
    }
    if let Some(actor) = &arguments.actor {
        digest.update(format!("as {actor}\n"));
    }
    let digest: Vec<String> = digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    id_of(&format!("file-{}", digest.concat()))
}

/// What a file's name says of where its rows come from.
fn job_of(file: &Path) -> Result<Id, CliError> {
    if reading::is_stdin(file) {
        return id_of("stdin");
    }
    let name = file.file_name().unwrap_or(file.as_os_str());
    Id::parse(&name.to_string_lossy()).map_err(|error| {
        CliError::usage(format!(
            "the file's name can't stand for the job, name one with --job: {error}"
        ))
    })
}

fn id_of(text: &str) -> Result<Id, CliError> {
    Id::parse(text).map_err(CliError::usage)
}

impl FileFormat {
    /// By the end of the file's name.
    fn of(file: &Path) -> Result<Self, CliError> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some(_) | None => Err(CliError::usage(format!(
                "{} does not say how its rows are written: name it with --format csv or --format ndjson",
                reading::name_of(file)
            ))),
        }
    }
}

/// What came of the rows so far.
struct Report {
    file: String,
    bar: indicatif::ProgressBar,
    errors_file: Option<(String, csv::Writer<std::fs::File>)>,
    progress: wire::ImportProgress,
    errors: Vec<ErrorAnswer>,
    keeps_errors: bool,
    revision: String,
    end: wire::ImportEnd,
    access: ShownAccess,
    is_dry: bool,
    format: Format,
}

impl Report {
    fn new(arguments: &Arguments, length: Option<u64>) -> Result<Self, CliError> {
        let what = if arguments.dry_run {
            "judging"
        } else {
            "importing"
        };
        let errors_file = match &arguments.errors {
            None => None,
            Some(path) => {
                let name = path.display().to_string();
                let writer = csv::Writer::from_path(path)
                    .map_err(|error| CliError::usage(format!("cannot write {name}: {error}")))?;
                Some((name, writer))
            }
        };
        Ok(Self {
            file: reading::name_of(&arguments.file),
            bar: output::progress(what, length),
            errors_file,
            progress: wire::ImportProgress::default(),
            errors: Vec::new(),
            keeps_errors: arguments.format.format == Format::Json,
            revision: String::new(),
            end: wire::ImportEnd::Unspecified,
            access: ShownAccess::default(),
            is_dry: arguments.dry_run,
            format: arguments.format.format,
        })
    }

    fn add(&mut self, told: Told) -> Result<(), CliError> {
        self.progress = told.progress;
        self.revision = told.revision;
        self.end = told.end;
        self.access.add(told.preview, told.preview_refused);
        self.bar.set_position(self.settled());
        for withheld in told.withheld {
            let text = format!(
                "{}:{}: not assigned: {}",
                self.file, withheld.line, withheld.message
            );
            self.bar.suspend(|| output::note(&one_line(&text)));
        }
        for error in told.errors {
            let error = ErrorAnswer {
                line: error.line,
                field: convert::core_field(&error.field),
                reason: error.reason,
                message: error.message,
            };
            let place = match error.field.as_str() {
                "" => format!("{}:{}", self.file, error.line),
                field => format!("{}:{}: {field}", self.file, error.line),
            };
            let text = one_line(&format!("{place}: {}", error.message));
            self.bar.suspend(|| output::note(&text));
            if let Some((name, writer)) = &mut self.errors_file {
                writer
                    .serialize(&error)
                    .map_err(|error| CliError::usage(format!("cannot write {name}: {error}")))?;
            }
            if self.keeps_errors {
                self.errors.push(error);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CliError> {
        match &mut self.errors_file {
            None => Ok(()),
            Some((name, writer)) => writer
                .flush()
                .map_err(|error| CliError::usage(format!("cannot write {name}: {error}"))),
        }
    }

    /// Rows whose batch was dealt with.
    fn settled(&self) -> u64 {
        let progress = &self.progress;
        progress.written
            + progress.unchanged
            + progress.skipped
            + progress.refused
            + progress.held_back
    }

    fn print(&mut self, request: &ImportRequest, output: &mut Output) -> Result<(), CliError> {
        let progress = &self.progress;
        match self.format {
            Format::Json => output.json(&ImportAnswer {
                account_id: request.account.to_string(),
                import_key: request.key.to_string(),
                job: request.job.to_string(),
                dry_run: self.is_dry,
                complete: self.end == wire::ImportEnd::Complete,
                revision: self.revision.clone(),
                progress: ProgressAnswer {
                    read: progress.read,
                    written: progress.written,
                    unchanged: progress.unchanged,
                    skipped: progress.skipped,
                    refused: progress.refused,
                    held_back: progress.held_back,
                    withheld: progress.withheld,
                },
                errors: std::mem::take(&mut self.errors),
                access: std::mem::take(&mut self.access),
            }),
            Format::Human => {
                let name = output.painted(Colour::Bold, request.account.as_str());
                output.line(&format!("{name}: {}", self.sentence()))?;
                self.access.print(false, output)?;
                if self.end == wire::ImportEnd::TooManyErrors {
                    output.flush()?;
                    output::note(&format!(
                        "stopped after {} refused rows; raise --max-errors to look at more",
                        progress.refused
                    ));
                }
                Ok(())
            }
        }
    }

    /// `998,000 rows written, 1,000 unchanged, 1 refused, 999 held back, revision ...`
    fn sentence(&self) -> String {
        let progress = &self.progress;
        let written = if self.is_dry {
            "rows would be written"
        } else {
            "rows written"
        };
        let mut parts = vec![format!("{} {written}", grouped(progress.written))];
        for (count, what) in [
            (progress.unchanged, "unchanged"),
            (progress.skipped, "written before"),
            (progress.refused, "refused"),
            (progress.held_back, "held back with them"),
            (progress.withheld, "assignments withheld"),
        ] {
            if count > 0 {
                parts.push(format!("{} {what}", grouped(count)));
            }
        }
        if !self.is_dry {
            parts.push(format!("revision {}", self.revision));
        }
        parts.join(", ")
    }

    /// Refused by what is in the file alone, or by the account.
    fn exit(&self, unreadable: u64) -> Exit {
        match self.progress.refused {
            0 => Exit::Success,
            refused if refused <= unreadable => Exit::Usage,
            _ => Exit::Refused,
        }
    }
}

fn grouped(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// What came before the end of an import that broke off, and how it is taken up. A server that is
/// gone may have written more than it could tell.
fn as_broken_off(error: CliError, report: &Report, can_be_repeated: bool) -> CliError {
    let settled = report.settled();
    let is_lost = matches!(error, CliError::Unreachable(_));
    if report.is_dry || (settled == 0 && !is_lost) {
        return error;
    }
    let hint = match (&error, can_be_repeated) {
        (CliError::Usage(_), _) => "",
        (_, true) => "; run the same command again to take it up",
        (_, false) => "; import it again, and next time with --key, by which it can be taken up",
    };
    let told = |text: String| match settled {
        0 => format!("{text}{hint}"),
        settled => format!("after {} rows: {text}{hint}", grouped(settled)),
    };
    match error {
        CliError::Usage(text) => CliError::Usage(told(text)),
        CliError::Unreachable(text) => CliError::Unreachable(told(text)),
        CliError::Refused(text) => CliError::Refused(told(text)),
    }
}
