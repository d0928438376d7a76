//! `ambit request approve`, `deny` and `revoke`: what an approver does.

use crate::authz::model::Id;
use crate::cli::answer::Answer;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, FormatArgs, Output};
use crate::grpc::wire;

use super::reading::ExpiryArgs;
use super::resolution::ResolutionArgs;
use super::shown::{ShownChange, ShownRequest, print_change};
use super::{WriteArgs, given, refused};

const APPROVE_EXAMPLES: &str = "Examples:
  ambit request approve northwind REQUEST --by ada
  ambit request approve northwind REQUEST --by ada --resolution object_grant --expires-in 7d
  ambit request approve northwind REQUEST --by ada \\
    --resolution direct_grant --permission email.publish --level owned
  ambit request approve northwind REQUEST --by ada --resolution add_to_team --team germany";

const DENY_EXAMPLES: &str = "Examples:
  ambit request deny northwind REQUEST --by ada --reason 'Germany looks after this one'";

const REVOKE_EXAMPLES: &str = "Examples:
  ambit request revoke northwind REQUEST --by ada
  ambit request revoke northwind REQUEST --by ada --note 'The handover is done'";

#[derive(Debug, clap::Args)]
#[command(after_help = APPROVE_EXAMPLES)]
pub struct ApproveArguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    /// The approver
    #[arg(long, value_name = "USER")]
    by: Id,
    #[command(flatten)]
    resolution: ResolutionArgs,
    #[command(flatten)]
    expiry: ExpiryArgs,
    /// Words for the requester
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = DENY_EXAMPLES)]
pub struct DenyArguments {
    /// The account
    account: Id,
    /// The request
    request: Id,
    /// The approver
    #[arg(long, value_name = "USER")]
    by: Id,
    /// Why, for the requester
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_EXAMPLES)]
pub struct RevokeArguments {
    /// The account
    account: Id,
    /// The approved request
    request: Id,
    /// The approver
    #[arg(long, value_name = "USER")]
    by: Id,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub async fn approve(arguments: ApproveArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let expires_at = arguments.expiry.to_wire()?;
    let resolution = match arguments.resolution.to_wire()? {
        Some(resolution) => resolution,
        None => {
            let suggested = client
                .suggest_resolutions(wire::SuggestResolutionsRequest {
                    account_id: arguments.account.to_string(),
                    access_request_id: arguments.request.to_string(),
                    approver_user_id: arguments.by.to_string(),
                    expires_at,
                })
                .await
                .map_err(|status| refused(&status))?
                .into_inner();
            let smallest = suggested
                .suggestions
                .into_iter()
                .find(|suggestion| suggestion.withheld_reason.is_empty());
            smallest
                .and_then(|smallest| smallest.resolution)
                .ok_or_else(|| {
                    CliError::refused(
                        "nothing that this approver may give would turn the check: see `ambit request suggest`, or ask another approver",
                    )
                })?
        }
    };
    let response = client
        .approve_access_request(wire::ApproveAccessRequestRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            approver_user_id: arguments.by.to_string(),
            resolution: Some(resolution),
            expires_at,
            note: arguments.note,
            idempotency_key: arguments.write.key(),
            expected_revision: arguments.write.revision(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    tell(
        response.access_request,
        response.check.as_ref(),
        &response.revision,
        &arguments.format,
        output,
    )
}

pub async fn deny(arguments: DenyArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .deny_access_request(wire::DenyAccessRequestRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            approver_user_id: arguments.by.to_string(),
            reason: arguments.reason,
            idempotency_key: arguments.write.key(),
            expected_revision: arguments.write.revision(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    tell(
        response.access_request,
        None,
        &response.revision,
        &arguments.format,
        output,
    )
}

pub async fn revoke(arguments: RevokeArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.access_requests().await?;
    let response = client
        .revoke_access_request(wire::RevokeAccessRequestRequest {
            account_id: arguments.account.to_string(),
            access_request_id: arguments.request.to_string(),
            approver_user_id: arguments.by.to_string(),
            note: arguments.note,
            idempotency_key: arguments.write.key(),
            expected_revision: arguments.write.revision(),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    tell(
        response.access_request,
        response.check.as_ref(),
        &response.revision,
        &arguments.format,
        output,
    )
}

fn tell(
    request: Option<wire::AccessRequest>,
    check: Option<&wire::CheckResponse>,
    revision: &str,
    format: &FormatArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let request = ShownRequest::from(given(request)?);
    let check = check.cloned().map(Answer::of).transpose()?;
    let change = ShownChange {
        access_request: &request,
        check: check.as_ref(),
        revision,
    };
    match format.format {
        Format::Human => print_change(&change, output)?,
        Format::Json => output.json(&change)?,
    }
    Ok(Exit::Success)
}
