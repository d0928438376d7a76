//! `PreviewChanges` and `ListPreviewedAccess`: a look before the leap.

use tonic::{Status, Streaming};

use super::PartitionHandlers;
use crate::authz::change::Change;
use crate::authz::model::Id;
use crate::authz::visibility::Question;
use crate::directory::{PreviewChanges, PreviewedAccess, Supposed};
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::change_list::ChangeList;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, with_reason};
use crate::grpc::wire;

const EXPECTED: &str = "expected_revision";

/// The header that both questions have.
struct Header {
    account: AdmittedAccount,
    looked_at: PreviewChanges,
}

impl PartitionHandlers {
    pub(super) async fn preview_changes(
        &self,
        admission: &Admission,
        mut messages: Streaming<wire::PreviewChangesRequest>,
    ) -> Result<Chunks<wire::PreviewChangesResponse>, Status> {
        let message = next(&mut messages).await?.unwrap_or_default();
        let mut header = header(
            admission,
            &message.account_id,
            &message.expected_revision,
            &message.actor_user_id,
            message.at.as_ref(),
        )?;
        header.looked_at.changes = gathered("PreviewChanges", message, &mut messages).await?;
        let mut supposed = self.suppose(header.looked_at).await?;
        let handlers = self.clone();
        Ok(self.reading.chunks(move |sender| async move {
            let found = handlers.directory.preview(&mut supposed);
            let found = sender.unless_gone(found).await?.map_err(Failure::from)?;
            let found = found.map_err(Failure::from)?;
            let mut revision = handlers.revision(&header.account, &supposed);
            let mut ceiling = convert::ceiling_to_wire(&supposed.ceiling);
            for part in convert::preview_parts(&found) {
                let message = wire::PreviewChangesResponse {
                    revision: std::mem::take(&mut revision),
                    preview: Some(part),
                    ceiling: ceiling.take(),
                };
                sender.send(message).await?;
            }
            Ok(())
        }))
    }

    pub(super) async fn list_previewed_access(
        &self,
        admission: &Admission,
        mut messages: Streaming<wire::ListPreviewedAccessRequest>,
    ) -> Result<Chunks<wire::ListPreviewedAccessResponse>, Status> {
        let message = next(&mut messages).await?.unwrap_or_default();
        let mut header = header(
            admission,
            &message.account_id,
            &message.expected_revision,
            &message.actor_user_id,
            message.at.as_ref(),
        )?;
        let question = Question {
            user: Some(convert::id(&message.user_id, "user_id")?),
            resource_type: convert::id(&message.resource_type, "resource_type")?,
            action: convert::id(&message.action, "action")?,
        };
        header.looked_at.changes = gathered("ListPreviewedAccess", message, &mut messages).await?;
        let mut supposed = self.suppose(header.looked_at).await?;
        supposed
            .resolve(&question)
            .map_err(|error| Failure::unknown_name(&error))?;
        let handlers = self.clone();
        Ok(self.reading.chunks(move |sender| async move {
            let found = handlers.directory.previewed_access(&mut supposed, question);
            let found = sender.unless_gone(found).await?.map_err(Failure::from)?;
            let found = found.map_err(Failure::from)?;
            let revision = handlers.revision(&header.account, &supposed);
            tell_access(&found, revision, &sender).await
        }))
    }

    async fn suppose(&self, looked_at: PreviewChanges) -> Result<Supposed, Failure> {
        let supposed = self.directory.suppose(looked_at).await;
        supposed.map_err(|error| blamed_on_revision(error.into(), EXPECTED))
    }

    fn revision(&self, account: &Id, supposed: &Supposed) -> String {
        let head = supposed.head();
        head.map(|head| self.reading.revision(account, head))
            .unwrap_or_default()
    }
}

fn header(
    admission: &Admission,
    account_id: &str,
    expected_revision: &str,
    actor_user_id: &str,
    at: Option<&prost_types::Timestamp>,
) -> Result<Header, Failure> {
    let account = admission.account(account_id)?;
    let looked_at = PreviewChanges {
        account: Id::clone(&account),
        changes: Vec::new(),
        actor: convert::optional_id(actor_user_id, "actor_user_id")?,
        expected: revision_token(expected_revision, EXPECTED)?,
        at: at.map(|at| convert::moment(at, "at")).transpose()?,
    };
    Ok(Header { account, looked_at })
}

/// One message of a stream that brings changes.
trait BringsChanges {
    fn changes(&mut self) -> Vec<wire::Change>;
    /// The fields of the header, and whether each is set.
    fn header(&self) -> Vec<(bool, &'static str)>;
}

impl BringsChanges for wire::PreviewChangesRequest {
    fn changes(&mut self) -> Vec<wire::Change> {
        std::mem::take(&mut self.changes)
    }

    fn header(&self) -> Vec<(bool, &'static str)> {
        vec![
            (!self.account_id.is_empty(), "account_id"),
            (!self.expected_revision.is_empty(), EXPECTED),
            (!self.actor_user_id.is_empty(), "actor_user_id"),
            (self.at.is_some(), "at"),
        ]
    }
}

impl BringsChanges for wire::ListPreviewedAccessRequest {
    fn changes(&mut self) -> Vec<wire::Change> {
        std::mem::take(&mut self.changes)
    }

    fn header(&self) -> Vec<(bool, &'static str)> {
        vec![
            (!self.account_id.is_empty(), "account_id"),
            (!self.expected_revision.is_empty(), EXPECTED),
            (!self.actor_user_id.is_empty(), "actor_user_id"),
            (self.at.is_some(), "at"),
            (!self.user_id.is_empty(), "user_id"),
            (!self.resource_type.is_empty(), "resource_type"),
            (!self.action.is_empty(), "action"),
        ]
    }
}

/// The changes of all messages of a stream, whose first one is at hand.
async fn gathered<M: BringsChanges>(
    method: &str,
    mut message: M,
    messages: &mut Streaming<M>,
) -> Result<Vec<Change>, Status> {
    let mut list = ChangeList::new(method, []);
    loop {
        list.add(message.changes())?;
        match next(messages).await? {
            Some(following) => {
                belongs_to_the_first(&following.header())?;
                message = following;
            }
            None => return Ok(list.finish().0),
        }
    }
}

fn belongs_to_the_first(fields: &[(bool, &str)]) -> Result<(), Failure> {
    match fields.iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Failure::invalid(
            field,
            "the field belongs into the first message of the stream alone",
        )),
        None => Ok(()),
    }
}

async fn tell_access(
    found: &PreviewedAccess,
    revision: String,
    sender: &ChunkSender<wire::ListPreviewedAccessResponse>,
) -> Result<(), Status> {
    let total = |count: usize| u64::try_from(count).ok();
    let mut message = wire::ListPreviewedAccessResponse {
        revision,
        gained_total: total(found.gained.len()),
        lost_total: total(found.lost.len()),
        ..wire::ListPreviewedAccessResponse::default()
    };
    let mut bytes = 0;
    let gained = found.gained.iter().map(|id| (true, id));
    for (is_gained, id) in gained.chain(found.lost.iter().map(|id| (false, id))) {
        let ids = if is_gained {
            &mut message.gained_ids
        } else {
            &mut message.lost_ids
        };
        ids.push(id.to_owned());
        bytes += id.len() + 2;
        if bytes >= CHUNK_BYTES {
            bytes = 0;
            sender.send(std::mem::take(&mut message)).await?;
        }
    }
    sender.send(message).await
}

async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    messages.message().await.map_err(with_reason)
}
