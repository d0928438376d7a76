//! Questions about many resources that the caller names: batches and filters.

use std::sync::Arc;

use tonic::{Status, Streaming};

use super::pending::pending_request;
use super::question::Question;
use super::{DecisionHandlers, REQUEST, number};
use crate::authz::access_set::check;
use crate::authz::decision::{Decision, Effect, Target};
use crate::authz::model::{Id, Timestamp};
use crate::decision_log::{Decided, Listed, Subject, What};
use crate::graph_cache::ReadGraph;
use crate::grpc::admission::AdmittedAccount;
use crate::grpc::asker::Asker;
use crate::grpc::chunks::ChunkSender;
use crate::grpc::convert::{self, Asked, Path};
use crate::grpc::status::{Failure, Reason, with_reason};
use crate::grpc::wire;
use crate::metrics::{DecidingMethod, Tally};

/// Most items of a batch (`api.md`).
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// From how many decisions on a call leaves the async workers, so that it delays no other.
const INLINE_DECISIONS_MAX: usize = 256;

const BATCH_CHECK: DecidingMethod = DecidingMethod::BatchCheck;

impl DecisionHandlers {
    pub(super) async fn batch_check(
        &self,
        asker: Asker,
        request: wire::BatchCheckRequest,
    ) -> Result<wire::BatchCheckResponse, Failure> {
        let account = asker.account(&request.account_id)?;
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
        let (metrics, log) = (self.metrics.clone(), self.log.clone());
        let turn_of = account.clone();
        self.on_fitting_worker(&turn_of, items, move || {
            let mut tally = Tally::default();
            let decide = |(index, item)| {
                let draw = log.draw();
                let decided = decide_item(&account, &read, item, at);
                if let Ok(decided) = &decided {
                    tally.add(&decided.decision);
                    log.write(draw, decided.decision.effect, || {
                        let (subject, what) = decided.logged(item, index);
                        asker.record(BATCH_CHECK.as_str(), &account, subject, &revision, what)
                    });
                }
                convert::batch_result(decided.map(|item| (item.decision, item.pending)))
            };
            let results = request.items.iter().enumerate().map(decide).collect();
            metrics.tallied(BATCH_CHECK, &tally);
            wire::BatchCheckResponse { results, revision }
        })
        .await
    }

    pub(super) async fn filter_accessible(
        &self,
        asker: &Asker,
        request: wire::FilterAccessibleRequest,
    ) -> Result<wire::FilterAccessibleResponse, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
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
        let asked = request.resource_ids.len();
        let (ids, tally) = self
            .filter(&account, read, question.clone(), request.resource_ids)
            .await?;
        self.metrics
            .tallied(DecidingMethod::FilterAccessible, &tally);
        self.log.write(draw, Effect::Allow, || {
            let method = DecidingMethod::FilterAccessible.as_str();
            let what = filtered(asked, ids.len());
            asker.record(method, &account, question.subject(), &revision, what)
        });
        Ok(wire::FilterAccessibleResponse { ids, revision })
    }

    /// Answers message by message until the caller ends its stream.
    pub(super) async fn filter_stream(
        &self,
        asker: &Asker,
        mut messages: Streaming<wire::FilterAccessibleStreamRequest>,
        sender: ChunkSender<wire::FilterAccessibleStreamResponse>,
    ) -> Result<(), Status> {
        // An empty stream has no header either, and is told what is missing.
        let header = next_message(&mut messages).await?.unwrap_or_default();
        let account = asker.account(&header.account_id)?;
        let at = self.reading.at(header.at.as_ref())?;
        let question = Question::new(&header.user_id, &header.action, &header.resource_type, at)?;
        let read = self
            .reading
            .account(&account, header.consistency.as_ref())
            .await?;
        question.resolve(&read)?;
        let revision = self.reading.revision(&account, read.head);
        let mut first = Some(revision.clone());
        let mut resource_ids = header.resource_ids;
        loop {
            let draw = self.log.draw();
            let asked = resource_ids.len();
            let (ids, tally) = self
                .filter(&account, Arc::clone(&read), question.clone(), resource_ids)
                .await?;
            self.metrics
                .tallied(DecidingMethod::FilterAccessibleStream, &tally);
            self.log.write(draw, Effect::Allow, || {
                let method = DecidingMethod::FilterAccessibleStream.as_str();
                let what = filtered(asked, ids.len());
                asker.record(method, &account, question.subject(), &revision, what)
            });
            let revision = first.take().unwrap_or_default();
            sender
                .send(wire::FilterAccessibleStreamResponse { ids, revision })
                .await?;
            let Some(message) = next_message(&mut messages).await? else {
                return Ok(());
            };
            resource_ids = only_ids(message)?;
        }
    }

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

struct DecidedItem {
    decision: Decision,
    pending: String,
    at: Timestamp,
}

impl DecidedItem {
    /// As the decision log says it.
    fn logged<'a>(
        &'a self,
        item: &'a wire::BatchCheckItem,
        index: usize,
    ) -> (Subject<'a>, What<'a>) {
        let subject = Subject {
            user: Some(&item.user_id),
            action: Some(&item.action),
            resource_type: &item.resource_type,
            resource_id: &item.resource_id,
            at: self.at,
        };
        let what = What::Decided(Decided {
            decision: &self.decision,
            item: Some(index),
            has_facts: item.resource_facts.is_some(),
        });
        (subject, what)
    }
}

/// The outcome of a filter, as the decision log says it.
fn filtered(asked: usize, accessible: usize) -> What<'static> {
    What::Listed(Listed {
        asked: Some(number(asked)),
        accessible: number(accessible),
    })
}

/// One item of a batch; what is wrong with it is its own failure.
fn decide_item(
    account: &AdmittedAccount,
    read: &ReadGraph,
    item: &wire::BatchCheckItem,
    at: Timestamp,
) -> Result<DecidedItem, Failure> {
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
    Ok(DecidedItem {
        decision,
        pending,
        at,
    })
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
