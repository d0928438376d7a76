//! Who asks: what a call carries besides its message, and what the decision log says of it.

use tonic::{Extensions, Request};

use super::admission::{Admission, AdmittedAccount};
use super::status::Failure;
use crate::authz::decision::Decision;
use crate::authz::model::Id;
use crate::decision_log::{Record, Subject, What};
use crate::telemetry::trace_context::TraceId;

/// A call without its message.
pub struct Asker {
    admission: Admission,
    extensions: Extensions,
}

impl Asker {
    /// Fails where the layer in front has let nobody in.
    pub fn of<T>(request: Request<T>) -> Result<(Self, T), Failure> {
        let (_, extensions, message) = request.into_parts();
        let admission = Admission::of(&extensions)?;
        let asker = Self {
            admission,
            extensions,
        };
        Ok((asker, message))
    }

    /// Says on the span of the call what was decided, where the call is traced. Whom it was about is
    /// for the decision log, which can mask it.
    pub fn trace(&self, subject: &Subject<'_>, decision: &Decision) {
        if self.extensions.get::<TraceId>().is_none() {
            return;
        }
        let span = tracing::Span::current();
        span.record("ambit.action", subject.action);
        span.record("ambit.resource_type", subject.resource_type);
        span.record("ambit.decision", decision.effect.as_str());
        span.record("ambit.reason", decision.reason.as_str());
    }

    /// The account that the message names in its `account_id`.
    pub fn account(&self, account_id: &str) -> Result<AdmittedAccount, Failure> {
        self.admission.account(account_id)
    }

    /// A record of the decision log about what was asked and answered.
    pub fn record<'a>(
        &'a self,
        method: &'static str,
        account: &'a Id,
        subject: Subject<'a>,
        revision: &'a str,
        what: What<'a>,
    ) -> Record<'a> {
        Record {
            method,
            caller: self.admission.caller().map(|caller| &*caller.name),
            trace_id: self.trace_id(),
            account: account.as_str(),
            subject,
            revision,
            what,
        }
    }

    /// The trace that the call belongs to, where it has one.
    fn trace_id(&self) -> Option<String> {
        self.extensions.get::<TraceId>().map(TraceId::to_string)
    }
}
