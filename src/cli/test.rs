//! `ambit test`: the cases of account documents, decided in process, without server and database.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use crate::authz::document::{CaseResult, Cases, Document};
use crate::clock::{Clock, SystemClock};

use super::documents::{self, DocumentFile};
use super::error::{CliError, Exit};
use super::output::{self, Colour, Output};

mod junit;

const EXAMPLES: &str = "Examples:
  ambit test examples/demo/northwind.yaml
  ambit test accounts/*.yaml --output junit > report.xml
  ambit test account.yaml --output json

Exit status: 0 all cases passed, 1 a case failed, 2 a file is not valid.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// A line a case, and for a failed one why
    Human,
    /// One object with every case
    Json,
    /// The XML that build servers read
    Junit,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Account documents with cases; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print the results
    #[arg(
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "human"
    )]
    format: TestFormat,
}

#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    invalid: usize,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    /// Why the file is not valid; then it has no cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    cases: Vec<CaseReport>,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    account_id: String,
    name: String,
    line: u32,
    passed: bool,
    expected: String,
    actual: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    // One moment for all cases that name none.
    let now = SystemClock::new().now();
    let files = arguments.files.iter().map(|path| {
        let read = documents::read(path);
        let run = read.and_then(|file| run_file(&file, now));
        match run {
            Ok(cases) => FileReport {
                file: path.display().to_string(),
                error: None,
                cases,
            },
            Err(error) => FileReport {
                file: path.display().to_string(),
                error: Some(error.to_string()),
                cases: Vec::new(),
            },
        }
    });
    let report = Report::of(files.collect());
    match arguments.format {
        TestFormat::Human => report.print(output)?,
        TestFormat::Json => output.json(&report)?,
        TestFormat::Junit => output.text(&junit::xml(&report))?,
    }
    output.flush()?;
    for error in report.files.iter().filter_map(|file| file.error.as_ref()) {
        output::complain(error);
    }
    Ok(report.exit())
}

fn run_file(
    file: &DocumentFile,
    now: crate::authz::model::Timestamp,
) -> Result<Vec<CaseReport>, CliError> {
    let mut reports = Vec::new();
    for document in &file.documents {
        let cases = Cases::new(document).map_err(|error| documents::invalid(&file.name, &error))?;
        let results = cases.run_all(now);
        reports.extend(
            results
                .into_iter()
                .map(|result| CaseReport::of(document, result)),
        );
    }
    Ok(reports)
}

impl CaseReport {
    fn of(document: &Document, result: CaseResult) -> Self {
        Self {
            account_id: document.account_id().to_string(),
            name: result.name,
            line: result.place.line,
            passed: result.passed,
            expected: result.expected,
            actual: result.actual,
            explanation: result.explanation,
        }
    }
}

impl Report {
    fn of(files: Vec<FileReport>) -> Self {
        let cases = || files.iter().flat_map(|file| &file.cases);
        Self {
            passed: cases().filter(|case| case.passed).count(),
            failed: cases().filter(|case| !case.passed).count(),
            invalid: files.iter().filter(|file| file.error.is_some()).count(),
            files,
        }
    }

    fn exit(&self) -> Exit {
        if self.invalid > 0 {
            Exit::Usage
        } else if self.failed > 0 {
            Exit::No
        } else {
            Exit::Success
        }
    }

    fn print(&self, output: &mut Output) -> Result<(), CliError> {
        for file in &self.files {
            for case in &file.cases {
                case.print(&file.file, output)?;
            }
        }
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.invalid > 0 {
            line.push_str(&format!(", {} files not valid", self.invalid));
        }
        let colour = match self.exit() {
            Exit::Success => Colour::Green,
            Exit::No | Exit::Usage | Exit::Unreachable | Exit::Refused => Colour::Red,
        };
        output.line(&output.painted(colour, &line))
    }
}

impl CaseReport {
    fn print(&self, file: &str, output: &mut Output) -> Result<(), CliError> {
        if self.passed {
            let verdict = output.painted(Colour::Green, "ok  ");
            return output.line(&format!("{verdict} {}: {}", self.account_id, self.name));
        }
        let verdict = output.painted(Colour::Red, "FAIL");
        output.line(&format!(
            "{verdict} {}: {} ({file}:{})",
            self.account_id, self.name, self.line
        ))?;
        output.line(&format!("     expected {}", self.expected))?;
        output.line(&format!("     actual   {}", self.actual))?;
        for line in self.explanation.iter().flat_map(|text| text.lines()) {
            output.line(&format!("     {line}"))?;
        }
        Ok(())
    }
}
