//! `AccessRequestService`: from a denial to a grant.

use prost::Message;
use tonic::{Request, Response, Status};

use super::admission::Admission;
use super::author::author;
use super::chunks::Chunks;
use super::convert::{self, Path};
use super::directory::{page_size, up_to_page_bytes};
use super::idempotency::idempotency_of;
use super::page_token::Binding;
use super::reading::{Reading, blamed_on_revision, revision_token};
use super::status::Failure;
use super::wire;
use crate::access_requests::{
    AccessRequestError, AccessRequests, Act, Listing, RequestWrite, Resolved,
};
use crate::authz::access_request::{Approval, RequestTarget, Wish};
use crate::authz::model::Id;
use crate::shutdown::Shutdown;
use crate::store::audit::Author;
use crate::store::{Head, RequestFilter};

mod notifications;
mod watch;

const EXPECTED: &str = "expected_revision";

#[derive(Clone)]
pub struct AccessRequestHandlers {
    requests: AccessRequests,
    reading: Reading,
    shutdown: Shutdown,
}

/// What each mutation names: account, key and expected revision.
struct Mutation<'a> {
    rpc: &'static str,
    account_id: &'a str,
    idempotency_key: &'a str,
    expected_revision: &'a str,
    author: Author,
    /// The user who does it.
    actor: &'a str,
}

impl AccessRequestHandlers {
    pub fn new(requests: AccessRequests, reading: Reading, shutdown: Shutdown) -> Self {
        Self {
            requests,
            reading,
            shutdown,
        }
    }

    async fn file(
        &self,
        admission: &Admission,
        request: wire::FileAccessRequestRequest,
        author: Author,
    ) -> Result<wire::FileAccessRequestResponse, Failure> {
        let unkeyed = wire::FileAccessRequestRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let mutation = Mutation {
            rpc: "FileAccessRequest",
            account_id: &request.account_id,
            idempotency_key: &request.idempotency_key,
            expected_revision: &request.expected_revision,
            author,
            actor: &request.user_id,
        };
        let write = mutation.write(admission, &unkeyed)?;
        let account = write.account.clone();
        let wish = Wish {
            user: convert::id(&request.user_id, "user_id")?,
            target: RequestTarget {
                resource_type: convert::id(&request.resource_type, "resource_type")?,
                action: convert::id(&request.action, "action")?,
                resource_id: convert::optional_id(&request.resource_id, "resource_id")?,
            },
            reason: request.reason,
            wanted_seconds: request.wanted_seconds,
            origin_url: non_empty(request.origin_url),
        };
        let filed = self.requests.file(write, wish).await.map_err(refused)?;
        Ok(wire::FileAccessRequestResponse {
            access_request: Some(convert::access_request_to_wire(&filed.request)),
            existing: filed.existing,
            revision: self.reading.revision(&account, filed.head),
        })
    }

    async fn get(
        &self,
        admission: &Admission,
        request: &wire::GetAccessRequestRequest,
    ) -> Result<wire::GetAccessRequestResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let id = convert::id(&request.access_request_id, "access_request_id")?;
        let (found, head) = self.requests.get(&account, &id).await?;
        Ok(wire::GetAccessRequestResponse {
            access_request: Some(convert::access_request_to_wire(&found)),
            revision: self.reading.revision(&account, head),
        })
    }

    async fn list(
        &self,
        admission: &Admission,
        request: &wire::ListAccessRequestsRequest,
    ) -> Result<wire::ListAccessRequestsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let states = Path::root("states");
        let states = request
            .states
            .iter()
            .enumerate()
            .map(|(index, state)| convert::request_state_from_wire(*state, states.at(index)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let listing = Listing {
            filter: RequestFilter {
                states,
                user: convert::optional_id(&request.user_id, "user_id")?,
            },
            approver: convert::optional_id(&request.approver_user_id, "approver_user_id")?,
        };
        let binding = list_binding(request);
        let place = self.reading.place(&binding, &request.page_token)?;
        let read = self
            .reading
            .page(&account, Some(&present()), place.as_ref())
            .await?;
        let after = place
            .as_ref()
            .map(super::page_token::Place::id)
            .transpose()?;
        let size = page_size(request.page_size);
        let listed = self
            .requests
            .list(&account, &read, &listing, after.as_ref(), size)
            .await?;
        let whole = listed.requests.len();
        let found = listed.requests.iter().map(|request| {
            (
                request.id.to_string(),
                convert::access_request_to_wire(request),
            )
        });
        let (access_requests, cut) = up_to_page_bytes(found, false);
        let next = if access_requests.len() < whole {
            cut
        } else {
            listed.next.map(|id| id.to_string())
        };
        Ok(wire::ListAccessRequestsResponse {
            access_requests,
            next_page_token: next
                .map(|next| self.reading.page_token(&binding, &next, read.head))
                .unwrap_or_default(),
            revision: self.reading.revision(&account, read.head),
        })
    }

    async fn suggest(
        &self,
        admission: &Admission,
        request: &wire::SuggestResolutionsRequest,
    ) -> Result<wire::SuggestResolutionsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let id = convert::id(&request.access_request_id, "access_request_id")?;
        let approver = convert::optional_id(&request.approver_user_id, "approver_user_id")?;
        let expires_at = expires_at(request.expires_at.as_ref())?;
        let suggested = self
            .requests
            .suggest(&account, &id, approver.as_ref(), expires_at)
            .await?;
        Ok(wire::SuggestResolutionsResponse {
            suggestions: suggested
                .suggestions
                .iter()
                .map(convert::suggestion_to_wire)
                .collect(),
            revision: self.reading.revision(&account, suggested.head),
        })
    }

    async fn approve(
        &self,
        admission: &Admission,
        request: wire::ApproveAccessRequestRequest,
        author: Author,
    ) -> Result<wire::ApproveAccessRequestResponse, Failure> {
        let unkeyed = wire::ApproveAccessRequestRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let mutation = Mutation {
            rpc: "ApproveAccessRequest",
            account_id: &request.account_id,
            idempotency_key: &request.idempotency_key,
            expected_revision: &request.expected_revision,
            author,
            actor: &request.approver_user_id,
        };
        let write = mutation.write(admission, &unkeyed)?;
        let account = write.account.clone();
        let act = Act::Approve {
            approver: convert::id(&request.approver_user_id, "approver_user_id")?,
            approval: Approval {
                resolution: convert::resolution_from_wire(
                    request.resolution.as_ref(),
                    Path::root("resolution"),
                )?,
                expires_at: expires_at(request.expires_at.as_ref())?,
            },
            note: non_empty(request.note),
        };
        let resolved = self.resolve(write, &request.access_request_id, act).await?;
        let (access_request, check, revision) = self.resolved(&account, &resolved);
        Ok(wire::ApproveAccessRequestResponse {
            access_request,
            check,
            revision,
        })
    }

    async fn deny(
        &self,
        admission: &Admission,
        request: wire::DenyAccessRequestRequest,
        author: Author,
    ) -> Result<wire::DenyAccessRequestResponse, Failure> {
        let unkeyed = wire::DenyAccessRequestRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let mutation = Mutation {
            rpc: "DenyAccessRequest",
            account_id: &request.account_id,
            idempotency_key: &request.idempotency_key,
            expected_revision: &request.expected_revision,
            author,
            actor: &request.approver_user_id,
        };
        let write = mutation.write(admission, &unkeyed)?;
        let account = write.account.clone();
        let act = Act::Deny {
            approver: convert::id(&request.approver_user_id, "approver_user_id")?,
            reason: request.reason,
        };
        let denied = self.resolve(write, &request.access_request_id, act).await;
        let (access_request, _, revision) =
            self.resolved(&account, &denied.map_err(blamed_on_reason)?);
        Ok(wire::DenyAccessRequestResponse {
            access_request,
            revision,
        })
    }

    async fn cancel(
        &self,
        admission: &Admission,
        request: wire::CancelAccessRequestRequest,
        author: Author,
    ) -> Result<wire::CancelAccessRequestResponse, Failure> {
        let unkeyed = wire::CancelAccessRequestRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let mutation = Mutation {
            rpc: "CancelAccessRequest",
            account_id: &request.account_id,
            idempotency_key: &request.idempotency_key,
            expected_revision: &request.expected_revision,
            author,
            actor: &request.user_id,
        };
        let write = mutation.write(admission, &unkeyed)?;
        let account = write.account.clone();
        let act = Act::Cancel {
            user: convert::id(&request.user_id, "user_id")?,
            note: non_empty(request.note),
        };
        let resolved = self.resolve(write, &request.access_request_id, act).await?;
        let (access_request, _, revision) = self.resolved(&account, &resolved);
        Ok(wire::CancelAccessRequestResponse {
            access_request,
            revision,
        })
    }

    async fn revoke(
        &self,
        admission: &Admission,
        request: wire::RevokeAccessRequestRequest,
        author: Author,
    ) -> Result<wire::RevokeAccessRequestResponse, Failure> {
        let unkeyed = wire::RevokeAccessRequestRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let mutation = Mutation {
            rpc: "RevokeAccessRequest",
            account_id: &request.account_id,
            idempotency_key: &request.idempotency_key,
            expected_revision: &request.expected_revision,
            author,
            actor: &request.approver_user_id,
        };
        let write = mutation.write(admission, &unkeyed)?;
        let account = write.account.clone();
        let act = Act::Revoke {
            approver: convert::id(&request.approver_user_id, "approver_user_id")?,
            note: non_empty(request.note),
        };
        let resolved = self.resolve(write, &request.access_request_id, act).await?;
        let (access_request, check, revision) = self.resolved(&account, &resolved);
        Ok(wire::RevokeAccessRequestResponse {
            access_request,
            check,
            revision,
        })
    }

    async fn link(
        &self,
        admission: &Admission,
        request: &wire::CreateRequestLinkRequest,
        author: Author,
    ) -> Result<wire::CreateRequestLinkResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let id = convert::id(&request.access_request_id, "access_request_id")?;
        let approver = convert::id(&request.approver_user_id, "approver_user_id")?;
        let author = author.for_actor(Some(approver.clone()));
        let link = self
            .requests
            .link(&account, &id, &approver, &author)
            .await?;
        Ok(wire::CreateRequestLinkResponse {
            url: link.url,
            expires_at: Some(convert::timestamp_to_wire(link.expires_at)),
        })
    }

    async fn events(
        &self,
        admission: &Admission,
        request: &wire::ListAccessRequestEventsRequest,
    ) -> Result<wire::ListAccessRequestEventsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let id = convert::id(&request.access_request_id, "access_request_id")?;
        let (events, head) = self.requests.events(&account, &id).await?;
        Ok(wire::ListAccessRequestEventsResponse {
            events: events.iter().map(convert::request_event_to_wire).collect(),
            revision: self.reading.revision(&account, head),
        })
    }

    async fn resolve(&self, write: RequestWrite, id: &str, act: Act) -> Result<Resolved, Failure> {
        let id = convert::id(id, "access_request_id")?;
        self.requests
            .resolve(write, &id, act)
            .await
            .map_err(refused)
    }

    /// What every answer to a resolution has.
    fn resolved(
        &self,
        account: &Id,
        resolved: &Resolved,
    ) -> (
        Option<wire::AccessRequest>,
        Option<wire::CheckResponse>,
        String,
    ) {
        let revision = self.revision(account, resolved.head);
        let check = resolved
            .decision
            .as_ref()
            .map(|decision| convert::request_check_to_wire(decision, revision.clone()));
        let request = convert::access_request_to_wire(&resolved.request);
        (Some(request), check, revision)
    }

    fn revision(&self, account: &Id, head: Head) -> String {
        self.reading.revision(account, head)
    }
}

impl Mutation<'_> {
    fn write(self, admission: &Admission, unkeyed: &impl Message) -> Result<RequestWrite, Failure> {
        Ok(RequestWrite {
            account: Id::clone(&*admission.account(self.account_id)?),
            expected: revision_token(self.expected_revision, EXPECTED)?,
            idempotency: idempotency_of(self.rpc, self.idempotency_key, unkeyed)?,
            // One that is no id is refused with its field.
            author: self.author.for_actor(Id::parse(self.actor).ok()),
        })
    }
}

fn refused(error: AccessRequestError) -> Failure {
    blamed_on_revision(error.into(), EXPECTED)
}

/// The core calls it a note, as it is kept; the one of a denial is required and named so.
fn blamed_on_reason(failure: Failure) -> Failure {
    Failure {
        field: failure.field.map(|field| match field.as_str() {
            "note" => "reason".to_owned(),
            _ => field,
        }),
        ..failure
    }
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn expires_at(
    moment: Option<&prost_types::Timestamp>,
) -> Result<Option<crate::authz::model::Timestamp>, Failure> {
    moment
        .map(|moment| convert::timestamp(moment, "expires_at"))
        .transpose()
}

/// Everything here is read as it is.
fn present() -> wire::Consistency {
    wire::Consistency {
        requirement: Some(wire::consistency::Requirement::FullyConsistent(true)),
    }
}

/// What is listed; page size aside, a page token is good for nothing else.
fn list_binding(request: &wire::ListAccessRequestsRequest) -> Binding {
    let mut states = request.states.clone();
    states.sort_unstable();
    states.dedup();
    let states = states
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    Binding::new(
        "ListAccessRequests",
        &[
            &request.account_id,
            &states,
            &request.user_id,
            &request.approver_user_id,
        ],
    )
}

#[tonic::async_trait]
impl wire::access_request_service_server::AccessRequestService for AccessRequestHandlers {
    async fn file_access_request(
        &self,
        request: Request<wire::FileAccessRequestRequest>,
    ) -> Result<Response<wire::FileAccessRequestResponse>, Status> {
        let author = author(&request, "FileAccessRequest");
        Ok(Response::new(
            self.file(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    async fn get_access_request(
        &self,
        request: Request<wire::GetAccessRequestRequest>,
    ) -> Result<Response<wire::GetAccessRequestResponse>, Status> {
        Ok(Response::new(
            self.get(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn list_access_requests(
        &self,
        request: Request<wire::ListAccessRequestsRequest>,
    ) -> Result<Response<wire::ListAccessRequestsResponse>, Status> {
        Ok(Response::new(
            self.list(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn suggest_resolutions(
        &self,
        request: Request<wire::SuggestResolutionsRequest>,
    ) -> Result<Response<wire::SuggestResolutionsResponse>, Status> {
        Ok(Response::new(
            self.suggest(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn approve_access_request(
        &self,
        request: Request<wire::ApproveAccessRequestRequest>,
    ) -> Result<Response<wire::ApproveAccessRequestResponse>, Status> {
        let author = author(&request, "ApproveAccessRequest");
        Ok(Response::new(
            self.approve(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    async fn deny_access_request(
        &self,
        request: Request<wire::DenyAccessRequestRequest>,
    ) -> Result<Response<wire::DenyAccessRequestResponse>, Status> {
        let author = author(&request, "DenyAccessRequest");
        Ok(Response::new(
            self.deny(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    async fn cancel_access_request(
        &self,
        request: Request<wire::CancelAccessRequestRequest>,
    ) -> Result<Response<wire::CancelAccessRequestResponse>, Status> {
        let author = author(&request, "CancelAccessRequest");
        Ok(Response::new(
            self.cancel(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    async fn revoke_access_request(
        &self,
        request: Request<wire::RevokeAccessRequestRequest>,
    ) -> Result<Response<wire::RevokeAccessRequestResponse>, Status> {
        let author = author(&request, "RevokeAccessRequest");
        Ok(Response::new(
            self.revoke(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    type WatchAccessRequestsStream = Chunks<wire::WatchAccessRequestsResponse>;

    async fn watch_access_requests(
        &self,
        request: Request<wire::WatchAccessRequestsRequest>,
    ) -> Result<Response<Self::WatchAccessRequestsStream>, Status> {
        Ok(Response::new(
            self.watch(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn create_request_link(
        &self,
        request: Request<wire::CreateRequestLinkRequest>,
    ) -> Result<Response<wire::CreateRequestLinkResponse>, Status> {
        let author = author(&request, "CreateRequestLink");
        Ok(Response::new(
            self.link(
                &Admission::of(request.extensions())?,
                request.get_ref(),
                author,
            )
            .await?,
        ))
    }

    async fn list_access_request_events(
        &self,
        request: Request<wire::ListAccessRequestEventsRequest>,
    ) -> Result<Response<wire::ListAccessRequestEventsResponse>, Status> {
        Ok(Response::new(
            self.events(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn list_notifications(
        &self,
        request: Request<wire::ListNotificationsRequest>,
    ) -> Result<Response<wire::ListNotificationsResponse>, Status> {
        Ok(Response::new(
            self.notifications(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn replay_notification(
        &self,
        request: Request<wire::ReplayNotificationRequest>,
    ) -> Result<Response<wire::ReplayNotificationResponse>, Status> {
        let author = author(&request, "ReplayNotification");
        Ok(Response::new(
            self.replay(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                &author,
            )
            .await?,
        ))
    }
}
