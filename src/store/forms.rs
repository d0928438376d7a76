//! Forms, as they are kept: settings that say to whom what is submitted is assigned (P8).
//!
//! They are no part of the account that decisions rest on and take no revision. Each change of one
//! is recorded in the audit. They go with their account.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::StoreError;
use super::audit::Author;
use super::rows::{inconsistent, not_json};
use crate::authz::model::{Id, Principal};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub id: Id,
    /// The type of the records that are submitted.
    pub resource_type: Id,
    pub targets: BTreeSet<Principal>,
    /// Whose authority was checked at the set-up; `None`: an operator's.
    pub author: Option<Id>,
    /// Whether that authority closes records that are open to everyone (P1).
    pub may_close: bool,
}

#[async_trait]
pub trait FormStore: Send + Sync + 'static {
    async fn form(&self, account: &Id, id: &Id) -> Result<Option<Form>, StoreError>;

    /// Forms after an id, in byte order of ids, at most `limit`.
    async fn forms(
        &self,
        account: &Id,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Form>, StoreError>;

    /// Sets a form up, over one of the same id; `false`: there is no such account.
    async fn put_form(
        &self,
        account: &Id,
        form: &Form,
        author: &Author,
    ) -> Result<bool, StoreError>;

    /// Removes a form; `false`: there is none.
    async fn delete_form(&self, account: &Id, id: &Id, author: &Author)
    -> Result<bool, StoreError>;
}

/// The targets as a text.
pub(super) fn targets_text(form: &Form) -> Result<String, StoreError> {
    let targets: Vec<String> = form.targets.iter().map(ToString::to_string).collect();
    serde_json::to_string(&targets).map_err(not_json)
}

/// The columns of a form, as a database answers them.
pub(super) struct FormColumns<'a> {
    pub(super) id: &'a str,
    pub(super) resource_type: &'a str,
    pub(super) targets: &'a str,
    pub(super) author: Option<&'a str>,
    pub(super) may_close: bool,
}

impl FormColumns<'_> {
    pub(super) fn form(self) -> Result<Form, StoreError> {
        let wrong = |column, problem: String| inconsistent("form", column, self.id, problem);
        let id =
            |column, text: &str| Id::parse(text).map_err(|error| wrong(column, error.to_string()));
        let texts: Vec<String> = serde_json::from_str(self.targets)
            .map_err(|error| wrong("targets", error.to_string()))?;
        Ok(Form {
            id: id("form_id", self.id)?,
            resource_type: id("resource_type", self.resource_type)?,
            targets: texts
                .iter()
                .map(|text| {
                    text.parse::<Principal>()
                        .map_err(|error| wrong("targets", error.to_string()))
                })
                .collect::<Result<_, _>>()?,
            author: self.author.map(|author| id("author", author)).transpose()?,
            may_close: self.may_close,
        })
    }
}
