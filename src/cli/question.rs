//! The arguments that every question shares: what is asked, when, and how fresh the answer must be.

use std::str::FromStr;

use clap::Args;

use crate::authz::model::{Id, PermissionKey, Timestamp};

/// `TYPE.ACTION`, split at the last dot: a type may hold a dot (`account.billing`), an action never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeAction {
    pub resource_type: Id,
    pub action: Id,
}

impl FromStr for TypeAction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("expected TYPE.ACTION, as contact.view, this is `{text}`");
        let (resource_type, action) = text.rsplit_once('.').ok_or_else(form)?;
        if resource_type.is_empty() || action.is_empty() {
            return Err(form());
        }
        Ok(Self {
            resource_type: Id::parse(resource_type).map_err(|error| error.to_string())?,
            action: Id::parse(action).map_err(|error| error.to_string())?,
        })
    }
}

impl From<TypeAction> for PermissionKey {
    fn from(question: TypeAction) -> Self {
        Self {
            resource_type: question.resource_type,
            permission: question.action,
        }
    }
}

/// `--at`, `--at-least-as-fresh` and `--fully-consistent`, which every read takes.
#[derive(Debug, Clone, Default, Args)]
pub struct ReadArgs {
    /// Decide as at this time (RFC 3339); moves only the clock of expiries, not the data
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub at: Option<Timestamp>,
    /// Answer from a state at least as fresh as this revision, as `apply` printed it
    #[arg(
        long,
        allow_hyphen_values = true,
        value_name = "REVISION",
        conflicts_with = "fully_consistent",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub at_least_as_fresh: Option<String>,
    /// Answer from the newest committed state, at the cost of asking the database
    #[arg(long)]
    pub fully_consistent: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_may_hold_a_dot() {
        let question: TypeAction = "account.billing.edit".parse().unwrap();
        assert_eq!(question.resource_type.as_str(), "account.billing");
        assert_eq!(question.action.as_str(), "edit");
    }

    #[test]
    fn a_half_question_is_refused_with_its_form() {
        for text in ["contact", ".view", "contact.", "", "con\ttact.view"] {
            assert!(text.parse::<TypeAction>().is_err(), "{text:?}");
        }
        assert!(
            "contact"
                .parse::<TypeAction>()
                .unwrap_err()
                .contains("contact.view")
        );
    }
}
