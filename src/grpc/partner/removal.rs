//! `PreviewRemoval` and `CommitRemoval`.

use std::collections::BTreeSet;

use super::{PartnerHandlers, failure, reason_of};
use crate::authz::delegation::removal::Facts;
use crate::authz::model::{Id, PartnerRole, ResourceKey};
use crate::grpc::admission::Admission;
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::grpc::wire::commit_removal_request::Resolution as WireResolution;
use crate::partners::{CommitRemoval, RemovalOf, Resolution};
use crate::store::audit::Author;

/// The fields that name clients beside the account of whoever asks.
pub(super) const CLIENT: &str = "client_account_id";
pub(super) const CLIENTS: &str = "client_account_ids";

/// Names of resources that are told of each kind; the totals count all.
const NAMED_MAX: usize = 100;

impl PartnerHandlers {
    pub(super) async fn preview_removal(
        &self,
        admission: &Admission,
        message: &wire::PreviewRemovalRequest,
    ) -> Result<wire::PreviewRemovalResponse, Failure> {
        let agency = admission.account(&message.account_id)?;
        let removal = RemovalOf {
            agency: Id::clone(&agency),
            actor: convert::id(&message.actor_user_id, "actor_user_id")?,
            partner_user: convert::id(&message.partner_user_id, "partner_user_id")?,
            clients: clients(admission, &message.client_account_ids)?,
            visible: admission.listed().cloned(),
        };
        let previewed = self.partners.preview_removal(removal).await;
        let previewed = previewed.map_err(|error| failure(error, CLIENTS))?;
        let clients = previewed.clients.iter();
        Ok(wire::PreviewRemovalResponse {
            clients: clients
                .map(|(client, facts)| facts_to_wire(client, facts))
                .collect(),
            preview_token: previewed.token,
        })
    }

    pub(super) async fn commit_removal(
        &self,
        admission: &Admission,
        message: &wire::CommitRemovalRequest,
        author: Author,
    ) -> Result<wire::CommitRemovalResponse, Failure> {
        let agency = admission.account(&message.account_id)?;
        let resolution = match &message.resolution {
            Some(WireResolution::ReassignToPartnerUserId(heir)) => {
                Resolution::Reassign(convert::id(heir, "reassign_to_partner_user_id")?)
            }
            Some(WireResolution::Unassign(true)) => Resolution::Unassign,
            Some(WireResolution::Unassign(false)) | None => {
                return Err(Failure::invalid(
                    "resolution",
                    "say who takes over what they own, or that nobody does",
                ));
            }
        };
        let committed = self.partners.commit_removal(CommitRemoval {
            of: RemovalOf {
                agency: Id::clone(&agency),
                actor: convert::id(&message.actor_user_id, "actor_user_id")?,
                partner_user: convert::id(&message.partner_user_id, "partner_user_id")?,
                clients: clients(admission, &message.client_account_ids)?,
                visible: admission.listed().cloned(),
            },
            token: message.preview_token.clone(),
            resolution,
            skip_blocked: message.skip_blocked,
            author,
        });
        let committed = committed.await.map_err(|error| failure(error, CLIENTS))?;
        let clients = committed.iter().map(|one| wire::RemovedFrom {
            client_account_id: one.client.to_string(),
            user_id: one.user.to_string(),
            done: one.skipped.is_none(),
            skipped: one
                .skipped
                .as_ref()
                .map(|refusal| reason_of(refusal).0.name().to_owned())
                .unwrap_or_default(),
            revision: one.token.encode(),
        });
        Ok(wire::CommitRemovalResponse {
            clients: clients.collect(),
        })
    }
}

/// The clients that a message names; `None`: it names none.
pub(super) fn clients(
    admission: &Admission,
    names: &[String],
) -> Result<Option<BTreeSet<Id>>, Failure> {
    let mut clients = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        let field = format!("{CLIENTS}[{at}]");
        let client = admission.counterpart(name, &field)?;
        if !clients.insert(Id::clone(&client)) {
            return Err(Failure::invalid(field, "the client is named twice"));
        }
    }
    Ok(Some(clients).filter(|clients| !clients.is_empty()))
}

fn facts_to_wire(client: &Id, facts: &Facts) -> wire::ClientRemoval {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let owned = facts.owned.iter().map(|(resource_type, ids)| {
        let named = ids.iter().take(NAMED_MAX);
        wire::OwnedResources {
            resource_type: resource_type.to_string(),
            total: count(ids.len()),
            ids: named.map(ToString::to_string).collect(),
        }
    });
    let role = facts.role.unwrap_or(PartnerRole::Employee);
    let blocker = facts.blocker.as_ref();
    wire::ClientRemoval {
        client_account_id: client.to_string(),
        user_id: facts.user.to_string(),
        role: convert::partner_role_to_wire(role).into(),
        status: convert::user_status_to_wire(facts.status).into(),
        owned: owned.collect(),
        assigned_total: count(facts.assigned.len()),
        orphans_total: count(facts.orphans.len()),
        orphans: facts
            .orphans
            .iter()
            .take(NAMED_MAX)
            .map(resource_to_wire)
            .collect(),
        pending_requests: facts.pending_requests,
        blocker: blocker
            .map(|refusal| reason_of(refusal).0.name().to_owned())
            .unwrap_or_default(),
        blocker_message: blocker.map(ToString::to_string).unwrap_or_default(),
    }
}

fn resource_to_wire(key: &ResourceKey) -> wire::ResourceRef {
    wire::ResourceRef {
        resource_type: key.resource_type.to_string(),
        id: key.id.to_string(),
    }
}
