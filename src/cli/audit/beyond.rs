//! `ambit audit --beyond-ceiling`: grants above their grantor's present ceiling (D5).

use serde::Serialize;

use super::Arguments;
use crate::cli::connection::refused;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, Output};
use crate::client::NotedRight;
use crate::grpc::wire;

#[derive(Serialize)]
struct Shown {
    grants: Vec<ShownGrant>,
}

#[derive(Serialize)]
struct ShownGrant {
    #[serde(flatten)]
    grant: Option<NotedRight>,
    granted_by: String,
    held_level: String,
    held_include_unassigned: bool,
}

impl From<wire::GrantBeyondCeiling> for ShownGrant {
    fn from(found: wire::GrantBeyondCeiling) -> Self {
        let level = found.held_level().as_str_name();
        Self {
            held_level: level.trim_start_matches("LEVEL_").to_lowercase(),
            held_include_unassigned: found.held_include_unassigned,
            grant: found.grant.as_ref().map(NotedRight::of_wire),
            granted_by: found.granted_by,
        }
    }
}

pub(super) async fn run(
    arguments: &Arguments,
    limit: usize,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = arguments.server.directory().await?;
    let mut request = wire::ListGrantsBeyondCeilingRequest {
        account_id: arguments.account.to_string(),
        page_size: super::PAGE_SIZE,
        ..wire::ListGrantsBeyondCeilingRequest::default()
    };
    let mut shown = Shown { grants: Vec::new() };
    let mut left = limit;
    while left > 0 {
        let page = client
            .list_grants_beyond_ceiling(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        let found = page.grants.into_iter().map(ShownGrant::from).take(left);
        let found: Vec<ShownGrant> = found.collect();
        left -= found.len();
        match arguments.format.format {
            Format::Human => {
                for one in &found {
                    let grant = one.grant.as_ref().map(ToString::to_string);
                    let unassigned = match one.held_include_unassigned {
                        true => "+unassigned",
                        false => "",
                    };
                    output.line(&format!(
                        "{}; given by {}, who holds {}{unassigned}",
                        grant.unwrap_or_default(),
                        one.granted_by,
                        one.held_level
                    ))?;
                }
            }
            Format::Json => shown.grants.extend(found),
        }
        if page.next_page_token.is_empty() || output.closed() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if arguments.format.format == Format::Json {
        output.json(&shown)?;
    }
    Ok(Exit::Success)
}
