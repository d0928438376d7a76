//! The answer to a check. An allow and a deny are different types, so that neither is taken for the
//! other, and an answer that is not plainly one of them is an error.

use crate::authz::decision::{Presentation, Requestable};
use crate::authz::model::{Level, Timestamp};
use crate::grpc::wire;

use super::error::ClientError;
use super::question::Question;

/// The answer to a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at protects nothing"]
pub enum Decision {
    Allow(Allow),
    Deny(Deny),
}

/// The user may.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allow {
    /// Why: a reason code of the rule book, such as `TEAM`.
    pub reason: String,
    /// The highest level among the grants that pass.
    pub level: Level,
    /// Whether the grant of that level also reaches resources without owner and partition.
    pub include_unassigned: bool,
    /// Writes aside, the answer holds until before this moment; `None`: no boundary lies ahead.
    pub valid_until: Option<Timestamp>,
    /// The revision that the answer rests on.
    pub revision: String,
    /// Where it was asked for.
    pub explanation: Option<Explanation>,
}

/// The user may not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deny {
    /// Why: a reason code of the rule book, such as `NOT_IN_PARTITION`.
    pub reason: String,
    /// Which kind of access request could turn it.
    pub requestable: Requestable,
    /// How a front end should show the denied control.
    pub presentation: Presentation,
    /// The user's pending access request that would turn it.
    pub pending_access_request: Option<String>,
    /// Writes aside, the answer holds until before this moment; `None`: no boundary lies ahead.
    pub valid_until: Option<Timestamp>,
    /// The revision that the answer rests on.
    pub revision: String,
    /// Where it was asked for.
    pub explanation: Option<Explanation>,
}

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The step of the rule book that ended the decision.
    pub step: String,
    /// The decision in one sentence.
    pub summary: String,
    /// What an ALLOW rests on, from the user to the resource; for a DENY what was there and did not
    /// suffice.
    pub path: Vec<PathElement>,
    /// For a DENY the smallest change at the failed step that would turn it.
    pub remedy: Option<String>,
}

/// One link of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathElement {
    pub kind: String,
    pub text: String,
    /// Names and what they name.
    pub fields: Vec<(String, String)>,
}

impl Decision {
    /// True for an ALLOW alone.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(allow) => &allow.reason,
            Self::Deny(deny) => &deny.reason,
        }
    }

    pub fn revision(&self) -> &str {
        match self {
            Self::Allow(allow) => &allow.revision,
            Self::Deny(deny) => &deny.revision,
        }
    }

    /// Writes aside, the decision holds until before this moment; `None`: no boundary lies ahead.
    pub fn valid_until(&self) -> Option<Timestamp> {
        match self {
            Self::Allow(allow) => allow.valid_until,
            Self::Deny(deny) => deny.valid_until,
        }
    }

    pub fn explanation(&self) -> Option<&Explanation> {
        match self {
            Self::Allow(allow) => allow.explanation.as_ref(),
            Self::Deny(deny) => deny.explanation.as_ref(),
        }
    }

    pub(crate) fn of_wire(answer: WireDecision) -> Result<Self, ClientError> {
        let valid_until = time(answer.valid_until.as_ref(), "valid_until")?;
        let explanation = answer.explanation.map(explanation);
        match wire::Decision::try_from(answer.decision) {
            Ok(wire::Decision::Allow) => Ok(Self::Allow(Allow {
                reason: answer.reason,
                level: level(answer.level)?,
                include_unassigned: answer.include_unassigned,
                valid_until,
                revision: answer.revision,
                explanation,
            })),
            Ok(wire::Decision::Deny) => Ok(Self::Deny(Deny {
                reason: answer.reason,
                requestable: requestable(answer.requestable),
                presentation: presentation(answer.presentation),
                pending_access_request: non_empty(answer.pending_access_request_id),
                valid_until,
                revision: answer.revision,
                explanation,
            })),
            Ok(wire::Decision::Unspecified) | Err(_) => {
                Err(ClientError::unreadable("it has no decision"))
            }
        }
    }
}

/// The fields that every kind of decision on the wire has.
#[derive(Debug, Default)]
pub struct WireDecision {
    pub decision: i32,
    pub reason: String,
    pub level: i32,
    pub include_unassigned: bool,
    pub requestable: i32,
    pub presentation: i32,
    pub pending_access_request_id: String,
    pub valid_until: Option<prost_types::Timestamp>,
    pub revision: String,
    pub explanation: Option<wire::Explanation>,
}

/// These two messages have the same fields, which the compiler is told one by one.
macro_rules! of_answer {
    ($message:ty) => {
        impl From<$message> for WireDecision {
            fn from(answer: $message) -> Self {
                Self {
                    decision: answer.decision,
                    reason: answer.reason,
                    level: answer.level,
                    include_unassigned: answer.include_unassigned,
                    requestable: answer.requestable,
                    presentation: answer.presentation,
                    pending_access_request_id: answer.pending_access_request_id,
                    valid_until: answer.valid_until,
                    revision: answer.revision,
                    explanation: answer.explanation,
                }
            }
        }
    };
}
of_answer!(wire::CheckResponse);
of_answer!(wire::ExplainResponse);

/// A result of a batch has its revision in the batch.
impl From<wire::BatchCheckResult> for WireDecision {
    fn from(result: wire::BatchCheckResult) -> Self {
        Self {
            decision: result.decision,
            reason: result.reason,
            level: result.level,
            include_unassigned: result.include_unassigned,
            requestable: result.requestable,
            presentation: result.presentation,
            pending_access_request_id: result.pending_access_request_id,
            valid_until: result.valid_until,
            ..Self::default()
        }
    }
}

/// Why something may not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The check answered DENY.
    #[error("denied: {}", .0.reason)]
    Denied(Box<Deny>),
    /// The check has no answer, which is never an allow.
    #[error("not checked: {0}")]
    Failed(#[from] ClientError),
}

/// The proof that a check was answered with ALLOW. Only this module makes one, so that what asks
/// for a permit can't run without a check.
#[derive(Debug, Clone)]
pub struct Permit {
    question: Question,
    allow: Allow,
}

impl Permit {
    pub(super) fn new(question: Question, decision: Decision) -> Result<Self, Box<Deny>> {
        match decision {
            Decision::Allow(allow) => Ok(Self { question, allow }),
            Decision::Deny(deny) => Err(Box::new(deny)),
        }
    }

    /// What was asked. A handler that takes its ids from here acts on what was checked, and not on
    /// what it reads differently out of the same request.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The answer.
    pub fn allow(&self) -> &Allow {
        &self.allow
    }
}

/// A level that this client doesn't know is no level that it could compare.
pub fn level(level: i32) -> Result<Level, ClientError> {
    match wire::Level::try_from(level) {
        Ok(wire::Level::None) => Ok(Level::None),
        Ok(wire::Level::Owned) => Ok(Level::Owned),
        Ok(wire::Level::Team) => Ok(Level::Team),
        Ok(wire::Level::Everything) => Ok(Level::Everything),
        Ok(wire::Level::Unspecified) | Err(_) => {
            Err(ClientError::unreadable("its level is not known"))
        }
    }
}

/// Nothing to ask for, where this client doesn't know what.
fn requestable(requestable: i32) -> Requestable {
    match wire::Requestable::try_from(requestable) {
        Ok(wire::Requestable::Tool) => Requestable::Tool,
        Ok(wire::Requestable::Object) => Requestable::Object,
        Ok(wire::Requestable::None | wire::Requestable::Unspecified) | Err(_) => Requestable::None,
    }
}

/// Nothing special, where this client doesn't know what.
fn presentation(presentation: i32) -> Presentation {
    match wire::Presentation::try_from(presentation) {
        Ok(wire::Presentation::Lock) => Presentation::Lock,
        Ok(wire::Presentation::TooltipLink) => Presentation::TooltipLink,
        Ok(wire::Presentation::BlockedPage) => Presentation::BlockedPage,
        Ok(wire::Presentation::None | wire::Presentation::Unspecified) | Err(_) => {
            Presentation::None
        }
    }
}

/// Fails where a moment is there and can't be read: absent means that no end lies ahead.
pub fn time(
    time: Option<&prost_types::Timestamp>,
    field: &str,
) -> Result<Option<Timestamp>, ClientError> {
    let Some(time) = time else {
        return Ok(None);
    };
    time.seconds
        .checked_mul(1_000_000)
        .and_then(|micros| micros.checked_add(i64::from(time.nanos) / 1_000))
        .and_then(Timestamp::from_unix_micros)
        .map(Some)
        .ok_or_else(|| ClientError::unreadable(format!("its {field} is no time")))
}

fn explanation(explanation: wire::Explanation) -> Explanation {
    Explanation {
        step: explanation.step,
        summary: explanation.summary,
        path: explanation
            .path
            .into_iter()
            .map(|element| PathElement {
                kind: element.kind,
                text: element.text,
                fields: element
                    .fields
                    .into_iter()
                    .map(|field| (field.name, field.value))
                    .collect(),
            })
            .collect(),
        remedy: non_empty(explanation.remedy),
    }
}

pub fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(decision: i32, level: i32) -> WireDecision {
        WireDecision {
            decision,
            level,
            ..WireDecision::default()
        }
    }

    #[test]
    fn only_an_allow_is_an_allow() {
        assert!(Decision::of_wire(answer(1, 3)).unwrap().is_allow());
        assert!(!Decision::of_wire(answer(2, 1)).unwrap().is_allow());
        for decision in [0, 3, -1, i32::MAX] {
            assert!(
                Decision::of_wire(answer(decision, 3)).is_err(),
                "{decision}"
            );
        }
        assert!(
            Decision::of_wire(answer(1, 99)).is_err(),
            "a level of the future"
        );
        // What says how to show a denial may be unknown; it stays a denial.
        let denied = WireDecision {
            requestable: 99,
            presentation: 99,
            ..answer(2, 0)
        };
        assert!(matches!(
            Decision::of_wire(denied).unwrap(),
            Decision::Deny(Deny {
                requestable: Requestable::None,
                presentation: Presentation::None,
                ..
            })
        ));
    }

    #[test]
    fn an_end_that_cant_be_read_is_not_taken_for_none() {
        let endless = WireDecision {
            valid_until: Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..answer(1, 3)
        };
        assert!(Decision::of_wire(endless).is_err());
    }

    #[test]
    fn a_deny_makes_no_permit() {
        let question = Question::new("acme", "u", "contact", "view");
        let deny = Decision::of_wire(answer(2, 1)).unwrap();
        assert!(Permit::new(question.clone(), deny).is_err());
        let allow = Decision::of_wire(answer(1, 3)).unwrap();
        let permit = Permit::new(question.clone(), allow).unwrap();
        assert_eq!(permit.question(), &question);
    }
}
