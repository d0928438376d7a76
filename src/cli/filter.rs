//! `ambit filter`: of the ids on standard input, those on which a user may do an action.
//!
//! Ids are sent as they are read and answers printed as they come, all at one revision, so the
//! list may be longer than memory.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::authz::model::Id;
use crate::grpc::wire;

use super::connection::{self, Link, ServerArgs};
use super::error::{CliError, Exit};
use super::list::IdPrinter;
use super::output::{self, FormatArgs, Output};
use super::question::{ReadArgs, TypeAction};

const EXAMPLES: &str = "Examples:
  printf 'anna\\nbogdan\\nemil\\n' | ambit filter lumen marek contact.communicate
  ambit filter lumen marek contact.communicate < recipients.txt > allowed.txt
  ambit list lumen piotr contact.view | ambit filter lumen piotr contact.edit";

/// Ids of one message. An id has at most 256 bytes, so this is far below a message's limit.
const MESSAGE_IDS_MAX: usize = 1_000;
/// How long ids wait for company before they are sent.
const LINGER: Duration = Duration::from_millis(20);
/// Messages on their way to the server before reading waits.
const MESSAGES_AHEAD: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The user
    user: Id,
    /// What the user wants to do, as contact.communicate
    #[arg(value_name = "TYPE.ACTION")]
    question: TypeAction,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.decisions().await?;
    let (ids, read) = mpsc::channel(MESSAGE_IDS_MAX);
    let reading = tokio::spawn(read_ids(ids));
    let (messages, sent) = mpsc::channel(MESSAGES_AHEAD);
    tokio::spawn(send_ids(first_message(&arguments), read, messages));

    let answered = print_answers(&mut client, sent, &arguments, output).await;
    if output.closed() {
        return Ok(Exit::Success);
    }
    // Where reading failed, the server has seen a shorter list and answered it in good faith:
    // the cause is what the caller must hear.
    if answered.is_ok() || reading.is_finished() {
        reading
            .await
            .map_err(|error| CliError::usage(format!("standard input: {error}")))??;
    }
    answered?;
    Ok(Exit::Success)
}

fn first_message(arguments: &Arguments) -> wire::FilterAccessibleStreamRequest {
    wire::FilterAccessibleStreamRequest {
        account_id: arguments.account.to_string(),
        user_id: arguments.user.to_string(),
        action: arguments.question.action.to_string(),
        resource_type: arguments.question.resource_type.to_string(),
        resource_ids: Vec::new(),
        at: arguments.read.at.map(connection::to_wire_time),
        consistency: connection::consistency(&arguments.read),
    }
}

/// Sends the first message at once, so that a wrong question is refused before any id is read.
async fn send_ids(
    first: wire::FilterAccessibleStreamRequest,
    ids: mpsc::Receiver<String>,
    messages: mpsc::Sender<wire::FilterAccessibleStreamRequest>,
) {
    if messages.send(first).await.is_err() {
        return;
    }
    let chunks = ReceiverStream::new(ids).chunks_timeout(MESSAGE_IDS_MAX, LINGER);
    tokio::pin!(chunks);
    while let Some(resource_ids) = chunks.next().await {
        let message = wire::FilterAccessibleStreamRequest {
            resource_ids,
            ..Default::default()
        };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

async fn print_answers(
    client: &mut wire::decision_service_client::DecisionServiceClient<Link>,
    messages: mpsc::Receiver<wire::FilterAccessibleStreamRequest>,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut answers = client
        .filter_accessible_stream(ReceiverStream::new(messages))
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let mut ids = IdPrinter::new(arguments.format.format);
    let bar = output::progress("allowed", None);
    while let Some(answer) = answers
        .message()
        .await
        .map_err(|status| connection::refused(&status))?
    {
        ids.head(None, &answer.revision, output)?;
        for id in &answer.ids {
            ids.id(id, output)?;
        }
        // Whoever reads on may feed the next id only after it has seen this one.
        output.flush()?;
        bar.inc(answer.ids.len() as u64);
        if output.closed() {
            break;
        }
    }
    bar.finish_and_clear();
    ids.tail(output)
}

/// Reads an id a line; empty lines are passed over, a line that is no id ends the reading.
async fn read_ids(ids: mpsc::Sender<String>) -> Result<(), CliError> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut number = 0_u64;
    loop {
        number += 1;
        let line = lines.next_line().await.map_err(|error| {
            CliError::usage(format!(
                "standard input, line {number}: {error}; ids are UTF-8, one a line"
            ))
        })?;
        let Some(line) = line else {
            return Ok(());
        };
        let id = line.strip_suffix('\r').unwrap_or(&line);
        if id.is_empty() {
            continue;
        }
        Id::validate(id)
            .map_err(|error| CliError::usage(format!("standard input, line {number}: {error}")))?;
        if ids.send(id.to_owned()).await.is_err() {
            return Ok(());
        }
    }
}
