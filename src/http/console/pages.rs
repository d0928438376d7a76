//! The pages, as values that the templates under `templates/console` are filled with. Whatever is
//! of an account is escaped there, or was in its [`Sentence`].

use askama::Template;

use super::language::{Language, Sentence};

/// In each page, and allowed by its hash.
pub const STYLE: &str = include_str!("style.css");

/// What is around each page.
pub struct Frame<'a> {
    pub t: &'a Language,
    pub title: String,
    pub style: &'static str,
    /// `None` on pages without data.
    pub visitor: Option<Visitor>,
    pub languages: Vec<LanguageLink>,
}

pub struct Visitor {
    pub account: String,
    pub you: Sentence,
    /// Where the list is.
    pub list: String,
    pub form: FormFields,
}

pub struct LanguageLink {
    pub code: String,
    pub name: String,
    /// `None`: the one that the page is in.
    pub link: Option<String>,
}

/// The hidden fields of each form.
#[derive(Clone)]
pub struct FormFields {
    pub mark: String,
    /// Of a page that was opened by a link: the form will spend it.
    pub token: Option<String>,
    pub request: String,
    pub lang: String,
}

#[derive(Template)]
#[template(path = "console/message.html")]
pub struct MessagePage<'a> {
    pub frame: Frame<'a>,
    pub text: &'a str,
    /// Where the list is, for a reader who may have a session.
    pub list: Option<String>,
}

#[derive(Template)]
#[template(path = "console/list.html")]
pub struct ListPage<'a> {
    pub frame: Frame<'a>,
    pub entries: Vec<ListEntry>,
    pub first: Option<String>,
    pub next: Option<String>,
}

pub struct ListEntry {
    pub link: String,
    pub heading: Sentence,
    pub reason: String,
    pub filed: String,
    pub expires: String,
}

#[derive(Template)]
#[template(path = "console/request.html")]
pub struct RequestPage<'a> {
    pub frame: Frame<'a>,
    /// Where the forms are sent.
    pub action: String,
    pub form: FormFields,
    pub done: Option<Sentence>,
    pub refused: Option<Sentence>,
    /// A word for the style, and one for the reader.
    pub state: (&'static str, String),
    pub heading: Sentence,
    pub facts: RequestFacts,
    pub denial: Denial,
    /// Of a pending request.
    pub decide: Option<Decide>,
    /// Whether there is an approval to take back.
    pub revocable: bool,
    /// `None`: the requester is gone.
    pub permissions: Option<Vec<Row>>,
    pub resource: Option<ResourceFacts>,
    pub events: Vec<Event>,
}

/// A moment for people and for programs.
pub struct Moment {
    pub words: String,
    pub machine: String,
}

pub struct RequestFacts {
    pub requester: String,
    pub teams: Vec<String>,
    pub asked: Sentence,
    pub reason: String,
    pub wanted: String,
    pub filed: Moment,
    pub ends_label: String,
    pub ends: Moment,
    pub origin: Option<String>,
    pub id: String,
}

pub struct Denial {
    pub sentences: Vec<Sentence>,
    pub path: Vec<Sentence>,
}

pub struct Row {
    pub label: Sentence,
    pub entries: Vec<Sentence>,
    /// What stands where there is no entry.
    pub none: String,
}

pub struct ResourceFacts {
    pub owners: Vec<String>,
    pub owning_team: Vec<String>,
    pub assigned: Vec<String>,
}

pub struct Decide {
    pub ways: Vec<Way>,
    /// How many more there are.
    pub more: Vec<String>,
    /// Why there is no way.
    pub none: Option<Sentence>,
    pub amount: String,
    pub units: Vec<UnitChoice>,
    pub approve_note: String,
    pub deny_note: String,
}

/// One suggested resolution.
pub struct Way {
    pub value: String,
    pub what: Sentence,
    pub smallest: bool,
    pub chosen: bool,
    /// Why this approver can't give it.
    pub barred: Option<Sentence>,
    pub effect: String,
    pub opened: Vec<Sentence>,
    pub more: Option<String>,
}

pub struct UnitChoice {
    pub value: &'static str,
    pub name: String,
    pub chosen: bool,
}

pub struct Event {
    pub at: Moment,
    pub what: Sentence,
    pub lines: Vec<Sentence>,
    pub note: Option<String>,
}
