//! `WatchChanges`: what happens to an account, as it happens.

use std::time::Duration;

use prost::Message as _;
use tonic::Status;

use super::DirectoryHandlers;
use crate::authz::model::{EntityChange, Id};
use crate::directory::{ChangeWatch, WatchEvent};
use crate::grpc::admission::Admission;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::reading::{blamed, revision_token};
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::store::Head;
use wire::watch_changes_response::Event;

/// Between two signs of life of a quiet watch.
const HEARTBEAT: Duration = Duration::from_secs(10);

const AFTER: &str = "after_revision";

impl DirectoryHandlers {
    pub(super) async fn watch_changes(
        &self,
        admission: &Admission,
        request: wire::WatchChangesRequest,
    ) -> Result<Chunks<wire::WatchChangesResponse>, Failure> {
        let account = admission.account(&request.account_id)?;
        let after = revision_token(&request.after_revision, AFTER)?;
        let watch = self
            .directory
            .watch(&account, after, HEARTBEAT)
            .await
            .map_err(|error| match Failure::from(error) {
                failure if failure.reason == Reason::AccountNotFound => failure,
                failure => blamed(failure, AFTER),
            })?;
        let handlers = self.clone();
        Ok(self
            .reading
            .chunks(move |sender| async move { handlers.follow(&account, watch, sender).await }))
    }

    async fn follow(
        &self,
        account: &Id,
        mut watch: ChangeWatch,
        sender: ChunkSender<wire::WatchChangesResponse>,
    ) -> Result<(), Status> {
        self.tell(
            account,
            watch.head(),
            Event::Heartbeat(wire::Heartbeat {}),
            &sender,
        )
        .await?;
        loop {
            let event = tokio::select! {
                event = watch.next() => event.map_err(Failure::from)?,
                status = sender.closed() => return Err(status),
                () = self.shutdown.soft().cancelled() => {
                    return Err(Failure::new(
                        Reason::ShuttingDown,
                        "the server is shutting down: watch on after the last revision at another one",
                    )
                    .into());
                }
            };
            match event {
                WatchEvent::Heartbeat { at } => {
                    self.tell(account, at, Event::Heartbeat(wire::Heartbeat {}), &sender)
                        .await?;
                }
                WatchEvent::Reload { to } => {
                    self.tell(account, to, Event::Reload(wire::Reload::default()), &sender)
                        .await?;
                }
                WatchEvent::Changes { from, to, changes } => {
                    self.tell_changes(account, from, to, &changes, &sender)
                        .await?;
                }
            }
        }
    }

    /// Until the last part of a change is told, the watch stands where it stood before: a caller
    /// that goes on from there after a break misses nothing.
    async fn tell_changes(
        &self,
        account: &Id,
        from: Head,
        to: Head,
        changes: &[EntityChange],
        sender: &ChunkSender<wire::WatchChangesResponse>,
    ) -> Result<(), Status> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for change in changes {
            if bytes >= CHUNK_BYTES {
                bytes = 0;
                let changes = std::mem::take(&mut part);
                let event = Event::Changes(wire::EntityChanges { changes });
                self.tell(account, from, event, sender).await?;
            }
            let change = convert::entity_change_to_wire(change);
            bytes += change.encoded_len();
            part.push(change);
        }
        let event = Event::Changes(wire::EntityChanges { changes: part });
        self.tell(account, to, event, sender).await
    }

    async fn tell(
        &self,
        account: &Id,
        at: Head,
        event: Event,
        sender: &ChunkSender<wire::WatchChangesResponse>,
    ) -> Result<(), Status> {
        sender
            .send(wire::WatchChangesResponse {
                revision: self.reading.revision(account, at),
                event: Some(event),
            })
            .await
    }
}
