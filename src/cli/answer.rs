//! A decision as commands print it: in words for people, in the wire's field names and the
//! document's values for programs.

use serde::Serialize;

use crate::authz::model::Timestamp;
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

/// The fields that every kind of answer on the wire has.
#[derive(Debug)]
pub struct WireAnswer<'a> {
    pub decision: i32,
    pub reason: &'a str,
    pub level: i32,
    pub include_unassigned: bool,
    pub requestable: i32,
    pub presentation: i32,
    pub pending_access_request_id: &'a str,
    pub valid_until: Option<&'a prost_types::Timestamp>,
}

impl WireAnswer<'_> {
    /// Fails closed: what is not plainly an allow or a deny is an error.
    pub fn read(self) -> Result<Answer, CliError> {
        let decision = match wire::Decision::try_from(self.decision) {
            Ok(wire::Decision::Allow) => "allow",
            Ok(wire::Decision::Deny) => "deny",
            _ => {
                return Err(CliError::refused(
                    "the server answered no decision; it may be newer than this command, update it",
                ));
            }
        };
        Ok(Answer {
            decision,
            reason: self.reason.to_owned(),
            level: level(self.level),
            include_unassigned: self.include_unassigned,
            requestable: match wire::Requestable::try_from(self.requestable) {
                Ok(wire::Requestable::Tool) => "tool",
                Ok(wire::Requestable::Object) => "object",
                _ => "none",
            },
            presentation: match wire::Presentation::try_from(self.presentation) {
                Ok(wire::Presentation::Lock) => "lock",
                Ok(wire::Presentation::TooltipLink) => "tooltip_link",
                Ok(wire::Presentation::BlockedPage) => "blocked_page",
                _ => "none",
            },
            pending_access_request_id: self.pending_access_request_id.to_owned(),
            valid_until: time(self.valid_until),
        })
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
