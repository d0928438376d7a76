//! `ExportAccount`: a whole account as the changes that make it.

use prost::Message as _;
use tonic::Status;

use super::DirectoryHandlers;
use crate::authz::catalog::Catalog;
use crate::authz::change::{AccountPatch, Change};
use crate::authz::model::{Account, Entity, Id};
use crate::grpc::admission::Admission;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::store::Snapshot;

impl DirectoryHandlers {
    pub(super) async fn export_account(
        &self,
        admission: &Admission,
        request: wire::ExportAccountRequest,
    ) -> Result<Chunks<wire::ExportAccountResponse>, Failure> {
        let account = admission.account(&request.account_id)?;
        let snapshot = self.directory.export(&account).await?;
        let revision = self.reading.revision(&account, snapshot.head);
        Ok(self.reading.chunks(move |sender| async move {
            export(snapshot, Export::new(sender, revision)).await
        }))
    }
}

async fn export(mut snapshot: Snapshot, mut export: Export) -> Result<(), Status> {
    // Grants on single resources, to be made after these.
    let mut later = Vec::new();
    let mut present_plan = None;
    while let Some(chunk) = snapshot.chunks.recv().await {
        for entity in chunk.map_err(Failure::from)?.into_entities() {
            let entity = match entity {
                Entity::Account(account) => {
                    let (account, plan) = with_walls_entitled(account);
                    present_plan = plan;
                    Entity::Account(account)
                }
                entity => entity,
            };
            let (changes, after) = convert::changes_of_entity(entity);
            later.extend(after);
            for change in &changes {
                export.add(change).await?;
            }
        }
    }
    for change in &later {
        export.add(change).await?;
    }
    if let Some(plan) = present_plan {
        export.begin_second_call().await?;
        let patch = AccountPatch {
            plan: Some(plan),
            ..AccountPatch::default()
        };
        export.add(&Change::PutAccount(patch)).await?;
    }
    export.end().await
}

/// C12: walls from before a downgrade stay, but can't be built under the present plan. So the
/// account is exported with a plan that lets be partitioned whatever any plan does, where the
/// catalog has one, and its own plan follows.
fn with_walls_entitled(mut account: Account) -> (Account, Option<Id>) {
    let Ok(catalog) = Catalog::resolve_ref(&account.catalog) else {
        return (account, None);
    };
    let allows_all = |plan: &crate::authz::catalog::Plan| {
        plan.partitionable
            .iter()
            .zip(&catalog.types)
            .all(|(allowed, resource_type)| *allowed || !resource_type.partitionable)
    };
    let present_allows = catalog.plan(account.plan.as_str()).is_some_and(allows_all);
    match catalog.plans.iter().find(|plan| allows_all(plan)) {
        Some(entitling) if !present_allows => {
            let present = std::mem::replace(&mut account.plan, entitling.name.clone());
            (account, Some(present))
        }
        Some(_) | None => (account, None),
    }
}

/// Fills chunks and sends the full ones.
struct Export {
    sender: ChunkSender<wire::ExportAccountResponse>,
    chunk: wire::ExportAccountResponse,
    bytes: usize,
}

impl Export {
    fn new(sender: ChunkSender<wire::ExportAccountResponse>, revision: String) -> Self {
        Self {
            sender,
            chunk: wire::ExportAccountResponse {
                revision,
                ..wire::ExportAccountResponse::default()
            },
            bytes: 0,
        }
    }

    async fn add(&mut self, change: &Change) -> Result<(), Status> {
        let change = convert::change_to_wire(change);
        // Tag and length.
        self.bytes += change.encoded_len() + 4;
        self.chunk.changes.push(change);
        if self.bytes >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Status> {
        let following = wire::ExportAccountResponse {
            in_second_call: self.chunk.in_second_call,
            ..wire::ExportAccountResponse::default()
        };
        self.bytes = 0;
        self.sender
            .send(std::mem::replace(&mut self.chunk, following))
            .await
    }

    async fn begin_second_call(&mut self) -> Result<(), Status> {
        self.flush().await?;
        self.chunk.in_second_call = true;
        Ok(())
    }

    async fn end(self) -> Result<(), Status> {
        self.sender.send(self.chunk).await
    }
}
