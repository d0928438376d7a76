//! `AssignResources`, `Unpartition`, and what takes them back: bulks that tell how they go.

use std::collections::BTreeSet;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::PartitionHandlers;
use crate::authz::assignment::{AssignMode, Order};
use crate::authz::difference::Halted;
use crate::authz::model::{Id, Principal};
use crate::directory::Foreseen;
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

/// A call that carries out a bulk.
pub(super) trait BulkCall: Message + Sized {
    const METHOD: &'static str;
    type Response: Send + 'static;

    /// What every bulk is asked with besides its work.
    fn asked(&mut self) -> Asked<'_>;
    fn work(&self) -> Result<Work, Failure>;
    fn response(report: wire::BatchReport) -> Self::Response;
}

pub(super) struct Asked<'a> {
    account_id: &'a str,
    actor_user_id: &'a str,
    idempotency_key: &'a mut String,
    dry_run: bool,
}

impl BulkCall for wire::AssignResourcesRequest {
    const METHOD: &'static str = "AssignResources";
    type Response = wire::AssignResourcesResponse;

    fn asked(&mut self) -> Asked<'_> {
        Asked {
            account_id: &self.account_id,
            actor_user_id: &self.actor_user_id,
            idempotency_key: &mut self.idempotency_key,
            dry_run: self.dry_run,
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        let on = convert::selection(self.resources.as_ref())?;
        let order = order(self)?;
        Ok(Work::Order { order, on })
    }

    fn response(report: wire::BatchReport) -> Self::Response {
        wire::AssignResourcesResponse {
            report: Some(report),
        }
    }
}

impl BulkCall for wire::UnpartitionRequest {
    const METHOD: &'static str = "Unpartition";
    type Response = wire::UnpartitionResponse;

    fn asked(&mut self) -> Asked<'_> {
        Asked {
            account_id: &self.account_id,
            actor_user_id: &self.actor_user_id,
            idempotency_key: &mut self.idempotency_key,
            dry_run: self.dry_run,
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        Ok(Work::Order {
            order: Order::Unpartition,
            on: convert::selection(self.resources.as_ref())?,
        })
    }

    fn response(report: wire::BatchReport) -> Self::Response {
        wire::UnpartitionResponse {
            report: Some(report),
        }
    }
}

impl BulkCall for wire::UndoBatchRequest {
    const METHOD: &'static str = "UndoBatch";
    type Response = wire::UndoBatchResponse;

    fn asked(&mut self) -> Asked<'_> {
        Asked {
            account_id: &self.account_id,
            actor_user_id: &self.actor_user_id,
            idempotency_key: &mut self.idempotency_key,
            dry_run: self.dry_run,
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        Ok(Work::UndoBatch(convert::id(&self.batch_id, "batch_id")?))
    }

    fn response(report: wire::BatchReport) -> Self::Response {
        wire::UndoBatchResponse {
            report: Some(report),
        }
    }
}

impl BulkCall for wire::UndoImportRequest {
    const METHOD: &'static str = "UndoImport";
    type Response = wire::UndoImportResponse;

    fn asked(&mut self) -> Asked<'_> {
        Asked {
            account_id: &self.account_id,
            actor_user_id: &self.actor_user_id,
            idempotency_key: &mut self.idempotency_key,
            dry_run: self.dry_run,
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        Ok(Work::UndoImport(convert::id(&self.job, "job")?))
    }

    fn response(report: wire::BatchReport) -> Self::Response {
        wire::UndoImportResponse {
            report: Some(report),
        }
    }
}

impl PartitionHandlers {
    /// What is wrong with the request as a whole is told before the stream begins.
    pub(super) async fn bulk<C: BulkCall>(
        &self,
        admission: &Admission,
        call: C,
        author: Author,
    ) -> Result<Chunks<C::Response>, Status> {
        let request = request(admission, call, author)?;
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
                let mut reports = reports(&bulk, &told);
                let last = reports.pop();
                for report in reports {
                    sender.send(C::response(report)).await?;
                }
                let Some(mut last) = last else {
                    continue;
                };
                if told.is_done {
                    let foreseen = sender.unless_gone(bulk.foresee()).await?;
                    if let Some(foreseen) = foreseen.map_err(failure)? {
                        last = tell_foreseen::<C>(last, &foreseen, &sender).await?;
                    }
                }
                sender.send(C::response(last)).await?;
            }
        }))
    }
}

/// Tells what a dry run would do to access before it is done; answers the last report.
async fn tell_foreseen<C: BulkCall>(
    mut last: wire::BatchReport,
    foreseen: &Result<Foreseen, Halted>,
    sender: &ChunkSender<C::Response>,
) -> Result<wire::BatchReport, Status> {
    match foreseen {
        Err(halted) => last.preview_refused = halted.to_string(),
        Ok(foreseen) => {
            let bare = wire::BatchReport {
                done: false,
                refusals: Vec::new(),
                still_assigned: Vec::new(),
                ..last.clone()
            };
            for part in convert::preview_parts(foreseen) {
                let report = wire::BatchReport {
                    preview: Some(part),
                    ..bare.clone()
                };
                sender.send(C::response(report)).await?;
            }
        }
    }
    Ok(last)
}

fn request<C: BulkCall>(
    admission: &Admission,
    mut call: C,
    author: Author,
) -> Result<BulkRequest, Failure> {
    let asked = call.asked();
    // The digest is that of the call without its key.
    let key = std::mem::take(asked.idempotency_key);
    let account = admission.account(asked.account_id)?;
    admission.writes_as(asked.actor_user_id)?;
    let actor = convert::optional_id(asked.actor_user_id, "actor_user_id")?;
    let dry_run = asked.dry_run;
    Ok(BulkRequest {
        account: Id::clone(&account),
        work: call.work()?,
        author: author.for_actor(actor.clone()),
        actor,
        key: convert::optional_id(&key, "idempotency_key")?,
        request_digest: digest(&call),
        dry_run,
    })
}

fn digest<C: BulkCall>(unkeyed: &C) -> [u8; 32] {
    let mut digest = Sha256::new();
    idempotency::update(&mut digest, C::METHOD.as_bytes());
    idempotency::update(&mut digest, &unkeyed.encode_to_vec());
    digest.finalize().into()
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
