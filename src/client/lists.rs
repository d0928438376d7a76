//! Lists: as streams of any length, in pages, and as filters of what the caller has.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Response, Streaming};

use crate::authz::model::{Level, Timestamp};
use crate::grpc::wire;

use super::Client;
use super::decision::{level, non_empty, time};
use super::error::ClientError;
use super::question::Question;

/// Ids in one message of a filter, which may have 4 MiB: ids have at most 256 bytes.
const FILTER_IDS: usize = 10_000;

/// Limits of a list beside what is accessible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// Only resources that this user owns.
    pub owner: Option<String>,
    /// Only resources that are stamped with or assigned to this team.
    pub team: Option<String>,
    /// Only resources that are assigned to this access group.
    pub access_group: Option<String>,
}

/// The ids of a list, as they come: a [`Stream`] that ends without an error only where it is
/// complete.
#[derive(Debug)]
#[must_use = "the ids come from the stream"]
pub struct Listing {
    chunks: Chunks<wire::ListAccessibleResponse, String>,
}

/// Who may, as they come: a [`Stream`] that ends without an error only where it is complete.
#[derive(Debug)]
#[must_use = "the users come from the stream"]
pub struct UserListing {
    chunks: Chunks<wire::ListUsersWithAccessResponse, UserAccess>,
}

/// A user who may, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserAccess {
    pub user: String,
    pub reason: String,
    pub level: Level,
    pub include_unassigned: bool,
    pub valid_until: Option<Timestamp>,
}

/// One page of a list, in id byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// How many resources are accessible in all.
    pub total: u64,
    pub ids: Vec<String>,
    /// Of the next page; `None` at the end and only there.
    pub next: Option<String>,
    pub revision: String,
}

/// What is accessible of the ids that were asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filtered {
    /// In the order in which they were given, repetitions included.
    pub ids: Vec<String>,
    pub revision: String,
}

impl Client {
    /// Every resource of a type on which the user may do the action: exact, complete, at one revision.
    ///
    /// The call's deadline is for its first part; then the list takes as long as it is read. It is
    /// tried again until it has begun and not after.
    ///
    /// # Errors
    /// As [`check`](Self::check), and where the question names a resource.
    pub async fn list(
        &self,
        question: &Question,
        narrowing: &Narrowing,
    ) -> Result<Listing, ClientError> {
        let message = list_request(question, narrowing)?;
        let chunks = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.unlimited(wire::ListAccessibleRequest {
                    consistency,
                    ..message.clone()
                });
                async move { begun(attempt.decisions().list_accessible(request).await?).await }
            })
            .await?;
        let chunks = Chunks::new(chunks, self.deadline)?;
        self.saw(&question.account, &chunks.revision)?;
        Ok(Listing { chunks })
    }

    /// One page of a list, in id byte order; at most 100,000 ids. `next` of a page leads to the one
    /// after it, in an otherwise equal call, on any server of the same database.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_page(
        &self,
        question: &Question,
        narrowing: &Narrowing,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page, ClientError> {
        let message = wire::ListAccessibleRequest {
            page_size: page_size.max(1),
            page_token: page_token.unwrap_or_default().to_owned(),
            ..list_request(question, narrowing)?
        };
        // A page is small, so it is read whole within the call, and tried again as a whole.
        let chunks = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.request(wire::ListAccessibleRequest {
                    consistency,
                    ..message.clone()
                });
                async move {
                    let stream = attempt.decisions().list_accessible(request).await?;
                    let chunks: Result<Vec<_>, _> = stream.into_inner().collect().await;
                    Ok(Response::new(chunks?))
                }
            })
            .await?;
        let mut page = Page {
            total: 0,
            ids: Vec::new(),
            next: None,
            revision: String::new(),
        };
        for (at, chunk) in chunks.into_iter().enumerate() {
            if at == 0 {
                page.total = total(chunk.total)?;
                page.revision = chunk.revision;
            }
            page.ids.extend(chunk.ids);
            page.next = non_empty(chunk.next_page_token);
        }
        if page.revision.is_empty() {
            return Err(ClientError::unreadable("the page has no beginning"));
        }
        self.saw(&question.account, &page.revision)?;
        Ok(page)
    }

    /// Which of these resources the user may do the action on, all at one revision, for any number
    /// of them.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn filter(
        &self,
        question: &Question,
        ids: &[String],
    ) -> Result<Filtered, ClientError> {
        no_resource(question)?;
        let filtered = if ids.len() <= FILTER_IDS {
            self.filter_at_once(question, ids).await?
        } else {
            self.filter_in_parts(question, ids).await?
        };
        self.saw(&question.account, &filtered.revision)?;
        Ok(filtered)
    }

    async fn filter_at_once(
        &self,
        question: &Question,
        ids: &[String],
    ) -> Result<Filtered, ClientError> {
        let answer = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.request(wire::FilterAccessibleRequest {
                    account_id: question.account.clone(),
                    user_id: question.user.clone(),
                    action: question.action.clone(),
                    resource_type: question.resource_type.clone(),
                    resource_ids: ids.to_vec(),
                    at: question.wire_at(),
                    consistency,
                });
                async move { attempt.decisions().filter_accessible(request).await }
            })
            .await?;
        Ok(Filtered {
            ids: answer.ids,
            revision: answer.revision,
        })
    }

    async fn filter_in_parts(
        &self,
        question: &Question,
        ids: &[String],
    ) -> Result<Filtered, ClientError> {
        let parts = ids.len().div_ceil(FILTER_IDS);
        let answers = self
            .ask(&question.account, |attempt, consistency| {
                let mut messages: Vec<_> = ids
                    .chunks(FILTER_IDS)
                    .map(|ids| wire::FilterAccessibleStreamRequest {
                        resource_ids: ids.to_vec(),
                        ..wire::FilterAccessibleStreamRequest::default()
                    })
                    .collect();
                if let Some(head) = messages.first_mut() {
                    head.account_id.clone_from(&question.account);
                    head.user_id.clone_from(&question.user);
                    head.action.clone_from(&question.action);
                    head.resource_type.clone_from(&question.resource_type);
                    head.at = question.wire_at();
                    head.consistency = consistency;
                }
                let request = attempt.request(tokio_stream::iter(messages));
                async move {
                    let stream = attempt
                        .decisions()
                        .filter_accessible_stream(request)
                        .await?;
                    let answers: Result<Vec<_>, _> = stream.into_inner().collect().await;
                    Ok(Response::new(answers?))
                }
            })
            .await?;
        if answers.len() != parts {
            return Err(ClientError::unreadable("it is not whole"));
        }
        let revision = answers
            .first()
            .map(|answer| answer.revision.clone())
            .unwrap_or_default();
        Ok(Filtered {
            ids: answers.into_iter().flat_map(|answer| answer.ids).collect(),
            revision,
        })
    }

    /// Every user who may do the action on the resource or tool, ordered bytewise by id; made with
    /// [`Question::of_anyone`].
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_users(&self, question: &Question) -> Result<UserListing, ClientError> {
        let message = wire::ListUsersWithAccessRequest {
            account_id: question.account.clone(),
            action: question.action.clone(),
            resource_type: question.resource_type.clone(),
            resource_id: question.wire_resource()?,
            resource_facts: question.wire_facts(),
            at: question.wire_at(),
            consistency: None,
        };
        let chunks = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.unlimited(wire::ListUsersWithAccessRequest {
                    consistency,
                    ..message.clone()
                });
                async move { begun(attempt.decisions().list_users_with_access(request).await?).await }
            })
            .await?;
        let chunks = Chunks::new(chunks, self.deadline)?;
        self.saw(&question.account, &chunks.revision)?;
        Ok(UserListing { chunks })
    }
}

fn no_resource(question: &Question) -> Result<(), ClientError> {
    if question.resource.is_some() || question.facts.is_some() {
        return Err(ClientError::Configuration(
            "a list is about all resources of a type, so its question names and describes none"
                .to_owned(),
        ));
    }
    Ok(())
}

fn list_request(
    question: &Question,
    narrowing: &Narrowing,
) -> Result<wire::ListAccessibleRequest, ClientError> {
    no_resource(question)?;
    // An empty id would be no limit at all on the wire.
    let limit = |id: &Option<String>| match id.as_deref() {
        Some("") => Err(ClientError::Configuration(
            "the id that a list is narrowed to is empty".to_owned(),
        )),
        id => Ok(id.unwrap_or_default().to_owned()),
    };
    Ok(wire::ListAccessibleRequest {
        account_id: question.account.clone(),
        user_id: question.user.clone(),
        action: question.action.clone(),
        resource_type: question.resource_type.clone(),
        at: question.wire_at(),
        consistency: None,
        owner_id: limit(&narrowing.owner)?,
        team_id: limit(&narrowing.team)?,
        access_group_id: limit(&narrowing.access_group)?,
        page_size: 0,
        page_token: String::new(),
    })
}

/// A stream with its first message, until which it may be tried again.
type Begun<M> = (Option<M>, Streaming<M>);

async fn begun<M>(stream: Response<Streaming<M>>) -> Result<Response<Begun<M>>, tonic::Status> {
    let mut stream = stream.into_inner();
    let first = stream.message().await?;
    Ok(Response::new((first, stream)))
}

fn total(total: Option<u64>) -> Result<u64, ClientError> {
    total.ok_or_else(|| ClientError::unreadable("the list has no total"))
}

/// A message of a list.
trait Chunk {
    type Item;

    fn total(&self) -> Option<u64>;
    fn revision(&self) -> &str;
    fn items(self) -> Result<Vec<Self::Item>, ClientError>;
}

impl Chunk for wire::ListAccessibleResponse {
    type Item = String;

    fn total(&self) -> Option<u64> {
        self.total
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn items(self) -> Result<Vec<String>, ClientError> {
        Ok(self.ids)
    }
}

impl Chunk for wire::ListUsersWithAccessResponse {
    type Item = UserAccess;

    fn total(&self) -> Option<u64> {
        self.total
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn items(self) -> Result<Vec<UserAccess>, ClientError> {
        self.users
            .into_iter()
            .map(|user| {
                Ok(UserAccess {
                    level: level(user.level)?,
                    valid_until: time(user.valid_until.as_ref(), "valid_until")?,
                    user: user.user_id,
                    reason: user.reason,
                    include_unassigned: user.include_unassigned,
                })
            })
            .collect()
    }
}

#[derive(Debug)]
struct Chunks<M, Item> {
    total: u64,
    revision: String,
    stream: Streaming<M>,
    waiting: VecDeque<Item>,
    came: u64,
    ended: bool,
    deadline: std::time::Duration,
}

impl<M: Chunk> Chunks<M, M::Item> {
    fn new(begun: Begun<M>, deadline: std::time::Duration) -> Result<Self, ClientError> {
        let (first, stream) = begun;
        let first = first.ok_or_else(|| ClientError::unreadable("the list has no beginning"))?;
        Ok(Self {
            total: total(first.total())?,
            revision: first.revision().to_owned(),
            stream,
            waiting: first.items()?.into(),
            came: 0,
            ended: false,
            deadline,
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<M::Item, ClientError>>> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                self.came += 1;
                return Poll::Ready(Some(Ok(item)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let error = match ready!(Pin::new(&mut self.stream).poll_next(context)) {
                Some(Ok(chunk)) => match chunk.items() {
                    Ok(items) => {
                        self.waiting = items.into();
                        continue;
                    }
                    Err(error) => error,
                },
                Some(Err(status)) => ClientError::of_status(&status, self.deadline),
                None if self.came == self.total => {
                    self.ended = true;
                    continue;
                }
                None => ClientError::unreadable(format!(
                    "the list ended after {} of {}",
                    self.came, self.total
                )),
            };
            self.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
    }
}

impl Listing {
    /// How many resources are accessible in all.
    pub fn total(&self) -> u64 {
        self.chunks.total
    }

    /// The revision that the whole list rests on.
    pub fn revision(&self) -> &str {
        &self.chunks.revision
    }

    /// All ids at once.
    ///
    /// # Errors
    /// Where the list breaks off; what came before is then not all.
    pub async fn all(self) -> Result<Vec<String>, ClientError> {
        self.collect().await
    }
}

impl Stream for Listing {
    type Item = Result<String, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll(context)
    }
}

impl UserListing {
    /// How many users may, in all.
    pub fn total(&self) -> u64 {
        self.chunks.total
    }

    /// The revision that the whole list rests on.
    pub fn revision(&self) -> &str {
        &self.chunks.revision
    }

    /// All users at once.
    ///
    /// # Errors
    /// Where the list breaks off; what came before is then not all.
    pub async fn all(self) -> Result<Vec<UserAccess>, ClientError> {
        self.collect().await
    }
}

impl Stream for UserListing {
    type Item = Result<UserAccess, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll(context)
    }
}
