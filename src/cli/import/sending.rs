//! Rows on their way: read by a thread of its own, sent to a server or written to a store, no
//! faster than they are taken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::reading::{self, ReadRow, Reading};
use crate::cli::connection::{self, Link};
use crate::cli::destination::Destination;
use crate::cli::error::CliError;
use crate::directory::Directory;
use crate::grpc::convert;
use crate::grpc::wire;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::imports::{Batch, Import, ImportError, ImportRequest, Row};

/// Pieces that are read ahead.
const PIECES: usize = 4;

/// What is told at least once a batch.
pub(super) struct Told {
    pub(super) progress: wire::ImportProgress,
    pub(super) errors: Vec<wire::ImportLineError>,
    pub(super) withheld: Vec<wire::ImportWithheld>,
    pub(super) revision: String,
    pub(super) end: wire::ImportEnd,
    /// Of a dry run, towards its end.
    pub(super) preview: Option<wire::AccessPreview>,
    pub(super) preview_refused: String,
}

/// The rows of a file as they are read, and how the reading ended.
pub(super) struct Rows {
    pieces: mpsc::Receiver<Vec<ReadRow>>,
    reader: tokio::task::JoinHandle<Result<(), CliError>>,
}

pub(super) fn spawn_reader(file: &Path, reading: Reading) -> Rows {
    let (sender, pieces) = mpsc::channel(PIECES);
    let file = file.to_owned();
    let reader = tokio::task::spawn_blocking(move || {
        reading::read(&file, &reading, |piece| sender.blocking_send(piece).is_ok())
    });
    Rows { pieces, reader }
}

/// Imports all rows; answers how many of them could not be read.
pub(super) async fn send(
    destination: &mut Destination,
    request: &ImportRequest,
    rows: Rows,
    tell: impl FnMut(Told) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    match destination {
        Destination::Server(client) => to_server(client, request, rows, tell).await,
        Destination::Store(store) => to_store(&store.directory, request, rows, tell).await,
    }
}

fn header(request: &ImportRequest) -> wire::ImportResourcesRequest {
    wire::ImportResourcesRequest {
        account_id: request.account.to_string(),
        import_key: request.key.to_string(),
        job: request.job.to_string(),
        mode: convert::mode_to_wire(request.mode).into(),
        batch_rows: u32::try_from(request.batch_rows).unwrap_or(u32::MAX),
        errors_max: request.errors_max,
        dry_run: request.dry_run,
        actor_user_id: request
            .actor
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        rows: Vec::new(),
        targets: request
            .targets
            .iter()
            .map(convert::principal_to_wire)
            .collect(),
    }
}

async fn to_server(
    client: &mut DirectoryServiceClient<Link>,
    request: &ImportRequest,
    rows: Rows,
    mut tell: impl FnMut(Told) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let unreadable = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&unreadable);
    let (sender, messages) = mpsc::channel(1);
    let first = header(request);
    let Rows { mut pieces, reader } = rows;
    // A file that can't be read to its end must not look like one that ended: the stream is then
    // broken off, so that the server doesn't write what it has of the last batch.
    let (break_off, broken) = tokio::sync::oneshot::channel::<CliError>();
    tokio::spawn(async move {
        if sender.send(first).await.is_err() {
            return;
        }
        while let Some(piece) = pieces.recv().await {
            let message = message_of(&piece, &counted);
            if sender.send(message).await.is_err() {
                return;
            }
        }
        drop(pieces);
        match reader.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // Held open until the one who waits has dropped the call.
                if break_off.send(error).is_ok() {
                    sender.closed().await;
                }
            }
            Err(_) => {
                let error = CliError::usage("the reading of the file failed");
                if break_off.send(error).is_ok() {
                    sender.closed().await;
                }
            }
        }
    });
    let telling = async {
        let response = client.import_resources(ReceiverStream::new(messages)).await;
        let mut answers = response
            .map_err(|status| connection::refused(&status))?
            .into_inner();
        let mut end = wire::ImportEnd::Unspecified;
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|status| connection::refused(&status))?;
            end = answer.end();
            tell(Told {
                progress: answer.progress.unwrap_or_default(),
                end,
                errors: answer.errors,
                withheld: answer.withheld,
                revision: answer.revision,
                preview: answer.preview,
                preview_refused: answer.preview_refused,
            })?;
        }
        match end {
            wire::ImportEnd::Unspecified => Err(CliError::Unreachable(
                "the connection to the server ended before the import did".to_owned(),
            )),
            wire::ImportEnd::Complete | wire::ImportEnd::TooManyErrors => Ok(()),
        }
    };
    tokio::select! {
        told = telling => told?,
        Ok(error) = broken => return Err(error),
    }
    Ok(unreadable.load(Ordering::SeqCst))
}

fn message_of(piece: &[ReadRow], unreadable: &AtomicU64) -> wire::ImportResourcesRequest {
    let bad = piece.iter().filter(|row| row.content.is_err()).count();
    unreadable.fetch_add(u64::try_from(bad).unwrap_or(u64::MAX), Ordering::SeqCst);
    wire::ImportResourcesRequest {
        rows: piece
            .iter()
            .map(|row| convert::row_to_wire(row.line, &row.content))
            .collect(),
        ..wire::ImportResourcesRequest::default()
    }
}

async fn to_store(
    directory: &Directory,
    request: &ImportRequest,
    rows: Rows,
    mut tell: impl FnMut(Told) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let begun = Import::begin(directory.clone(), request.clone()).await;
    let mut import = begun.map_err(CliError::refused)?;
    let Rows { mut pieces, reader } = rows;
    let mut unreadable = 0;
    while let Some(piece) = pieces.recv().await {
        for row in piece {
            unreadable += u64::from(row.content.is_err());
            let row = Row::new(row.line, row.content);
            if let Some(batch) = import.add(row)
                && write(&mut import, batch, &mut tell).await?
            {
                tell_end(import, wire::ImportEnd::TooManyErrors, &mut tell).await?;
                return Ok(unreadable);
            }
        }
    }
    // Before the rest of a file that could not be read to its end.
    reader
        .await
        .map_err(|_| CliError::usage("the reading of the file failed"))??;
    let mut end = wire::ImportEnd::Complete;
    if let Some(batch) = import.rest()
        && write(&mut import, batch, &mut tell).await?
    {
        end = wire::ImportEnd::TooManyErrors;
    }
    tell_end(import, end, &mut tell).await?;
    Ok(unreadable)
}

/// As a server ends an import.
async fn tell_end(
    mut import: Import,
    end: wire::ImportEnd,
    tell: &mut impl FnMut(Told) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let foreseen = import.foresee().await.map_err(CliError::refused)?;
    let mut last = told(&import, end);
    match foreseen {
        None => {}
        Some(Err(halted)) => last.preview_refused = halted.to_string(),
        Some(Ok(foreseen)) => {
            for part in convert::preview_parts(&foreseen) {
                tell(Told {
                    preview: Some(part),
                    ..told(&import, wire::ImportEnd::Unspecified)
                })?;
            }
        }
    }
    tell(last)
}

async fn write(
    import: &mut Import,
    batch: Batch,
    tell: &mut impl FnMut(Told) -> Result<(), CliError>,
) -> Result<bool, CliError> {
    let problems = import.write(batch).await.map_err(|error| match error {
        error @ (ImportError::KeyReused { .. }
        | ImportError::KeyTooLong { .. }
        | ImportError::Actor(_)
        | ImportError::UnknownTarget { .. }
        | ImportError::TargetBeyond { .. }) => CliError::refused(error),
        ImportError::Directory(error) => CliError::refused(error),
    })?;
    let withheld = import.take_withheld();
    tell(Told {
        withheld: withheld.iter().map(convert::withheld_to_wire).collect(),
        errors: problems.iter().map(convert::line_problem_to_wire).collect(),
        ..told(import, wire::ImportEnd::Unspecified)
    })?;
    Ok(import.has_too_many_errors())
}

fn told(import: &Import, end: wire::ImportEnd) -> Told {
    Told {
        progress: convert::progress_to_wire(import.progress()),
        errors: Vec::new(),
        withheld: Vec::new(),
        revision: import.token().encode(),
        end,
        preview: None,
        preview_refused: String::new(),
    }
}
