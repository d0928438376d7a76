//! Requests, their history and what they check as people and programs read them.

use serde::Serialize;

use crate::cli::answer::{self, Answer};
use crate::cli::error::{CliError, one_line};
use crate::cli::output::{Colour, Output};
use crate::grpc::wire;

use super::duration;
use super::resolution::ShownResolution;

/// A request with the field names of the wire.
#[derive(Debug, Serialize)]
pub struct ShownRequest {
    pub id: String,
    pub user_id: String,
    pub resource_type: String,
    pub action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_id: String,
    pub reason: String,
    pub denied_as: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_seconds: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin_url: String,
    pub filed_at: Option<String>,
    pub expires_at: Option<String>,
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<ShownClosing>,
}

#[derive(Debug, Serialize)]
pub struct ShownClosing {
    pub at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by_user_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ShownApproval>,
}

#[derive(Debug, Serialize)]
pub struct ShownApproval {
    pub resolution: ShownResolution,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// An entry of a request's history with the field names of the wire.
#[derive(Debug, Serialize)]
pub struct ShownEvent {
    ordinal: u32,
    kind: &'static str,
    at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor_user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_state: Option<&'static str>,
    to_state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ShownApproval>,
    reason_before: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason_after: String,
}

/// What a change of a request answers.
#[derive(Debug, Serialize)]
pub struct ShownChange<'a> {
    pub access_request: &'a ShownRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<&'a Answer>,
    pub revision: &'a str,
}

pub fn state(state: i32) -> &'static str {
    match wire::AccessRequestState::try_from(state) {
        Ok(wire::AccessRequestState::Pending) => "pending",
        Ok(wire::AccessRequestState::Approved) => "approved",
        Ok(wire::AccessRequestState::Denied) => "denied",
        Ok(wire::AccessRequestState::Cancelled) => "cancelled",
        Ok(wire::AccessRequestState::Expired) => "expired",
        Ok(wire::AccessRequestState::Obsolete) => "obsolete",
        Ok(wire::AccessRequestState::Unspecified) | Err(_) => "unknown",
    }
}

fn kind(kind: i32) -> &'static str {
    use wire::AccessRequestEventKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::Filed) => "filed",
        Ok(Kind::Approved) => "approved",
        Ok(Kind::Denied) => "denied",
        Ok(Kind::Cancelled) => "cancelled",
        Ok(Kind::Expired) => "expired",
        Ok(Kind::Obsolete) => "obsolete",
        Ok(Kind::Revoked) => "revoked",
        Ok(Kind::Unspecified) | Err(_) => "unknown",
    }
}

impl From<wire::AccessRequest> for ShownRequest {
    fn from(request: wire::AccessRequest) -> Self {
        Self {
            id: request.id,
            user_id: request.user_id,
            resource_type: request.resource_type,
            action: request.action,
            resource_id: request.resource_id,
            reason: request.reason,
            denied_as: request.denied_as,
            wanted_seconds: request.wanted_seconds,
            origin_url: request.origin_url,
            filed_at: answer::time(request.filed_at.as_ref()),
            expires_at: answer::time(request.expires_at.as_ref()),
            state: state(request.state),
            closing: request.closing.map(|closing| ShownClosing {
                at: answer::time(closing.at.as_ref()),
                by_user_id: closing.by_user_id,
                note: closing.note,
                approval: closing.approval.map(ShownApproval::from),
            }),
        }
    }
}

impl From<wire::AccessRequestApproval> for ShownApproval {
    fn from(approval: wire::AccessRequestApproval) -> Self {
        Self {
            resolution: ShownResolution::of(approval.resolution.as_ref()),
            expires_at: answer::time(approval.expires_at.as_ref()),
        }
    }
}

impl From<wire::AccessRequestEvent> for ShownEvent {
    fn from(event: wire::AccessRequestEvent) -> Self {
        let from_state = (event.from_state != 0).then(|| state(event.from_state));
        Self {
            ordinal: event.ordinal,
            kind: kind(event.kind),
            at: answer::time(event.at.as_ref()),
            actor_user_id: event.actor_user_id,
            from_state,
            to_state: state(event.to_state),
            note: event.note,
            approval: event.approval.map(ShownApproval::from),
            reason_before: event.reason_before,
            reason_after: event.reason_after,
        }
    }
}

impl ShownApproval {
    fn in_words(&self) -> String {
        match &self.expires_at {
            Some(until) => format!("{} until {until}", self.resolution.in_words()),
            None => self.resolution.in_words(),
        }
    }
}

impl ShownRequest {
    /// `ID  pending  lena contact.view bosch  NOT_IN_PARTITION  "why"`
    pub fn in_a_line(&self, output: &Output) -> String {
        self.in_a_line_as(self.state, output)
    }

    /// The same with another word in the place of the state.
    pub fn in_a_line_as(&self, word: &str, output: &Output) -> String {
        let mut what = format!("{}.{}", self.resource_type, self.action);
        if !self.resource_id.is_empty() {
            what.push(' ');
            what.push_str(&self.resource_id);
        }
        format!(
            "{}  {}  {} {}  {}  \"{}\"",
            self.id,
            output.painted(colour_of(word), word),
            self.user_id,
            output.painted(Colour::Bold, &what),
            output.painted(Colour::Dim, &self.denied_as),
            one_line(&self.reason),
        )
    }

    /// Line for line.
    pub fn print(&self, output: &mut Output) -> Result<(), CliError> {
        let mut what = format!("{}.{}", self.resource_type, self.action);
        if !self.resource_id.is_empty() {
            what.push(' ');
            what.push_str(&self.resource_id);
        }
        let painted = output.painted(colour_of(self.state), self.state);
        output.line(&format!("{}  {painted}", self.id))?;
        output.line(&format!("  who     {}", self.user_id))?;
        output.line(&format!("  what    {what}"))?;
        output.line(&format!("  why     {}", one_line(&self.reason)))?;
        output.line(&format!("  denied  {}", self.denied_as))?;
        if let Some(seconds) = self.wanted_seconds {
            output.line(&format!("  for     {}", duration::in_words(seconds)))?;
        }
        if !self.origin_url.is_empty() {
            output.line(&format!("  from    {}", one_line(&self.origin_url)))?;
        }
        if let Some(filed_at) = &self.filed_at {
            output.line(&format!("  filed   {filed_at}"))?;
        }
        match (&self.closing, &self.expires_at) {
            (None, Some(expires_at)) => output.line(&format!("  expires {expires_at}")),
            (None, None) | (Some(_), _) => Ok(()),
        }
    }
}

impl ShownEvent {
    /// `2026-11-22T12:00:00Z  approved by nora: object_grant  NOT_IN_PARTITION -> OBJECT_GRANT  "ok"`
    pub fn in_a_line(&self, output: &Output) -> String {
        let by = match self.actor_user_id.as_str() {
            "" => String::new(),
            actor => format!(" by {actor}"),
        };
        let mut line = format!(
            "{}  {}{by}",
            self.at.as_deref().unwrap_or_default(),
            output.painted(colour_of(self.kind), self.kind)
        );
        if let Some(approval) = &self.approval {
            line.push_str(&format!(": {}", approval.in_words()));
        }
        let mut reasons = self.reason_before.clone();
        if !self.reason_after.is_empty() {
            reasons.push_str(&format!(" -> {}", self.reason_after));
        }
        line.push_str(&format!("  {}", output.painted(Colour::Dim, &reasons)));
        if !self.note.is_empty() {
            line.push_str(&format!("  \"{}\"", one_line(&self.note)));
        }
        line
    }
}

/// What a change of a request came to, in words.
pub fn print_change(change: &ShownChange<'_>, output: &mut Output) -> Result<(), CliError> {
    let line = change.access_request.in_a_line(output);
    output.line(&line)?;
    let closing = change.access_request.closing.as_ref();
    if let Some(approval) = closing.and_then(|closing| closing.approval.as_ref()) {
        output.line(&format!("given     {}", approval.in_words()))?;
    }
    if let Some(check) = change.check {
        let check = check.in_words(output);
        output.line(&format!("check     {check}"))?;
    }
    let revision = output.painted(Colour::Dim, change.revision);
    output.line(&format!("revision  {revision}"))
}

fn colour_of(state: &str) -> Colour {
    match state {
        "approved" => Colour::Green,
        "denied" | "expired" | "revoked" => Colour::Red,
        "pending" | "filed" => Colour::Yellow,
        _ => Colour::Dim,
    }
}
