//! A decision as commands print it: in words for people, in the wire's field names and the
//! document's values for programs.

use serde::Serialize;

use crate::authz::decision::{Presentation, Requestable};
use crate::authz::model::{Level, Timestamp};
use crate::client::{Decision, WireDecision};
use crate::grpc::wire;

use super::connection::from_wire_time;
use super::error::CliError;
use super::output::{Colour, Output};

/// The answer to one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub decision: &'static str,
    pub reason: String,
    pub level: &'static str,
    pub include_unassigned: bool,
    pub requestable: &'static str,
    pub presentation: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pending_access_request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}

impl Answer {
    /// As services read it, which fails closed: what is not plainly an allow or a deny is an error.
    pub fn of(answer: impl Into<WireDecision>) -> Result<Self, CliError> {
        let decision = Decision::of_wire(answer.into()).map_err(|error| {
            CliError::refused(format!(
                "{error}; the server may be newer than this command, update it"
            ))
        })?;
        let valid_until = decision.valid_until().map(|time| time.to_string());
        Ok(match decision {
            Decision::Allow(allow) => Self {
                decision: "allow",
                reason: allow.reason,
                level: allow.level.as_str(),
                include_unassigned: allow.include_unassigned,
                requestable: Requestable::None.as_str(),
                presentation: Presentation::None.as_str(),
                pending_access_request_id: String::new(),
                valid_until,
            },
            Decision::Deny(deny) => Self {
                decision: "deny",
                reason: deny.reason,
                level: Level::None.as_str(),
                include_unassigned: false,
                requestable: deny.requestable.as_str(),
                presentation: deny.presentation.as_str(),
                pending_access_request_id: deny.pending_access_request.unwrap_or_default(),
                valid_until,
            },
        })
    }

    pub fn is_allow(&self) -> bool {
        self.decision == "allow"
    }

    /// `allow  TEAM  level team+unassigned  until 2027-01-01T00:00:00Z`
    pub fn in_words(&self, output: &Output) -> String {
        let colour = if self.is_allow() {
            Colour::Green
        } else {
            Colour::Red
        };
        let mut words = format!(
            "{}  {}",
            output.painted(colour, self.decision),
            output.painted(Colour::Bold, &self.reason)
        );
        let mut details = Vec::new();
        if self.is_allow() {
            details.push(format!(
                "level {}{}",
                self.level,
                if self.include_unassigned {
                    "+unassigned"
                } else {
                    ""
                }
            ));
        }
        if self.requestable != "none" {
            details.push(format!("requestable {}", self.requestable));
        }
        if self.presentation != "none" {
            details.push(format!("show {}", self.presentation));
        }
        if let Some(until) = &self.valid_until {
            details.push(format!("until {until}"));
        }
        for detail in details {
            words.push_str("  ");
            words.push_str(&output.painted(Colour::Dim, &detail));
        }
        words
    }
}

pub fn level(level: i32) -> &'static str {
    match wire::Level::try_from(level) {
        Ok(wire::Level::Owned) => "owned",
        Ok(wire::Level::Team) => "team",
        Ok(wire::Level::Everything) => "everything",
        _ => "none",
    }
}

pub fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    from_wire_time(time).map(|time: Timestamp| time.to_string())
}
