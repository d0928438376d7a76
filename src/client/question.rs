//! What is asked.

use crate::authz::decision::ResourceFacts;
use crate::authz::model::{Id, IdError, Timestamp};
use crate::grpc::convert::{principal_to_wire, timestamp_to_wire};
use crate::grpc::wire;

use super::error::ClientError;

/// A question about an account: may this user do this action on this resource, or on the tool as a
/// whole? Lists ask it of all resources, or of all users.
///
/// ```
/// use ambit::client::Question;
///
/// let question = Question::new("northwind", "lena", "contact", "view").on("siemens");
/// assert_eq!(question.to_string(), "may lena do contact.view on siemens in northwind");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub(super) account: String,
    pub(super) user: String,
    pub(super) resource_type: String,
    pub(super) action: String,
    pub(super) resource: Option<String>,
    pub(super) facts: Option<ResourceFacts>,
    pub(super) at: Option<Timestamp>,
    pub(super) explained: bool,
}

impl Question {
    /// In the order of the command line: account, user, type, action.
    pub fn new(
        account: impl Into<String>,
        user: impl Into<String>,
        resource_type: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            account: account.into(),
            user: user.into(),
            resource_type: resource_type.into(),
            action: action.into(),
            resource: None,
            facts: None,
            at: None,
            explained: false,
        }
    }

    /// Of no user in particular, for [`Client::list_users`](super::Client::list_users).
    pub fn of_anyone(
        account: impl Into<String>,
        resource_type: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self::new(account, "", resource_type, action)
    }

    /// Of no action in particular, for [`Client::list_actions`](super::Client::list_actions).
    pub fn of_any_action(
        account: impl Into<String>,
        user: impl Into<String>,
        resource_type: impl Into<String>,
    ) -> Self {
        Self::new(account, user, resource_type, "")
    }

    /// About one resource. Without it the question is about the tool as a whole. An empty id is no
    /// way of saying "none": it is refused.
    #[must_use]
    pub fn on(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// The resource as the caller describes it, in place of what is stored of it.
    #[must_use]
    pub fn described_as(mut self, facts: ResourceFacts) -> Self {
        self.facts = Some(facts);
        self
    }

    /// Moves the clock of expiries to another moment; the data stay those of the present.
    #[must_use]
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.at = Some(moment);
        self
    }

    /// Asks for the explanation with the answer.
    #[must_use]
    pub fn explained(mut self) -> Self {
        self.explained = true;
        self
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn resource_type(&self) -> &str {
        &self.resource_type
    }

    pub fn action(&self) -> &str {
        &self.action
    }

    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// Whether all ids of a check can be ids at all, so that what a browser sent is told apart from a
    /// failure. Types and actions are known to the server alone.
    ///
    /// # Errors
    /// The first that can't.
    pub fn validate(&self) -> Result<(), IdError> {
        for id in [&self.account, &self.user, &self.resource_type, &self.action] {
            Id::validate(id)?;
        }
        self.resource.as_deref().map_or(Ok(()), Id::validate)
    }

    /// What names a resource names one: on the wire an empty id is the tool as a whole, which is
    /// another question.
    pub(super) fn wire_resource(&self) -> Result<String, ClientError> {
        match &self.resource {
            None => Ok(String::new()),
            Some(id) if id.is_empty() => Err(ClientError::Configuration(
                "the id of the resource is empty".to_owned(),
            )),
            Some(id) => Ok(id.clone()),
        }
    }

    pub(super) fn wire_at(&self) -> Option<prost_types::Timestamp> {
        self.at.map(timestamp_to_wire)
    }

    pub(super) fn wire_facts(&self) -> Option<wire::ResourceFacts> {
        let facts = self.facts.as_ref()?;
        Some(wire::ResourceFacts {
            owners: facts.owners.iter().map(Id::to_string).collect(),
            owning_team: facts
                .owning_team
                .as_ref()
                .map(Id::to_string)
                .unwrap_or_default(),
            partitioned: Some(facts.partitioned),
            assigned_to: facts
                .assigned_to
                .iter()
                .map(|assignment| wire::DescribedAssignment {
                    principal: Some(principal_to_wire(&assignment.principal)),
                    expires_at: assignment.expires_at.map(timestamp_to_wire),
                })
                .collect(),
        })
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "may {} do {}.{}",
            self.user, self.resource_type, self.action
        )?;
        if let Some(resource) = &self.resource {
            write!(formatter, " on {resource}")?;
        }
        write!(formatter, " in {}", self.account)
    }
}
