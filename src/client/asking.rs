//! Questions that have one answer each.

use crate::authz::model::{Level, Timestamp};
use crate::grpc::wire;
use tonic::Code;

use super::Client;
use super::decision::{Blocked, Decision, Permit, WireDecision, level, time};
use super::error::ClientError;
use super::question::Question;

/// The answers to a batch, all at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Batch {
    /// One for each question, in their order.
    pub answers: Vec<Result<Decision, ItemError>>,
    pub revision: String,
}

/// Why one question of a batch has no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} [{reason}]")]
#[non_exhaustive]
pub struct ItemError {
    /// The code that the question alone would have been answered with.
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub field: Option<String>,
}

/// What a user may do on a resource or tool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllowedActions {
    /// In the order of the catalog; what is not here is denied.
    pub actions: Vec<AllowedAction>,
    pub revision: String,
}

/// An action that a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllowedAction {
    pub action: String,
    pub reason: String,
    pub level: Level,
    pub include_unassigned: bool,
    pub valid_until: Option<Timestamp>,
}

impl Client {
    /// Whether a user may do an action, with the reason.
    ///
    /// # Errors
    /// Whatever keeps the answer from being known; never a decision.
    pub async fn check(&self, question: &Question) -> Result<Decision, ClientError> {
        let message = wire::CheckRequest {
            account_id: question.account.clone(),
            user_id: question.user.clone(),
            action: question.action.clone(),
            resource_type: question.resource_type.clone(),
            resource_id: question.wire_resource()?,
            resource_facts: question.wire_facts(),
            at: question.wire_at(),
            consistency: None,
            explain: question.explained,
        };
        let answer = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.request(wire::CheckRequest {
                    consistency,
                    ..message.clone()
                });
                async move { attempt.decisions().check(request).await }
            })
            .await?;
        self.decided(&question.account, answer.into())
    }

    /// The permit of a question whose check is ALLOW: for code that must not run without one.
    ///
    /// # Errors
    /// [`Blocked::Denied`] for a DENY, [`Blocked::Failed`] where there is no answer.
    pub async fn permit(&self, question: &Question) -> Result<Permit, Blocked> {
        let decision = self.check(question).await?;
        Permit::new(question.clone(), decision).map_err(Blocked::Denied)
    }

    /// As [`check`](Self::check), with the explanation.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn explain(&self, question: &Question) -> Result<Decision, ClientError> {
        let message = wire::ExplainRequest {
            account_id: question.account.clone(),
            user_id: question.user.clone(),
            action: question.action.clone(),
            resource_type: question.resource_type.clone(),
            resource_id: question.wire_resource()?,
            resource_facts: question.wire_facts(),
            at: question.wire_at(),
            consistency: None,
        };
        let answer = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.request(wire::ExplainRequest {
                    consistency,
                    ..message.clone()
                });
                async move { attempt.decisions().explain(request).await }
            })
            .await?;
        self.decided(&question.account, answer.into())
    }

    /// The answers to up to 10,000 questions about one account, all at one revision and, unless they
    /// say otherwise, for one moment. Explanations are not part of a batch.
    ///
    /// # Errors
    /// As [`check`](Self::check) for the batch as a whole, and where a question is about another
    /// account; what is wrong with one question is told in its place.
    pub async fn batch_check(
        &self,
        account: &str,
        questions: &[Question],
    ) -> Result<Batch, ClientError> {
        let items = questions
            .iter()
            .map(|question| {
                if question.account != account {
                    return Err(ClientError::Configuration(format!(
                        "a batch is about one account, `{account}`, and one of its questions about `{}`",
                        question.account
                    )));
                }
                Ok(wire::BatchCheckItem {
                    user_id: question.user.clone(),
                    action: question.action.clone(),
                    resource_type: question.resource_type.clone(),
                    resource_id: question.wire_resource()?,
                    resource_facts: question.wire_facts(),
                    at: question.wire_at(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let answer = self
            .ask(account, |attempt, consistency| {
                let request = attempt.request(wire::BatchCheckRequest {
                    account_id: account.to_owned(),
                    items: items.clone(),
                    at: None,
                    consistency,
                });
                async move { attempt.decisions().batch_check(request).await }
            })
            .await?;
        self.saw(account, &answer.revision)?;
        if answer.results.len() != questions.len() {
            return Err(ClientError::unreadable(format!(
                "it has {} results for {} questions",
                answer.results.len(),
                questions.len()
            )));
        }
        let answers = answer
            .results
            .into_iter()
            .map(|result| item(result, &answer.revision))
            .collect::<Result<_, _>>()?;
        Ok(Batch {
            answers,
            revision: answer.revision,
        })
    }

    /// The actions that a user may do on a resource or tool; made with
    /// [`Question::of_any_action`].
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn list_actions(&self, question: &Question) -> Result<AllowedActions, ClientError> {
        let message = wire::ListActionsRequest {
            account_id: question.account.clone(),
            user_id: question.user.clone(),
            resource_type: question.resource_type.clone(),
            resource_id: question.wire_resource()?,
            resource_facts: question.wire_facts(),
            at: question.wire_at(),
            consistency: None,
        };
        let answer = self
            .ask(&question.account, |attempt, consistency| {
                let request = attempt.request(wire::ListActionsRequest {
                    consistency,
                    ..message.clone()
                });
                async move { attempt.decisions().list_actions(request).await }
            })
            .await?;
        self.saw(&question.account, &answer.revision)?;
        let actions = answer
            .actions
            .into_iter()
            .map(|action| {
                Ok(AllowedAction {
                    level: level(action.level)?,
                    valid_until: time(action.valid_until.as_ref(), "valid_until")?,
                    action: action.action,
                    reason: action.reason,
                    include_unassigned: action.include_unassigned,
                })
            })
            .collect::<Result<_, ClientError>>()?;
        Ok(AllowedActions {
            actions,
            revision: answer.revision,
        })
    }

    fn decided(&self, account: &str, answer: WireDecision) -> Result<Decision, ClientError> {
        self.saw(account, &answer.revision)?;
        Decision::of_wire(answer)
    }
}

/// An error in place of a decision stands first: what else the result says is then nothing.
fn item(
    mut result: wire::BatchCheckResult,
    revision: &str,
) -> Result<Result<Decision, ItemError>, ClientError> {
    if let Some(error) = result.error.take() {
        return Ok(Err(ItemError {
            code: Code::from(error.code),
            reason: error.reason,
            message: error.message,
            field: super::decision::non_empty(error.field),
        }));
    }
    Decision::of_wire(WireDecision {
        revision: revision.to_owned(),
        ..result.into()
    })
    .map(Ok)
}
