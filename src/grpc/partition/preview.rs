//! `PreviewChanges` and `ListPreviewedAccess`: a look before the leap.

use prost::Message;
use tonic::{Status, Streaming};

use super::PartitionHandlers;
use crate::authz::model::Id;
use crate::authz::preview::Preview;
use crate::authz::visibility::Question;
use crate::directory::{PreviewChanges, PreviewedAccess, Supposed};
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::change_list::ChangeList;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, Reason, with_reason};
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
        let mut message = next(&mut messages).await?.unwrap_or_default();
        let mut header = header(
            admission,
            &message.account_id,
            &message.expected_revision,
            &message.actor_user_id,
            message.at.as_ref(),
        )?;
        let mut list = ChangeList::new("PreviewChanges", []);
        loop {
            list.add(std::mem::take(&mut message.changes))?;
            match next(&mut messages).await? {
                Some(following) => message = without_header(following)?,
                None => break,
            }
        }
        header.looked_at.changes = list.finish().0;
        let supposed = self.suppose(header.looked_at).await?;
        let handlers = self.clone();
        Ok(self.reading.chunks(move |sender| async move {
            let found = handlers.directory.preview(&supposed);
            let found = sender.unless_gone(found).await?.map_err(Failure::from)?;
            let found = found.map_err(Failure::from)?;
            let revision = handlers.revision(&header.account, &supposed);
            tell(&found, &supposed, revision, &sender).await
        }))
    }

    pub(super) async fn list_previewed_access(
        &self,
        admission: &Admission,
        mut messages: Streaming<wire::ListPreviewedAccessRequest>,
    ) -> Result<Chunks<wire::ListPreviewedAccessResponse>, Status> {
        let mut message = next(&mut messages).await?.unwrap_or_default();
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
        let mut list = ChangeList::new("ListPreviewedAccess", []);
        loop {
            list.add(std::mem::take(&mut message.changes))?;
            match next(&mut messages).await? {
                Some(following) => message = list_without_header(following)?,
                None => break,
            }
        }
        header.looked_at.changes = list.finish().0;
        let supposed = self.suppose(header.looked_at).await?;
        supposed
            .resolve(&question)
            .map_err(|error| Failure::unknown_name(&error))?;
        let handlers = self.clone();
        Ok(self.reading.chunks(move |sender| async move {
            let found = handlers.directory.previewed_access(&supposed, question);
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
    if !actor_user_id.is_empty() {
        return Err(Failure::field(
            Reason::ActorNotSupported,
            "actor_user_id",
            "changes on behalf of a user are not served yet: leave the field out",
        ));
    }
    let looked_at = PreviewChanges {
        account: Id::clone(&account),
        changes: Vec::new(),
        expected: revision_token(expected_revision, EXPECTED)?,
        at: at.map(|at| convert::moment(at, "at")).transpose()?,
    };
    Ok(Header { account, looked_at })
}

fn without_header(
    message: wire::PreviewChangesRequest,
) -> Result<wire::PreviewChangesRequest, Failure> {
    let set = [
        (!message.account_id.is_empty(), "account_id"),
        (!message.expected_revision.is_empty(), EXPECTED),
        (!message.actor_user_id.is_empty(), "actor_user_id"),
        (message.at.is_some(), "at"),
    ];
    belongs_to_the_first(&set)?;
    Ok(message)
}

fn list_without_header(
    message: wire::ListPreviewedAccessRequest,
) -> Result<wire::ListPreviewedAccessRequest, Failure> {
    let set = [
        (!message.account_id.is_empty(), "account_id"),
        (!message.expected_revision.is_empty(), EXPECTED),
        (!message.actor_user_id.is_empty(), "actor_user_id"),
        (message.at.is_some(), "at"),
        (!message.user_id.is_empty(), "user_id"),
        (!message.resource_type.is_empty(), "resource_type"),
        (!message.action.is_empty(), "action"),
    ];
    belongs_to_the_first(&set)?;
    Ok(message)
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

/// A preview in parts of about a chunk, each list after the other.
async fn tell(
    found: &Preview,
    supposed: &Supposed,
    revision: String,
    sender: &ChunkSender<wire::PreviewChangesResponse>,
) -> Result<(), Status> {
    let mut part = Part {
        sender,
        message: wire::PreviewChangesResponse {
            revision,
            preview: Some(wire::AccessPreview {
                summary: Some(convert::access_summary_to_wire(found)),
                ..wire::AccessPreview::default()
            }),
        },
        bytes: 0,
    };
    for difference in &found.differences {
        let difference = convert::access_difference_to_wire(difference);
        part.add(difference, |preview| &mut preview.differences)
            .await?;
    }
    for tool in &found.tools {
        let tool = convert::tool_difference_to_wire(tool);
        part.add(tool, |preview| &mut preview.tool_differences)
            .await?;
    }
    for locked in &found.locked_in {
        let locked = convert::user_of_type_to_wire(locked);
        part.add(locked, |preview| &mut preview.locked_in).await?;
    }
    for locked in &found.locked_out {
        let locked = convert::user_of_type_to_wire(locked);
        part.add(locked, |preview| &mut preview.locked_out).await?;
    }
    for orphan in found.orphans(supposed.after()) {
        let orphan = convert::orphan_to_wire(&orphan);
        part.add(orphan, |preview| &mut preview.orphaned).await?;
    }
    sender.send(part.message).await
}

/// The part that is being filled.
struct Part<'s> {
    sender: &'s ChunkSender<wire::PreviewChangesResponse>,
    message: wire::PreviewChangesResponse,
    bytes: usize,
}

impl Part<'_> {
    async fn add<T: Message>(
        &mut self,
        item: T,
        list: fn(&mut wire::AccessPreview) -> &mut Vec<T>,
    ) -> Result<(), Status> {
        self.bytes += item.encoded_len();
        list(self.message.preview.get_or_insert_default()).push(item);
        if self.bytes >= CHUNK_BYTES {
            self.bytes = 0;
            self.sender.send(std::mem::take(&mut self.message)).await?;
        }
        Ok(())
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
