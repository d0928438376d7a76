//! A question of a batch as it is written: `USER TYPE.ACTION [ID]` or a JSON object.

use std::fmt;

use serde::Deserialize;

use crate::authz::model::{Id, Principal, PrincipalKind, Timestamp};
use crate::cli::connection::to_wire_time;
use crate::cli::error::CliError;
use crate::cli::question::TypeAction;
use crate::grpc::wire;

/// One question with the line that it stands on.
#[derive(Debug, Clone)]
pub struct Line {
    number: usize,
    item: wire::BatchCheckItem,
}

impl Line {
    pub fn number(&self) -> usize {
        self.number
    }

    pub fn item(&self) -> wire::BatchCheckItem {
        self.item.clone()
    }
}

/// As it may be written: `lena contact.view bosch`.
impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = &self.item;
        write!(
            formatter,
            "{} {}.{}",
            item.user_id, item.resource_type, item.action
        )?;
        if !item.resource_id.is_empty() {
            write!(formatter, " {}", item.resource_id)?;
        }
        Ok(())
    }
}

/// All questions of a text; nothing is asked where one of them is not well-formed.
pub fn parse_all(text: &str, account: &Id) -> Result<Vec<Line>, CliError> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = at + 1;
        let item = if line.trim_start().starts_with('{') {
            parse_object(line, account)
        } else {
            parse_words(line)
        };
        let item = item.map_err(|problem| CliError::usage(format!("line {number}: {problem}")))?;
        lines.push(Line { number, item });
    }
    Ok(lines)
}

fn parse_words(line: &str) -> Result<wire::BatchCheckItem, String> {
    let form = || format!("expected USER TYPE.ACTION [ID], this is `{line}`");
    let (user, rest) = line.split_once(' ').ok_or_else(form)?;
    let (question, id) = match rest.split_once(' ') {
        Some((question, id)) => (question, Some(id)),
        None => (rest, None),
    };
    let question: TypeAction = question.parse()?;
    for id in [Some(user), id].into_iter().flatten() {
        Id::validate(id).map_err(|error| error.to_string())?;
    }
    Ok(wire::BatchCheckItem {
        user_id: user.to_owned(),
        action: question.action.to_string(),
        resource_type: question.resource_type.to_string(),
        resource_id: id.unwrap_or_default().to_owned(),
        resource_facts: None,
        at: None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    account_id: Option<Id>,
    user_id: Id,
    action: Id,
    resource_type: Id,
    #[serde(default)]
    resource_id: String,
    at: Option<String>,
    resource_facts: Option<Facts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    #[serde(default)]
    owners: Vec<Id>,
    owning_team: Option<Id>,
    partitioned: Option<bool>,
    #[serde(default)]
    assigned_to: Vec<Assigned>,
}

/// `"team:de"`, or `{"principal": "team:de", "expires_at": "2027-01-01T00:00:00Z"}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Assigned {
    Plain(String),
    Timed(TimedAssignment),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedAssignment {
    principal: String,
    expires_at: Option<String>,
}

fn parse_object(line: &str, account: &Id) -> Result<wire::BatchCheckItem, String> {
    let object: Object = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(other) = object.account_id.filter(|id| id != account) {
        return Err(format!(
            "`account_id` is `{other}`, but the batch is asked of `{account}`; ask it in a batch of its own"
        ));
    }
    if !object.resource_id.is_empty() {
        Id::validate(&object.resource_id).map_err(|error| format!("`resource_id`: {error}"))?;
    }
    Ok(wire::BatchCheckItem {
        user_id: object.user_id.to_string(),
        action: object.action.to_string(),
        resource_type: object.resource_type.to_string(),
        resource_id: object.resource_id,
        resource_facts: object.resource_facts.map(wire_facts).transpose()?,
        at: wire_time(object.at.as_deref())?,
    })
}

fn wire_facts(facts: Facts) -> Result<wire::ResourceFacts, String> {
    let assigned_to = facts
        .assigned_to
        .into_iter()
        .map(|assigned| match assigned {
            Assigned::Plain(principal) => wire_assignment(&principal, None),
            Assigned::Timed(timed) => {
                wire_assignment(&timed.principal, timed.expires_at.as_deref())
            }
        })
        .collect::<Result<_, String>>()?;
    Ok(wire::ResourceFacts {
        owners: facts.owners.iter().map(Id::to_string).collect(),
        owning_team: facts
            .owning_team
            .as_ref()
            .map(Id::to_string)
            .unwrap_or_default(),
        partitioned: facts.partitioned,
        assigned_to,
    })
}

fn wire_assignment(
    principal: &str,
    expires_at: Option<&str>,
) -> Result<wire::DescribedAssignment, String> {
    use wire::principal::Principal as Named;
    let principal: Principal = principal
        .parse()
        .map_err(|error| format!("`assigned_to`: {error}"))?;
    let id = principal.id().to_string();
    let named = match principal.kind() {
        PrincipalKind::User => Named::UserId(id),
        PrincipalKind::Team => Named::TeamId(id),
        PrincipalKind::Group => Named::AccessGroupId(id),
    };
    Ok(wire::DescribedAssignment {
        principal: Some(wire::Principal {
            principal: Some(named),
        }),
        expires_at: wire_time(expires_at)?,
    })
}

fn wire_time(text: Option<&str>) -> Result<Option<prost_types::Timestamp>, String> {
    text.map(|text| Timestamp::parse(text).map(to_wire_time))
        .transpose()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Line>, String> {
        parse_all(text, &Id::parse("acme").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_id_is_the_rest_of_the_line() {
        let lines = parse("u contact.view a b  c\r\n\nu account.billing.edit\n").unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].item.resource_id, "a b  c");
        assert_eq!(lines[1].item.resource_type, "account.billing");
        assert_eq!(lines[1].item.resource_id, "");
        assert_eq!(lines[1].number(), 3, "empty lines are counted");
        assert_eq!(lines[0].to_string(), "u contact.view a b  c");
    }

    #[test]
    fn a_json_object_has_the_fields_of_a_check_request() {
        let text = r#"{"user_id":"u v","resource_type":"contact","action":"view","resource_id":"c","at":"2026-01-01T00:00:00Z","resource_facts":{"owners":["u"],"partitioned":true,"assigned_to":["team:de",{"principal":"group:g","expires_at":"2027-01-01T00:00:00Z"}]}}"#;
        let lines = parse(text).unwrap();
        let item = &lines[0].item;
        assert_eq!(item.user_id, "u v");
        let facts = item.resource_facts.as_ref().unwrap();
        assert_eq!(facts.partitioned, Some(true));
        assert_eq!(facts.assigned_to.len(), 2);
        assert!(facts.assigned_to[1].expires_at.is_some());
    }

    #[test]
    fn what_is_no_question_is_refused_with_its_line() {
        for text in [
            "u",
            "u contact",
            "u  contact.view",
            " contact.view c",
            "{}",
            r#"{"user_id":"u","resource_type":"contact","action":"view","colour":1}"#,
            r#"{"user_id":"u","resource_type":"contact","action":"view","account_id":"other"}"#,
            r#"{"user_id":"","resource_type":"contact","action":"view"}"#,
            "u contact.view a\tb",
        ] {
            let problem = parse(&format!("ok contact.view\n{text}")).unwrap_err();
            assert!(problem.contains("line 2"), "{text}: {problem}");
        }
    }
}
