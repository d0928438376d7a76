//! Access requests: from a denial to a grant.

use crate::authz::access_request::{RequestState, Resolution};
use crate::authz::model::Timestamp;
use crate::grpc::convert::{Path, request_state_from_wire, request_state_to_wire};
use crate::grpc::convert::{resolution_from_wire, resolution_to_wire, timestamp_to_wire};
use crate::grpc::status::Failure;
use crate::grpc::wire;

use super::Client;
use super::decision::{Decision, non_empty, time};
use super::error::ClientError;
use super::question::Question;
use super::retry::Repeat;

/// A user's wish for what was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessRequest {
    pub id: String,
    /// The requester.
    pub user: String,
    pub resource_type: String,
    pub action: String,
    /// `None`: the tool as a whole.
    pub resource: Option<String>,
    /// In the requester's words: text to show, never to obey.
    pub reason: String,
    /// The reason code of the denial when the request was filed.
    pub denied_as: String,
    pub wanted_seconds: Option<u64>,
    pub origin_url: Option<String>,
    pub filed_at: Timestamp,
    /// When it expires if it is still pending then.
    pub expires_at: Timestamp,
    pub state: RequestState,
    /// How it ended.
    pub closing: Option<Closing>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closing {
    pub at: Timestamp,
    /// `None`: Ambit itself.
    pub by: Option<String>,
    pub note: Option<String>,
    /// What an approval gave.
    pub approval: Option<Approval>,
}

/// What an approval gives, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approval {
    pub resolution: Resolution,
    /// `None`: it stays.
    pub expires_at: Option<Timestamp>,
}

/// A request that is to be filed: the question whose check was denied, and why the user wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filing {
    question: Question,
    reason: String,
    wanted_seconds: Option<u64>,
    origin_url: String,
    key: String,
}

impl Filing {
    /// `reason` has 1 to 1,000 characters. For a question that answers `Requestable::Tool`, leave the
    /// resource out.
    pub fn new(question: Question, reason: impl Into<String>) -> Self {
        Self {
            question,
            reason: reason.into(),
            wanted_seconds: None,
            origin_url: String::new(),
            key: String::new(),
        }
    }

    /// For how long the access is wanted; the approver decides.
    #[must_use]
    pub fn wanted_seconds(mut self, seconds: u64) -> Self {
        self.wanted_seconds = Some(seconds);
        self
    }

    /// The page of the product where the denial happened.
    #[must_use]
    pub fn seen_at(mut self, origin_url: impl Into<String>) -> Self {
        self.origin_url = origin_url.into();
        self
    }

    /// Names the filing, so that it may be repeated.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }
}

/// The request that is pending after a filing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filed {
    pub access_request: AccessRequest,
    /// Whether it had been there before.
    pub existing: bool,
    pub revision: String,
}

/// Which requests are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestFilter {
    /// None: in any state.
    pub states: Vec<RequestState>,
    /// Only of this requester.
    pub user: Option<String>,
    /// Only what this user may resolve now, or has resolved.
    pub approver: Option<String>,
}

/// One page of requests, ordered bytewise by id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestPage {
    pub access_requests: Vec<AccessRequest>,
    /// Of the next page; `None` at the end and only there.
    pub next: Option<String>,
    pub revision: String,
}

/// A resolution that would do, with what it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suggestion {
    pub resolution: Resolution,
    /// How many (user, action, resource) triples would be newly allowed.
    pub opens: u64,
    /// How many users would gain something.
    pub users: u64,
    /// Why the named approver could not give it.
    pub withheld_reason: Option<String>,
}

/// Who resolves which request, with the words and the key of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolving {
    account: String,
    access_request: String,
    by: String,
    note: String,
    key: String,
}

impl Resolving {
    /// `by` is the user who approves, denies or revokes, or the requester who cancels; the caller has
    /// authenticated that user.
    pub fn new(
        account: impl Into<String>,
        access_request: impl Into<String>,
        by: impl Into<String>,
    ) -> Self {
        Self {
            account: account.into(),
            access_request: access_request.into(),
            by: by.into(),
            note: String::new(),
            key: String::new(),
        }
    }

    /// Words for the requester; a denial needs them.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Names the transition, so that it may be repeated.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }
}

/// A request after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    pub access_request: AccessRequest,
    /// The request's check at the revision, after an approval or a revocation.
    pub check: Option<Decision>,
    /// Ask any server with it, or within the same session, to see what was done.
    pub revision: String,
}

impl Client {
    /// Asks for what is denied to a user. The user's pending request for the same is answered where
    /// there is one.
    ///
    /// # Errors
    /// As the server answers it, such as `NOT_REQUESTABLE` or `ALREADY_ALLOWED`.
    pub async fn file_access_request(&self, filing: &Filing) -> Result<Filed, ClientError> {
        let question = &filing.question;
        if question.facts.is_some() || question.at.is_some() {
            return Err(ClientError::Configuration(
                "a request is about what is stored, now: its question describes nothing and names no moment"
                    .to_owned(),
            ));
        }
        let message = wire::FileAccessRequestRequest {
            account_id: question.account.clone(),
            user_id: question.user.clone(),
            resource_type: question.resource_type.clone(),
            action: question.action.clone(),
            resource_id: question.wire_resource()?,
            reason: filing.reason.clone(),
            wanted_seconds: filing.wanted_seconds,
            origin_url: filing.origin_url.clone(),
            idempotency_key: filing.key.clone(),
            expected_revision: String::new(),
        };
        let answer = self
            .call(&question.account, Repeat::of_key(&filing.key), |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.access_requests().file_access_request(request).await }
            })
            .await?;
        self.saw(&question.account, &answer.revision)?;
        Ok(Filed {
            access_request: given(answer.access_request)?,
            existing: answer.existing,
            revision: answer.revision,
        })
    }

    /// Reads one request.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn get_access_request(
        &self,
        account: &str,
        access_request: &str,
    ) -> Result<AccessRequest, ClientError> {
        let answer = self
            .call(account, Repeat::Safe, |attempt| {
                let request = attempt.request(wire::GetAccessRequestRequest {
                    account_id: account.to_owned(),
                    access_request_id: access_request.to_owned(),
                });
                async move { attempt.access_requests().get_access_request(request).await }
            })
            .await?;
        self.saw(account, &answer.revision)?;
        given(answer.access_request)
    }

    /// One page of an account's requests.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn list_access_requests(
        &self,
        account: &str,
        filter: &RequestFilter,
        page_token: Option<&str>,
    ) -> Result<RequestPage, ClientError> {
        let message = wire::ListAccessRequestsRequest {
            account_id: account.to_owned(),
            states: filter
                .states
                .iter()
                .map(|state| request_state_to_wire(*state).into())
                .collect(),
            user_id: filter.user.clone().unwrap_or_default(),
            approver_user_id: filter.approver.clone().unwrap_or_default(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(account, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move {
                    attempt
                        .access_requests()
                        .list_access_requests(request)
                        .await
                }
            })
            .await?;
        self.saw(account, &answer.revision)?;
        Ok(RequestPage {
            access_requests: answer
                .access_requests
                .into_iter()
                .map(|request| given(Some(request)))
                .collect::<Result<_, _>>()?,
            next: non_empty(answer.next_page_token),
            revision: answer.revision,
        })
    }

    /// What would answer a pending request, what opens least first.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn suggest_resolutions(
        &self,
        account: &str,
        access_request: &str,
        approver: Option<&str>,
        expires_at: Option<Timestamp>,
    ) -> Result<Vec<Suggestion>, ClientError> {
        let answer = self
            .call(account, Repeat::Safe, |attempt| {
                let request = attempt.request(wire::SuggestResolutionsRequest {
                    account_id: account.to_owned(),
                    access_request_id: access_request.to_owned(),
                    approver_user_id: approver.unwrap_or_default().to_owned(),
                    expires_at: expires_at.map(timestamp_to_wire),
                });
                async move { attempt.access_requests().suggest_resolutions(request).await }
            })
            .await?;
        self.saw(account, &answer.revision)?;
        answer
            .suggestions
            .into_iter()
            .map(|suggestion| {
                Ok(Suggestion {
                    resolution: resolution(suggestion.resolution.as_ref())?,
                    opens: suggestion.opens,
                    users: suggestion.users,
                    withheld_reason: non_empty(suggestion.withheld_reason),
                })
            })
            .collect()
    }

    /// Grants what answers a request. Within a session the check is ALLOW from here on.
    ///
    /// # Errors
    /// As the server answers it, such as `BEYOND_OWN_RIGHTS` or `REQUEST_NOT_PENDING`.
    pub async fn approve_access_request(
        &self,
        resolving: &Resolving,
        resolution: &Resolution,
        expires_at: Option<Timestamp>,
    ) -> Result<Resolved, ClientError> {
        let message = wire::ApproveAccessRequestRequest {
            account_id: resolving.account.clone(),
            access_request_id: resolving.access_request.clone(),
            approver_user_id: resolving.by.clone(),
            resolution: Some(resolution_to_wire(resolution)),
            expires_at: expires_at.map(timestamp_to_wire),
            note: resolving.note.clone(),
            idempotency_key: resolving.key.clone(),
            expected_revision: String::new(),
        };
        let answer = self
            .resolve(resolving, |attempt| {
                let request = attempt.request(message.clone());
                async move {
                    attempt
                        .access_requests()
                        .approve_access_request(request)
                        .await
                }
            })
            .await?;
        self.resolved(
            resolving,
            answer.access_request,
            answer.check,
            answer.revision,
        )
    }

    /// Ends a request as denied; the note of `resolving` is the reason, for the requester.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn deny_access_request(
        &self,
        resolving: &Resolving,
    ) -> Result<Resolved, ClientError> {
        let message = wire::DenyAccessRequestRequest {
            account_id: resolving.account.clone(),
            access_request_id: resolving.access_request.clone(),
            approver_user_id: resolving.by.clone(),
            reason: resolving.note.clone(),
            idempotency_key: resolving.key.clone(),
            expected_revision: String::new(),
        };
        let answer = self
            .resolve(resolving, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.access_requests().deny_access_request(request).await }
            })
            .await?;
        self.resolved(resolving, answer.access_request, None, answer.revision)
    }

    /// Withdraws a request in the name of its requester.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn cancel_access_request(
        &self,
        resolving: &Resolving,
    ) -> Result<Resolved, ClientError> {
        let message = wire::CancelAccessRequestRequest {
            account_id: resolving.account.clone(),
            access_request_id: resolving.access_request.clone(),
            user_id: resolving.by.clone(),
            note: resolving.note.clone(),
            idempotency_key: resolving.key.clone(),
            expected_revision: String::new(),
        };
        let answer = self
            .resolve(resolving, |attempt| {
                let request = attempt.request(message.clone());
                async move {
                    attempt
                        .access_requests()
                        .cancel_access_request(request)
                        .await
                }
            })
            .await?;
        self.resolved(resolving, answer.access_request, None, answer.revision)
    }

    /// Takes back whatever the approval of a request gave, and nothing else.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn revoke_access_request(
        &self,
        resolving: &Resolving,
    ) -> Result<Resolved, ClientError> {
        let message = wire::RevokeAccessRequestRequest {
            account_id: resolving.account.clone(),
            access_request_id: resolving.access_request.clone(),
            approver_user_id: resolving.by.clone(),
            note: resolving.note.clone(),
            idempotency_key: resolving.key.clone(),
            expected_revision: String::new(),
        };
        let answer = self
            .resolve(resolving, |attempt| {
                let request = attempt.request(message.clone());
                async move {
                    attempt
                        .access_requests()
                        .revoke_access_request(request)
                        .await
                }
            })
            .await?;
        self.resolved(
            resolving,
            answer.access_request,
            answer.check,
            answer.revision,
        )
    }

    async fn resolve<Answer, Sent>(
        &self,
        resolving: &Resolving,
        send: impl Fn(super::calls::Attempt) -> Sent,
    ) -> Result<Answer, ClientError>
    where
        Sent: Future<Output = Result<tonic::Response<Answer>, tonic::Status>>,
    {
        let repeat = Repeat::of_key(&resolving.key);
        self.call(&resolving.account, repeat, send).await
    }

    fn resolved(
        &self,
        resolving: &Resolving,
        access_request: Option<wire::AccessRequest>,
        check: Option<wire::CheckResponse>,
        revision: String,
    ) -> Result<Resolved, ClientError> {
        self.saw(&resolving.account, &revision)?;
        Ok(Resolved {
            access_request: given(access_request)?,
            check: check
                .map(|check| Decision::of_wire(check.into()))
                .transpose()?,
            revision,
        })
    }
}

fn lacks(part: &str) -> ClientError {
    ClientError::unreadable(format!("it lacks {part}"))
}

fn given(request: Option<wire::AccessRequest>) -> Result<AccessRequest, ClientError> {
    let request = request.ok_or_else(|| lacks("the access request"))?;
    let state = request_state_from_wire(request.state, Path::root("state")).map_err(not_known)?;
    Ok(AccessRequest {
        id: request.id,
        user: request.user_id,
        resource_type: request.resource_type,
        action: request.action,
        resource: non_empty(request.resource_id),
        reason: request.reason,
        denied_as: request.denied_as,
        wanted_seconds: request.wanted_seconds,
        origin_url: non_empty(request.origin_url),
        filed_at: time(request.filed_at.as_ref(), "filed_at")?.ok_or_else(|| lacks("filed_at"))?,
        expires_at: time(request.expires_at.as_ref(), "expires_at")?
            .ok_or_else(|| lacks("expires_at"))?,
        state,
        closing: request.closing.map(closing).transpose()?,
    })
}

fn closing(closing: wire::AccessRequestClosing) -> Result<Closing, ClientError> {
    Ok(Closing {
        at: time(closing.at.as_ref(), "closing.at")?.ok_or_else(|| lacks("closing.at"))?,
        by: non_empty(closing.by_user_id),
        note: non_empty(closing.note),
        approval: closing
            .approval
            .map(|approval| {
                Ok::<_, ClientError>(Approval {
                    resolution: resolution(approval.resolution.as_ref())?,
                    expires_at: time(approval.expires_at.as_ref(), "approval.expires_at")?,
                })
            })
            .transpose()?,
    })
}

fn resolution(given: Option<&wire::Resolution>) -> Result<Resolution, ClientError> {
    resolution_from_wire(given, Path::root("resolution")).map_err(not_known)
}

fn not_known(failure: Failure) -> ClientError {
    ClientError::unreadable(failure.message)
}
