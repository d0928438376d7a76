//! One line of the decision log.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::mask::Masks;
use crate::authz::decision::Decision;
use crate::authz::model::Timestamp;
use crate::config::MaskedField;

/// What a call decided.
pub struct Record<'a> {
    /// The rpc, e.g. `Check`.
    pub method: &'static str,
    /// The service that asked; `None` where no authentication is configured.
    pub caller: Option<&'a str>,
    /// From the caller's `traceparent`.
    pub trace_id: Option<String>,
    pub account: &'a str,
    pub subject: Subject<'a>,
    /// The revision token of the answer.
    pub revision: &'a str,
    pub what: What<'a>,
}

/// Who was asked about doing what.
pub struct Subject<'a> {
    /// `None` where the question was who may.
    pub user: Option<&'a str>,
    /// `None` where the question was what may be done.
    pub action: Option<&'a str>,
    pub resource_type: &'a str,
    /// Empty for the tool as a whole.
    pub resource_id: &'a str,
    /// The moment that was decided on.
    pub at: Timestamp,
}

pub enum What<'a> {
    Decided(Decided<'a>),
    Listed(Listed),
}

/// The outcome of one check.
pub struct Decided<'a> {
    pub decision: &'a Decision,
    /// Its place in a batch.
    pub item: Option<usize>,
    /// Whether the caller described the resource, which can open a wall.
    pub has_facts: bool,
}

/// The outcome of a question about many.
pub struct Listed {
    /// How many were asked about; `None`: all that there are.
    pub asked: Option<u64>,
    pub accessible: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    resource_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<Cow<'a, str>>,
    at: String,
    #[serde(flatten)]
    outcome: Outcome,
    revision: &'a str,
    duration_us: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Decided {
        decision: &'static str,
        reason: &'static str,
        level: &'static str,
        requestable: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        item: Option<usize>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        resource_facts: bool,
    },
    Listed {
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<u64>,
        accessible: u64,
    },
}

impl Record<'_> {
    /// The line with its end; control characters in ids are escaped, so one record is one line.
    pub(super) fn into_line(
        self,
        masks: &Masks,
        now: Timestamp,
        took: Duration,
    ) -> Option<Vec<u8>> {
        let subject = &self.subject;
        let resource_id = (!subject.resource_id.is_empty()).then_some(subject.resource_id);
        let line = Line {
            time: now.to_string(),
            method: self.method,
            trace_id: self.trace_id,
            caller: self
                .caller
                .and_then(|name| masks.of(MaskedField::Caller, name)),
            account_id: masks.of(MaskedField::Account, self.account),
            user_id: subject
                .user
                .and_then(|user| masks.of(MaskedField::User, user)),
            action: subject.action,
            resource_type: subject.resource_type,
            resource_id: resource_id.and_then(|id| masks.of(MaskedField::Resource, id)),
            at: subject.at.to_string(),
            outcome: match self.what {
                What::Decided(decided) => Outcome::Decided {
                    decision: decided.decision.effect.as_str(),
                    reason: decided.decision.reason.as_str(),
                    level: decided.decision.level.as_str(),
                    requestable: decided.decision.requestable.as_str(),
                    item: decided.item,
                    resource_facts: decided.has_facts,
                },
                What::Listed(listed) => Outcome::Listed {
                    asked: listed.asked,
                    accessible: listed.accessible,
                },
            },
            revision: self.revision,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        let mut bytes = serde_json::to_vec(&line).ok()?;
        bytes.push(b'\n');
        Some(bytes)
    }
}
