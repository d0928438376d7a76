//! `ambit batch-check`: many checks of one account, answered in order and all at one revision.

use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::Serialize;

use crate::authz::model::Id;
use crate::grpc::wire;

use super::answer::Answer;
use super::connection::{self, Link, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{self, Format, FormatArgs, Output};
use super::question::ReadArgs;

pub mod line;

use line::Line;

const EXAMPLES: &str = "Examples:
  ambit batch-check northwind questions.txt
  printf 'lena contact.view bosch\\nheike contact.export\\n' | ambit batch-check northwind -
  echo '{\"user_id\":\"lena\",\"resource_type\":\"contact\",\"action\":\"edit\",\"resource_id\":\"bosch\"}' \\
    | ambit batch-check northwind - --output json

A line is USER TYPE.ACTION [ID], where the id is the rest of the line, or a JSON object with the
fields of a CheckRequest: user_id, resource_type, action, resource_id, at, resource_facts.";

/// Items of one request (`api.md`); more are sent in several.
const REQUEST_ITEMS_MAX: usize = 10_000;
/// Bytes of one request's items: below the 4 MiB that the server takes.
const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Times that a batch in several requests is asked again from the start because the account
/// changed in between.
const TRIES_MAX: u32 = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The questions, one a line; - for standard input
    file: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct BatchAnswer {
    revision: String,
    results: Vec<ItemAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemAnswer {
    Decided(Answer),
    Failed { error: ItemError },
}

#[derive(Serialize)]
struct ItemError {
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let text = read(&arguments.file)?;
    let lines = line::parse_all(&text, &arguments.account)
        .map_err(|error| error.about(name_of(&arguments.file)))?;
    let items: Vec<wire::BatchCheckItem> = lines.iter().map(Line::item).collect();
    let mut client = arguments.server.decisions().await?;
    let answer = ask(&mut client, &arguments, &items).await?;
    let failed = answer
        .results
        .iter()
        .any(|result| matches!(result, ItemAnswer::Failed { .. }));
    match arguments.format.format {
        Format::Human => print(&lines, &answer.results, output)?,
        Format::Json => output.json(&answer)?,
    }
    Ok(if failed { Exit::Refused } else { Exit::Success })
}

fn read(file: &Path) -> Result<String, CliError> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| CliError::usage(format!("cannot read {}: {error}", name_of(file))))
}

fn name_of(file: &Path) -> String {
    if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

type Client = wire::decision_service_client::DecisionServiceClient<Link>;

/// Asks all items at one revision. What does not fit one request is asked in several, the later
/// ones at least as fresh as the first; where the account changed in between, all is asked again.
async fn ask(
    client: &mut Client,
    arguments: &Arguments,
    items: &[wire::BatchCheckItem],
) -> Result<BatchAnswer, CliError> {
    let requests = split(items);
    let mut consistency = connection::consistency(&arguments.read);
    let mut tries = 0;
    loop {
        tries += 1;
        let (answer, newest) = ask_once(client, arguments, &requests, consistency).await?;
        if answer.revision == newest {
            return Ok(answer);
        }
        if tries == TRIES_MAX {
            output::note(
                "note: the account changed while the batch was answered; every answer is at least as fresh as the first one",
            );
            return Ok(answer);
        }
        consistency = Some(at_least(&newest));
    }
}

/// The answers, and the revision of the last of them.
async fn ask_once(
    client: &mut Client,
    arguments: &Arguments,
    requests: &[&[wire::BatchCheckItem]],
    consistency: Option<wire::Consistency>,
) -> Result<(BatchAnswer, String), CliError> {
    let total = requests.iter().map(|items| items.len() as u64).sum();
    let bar = output::progress("checking", Some(total));
    let mut results = Vec::new();
    let mut first = String::new();
    let mut newest = String::new();
    let mut consistency = consistency;
    for items in requests {
        let response = client
            .batch_check(wire::BatchCheckRequest {
                account_id: arguments.account.to_string(),
                items: items.to_vec(),
                at: arguments.read.at.map(connection::to_wire_time),
                consistency: consistency.take(),
            })
            .await
            .map_err(|status| connection::refused(&status))?
            .into_inner();
        if response.results.len() != items.len() {
            return Err(CliError::refused(format!(
                "the server answered {} of {} questions; it does not speak as this command does, update either",
                response.results.len(),
                items.len()
            )));
        }
        bar.inc(items.len() as u64);
        for result in response.results {
            results.push(read_result(result)?);
        }
        if first.is_empty() {
            first.clone_from(&response.revision);
        }
        consistency = Some(at_least(&response.revision));
        newest = response.revision;
    }
    bar.finish_and_clear();
    let answer = BatchAnswer {
        revision: first,
        results,
    };
    Ok((answer, newest))
}

/// An empty batch is still asked, so that an unknown account is told.
fn split(items: &[wire::BatchCheckItem]) -> Vec<&[wire::BatchCheckItem]> {
    let mut requests = Vec::new();
    let mut rest = items;
    loop {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take(REQUEST_ITEMS_MAX)
            .take_while(|item| {
                bytes += item.encoded_len();
                bytes <= REQUEST_BYTES_MAX
            })
            .count();
        // One item that is too large alone goes out alone, for the server to say so.
        let (request, later) = rest.split_at(fitting.max(1).min(rest.len()));
        requests.push(request);
        rest = later;
        if rest.is_empty() {
            return requests;
        }
    }
}

fn at_least(revision: &str) -> wire::Consistency {
    wire::Consistency {
        requirement: Some(wire::consistency::Requirement::AtLeastAsFresh(
            revision.to_owned(),
        )),
    }
}

fn read_result(mut result: wire::BatchCheckResult) -> Result<ItemAnswer, CliError> {
    if let Some(error) = result.error.take() {
        return Ok(ItemAnswer::Failed {
            error: ItemError {
                reason: error.reason,
                message: error.message,
                field: error.field,
            },
        });
    }
    Answer::of(result).map(ItemAnswer::Decided)
}

/// `allow  TEAM  lena contact.view bosch`, with tabs, in the order of the questions.
fn print(lines: &[Line], results: &[ItemAnswer], output: &mut Output) -> Result<(), CliError> {
    for (line, result) in lines.iter().zip(results) {
        let text = match result {
            ItemAnswer::Decided(answer) => {
                format!("{}\t{}\t{line}", answer.decision, answer.reason)
            }
            ItemAnswer::Failed { error } => format!("error\t{}\t{line}", error.reason),
        };
        output.line(&text)?;
        if let ItemAnswer::Failed { error } = result {
            output::complain(&format!("line {}: {}", line.number(), error.message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str) -> wire::BatchCheckItem {
        wire::BatchCheckItem {
            resource_id: id.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_batch_is_split_by_count_and_by_bytes() {
        let small = vec![item("a"); 25_000];
        let sizes: Vec<usize> = split(&small).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [10_000, 10_000, 5_000]);
        let large = vec![item(&"x".repeat(1_000_000)); 7];
        let sizes: Vec<usize> = split(&large).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [3, 3, 1]);
        assert_eq!(split(&[]).len(), 1, "an empty batch is asked too");
        assert_eq!(split(&[item(&"x".repeat(9_000_000))]).len(), 1);
    }
}
