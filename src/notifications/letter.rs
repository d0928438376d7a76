//! The text of mail: to an approver who may decide, to the requester whose request was decided, and to
//! those whom something between an agency and a client concerns.
//!
//! What people wrote (a reason, a note) is quoted line by line, so that nobody can pass their own
//! words off as ours, or their own link as the one to decide by.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::message::{Approver, Told};
use crate::authz::access_request::RequestEventKind;
use crate::authz::model::Timestamp;
use crate::config::Language;

mod partner;

use partner::PartnerWords;
pub use partner::of_partner;

const WORDS: &str = include_str!("words.toml");

#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    #[error("the words of mail can't be read: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("there are no words for the language `{0}`")]
    Language(Language),
}

/// The words of one language.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    filed_subject: String,
    filed_lead: String,
    who: String,
    teams: String,
    what: String,
    what_value: String,
    wanted: String,
    denied_as: String,
    origin: String,
    why: String,
    decide: String,
    decide_hint: String,
    event_subject: String,
    event_lead: String,
    outcomes: Outcomes,
    by: String,
    ambit: String,
    note: String,
    ends: String,
    footer: String,
    minutes: [String; 2],
    hours: [String; 2],
    days: [String; 2],
    partner: PartnerWords,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcomes {
    approved: String,
    denied: String,
    cancelled: String,
    expired: String,
    obsolete: String,
    revoked: String,
}

impl Words {
    pub fn load(language: Language) -> Result<Self, WordsError> {
        let mut all: BTreeMap<String, Self> = toml::from_str(WORDS)?;
        all.remove(language.as_str())
            .ok_or(WordsError::Language(language))
    }

    /// `None`: the filing, which is no outcome.
    fn outcome(&self, kind: RequestEventKind) -> Option<&str> {
        Some(match kind {
            RequestEventKind::Filed => return None,
            RequestEventKind::Approved => &self.outcomes.approved,
            RequestEventKind::Denied => &self.outcomes.denied,
            RequestEventKind::Cancelled => &self.outcomes.cancelled,
            RequestEventKind::Expired => &self.outcomes.expired,
            RequestEventKind::Obsolete => &self.outcomes.obsolete,
            RequestEventKind::Revoked => &self.outcomes.revoked,
        })
    }

    fn duration(&self, seconds: u64) -> String {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let (count, [one, many]) = if seconds >= DAY && seconds.is_multiple_of(DAY) {
            (seconds / DAY, &self.days)
        } else if seconds >= HOUR && seconds.is_multiple_of(HOUR) {
            (seconds / HOUR, &self.hours)
        } else {
            (seconds.div_ceil(MINUTE), &self.minutes)
        };
        let form = if count == 1 { one } else { many };
        fill(form, &[("count", &count.to_string())])
    }
}

/// Puts values in the place of `{name}`. What a value holds is never looked at again.
fn fill(form: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(form.len() + 64);
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(value),
            None => {
                filled.push('{');
                filled.push_str(name);
                filled.push('}');
            }
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

/// A mail before it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// What a letter consists of, for both forms of it.
struct Parts {
    subject: String,
    lead: String,
    rows: Vec<(String, String)>,
    /// Label and words of a person.
    quotes: Vec<(String, String)>,
    /// Label, address and hint.
    link: Option<(String, String, String)>,
    footer: String,
}

/// To an approver: who asks, what for, why, and where to decide.
pub fn to_approver(words: &Words, told: &Told, approver: &Approver, until: Timestamp) -> Letter {
    let values = Values::of(told);
    let mut rows = vec![(words.who.clone(), values.user.clone())];
    if !told.teams.is_empty() {
        let teams: Vec<String> = told
            .teams
            .iter()
            .map(|team| upright(team.as_str()))
            .collect();
        rows.push((words.teams.clone(), teams.join(", ")));
    }
    rows.push((words.what.clone(), values.fill(&words.what_value)));
    if let Some(seconds) = told.request.wanted_seconds {
        rows.push((words.wanted.clone(), words.duration(seconds)));
    }
    let denied_as = told.request.denied_as.as_str().to_owned();
    rows.push((words.denied_as.clone(), denied_as));
    let mut quotes = vec![(words.why.clone(), told.request.reason.clone())];
    if let Some(origin) = &told.request.origin_url {
        quotes.push((words.origin.clone(), origin.clone()));
    }
    let hint = fill(&words.decide_hint, &[("until", &minute_of(until))]);
    Parts {
        subject: values.fill(&words.filed_subject),
        lead: values.fill(&words.filed_lead),
        rows,
        quotes,
        link: Some((words.decide.clone(), approver.link.clone(), hint)),
        footer: words.footer.clone(),
    }
    .into_letter()
}

/// To the requester: what became of it. `None` for the filing, which they know of.
pub fn to_requester(words: &Words, told: &Told) -> Option<Letter> {
    let outcome = words.outcome(told.event.kind)?;
    let mut values = Values::of(told);
    values.outcome = outcome;
    let by = told
        .event
        .actor
        .as_ref()
        .map_or_else(|| words.ambit.clone(), |actor| upright(actor.as_str()));
    let mut rows = vec![
        (words.what.clone(), values.fill(&words.what_value)),
        (words.by.clone(), by),
    ];
    let ends = match told.event.kind {
        RequestEventKind::Approved => told
            .event
            .approval
            .as_ref()
            .and_then(|given| given.expires_at),
        RequestEventKind::Filed
        | RequestEventKind::Denied
        | RequestEventKind::Cancelled
        | RequestEventKind::Expired
        | RequestEventKind::Obsolete
        | RequestEventKind::Revoked => None,
    };
    if let Some(ends) = ends {
        rows.push((words.ends.clone(), minute_of(ends)));
    }
    let note = told.event.note.iter();
    let parts = Parts {
        subject: values.fill(&words.event_subject),
        lead: values.fill(&words.event_lead),
        rows,
        quotes: note
            .map(|note| (words.note.clone(), note.clone()))
            .collect(),
        link: None,
        footer: words.footer.clone(),
    };
    Some(parts.into_letter())
}

/// A name as it may stand in a sentence: what turns the direction of text would turn our own words
/// with it, so it is written out. A quote needs none of that, since each of its lines stands alone.
fn upright(name: &str) -> String {
    let mut upright = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                upright.extend(character.escape_unicode());
            }
            other => upright.push(other),
        }
    }
    upright
}

struct Values<'a> {
    user: String,
    account: String,
    action: String,
    what: String,
    outcome: &'a str,
}

impl Values<'_> {
    fn of(told: &Told) -> Self {
        let target = &told.request.target;
        let what = match target.resource() {
            Some(resource) => resource.to_string(),
            None => target.resource_type.to_string(),
        };
        Self {
            user: upright(told.request.user.as_str()),
            account: upright(told.account.as_str()),
            action: upright(target.action.as_str()),
            what: upright(&what),
            outcome: "",
        }
    }

    fn fill(&self, form: &str) -> String {
        fill(
            form,
            &[
                ("user", &self.user),
                ("account", &self.account),
                ("action", &self.action),
                ("what", &self.what),
                ("outcome", self.outcome),
            ],
        )
    }
}

/// `2026-11-22 12:00 UTC`
fn minute_of(moment: Timestamp) -> String {
    let text = moment.to_string();
    match text.split_once('T') {
        Some((date, time)) => {
            let minute: String = time.chars().take("00:00".len()).collect();
            format!("{date} {minute} UTC")
        }
        None => text,
    }
}

impl Parts {
    fn into_letter(self) -> Letter {
        Letter {
            text: self.text(),
            html: self.html(),
            subject: self.subject,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.lead);
        for (label, value) in &self.rows {
            text.push_str(&format!("{label}: {value}\n"));
        }
        for (label, quote) in &self.quotes {
            text.push_str(&format!("\n{label}:\n"));
            for line in lines_of(quote) {
                text.push_str(&format!("> {line}\n"));
            }
        }
        if let Some((label, address, hint)) = &self.link {
            text.push_str(&format!("\n{label}:\n{address}\n\n{hint}\n"));
        }
        text.push_str(&format!("\n-- \n{}\n", self.footer));
        text
    }

    fn html(&self) -> String {
        let mut html = String::from("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
        html.push_str(&escaped(&self.subject));
        html.push_str("</title></head>\n<body>\n");
        html.push_str(&format!("<p>{}</p>\n<table>\n", escaped(&self.lead)));
        for (label, value) in &self.rows {
            let (label, value) = (escaped(label), escaped(value));
            html.push_str(&format!(
                "<tr><th align=\"left\" scope=\"row\">{label}</th><td>{value}</td></tr>\n"
            ));
        }
        html.push_str("</table>\n");
        for (label, quote) in &self.quotes {
            let lines: Vec<String> = lines_of(quote).map(escaped).collect();
            html.push_str(&format!(
                "<p>{}:</p>\n<blockquote>{}</blockquote>\n",
                escaped(label),
                lines.join("<br>\n")
            ));
        }
        if let Some((label, address, hint)) = &self.link {
            html.push_str(&format!(
                "<p><a href=\"{}\">{}</a></p>\n<p>{}</p>\n",
                escaped(address),
                escaped(label),
                escaped(hint)
            ));
        }
        html.push_str(&format!(
            "<p><small>{}</small></p>\n",
            escaped(&self.footer)
        ));
        html.push_str("</body></html>\n");
        html
    }
}

/// Lines however they are ended, Unicode's own ways included.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split([
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ])
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
