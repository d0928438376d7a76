//! Who asks: what a call carries besides its message, and what the decision log says of it.

use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use crate::authz::model::Id;
use crate::decision_log::{Record, Subject, What};
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::status::Failure;
use crate::telemetry::trace_context::{TRACEPARENT, TraceParent};

/// A call without its message.
pub(super) struct Asker {
    admission: Admission,
    metadata: MetadataMap,
}

impl Asker {
    /// Fails where the layer in front has let nobody in.
    pub(super) fn of<T>(request: Request<T>) -> Result<(Self, T), Failure> {
        let (metadata, extensions, message): (_, Extensions, _) = request.into_parts();
        let admission = Admission::of(&extensions)?;
        let asker = Self {
            admission,
            metadata,
        };
        Ok((asker, message))
    }

    /// The account that the message names in its `account_id`.
    pub(super) fn account(&self, account_id: &str) -> Result<AdmittedAccount, Failure> {
        self.admission.account(account_id)
    }

    /// A record of the decision log about what was asked and answered.
    pub(super) fn record<'a>(
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

    /// The trace that the caller says the call belongs to.
    fn trace_id(&self) -> Option<String> {
        let header = self.metadata.get(TRACEPARENT)?;
        Some(TraceParent::parse(header.as_bytes())?.trace_id())
    }
}
