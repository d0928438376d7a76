//! `AssignResources`, `Unpartition`, and what takes them back: bulks that tell how they go.

use std::collections::BTreeSet;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::PartitionHandlers;
use crate::authz::assignment::{AssignMode, Order};
use crate::authz::model::{Id, Principal};
use crate::grpc::admission::Admission;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert::{self, Path};
use crate::grpc::idempotency;
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::partitions::{Bulk, BulkError, BulkRequest, Told, Work};
use crate::store::audit::Author;

/// Most targets of one call.
const TARGETS_MAX: usize = 1_000;

/// What every bulk is asked with besides its work.
struct Asked<'a> {
    account_id: &'a str,
    actor_user_id: &'a str,
    idempotency_key: &'a str,
    dry_run: bool,
}

impl PartitionHandlers {
    pub(super) async fn assign_resources(
        &self,
        admission: &Admission,
        mut message: wire::AssignResourcesRequest,
        author: Author,
    ) -> Result<Chunks<wire::AssignResourcesResponse>, Status> {
        let key = std::mem::take(&mut message.idempotency_key);
        let digest = digest("AssignResources", &message);
        let asked = Asked {
            account_id: &message.account_id,
            actor_user_id: &message.actor_user_id,
            idempotency_key: &key,
            dry_run: message.dry_run,
        };
        let work = |selection| {
            Ok(Work::Order {
                order: order(&message)?,
                on: selection,
            })
        };
        let request = header(admission, &asked, digest, author, || {
            work(convert::selection(message.resources.as_ref())?)
        })?;
        self.run(request, |report| wire::AssignResourcesResponse {
            report: Some(report),
        })
        .await
    }

    pub(super) async fn unpartition(
        &self,
        admission: &Admission,
        mut message: wire::UnpartitionRequest,
        author: Author,
    ) -> Result<Chunks<wire::UnpartitionResponse>, Status> {
        let key = std::mem::take(&mut message.idempotency_key);
        let digest = digest("Unpartition", &message);
        let asked = Asked {
            account_id: &message.account_id,
            actor_user_id: &message.actor_user_id,
            idempotency_key: &key,
            dry_run: message.dry_run,
        };
        let request = header(admission, &asked, digest, author, || {
            Ok(Work::Order {
                order: Order::Unpartition,
                on: convert::selection(message.resources.as_ref())?,
            })
        })?;
        self.run(request, |report| wire::UnpartitionResponse {
            report: Some(report),
        })
        .await
    }

    pub(super) async fn undo_batch(
        &self,
        admission: &Admission,
        mut message: wire::UndoBatchRequest,
        author: Author,
    ) -> Result<Chunks<wire::UndoBatchResponse>, Status> {
        let key = std::mem::take(&mut message.idempotency_key);
        let digest = digest("UndoBatch", &message);
        let asked = Asked {
            account_id: &message.account_id,
            actor_user_id: &message.actor_user_id,
            idempotency_key: &key,
            dry_run: message.dry_run,
        };
        let request = header(admission, &asked, digest, author, || {
            Ok(Work::UndoBatch(convert::id(&message.batch_id, "batch_id")?))
        })?;
        self.run(request, |report| wire::UndoBatchResponse {
            report: Some(report),
        })
        .await
    }

    pub(super) async fn undo_import(
        &self,
        admission: &Admission,
        mut message: wire::UndoImportRequest,
        author: Author,
    ) -> Result<Chunks<wire::UndoImportResponse>, Status> {
        let key = std::mem::take(&mut message.idempotency_key);
        let digest = digest("UndoImport", &message);
        let asked = Asked {
            account_id: &message.account_id,
            actor_user_id: &message.actor_user_id,
            idempotency_key: &key,
            dry_run: message.dry_run,
        };
        let request = header(admission, &asked, digest, author, || {
            Ok(Work::UndoImport(convert::id(&message.job, "job")?))
        })?;
        self.run(request, |report| wire::UndoImportResponse {
            report: Some(report),
        })
        .await
    }

    /// What is wrong with the request as a whole is told before the stream begins.
    async fn run<T: Send + 'static>(
        &self,
        request: BulkRequest,
        response: impl Fn(wire::BatchReport) -> T + Send + Sync + 'static,
    ) -> Result<Chunks<T>, Status> {
        let mut bulk = self.partitions.begin(request).await.map_err(failure)?;
        let shutdown = self.shutdown.clone();
        Ok(self.reading.chunks(move |sender| async move {
            loop {
                // A server that shuts down ends a bulk between two parts.
                if shutdown.soft().is_cancelled() {
                    return Err(Failure::new(
                        Reason::ShuttingDown,
                        "the server is shutting down: repeat the call under the same key, here later or to another one",
                    )
                    .into());
                }
                let Some(told) = bulk.next().await.map_err(failure)? else {
                    return Ok(());
                };
                for report in reports(&bulk, &told) {
                    send(&sender, response(report)).await?;
                }
            }
        }))
    }
}

async fn send<T>(sender: &ChunkSender<T>, response: T) -> Result<(), Status> {
    sender.send(response).await
}

fn digest(rpc: &str, unkeyed: &impl Message) -> [u8; 32] {
    let mut digest = Sha256::new();
    idempotency::update(&mut digest, rpc.as_bytes());
    idempotency::update(&mut digest, &unkeyed.encode_to_vec());
    digest.finalize().into()
}

fn header(
    admission: &Admission,
    asked: &Asked<'_>,
    request_digest: [u8; 32],
    author: Author,
    work: impl FnOnce() -> Result<Work, Failure>,
) -> Result<BulkRequest, Failure> {
    let account = admission.account(asked.account_id)?;
    admission.writes_as(asked.actor_user_id)?;
    let actor = convert::optional_id(asked.actor_user_id, "actor_user_id")?;
    Ok(BulkRequest {
        account: Id::clone(&account),
        work: work()?,
        author: author.for_actor(actor.clone()),
        actor,
        key: convert::optional_id(asked.idempotency_key, "idempotency_key")?,
        request_digest,
        dry_run: asked.dry_run,
    })
}

fn order(message: &wire::AssignResourcesRequest) -> Result<Order, Failure> {
    let mode = match convert::known(wire::AssignMode::try_from(message.mode), Path::root("mode"))? {
        wire::AssignMode::Unspecified | wire::AssignMode::Add => AssignMode::Add,
        wire::AssignMode::Remove => AssignMode::Remove,
        wire::AssignMode::Replace => AssignMode::Replace,
    };
    if message.targets.is_empty() || message.targets.len() > TARGETS_MAX {
        return Err(Failure::invalid(
            "targets",
            format_args!(
                "a call has 1 to {TARGETS_MAX} targets, this one {}",
                message.targets.len()
            ),
        ));
    }
    let list = Path::root("targets");
    let targets = message
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| convert::principal(Some(target), list.at(index)))
        .collect::<Result<BTreeSet<Principal>, Failure>>()?;
    let expires_at = message
        .expires_at
        .as_ref()
        .map(|moment| convert::timestamp(moment, "expires_at"))
        .transpose()?;
    if expires_at.is_some() && mode == AssignMode::Remove {
        return Err(Failure::invalid(
            "expires_at",
            "what is removed has no end: leave it out",
        ));
    }
    Ok(Order::Assign {
        mode,
        targets,
        expires_at,
    })
}

/// What is told of a part, in messages that are not too large.
fn reports(bulk: &Bulk, told: &Told) -> Vec<wire::BatchReport> {
    let report = |done| wire::BatchReport {
        batch_id: bulk.batch_id().to_string(),
        counts: Some(convert::batch_counts_to_wire(told.counts)),
        revision: bulk.token().encode(),
        done,
        ..wire::BatchReport::default()
    };
    let mut reports = Vec::new();
    let mut last = report(told.is_done);
    let mut bytes = 0;
    for entry in &told.entries {
        let (refusal, still) = convert::batch_entry_to_wire(entry);
        bytes += refusal.as_ref().map_or(0, Message::encoded_len);
        bytes += still.iter().map(Message::encoded_len).sum::<usize>();
        last.refusals.extend(refusal);
        last.still_assigned.extend(still);
        if bytes >= CHUNK_BYTES {
            bytes = 0;
            let full = std::mem::replace(&mut last, report(told.is_done));
            reports.push(wire::BatchReport {
                done: false,
                ..full
            });
        }
    }
    reports.push(last);
    reports
}

fn failure(error: BulkError) -> Failure {
    match &error {
        BulkError::Unknown { field, .. } => Failure::field(Reason::UnknownReference, field, &error),
        BulkError::UnknownType(_) => Failure::field(
            Reason::UnknownResourceType,
            "resources.resource_type",
            &error,
        ),
        BulkError::Actor(_) => Failure::field(Reason::NoAssignAuthority, "actor_user_id", &error),
        BulkError::NoSuchBatch(_) => Failure::field(Reason::BatchNotFound, "batch_id", &error),
        BulkError::Unfinished(_) => Failure::field(Reason::BatchUnfinished, "batch_id", &error),
        BulkError::Randomness => Failure::new(Reason::Internal, error.to_string()),
        BulkError::Directory(_) => match error {
            BulkError::Directory(error) => error.into(),
            _ => Failure::internal(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::assignment::AssignRefusal;
    use crate::authz::change::ChangeProblem;

    #[test]
    fn what_is_refused_of_a_resource_is_one_of_the_reasons() {
        let team = || Principal::Team(Id::parse("de").unwrap());
        for refusal in [
            AssignRefusal::NoResource,
            AssignRefusal::NotOfType,
            AssignRefusal::NoAuthority(team()),
            AssignRefusal::FirstAssignment,
            AssignRefusal::OnlyAdds,
            AssignRefusal::ChangedSince(String::new()),
        ] {
            assert!(Reason::from_name(refusal.name()).is_some(), "{refusal:?}");
        }
        for problem in [
            ChangeProblem::NotEntitled("email".to_owned()),
            ChangeProblem::Dangling {
                what: "team",
                id: "de".to_owned(),
            },
            ChangeProblem::TooMany {
                what: "assignments",
                limit: 1,
            },
            ChangeProblem::Invalid(String::new()),
        ] {
            let reason = Reason::of_change(&problem).name();
            assert_eq!(AssignRefusal::Change(problem).name(), reason);
        }
    }
}
