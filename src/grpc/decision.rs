//! `DecisionService`: questions in, answers out. All of them ask the one access set of the core, at
//! one snapshot a call.

mod listing;
mod pending;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use self::pending::pending_request;
use super::admission::{Admission, AdmittedAccount};
use super::chunks::{CHUNK_BYTES, Chunks};
use super::convert::{self, Asked, Path};
use super::reading::Reading;
use super::status::{Failure, Reason, with_reason};
use super::wire;
use crate::authz::access_set::{AccessSet, actions_allowed, check, users_with_access};
use crate::authz::decision::{Decision, Target};
use crate::authz::explain::explain;
use crate::authz::model::{Id, Timestamp};
use crate::graph_cache::ReadGraph;
use crate::metrics::{DecidingMethod, DecisionMetrics, Tally};

/// Most items of a batch (`api.md`).
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// From how many decisions on a call leaves the async workers, so that it delays no other.
const INLINE_DECISIONS_MAX: usize = 256;

const REQUEST: Path<'static> = Path::root("");

#[derive(Clone)]
pub struct DecisionHandlers {
    reading: Reading,
    metrics: DecisionMetrics,
}

/// A question about many resources: who, what, when; its names checked.
#[derive(Debug, Clone)]
struct Question {
    user: String,
    resource_type: String,
    action: String,
    at: Timestamp,
}

impl DecisionHandlers {
    pub fn new(reading: Reading, metrics: DecisionMetrics) -> Self {
        Self { reading, metrics }
    }

    async fn check(
        &self,
        admission: &Admission,
        request: &wire::CheckRequest,
    ) -> Result<wire::CheckResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let user = convert::id_text(&request.user_id, "user_id")?;
        let action = convert::id_text(&request.action, "action")?;
        let resource_type = convert::id_text(&request.resource_type, "resource_type")?;
        let asked = Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let revision = self.reading.revision(&account, read.head);
        let target = asked.target();
        if request.explain {
            let explanation = explain(&read.graph, user, resource_type, action, target, at)
                .map_err(|error| Failure::unknown_name(&error))?;
            let decision = explanation.decision;
            self.metrics.decided(DecidingMethod::Check, &decision);
            let explanation = convert::explanation_to_wire(explanation);
            let pending = pending_request(&read, &decision, user, resource_type, action, target);
            return Ok(convert::check_response(
                &decision,
                pending,
                revision,
                Some(explanation),
            ));
        }
        let decision = check(&read.graph, user, resource_type, action, target, at)
            .map_err(|error| Failure::unknown_name(&error))?;
        self.metrics.decided(DecidingMethod::Check, &decision);
        let pending = pending_request(&read, &decision, user, resource_type, action, target);
        Ok(convert::check_response(&decision, pending, revision, None))
    }

    async fn batch_check(
        &self,
        admission: &Admission,
        request: wire::BatchCheckRequest,
    ) -> Result<wire::BatchCheckResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let items = request.items.len();
        if items > BATCH_ITEMS_MAX {
            return Err(Failure::field(
                Reason::TooManyItems,
                "items",
                format_args!(
                    "a batch has at most {BATCH_ITEMS_MAX} items, this one has {items}: send several"
                ),
            ));
        }
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let revision = self.reading.revision(&account, read.head);
        let metrics = self.metrics.clone();
        let judged = account.clone();
        let results = self
            .on_fitting_worker(&account, items, move || {
                let mut tally = Tally::default();
                let decide = |item| {
                    let decided = decide_item(&judged, &read, item, at);
                    if let Ok((decision, _)) = &decided {
                        tally.add(decision);
                    }
                    convert::batch_result(decided)
                };
                let results = request.items.iter().map(decide).collect();
                metrics.tallied(DecidingMethod::BatchCheck, &tally);
                results
            })
            .await?;
        Ok(wire::BatchCheckResponse { results, revision })
    }

    async fn filter_accessible(
        &self,
        admission: &Admission,
        request: wire::FilterAccessibleRequest,
    ) -> Result<wire::FilterAccessibleResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let at = self.reading.at(request.at.as_ref())?;
        let question = Question::new(
            &request.user_id,
            &request.action,
            &request.resource_type,
            at,
        )?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        question.resolve(&read)?;
        let revision = self.reading.revision(&account, read.head);
        let (ids, tally) = self
            .filter(&account, read, question, request.resource_ids)
            .await?;
        self.metrics
            .tallied(DecidingMethod::FilterAccessible, &tally);
        Ok(wire::FilterAccessibleResponse { ids, revision })
    }

    /// Answers message by message until the caller ends its stream.
    async fn filter_stream(
        &self,
        admission: &Admission,
        mut messages: Streaming<wire::FilterAccessibleStreamRequest>,
        sender: super::chunks::ChunkSender<wire::FilterAccessibleStreamResponse>,
    ) -> Result<(), Status> {
        // An empty stream has no header either, and is told what is missing.
        let header = next_message(&mut messages).await?.unwrap_or_default();
        let account = admission.account(&header.account_id)?;
        let at = self.reading.at(header.at.as_ref())?;
        let question = Question::new(&header.user_id, &header.action, &header.resource_type, at)?;
        let read = self
            .reading
            .account(&account, header.consistency.as_ref())
            .await?;
        question.resolve(&read)?;
        let mut revision = self.reading.revision(&account, read.head);
        let mut resource_ids = header.resource_ids;
        loop {
            let (ids, tally) = self
                .filter(&account, Arc::clone(&read), question.clone(), resource_ids)
                .await?;
            self.metrics
                .tallied(DecidingMethod::FilterAccessibleStream, &tally);
            let revision = std::mem::take(&mut revision);
            sender
                .send(wire::FilterAccessibleStreamResponse { ids, revision })
                .await?;
            let Some(message) = next_message(&mut messages).await? else {
                return Ok(());
            };
            resource_ids = only_ids(message)?;
        }
    }

    async fn list_users_with_access(
        &self,
        admission: &Admission,
        request: wire::ListUsersWithAccessRequest,
    ) -> Result<Chunks<wire::ListUsersWithAccessResponse>, Failure> {
        let account = admission.account(&request.account_id)?;
        convert::id_text(&request.action, "action")?;
        convert::id_text(&request.resource_type, "resource_type")?;
        Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let revision = self.reading.revision(&account, read.head);
        let judged = account.clone();
        let users = self
            .reading
            .compute(&account, move || {
                let asked = Asked::new(
                    &judged,
                    &request.resource_id,
                    request.resource_facts.as_ref(),
                    &REQUEST,
                )?;
                users_with_access(
                    &read.graph,
                    &request.resource_type,
                    &request.action,
                    asked.target(),
                    at,
                )
                .map_err(|error| Failure::unknown_name(&error))
            })
            .await??;
        Ok(self.reading.chunks(move |sender| async move {
            let mut chunk = wire::ListUsersWithAccessResponse {
                total: u64::try_from(users.len()).ok(),
                users: Vec::new(),
                revision,
            };
            let mut bytes = 0;
            for (user, decision) in &users {
                // An id, a reason and four small fields.
                bytes += user.as_str().len() + decision.reason.as_str().len() + 24;
                chunk.users.push(convert::user_access(user, decision));
                if bytes >= CHUNK_BYTES {
                    bytes = 0;
                    sender.send(std::mem::take(&mut chunk)).await?;
                }
            }
            sender.send(chunk).await
        }))
    }

    async fn list_actions(
        &self,
        admission: &Admission,
        request: &wire::ListActionsRequest,
    ) -> Result<wire::ListActionsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let user = convert::id_text(&request.user_id, "user_id")?;
        let resource_type = convert::id_text(&request.resource_type, "resource_type")?;
        let asked = Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let allowed = actions_allowed(&read.graph, user, resource_type, asked.target(), at)
            .map_err(|error| Failure::unknown_name(&error))?;
        Ok(wire::ListActionsResponse {
            actions: allowed
                .iter()
                .map(|(action, decision)| convert::allowed_action(action, decision))
                .collect(),
            revision: self.reading.revision(&account, read.head),
        })
    }

    async fn explain(
        &self,
        admission: &Admission,
        request: &wire::ExplainRequest,
    ) -> Result<wire::ExplainResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let user = convert::id_text(&request.user_id, "user_id")?;
        let action = convert::id_text(&request.action, "action")?;
        let resource_type = convert::id_text(&request.resource_type, "resource_type")?;
        let asked = Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let target = asked.target();
        let explanation = explain(&read.graph, user, resource_type, action, target, at)
            .map_err(|error| Failure::unknown_name(&error))?;
        let decision = &explanation.decision;
        self.metrics.decided(DecidingMethod::Explain, decision);
        let pending = pending_request(&read, decision, user, resource_type, action, target);
        let revision = self.reading.revision(&account, read.head);
        Ok(convert::explain_response(explanation, pending, revision))
    }
}

impl DecisionHandlers {
    /// Those of the ids that are accessible, in their order, and what was decided of all.
    async fn filter(
        &self,
        account: &Id,
        read: Arc<ReadGraph>,
        question: Question,
        ids: Vec<String>,
    ) -> Result<(Vec<String>, Tally), Failure> {
        self.on_fitting_worker(account, ids.len(), move || {
            for (index, id) in ids.iter().enumerate() {
                convert::id_text(id, Path::root("resource_ids").at(index))?;
            }
            let set = question.access_set(&read)?;
            let mut ids = ids;
            let mut tally = Tally::default();
            ids.retain(|id| {
                let decision = set.decide(Target::Resource(id));
                tally.add(&decision);
                decision.is_allow()
            });
            Ok((ids, tally))
        })
        .await?
    }

    /// Little work is done where it is, much of it off the async workers and in turn.
    async fn on_fitting_worker<T: Send + 'static>(
        &self,
        account: &Id,
        decisions: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if decisions <= INLINE_DECISIONS_MAX {
            Ok(work())
        } else {
            self.reading.compute(account, work).await
        }
    }
}

impl Question {
    fn new(user: &str, action: &str, resource_type: &str, at: Timestamp) -> Result<Self, Failure> {
        Ok(Self {
            user: convert::id_text(user, "user_id")?.to_owned(),
            action: convert::id_text(action, "action")?.to_owned(),
            resource_type: convert::id_text(resource_type, "resource_type")?.to_owned(),
            at,
        })
    }

    /// Whether the catalog has the type and the action.
    fn resolve(&self, read: &ReadGraph) -> Result<(), Failure> {
        match read
            .graph
            .catalog()
            .resolve(&self.resource_type, &self.action)
        {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::unknown_name(&error)),
        }
    }

    fn access_set<'g>(&self, read: &'g ReadGraph) -> Result<AccessSet<'g>, Failure> {
        AccessSet::new(
            &read.graph,
            &self.user,
            &self.resource_type,
            &self.action,
            self.at,
        )
        .map_err(|error| Failure::unknown_name(&error))
    }
}

/// One item of a batch; what is wrong with it is its own failure.
fn decide_item(
    account: &AdmittedAccount,
    read: &ReadGraph,
    item: &wire::BatchCheckItem,
    at: Timestamp,
) -> Result<(Decision, String), Failure> {
    let user = convert::id_text(&item.user_id, "user_id")?;
    let action = convert::id_text(&item.action, "action")?;
    let resource_type = convert::id_text(&item.resource_type, "resource_type")?;
    let asked = Asked::new(
        account,
        &item.resource_id,
        item.resource_facts.as_ref(),
        &REQUEST,
    )?;
    let at = match &item.at {
        Some(at) => convert::moment(at, "at")?,
        None => at,
    };
    let target = asked.target();
    let decision = check(&read.graph, user, resource_type, action, target, at)
        .map_err(|error| Failure::unknown_name(&error))?;
    let pending = pending_request(read, &decision, user, resource_type, action, target);
    Ok((decision, pending))
}

async fn next_message<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    messages.message().await.map_err(with_reason)
}

/// A message after the first carries ids alone.
fn only_ids(message: wire::FilterAccessibleStreamRequest) -> Result<Vec<String>, Failure> {
    let wrong = [
        (!message.account_id.is_empty(), "account_id"),
        (!message.user_id.is_empty(), "user_id"),
        (!message.action.is_empty(), "action"),
        (!message.resource_type.is_empty(), "resource_type"),
        (message.at.is_some(), "at"),
        (message.consistency.is_some(), "consistency"),
    ];
    match wrong.iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Failure::invalid(
            field,
            "the field belongs into the first message of the stream alone",
        )),
        None => Ok(message.resource_ids),
    }
}

#[tonic::async_trait]
impl wire::decision_service_server::DecisionService for DecisionHandlers {
    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        Ok(Response::new(
            self.check(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn batch_check(
        &self,
        request: Request<wire::BatchCheckRequest>,
    ) -> Result<Response<wire::BatchCheckResponse>, Status> {
        Ok(Response::new(
            self.batch_check(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    type ListAccessibleStream = Chunks<wire::ListAccessibleResponse>;

    async fn list_accessible(
        &self,
        request: Request<wire::ListAccessibleRequest>,
    ) -> Result<Response<Self::ListAccessibleStream>, Status> {
        Ok(Response::new(
            self.list_accessible(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn filter_accessible(
        &self,
        request: Request<wire::FilterAccessibleRequest>,
    ) -> Result<Response<wire::FilterAccessibleResponse>, Status> {
        Ok(Response::new(
            self.filter_accessible(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    type FilterAccessibleStreamStream = Chunks<wire::FilterAccessibleStreamResponse>;

    async fn filter_accessible_stream(
        &self,
        request: Request<Streaming<wire::FilterAccessibleStreamRequest>>,
    ) -> Result<Response<Self::FilterAccessibleStreamStream>, Status> {
        let handlers = self.clone();
        let admission = Admission::of(request.extensions())?;
        let messages = request.into_inner();
        Ok(Response::new(self.reading.chunks(
            move |sender| async move { handlers.filter_stream(&admission, messages, sender).await },
        )))
    }

    type ListUsersWithAccessStream = Chunks<wire::ListUsersWithAccessResponse>;

    async fn list_users_with_access(
        &self,
        request: Request<wire::ListUsersWithAccessRequest>,
    ) -> Result<Response<Self::ListUsersWithAccessStream>, Status> {
        Ok(Response::new(
            self.list_users_with_access(
                &Admission::of(request.extensions())?,
                request.into_inner(),
            )
            .await?,
        ))
    }

    async fn list_actions(
        &self,
        request: Request<wire::ListActionsRequest>,
    ) -> Result<Response<wire::ListActionsResponse>, Status> {
        Ok(Response::new(
            self.list_actions(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        Ok(Response::new(
            self.explain(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }
}
