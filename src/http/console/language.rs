//! What the pages say, by language: catalogs of messages under `languages/`, as data.
//!
//! A message is a text, or one text for each plural form; `{name}` in it is a place for a value. A
//! new language is a new file and its line in [`FILES`]. What a catalog lacks is a test that fails,
//! and on a page the English text.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::authz::model::Timestamp;

/// The catalogs; the first is for readers of none of the languages.
const FILES: &[&str] = &[
    include_str!("languages/en.toml"),
    include_str!("languages/de.toml"),
];

/// Of `Accept-Language`, how much is looked at.
const ACCEPTED_MAX: usize = 32;

#[derive(Debug, thiserror::Error)]
#[error("a language catalog of the console is not valid: {0}")]
pub struct LanguageError(String);

/// One text, or one for each plural form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Plain(String),
    Counted { one: String, other: String },
}

/// One language with all its messages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Language {
    messages: Arc<HashMap<String, Message>>,
    fallback: Option<Arc<HashMap<String, Message>>>,
}

/// All languages.
#[derive(Debug, Clone)]
pub struct Languages {
    /// The first is the fallback.
    all: Arc<[Language]>,
}

/// What is put in the place of a message.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Of the account: an id, or somebody's words. Set apart, since it may be written in another
    /// direction, or read like a part of the sentence.
    Name(&'a str),
    /// Of ours: a number, a time.
    Plain(&'a str),
    /// Another message.
    Sentence(&'a Sentence),
}

/// A message with its values, as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence(String);

impl fmt::Display for Sentence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Sentence {
    /// With further terms after it, separated by commas.
    pub fn with_terms(mut self, terms: &[String]) -> Self {
        for term in terms {
            self.0.push_str(", ");
            escape(term, &mut self.0);
        }
        self
    }
}

/// Each part was escaped when it was put in.
impl askama::filters::HtmlSafe for Sentence {}

fn put_html(value: Value<'_>, into: &mut String) {
    match value {
        Value::Name(name) => {
            into.push_str("<bdi>");
            escape(name, into);
            into.push_str("</bdi>");
        }
        Value::Plain(text) => escape(text, into),
        Value::Sentence(sentence) => into.push_str(&sentence.0),
    }
}

fn put_bare(value: Value<'_>, into: &mut String) {
    match value {
        Value::Name(text) | Value::Plain(text) => into.push_str(text),
        Value::Sentence(sentence) => into.push_str(&sentence.0),
    }
}

/// Text as it may stand in HTML and in an attribute.
fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            other => into.push(other),
        }
    }
}

impl Languages {
    pub fn load() -> Result<Self, LanguageError> {
        let mut all: Vec<Language> = Vec::with_capacity(FILES.len());
        for file in FILES {
            let messages = Arc::new(messages_of(file)?);
            all.push(Language {
                messages,
                fallback: all.first().map(|first| Arc::clone(&first.messages)),
            });
        }
        Ok(Self { all: all.into() })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Language> {
        self.all.iter()
    }

    /// The language that was chosen by name, or the one that the reader likes best of those that
    /// there are.
    pub fn choose(
        &self,
        named: Option<&str>,
        accepted: Option<&str>,
    ) -> Result<Language, LanguageError> {
        let of = |tag: &str| self.all.iter().find(|language| language.is_for(tag));
        named
            .and_then(of)
            .or_else(|| preferences(accepted.unwrap_or_default()).find_map(of))
            .or_else(|| self.all.first())
            .cloned()
            .ok_or_else(|| LanguageError("there is none".to_owned()))
    }
}

/// The tags of an `Accept-Language`, the best liked first; those that are refused are left out.
fn preferences(accepted: &str) -> impl Iterator<Item = &str> {
    let mut tags: Vec<(u32, &str)> = accepted
        .split(',')
        .take(ACCEPTED_MAX)
        .filter_map(|entry| {
            let (tag, parameter) = entry.split_once(';').unwrap_or((entry, ""));
            let quality = match parameter.trim().strip_prefix("q=") {
                // Thousandths, so that they have an order.
                Some(quality) => thousandths(quality.trim())?,
                None => 1_000,
            };
            (quality > 0).then_some((quality, tag.trim()))
        })
        .collect();
    tags.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    tags.into_iter().map(|(_, tag)| tag)
}

/// `0.85` -> 850; `None` for what is no quality.
fn thousandths(quality: &str) -> Option<u32> {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let value = whole.parse::<u32>().ok()?.checked_mul(1_000)? + digits.parse::<u32>().ok()?;
    (value <= 1_000).then_some(value)
}

fn messages_of(file: &str) -> Result<HashMap<String, Message>, LanguageError> {
    let table: toml::Table = file
        .parse()
        .map_err(|error: toml::de::Error| LanguageError(error.to_string()))?;
    let mut messages = HashMap::new();
    flatten("", table, &mut messages)?;
    Ok(messages)
}

/// `[state] pending = "..."` -> `state.pending`.
fn flatten(
    prefix: &str,
    table: toml::Table,
    into: &mut HashMap<String, Message>,
) -> Result<(), LanguageError> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::String(text) => {
                into.insert(key, Message::Plain(text));
            }
            toml::Value::Table(forms) if forms.contains_key("other") => {
                let form = |name: &str| {
                    let text = forms.get(name).and_then(toml::Value::as_str);
                    text.map(str::to_owned)
                        .ok_or_else(|| LanguageError(format!("`{key}` has no form `{name}`")))
                };
                let (one, other) = (form("one")?, form("other")?);
                into.insert(key, Message::Counted { one, other });
            }
            toml::Value::Table(inner) => flatten(&key, inner, into)?,
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {
                return Err(LanguageError(format!("`{key}` is no text")));
            }
        }
    }
    Ok(())
}

impl Language {
    /// The tag of BCP 47, e.g. `de`.
    pub fn code(&self) -> &str {
        self.text("language.code")
    }

    /// Whether a reader who asked for `tag` (`de-AT`) is served.
    fn is_for(&self, tag: &str) -> bool {
        let primary = tag.split('-').next().unwrap_or(tag);
        primary.eq_ignore_ascii_case(self.code())
    }

    fn message(&self, key: &str) -> Option<&Message> {
        self.messages
            .get(key)
            .or_else(|| self.fallback.as_ref()?.get(key))
    }

    /// A message without places. A key that no catalog has stands for itself, so that a page is
    /// never lost for a word.
    pub fn text<'a>(&'a self, key: &'a str) -> &'a str {
        match self.message(key) {
            Some(Message::Plain(text) | Message::Counted { other: text, .. }) => text,
            None => key,
        }
    }

    /// A message with its places filled.
    pub fn say(&self, key: &str, values: &[(&str, Value<'_>)]) -> Sentence {
        Sentence(fill(self.text(key), values, put_html, escape))
    }

    /// One of the account's names or texts, as a sentence of its own.
    pub fn name(&self, name: &str) -> Sentence {
        let mut html = String::new();
        put_html(Value::Name(name), &mut html);
        Sentence(html)
    }

    /// A text of ours, as a sentence of its own.
    pub fn plain_sentence(&self, text: &str) -> Sentence {
        let mut html = String::new();
        escape(text, &mut html);
        Sentence(html)
    }

    /// The same as bare text: for titles, and for what is put into another message.
    pub fn plain(&self, key: &str, values: &[(&str, Value<'_>)]) -> String {
        fill(self.text(key), values, put_bare, |text, into| {
            into.push_str(text);
        })
    }

    /// A message in the plural form of a number, which is its `{count}`.
    pub fn count(&self, key: &str, count: u64) -> String {
        let text = match self.message(key) {
            Some(Message::Counted { one, .. }) if count == 1 => one,
            Some(Message::Plain(other) | Message::Counted { other, .. }) => other,
            None => key,
        };
        text.replace("{count}", &count.to_string())
    }

    /// A moment in words, in UTC to the minute.
    pub fn moment(&self, at: Timestamp) -> String {
        let Ok(moment) =
            time::OffsetDateTime::from_unix_timestamp(at.unix_micros().div_euclid(1_000_000))
        else {
            return at.to_string();
        };
        let month = format!("time.month.{}", u8::from(moment.month()));
        let mut clock = String::new();
        // Writing to a string can't fail.
        let _ = write!(clock, "{:02}:{:02}", moment.hour(), moment.minute());
        self.plain(
            "time.moment",
            &[
                ("day", Value::Plain(&moment.day().to_string())),
                ("month", Value::Plain(self.text(&month))),
                ("year", Value::Plain(&moment.year().to_string())),
                ("clock", Value::Plain(&clock)),
            ],
        )
    }

    /// A span of time in the largest unit that it is a whole number of.
    pub fn duration(&self, seconds: u64) -> String {
        let (count, unit) = Unit::whole(seconds);
        self.count(&format!("duration.{}", unit.as_str()), count)
    }
}

/// A unit of time, as spans are written on a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == word)
    }

    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// A span in the largest unit that it is a whole number of.
    pub fn whole(seconds: u64) -> (u64, Self) {
        let fits = |unit: &Self| seconds > 0 && seconds.is_multiple_of(unit.seconds());
        let unit = Self::ALL.into_iter().rev().find(fits);
        let unit = unit.unwrap_or(Self::Second);
        (seconds / unit.seconds(), unit)
    }
}

/// Puts values in their places. A place without a value stays as it is.
fn fill(
    text: &str,
    values: &[(&str, Value<'_>)],
    put: fn(Value<'_>, &mut String),
    between: fn(&str, &mut String),
) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        between(before, &mut filled);
        let place = from.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((*value, after))
        });
        match place {
            Some((value, after)) => {
                put(value, &mut filled);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = from;
            }
        }
    }
    between(rest, &mut filled);
    filled
}

#[cfg(test)]
mod tests;
