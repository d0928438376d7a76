//! Questions about one resource: `Check` and `Explain`.

use super::pending::pending_request;
use super::{DecisionHandlers, REQUEST};
use crate::authz::access_set::check;
use crate::authz::decision::Decision;
use crate::authz::explain::explain;
use crate::decision_log::{Decided, Draw, Subject, What};
use crate::grpc::admission::AdmittedAccount;
use crate::grpc::asker::Asker;
use crate::grpc::convert::{self, Asked};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::metrics::DecidingMethod;

/// A decision and what it was about, for whoever counts and keeps them.
struct Answered<'a> {
    method: DecidingMethod,
    account: &'a AdmittedAccount,
    subject: Subject<'a>,
    has_facts: bool,
    decision: &'a Decision,
    revision: &'a str,
}

impl DecisionHandlers {
    pub(super) async fn check(
        &self,
        asker: &Asker,
        request: &wire::CheckRequest,
    ) -> Result<wire::CheckResponse, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
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
        let (decision, explanation) = if request.explain {
            let explained = explain(&read.graph, user, resource_type, action, target, at)
                .map_err(|error| Failure::unknown_name(&error))?;
            let decision = explained.decision;
            (decision, Some(convert::explanation_to_wire(explained)))
        } else {
            let decided = check(&read.graph, user, resource_type, action, target, at)
                .map_err(|error| Failure::unknown_name(&error))?;
            (decided, None)
        };
        let answered = Answered {
            method: DecidingMethod::Check,
            account: &account,
            subject: Subject {
                user: Some(user),
                action: Some(action),
                resource_type,
                resource_id: &request.resource_id,
                at,
            },
            has_facts: request.resource_facts.is_some(),
            decision: &decision,
            revision: &revision,
        };
        self.keep(asker, draw, answered);
        let pending = pending_request(&read, &decision, user, resource_type, action, target);
        Ok(convert::check_response(
            &decision,
            pending,
            revision,
            explanation,
        ))
    }

    pub(super) async fn explain(
        &self,
        asker: &Asker,
        request: &wire::ExplainRequest,
    ) -> Result<wire::ExplainResponse, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
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
        let explanation = explain(&read.graph, user, resource_type, action, target, at)
            .map_err(|error| Failure::unknown_name(&error))?;
        let decision = &explanation.decision;
        let answered = Answered {
            method: DecidingMethod::Explain,
            account: &account,
            subject: Subject {
                user: Some(user),
                action: Some(action),
                resource_type,
                resource_id: &request.resource_id,
                at,
            },
            has_facts: request.resource_facts.is_some(),
            decision,
            revision: &revision,
        };
        self.keep(asker, draw, answered);
        let pending = pending_request(&read, decision, user, resource_type, action, target);
        Ok(convert::explain_response(explanation, pending, revision))
    }

    /// Counts a decision, and writes it down if it was drawn.
    fn keep(&self, asker: &Asker, draw: Option<Draw>, answered: Answered<'_>) {
        let decision = answered.decision;
        asker.trace(&answered.subject, decision);
        self.metrics.decided(answered.method, decision);
        self.log.write(draw, decision.effect, || {
            asker.record(
                answered.method.as_str(),
                answered.account,
                answered.subject,
                answered.revision,
                What::Decided(Decided {
                    decision,
                    item: None,
                    has_facts: answered.has_facts,
                }),
            )
        });
    }
}
