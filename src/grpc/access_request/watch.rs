//! `WatchAccessRequests`: what is pending, and what becomes of it, as it happens.

use std::time::Duration;

use prost::Message as _;
use tonic::Status;

use super::AccessRequestHandlers;
use crate::access_requests::{RequestWatch, RequestWatchEvent};
use crate::authz::access_request::AccessRequest;
use crate::authz::model::Id;
use crate::grpc::admission::Admission;
use crate::grpc::chunks::{CHUNK_BYTES, ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::store::Head;
use wire::watch_access_requests_response::Event;

/// Between two signs of life of a quiet watch.
const HEARTBEAT: Duration = Duration::from_secs(10);

const AFTER: &str = "after_revision";

type Sender = ChunkSender<wire::WatchAccessRequestsResponse>;

impl AccessRequestHandlers {
    pub(super) async fn watch(
        &self,
        admission: &Admission,
        request: wire::WatchAccessRequestsRequest,
    ) -> Result<Chunks<wire::WatchAccessRequestsResponse>, Failure> {
        let account = admission.account(&request.account_id)?;
        let after = revision_token(&request.after_revision, AFTER)?;
        let user = convert::optional_id(&request.user_id, "user_id")?;
        let watch = self
            .requests
            .watch(&account, after, user, HEARTBEAT)
            .await
            .map_err(|error| blamed_on_revision(error.into(), AFTER))?;
        let handlers = self.clone();
        Ok(self
            .reading
            .chunks(move |sender| async move { handlers.follow(&account, watch, sender).await }))
    }

    async fn follow(
        &self,
        account: &Id,
        mut watch: RequestWatch,
        sender: Sender,
    ) -> Result<(), Status> {
        // Where the caller stands: nowhere, before the first event was told whole.
        let mut told = String::new();
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
            told = match event {
                RequestWatchEvent::Heartbeat { at } => {
                    let event = Event::Heartbeat(wire::AccessRequestHeartbeat {});
                    self.tell(account, at, event, &sender).await?
                }
                RequestWatchEvent::Pending { at, requests } => {
                    let mut parts = parts(&requests).peekable();
                    while let Some(access_requests) = parts.next() {
                        let more_follow = parts.peek().is_some();
                        let event = Event::Pending(wire::PendingAccessRequests {
                            access_requests,
                            more_follow,
                        });
                        if more_follow {
                            send(told.clone(), event, &sender).await?;
                        } else {
                            told = self.tell(account, at, event, &sender).await?;
                        }
                    }
                    told
                }
                RequestWatchEvent::Changed {
                    from,
                    to,
                    requests,
                    revoked,
                } => {
                    let mut parts = parts(&requests).peekable();
                    while let Some(access_requests) = parts.next() {
                        let is_here = |id: &&Id| {
                            access_requests
                                .iter()
                                .any(|request| request.id == id.as_str())
                        };
                        let revoked = revoked.iter().filter(is_here);
                        let event = Event::Changed(wire::ChangedAccessRequests {
                            revoked_access_request_ids: revoked.map(Id::to_string).collect(),
                            access_requests,
                        });
                        let at = if parts.peek().is_some() { from } else { to };
                        told = self.tell(account, at, event, &sender).await?;
                    }
                    told
                }
            };
        }
    }

    /// Answers the revision that was told.
    async fn tell(
        &self,
        account: &Id,
        at: Head,
        event: Event,
        sender: &Sender,
    ) -> Result<String, Status> {
        let revision = self.revision(account, at);
        send(revision.clone(), event, sender).await?;
        Ok(revision)
    }
}

async fn send(revision: String, event: Event, sender: &Sender) -> Result<(), Status> {
    sender
        .send(wire::WatchAccessRequestsResponse {
            revision,
            event: Some(event),
        })
        .await
}

/// The requests in parts that fit a chunk; at least one, be it empty.
fn parts(requests: &[AccessRequest]) -> impl Iterator<Item = Vec<wire::AccessRequest>> + Send + '_ {
    let mut rest = requests
        .iter()
        .map(convert::access_request_to_wire)
        .peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        let mut part = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(request) = rest.next()
        {
            bytes += request.encoded_len();
            part.push(request);
        }
        let is_told = std::mem::take(&mut is_first) || !part.is_empty();
        is_told.then_some(part)
    })
}
