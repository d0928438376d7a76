//! Which resources a bulk is about: ids in the line, ids on standard input, or a filter.

use std::io::BufRead as _;

use prost::Message as _;

use crate::authz::model::{Attributes, Id, Principal};
use crate::cli::error::CliError;
use crate::grpc::{convert, wire};

/// Most bytes of the ids of one bulk: what a server takes in a message, with room for the rest.
const IDS_BYTES_MAX: usize = 4 * 1_024 * 1_024 - 128 * 1_024;

#[derive(Debug, clap::Args)]
pub(super) struct SelectArgs {
    /// The account
    pub(super) account: Id,
    /// The type of the resources
    #[arg(value_name = "TYPE")]
    resource_type: Id,
    /// Ids of the resources; `-` reads them from standard input, one a line
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Those that have this owner
    #[arg(long, value_name = "USER", conflicts_with = "ids")]
    owner: Option<Id>,
    /// Those that are stamped with this team
    #[arg(long, value_name = "TEAM", conflicts_with = "ids")]
    owning_team: Option<Id>,
    /// Those that are assigned to this principal
    #[arg(long, value_name = "PRINCIPAL", conflicts_with = "ids")]
    assigned_to: Option<Principal>,
    /// Those with this attribute, as NAME=VALUE; a value that is JSON (40, true, "40") is meant as
    /// such, any other one as text; may be given several times
    #[arg(long = "where", value_name = "NAME=VALUE", conflicts_with = "ids", value_parser = parse_attribute)]
    attributes: Vec<(String, serde_json::Value)>,
    /// All resources of the type
    #[arg(long, conflicts_with_all = ["ids", "owner", "owning_team", "assigned_to", "attributes"])]
    all: bool,
}

impl SelectArgs {
    pub(super) fn selection(&self) -> Result<wire::ResourceSelection, CliError> {
        use wire::resource_selection::Selection;
        let text = |id: &Option<Id>| id.as_ref().map(Id::to_string).unwrap_or_default();
        let attributes: Attributes = self.attributes.iter().cloned().collect();
        let names_a_condition = self.owner.is_some()
            || self.owning_team.is_some()
            || self.assigned_to.is_some()
            || !attributes.is_empty();
        let selection = if self.all || names_a_condition {
            Selection::Filter(wire::ResourceFilter {
                owner_user_id: text(&self.owner),
                owning_team_id: text(&self.owning_team),
                assigned_to: self.assigned_to.as_ref().map(convert::principal_to_wire),
                attributes_json: match attributes.is_empty() {
                    true => String::new(),
                    false => serde_json::Value::Object(attributes).to_string(),
                },
                everything: self.all,
            })
        } else if self.ids.is_empty() {
            return Err(CliError::usage(
                "say which resources: name their ids, `-` for ids on standard input, a condition such as --owner, or --all",
            ));
        } else {
            let ids = wire::ResourceIds { ids: self.read()? };
            if ids.encoded_len() > IDS_BYTES_MAX {
                return Err(CliError::usage(format!(
                    "the ids take {} bytes, and one bulk holds {IDS_BYTES_MAX}: name them in several commands, each with a --key of its own, or by a condition such as --where",
                    ids.encoded_len()
                )));
            }
            Selection::Ids(ids)
        };
        Ok(wire::ResourceSelection {
            resource_type: self.resource_type.to_string(),
            selection: Some(selection),
        })
    }

    fn read(&self) -> Result<Vec<String>, CliError> {
        let mut ids = Vec::new();
        for id in &self.ids {
            if id != "-" {
                ids.push(id.clone());
                continue;
            }
            for line in std::io::stdin().lock().lines() {
                let line = line.map_err(|error| {
                    CliError::usage(format!(
                        "standard input: {error}; ids are UTF-8, one a line"
                    ))
                })?;
                let line = line.strip_suffix('\r').unwrap_or(&line);
                if !line.is_empty() {
                    ids.push(line.to_owned());
                }
            }
        }
        Ok(ids)
    }
}

fn parse_attribute(text: &str) -> Result<(String, serde_json::Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value)
                .unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
            Ok((name.to_owned(), value))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE, e.g. country=FR")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_where_it_can_be() {
        let value = |text: &str| parse_attribute(text).unwrap().1;
        assert_eq!(value("country=FR"), "FR");
        assert_eq!(value("score=40"), 40);
        assert_eq!(value("score=\"40\""), "40");
        assert_eq!(value("a=b=c"), "b=c");
        assert!(parse_attribute("country").is_err());
        assert!(parse_attribute("=FR").is_err());
    }
}
