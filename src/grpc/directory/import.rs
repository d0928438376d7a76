//! `ImportResources`: rows by the million, in batches.

use tonic::{Status, Streaming};

use super::DirectoryHandlers;
use crate::authz::model::{Id, Principal};
use crate::grpc::admission::Admission;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert::{self, Path};
use crate::grpc::status::{Failure, Reason, with_reason};
use crate::grpc::wire;
use crate::imports::{Batch, Import, ImportError, ImportRequest};
use crate::store::audit::Author;
use prost::Message as _;

const KEY: &str = "import_key";

/// Most targets of one import.
const TARGETS_MAX: usize = 50;

/// Targets that were not applied, in one message.
const WITHHELD_AT_ONCE: usize = 500;

type Messages = Streaming<wire::ImportResourcesRequest>;
type Sender = ChunkSender<wire::ImportResourcesResponse>;

impl DirectoryHandlers {
    pub(super) fn import_resources(
        &self,
        admission: Admission,
        messages: Messages,
        author: Author,
    ) -> Chunks<wire::ImportResourcesResponse> {
        let handlers = self.clone();
        self.reading.chunks(move |sender| async move {
            handlers.import(&admission, messages, sender, author).await
        })
    }

    async fn import(
        &self,
        admission: &Admission,
        mut messages: Messages,
        sender: Sender,
        author: Author,
    ) -> Result<(), Status> {
        // An empty stream has no header either, and is told what is missing.
        let mut message = self.next(&mut messages).await?.unwrap_or_default();
        let request = header(admission, &message, author)?;
        let account = request.account.clone();
        let begun = Import::begin(self.directory.clone(), request).await;
        let mut import = begun.map_err(failure)?;
        let mut position = 0;
        loop {
            let rows = std::mem::take(&mut message.rows);
            for row in self.read(&account, rows, &mut position).await? {
                if let Some(batch) = import.add(row)
                    && write(&mut import, batch, &sender).await?
                {
                    return end(import, wire::ImportEnd::TooManyErrors, &sender).await;
                }
            }
            match self.next(&mut messages).await? {
                Some(following) => message = without_header(following)?,
                None => break,
            }
        }
        if let Some(batch) = import.rest()
            && write(&mut import, batch, &sender).await?
        {
            return end(import, wire::ImportEnd::TooManyErrors, &sender).await;
        }
        end(import, wire::ImportEnd::Complete, &sender).await
    }

    /// A server that shuts down ends an import between two batches.
    async fn next(
        &self,
        messages: &mut Messages,
    ) -> Result<Option<wire::ImportResourcesRequest>, Status> {
        tokio::select! {
            biased;
            () = self.shutdown.soft().cancelled() => Err(Failure::new(
                Reason::ShuttingDown,
                "the server is shutting down: send the same rows again under the same key, here later or to another one",
            )
            .into()),
            message = messages.message() => message.map_err(with_reason),
        }
    }
}

fn header(
    admission: &Admission,
    message: &wire::ImportResourcesRequest,
    author: Author,
) -> Result<ImportRequest, Failure> {
    let account = admission.account(&message.account_id)?;
    admission.writes_as(&message.actor_user_id)?;
    let actor = convert::optional_id(&message.actor_user_id, "actor_user_id")?;
    let key = convert::id(&message.import_key, KEY)?;
    let job = convert::optional_id(&message.job, "job")?.unwrap_or_else(|| key.clone());
    Ok(ImportRequest {
        account: Id::clone(&account),
        key,
        job,
        mode: convert::mode_from_wire(message.mode, Path::root("mode"))?,
        targets: targets(&message.targets)?,
        batch_rows: usize::try_from(message.batch_rows).unwrap_or(usize::MAX),
        errors_max: message.errors_max,
        dry_run: message.dry_run,
        author: author.for_actor(actor.clone()),
        actor,
    })
}

/// Each once, in the order of their first mention.
fn targets(named: &[wire::Principal]) -> Result<Vec<Principal>, Failure> {
    if named.len() > TARGETS_MAX {
        return Err(Failure::invalid(
            "targets",
            format_args!(
                "an import has at most {TARGETS_MAX} targets, this one {}",
                named.len()
            ),
        ));
    }
    let list = Path::root("targets");
    let mut targets = Vec::with_capacity(named.len());
    for (index, target) in named.iter().enumerate() {
        let target = convert::principal(Some(target), list.at(index))?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn without_header(
    message: wire::ImportResourcesRequest,
) -> Result<wire::ImportResourcesRequest, Failure> {
    let wrong = [
        (!message.account_id.is_empty(), "account_id"),
        (!message.import_key.is_empty(), KEY),
        (!message.job.is_empty(), "job"),
        (message.mode != 0, "mode"),
        (message.batch_rows != 0, "batch_rows"),
        (message.errors_max != 0, "errors_max"),
        (message.dry_run, "dry_run"),
        (!message.actor_user_id.is_empty(), "actor_user_id"),
        (!message.targets.is_empty(), "targets"),
    ];
    match wrong.iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Failure::invalid(
            field,
            "the field belongs into the first message of the stream alone",
        )),
        None => Ok(message),
    }
}

impl DirectoryHandlers {
    /// The rows of a message, off the async workers: there may be 4 MiB of them.
    async fn read(
        &self,
        account: &Id,
        rows: Vec<wire::ImportRow>,
        position: &mut u64,
    ) -> Result<Vec<crate::imports::Row>, Failure> {
        let first = *position;
        *position += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let read = move || {
            (first + 1..)
                .zip(&rows)
                .map(|(position, row)| convert::row_from_wire(row, position))
                .collect()
        };
        self.reading.compute(account, read).await
    }
}

/// Writes a batch and tells of it; whether too many rows were refused by now.
async fn write(import: &mut Import, batch: Batch, sender: &Sender) -> Result<bool, Status> {
    let problems = import.write(batch).await.map_err(failure)?;
    for withheld in import.take_withheld().chunks(WITHHELD_AT_ONCE) {
        let mut told = response(import, Vec::new());
        told.withheld = withheld.iter().map(convert::withheld_to_wire).collect();
        sender.send(told).await?;
    }
    let mut errors = Vec::new();
    let mut bytes = 0;
    for problem in &problems {
        let error = convert::line_problem_to_wire(problem);
        bytes += error.encoded_len();
        errors.push(error);
        if bytes >= CHUNK_BYTES {
            bytes = 0;
            tell(import, std::mem::take(&mut errors), sender).await?;
        }
    }
    tell(import, errors, sender).await?;
    Ok(import.has_too_many_errors())
}

async fn tell(
    import: &Import,
    errors: Vec<wire::ImportLineError>,
    sender: &Sender,
) -> Result<(), Status> {
    sender.send(response(import, errors)).await
}

/// Of a dry run, what it would do to access comes before the end.
async fn end(mut import: Import, end: wire::ImportEnd, sender: &Sender) -> Result<(), Status> {
    let foreseen = sender.unless_gone(import.foresee()).await?;
    let mut last = response(&import, Vec::new());
    match foreseen.map_err(failure)? {
        None => {}
        Some(Err(halted)) => last.preview_refused = halted.to_string(),
        Some(Ok(foreseen)) => {
            for part in convert::preview_parts(&foreseen) {
                let mut told = response(&import, Vec::new());
                told.preview = Some(part);
                sender.send(told).await?;
            }
        }
    }
    last.set_end(end);
    sender.send(last).await
}

fn response(import: &Import, errors: Vec<wire::ImportLineError>) -> wire::ImportResourcesResponse {
    wire::ImportResourcesResponse {
        progress: Some(convert::progress_to_wire(import.progress())),
        errors,
        revision: import.token().encode(),
        end: wire::ImportEnd::Unspecified.into(),
        withheld: Vec::new(),
        preview: None,
        preview_refused: String::new(),
    }
}

fn failure(error: ImportError) -> Failure {
    match error {
        ImportError::Directory(error) => {
            let failure = Failure::from(error);
            match failure.reason {
                Reason::IdempotencyKeyReused => Failure {
                    field: Some(KEY.to_owned()),
                    ..failure
                },
                _ => failure,
            }
        }
        ImportError::KeyReused { .. } => Failure::field(Reason::IdempotencyKeyReused, KEY, error),
        ImportError::KeyTooLong { .. } => Failure::invalid(KEY, error),
        ImportError::Actor(_) => Failure::field(Reason::ActorMayNot, "actor_user_id", error),
        ImportError::UnknownTarget { index, .. } => Failure::field(
            Reason::UnknownReference,
            format_args!("targets[{index}]"),
            error,
        ),
        ImportError::TargetBeyond { index, .. } => Failure::field(
            Reason::NoAssignAuthority,
            format_args!("targets[{index}]"),
            error,
        ),
    }
}
