//! `ambit partner end` and `migrate`: the end of a partnership, and of being a super admin.

use clap::ValueEnum;
use serde::Serialize;

use super::{counted, refused};
use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, FormatArgs, Output};
use crate::client::Ended;
use crate::grpc::wire;

const END_EXAMPLES: &str = "Examples:
  ambit partner end pixel-agency northwind --side client --as ada
  ambit partner end pixel-agency northwind --side agency --as petra

From the printed revision on every check of the agency's users there is PARTNERSHIP_INACTIVE.";

const MIGRATE_EXAMPLES: &str = "Examples:
  ambit partner migrate northwind --as ines
  ambit partner migrate northwind --as ines --keep-billing

Oneself only, and where another active super admin stays.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// A user of the client ends it, who would approve links
    Client,
    /// A partner admin of the agency ends it
    Agency,
}

#[derive(Debug, clap::Args)]
#[command(after_help = END_EXAMPLES)]
pub struct EndArguments {
    /// The agency's account
    agency: Id,
    /// The client's account
    client: Id,
    /// On which side who ends it stands
    #[arg(long, value_enum)]
    side: Side,
    /// The user who ends it, of the account of that side
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = MIGRATE_EXAMPLES)]
pub struct MigrateArguments {
    /// The client's account
    client: Id,
    /// The super admin of the client, of an agency, who becomes a partner admin
    #[arg(long = "as", value_name = "USER")]
    actor: Id,
    /// Keep billing, as an explicit grant
    #[arg(long)]
    keep_billing: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Migrated {
    revision: String,
}

pub async fn end(arguments: EndArguments, output: &mut Output) -> Result<Exit, CliError> {
    let EndArguments { agency, client, .. } = &arguments;
    let (own, other, side) = match arguments.side {
        Side::Client => (client, agency, wire::PartnerSide::Client),
        Side::Agency => (agency, client, wire::PartnerSide::Agency),
    };
    let request = wire::EndPartnershipRequest {
        account_id: own.to_string(),
        side: side.into(),
        other_account_id: other.to_string(),
        actor_user_id: arguments.actor.to_string(),
    };
    let mut partners = arguments.server.partners().await?;
    let ended = partners.end_partnership(request).await;
    let ended = Ended::of_wire(ended.map_err(|status| refused(&status))?.into_inner());
    match arguments.format.format {
        Format::Human => {
            let what = match ended.users_ended {
                0 => "had ended before".to_owned(),
                users => format!("ended for {}", counted(users, "user")),
            };
            let revision = &ended.revision;
            output.line(&format!(
                "{agency} in {client}: {what}, revision {revision}"
            ))?;
        }
        Format::Json => output.json(&ended)?,
    }
    Ok(Exit::Success)
}

pub async fn migrate(arguments: MigrateArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::MigrateToPartnerAdminRequest {
        account_id: arguments.client.to_string(),
        actor_user_id: arguments.actor.to_string(),
        user_id: arguments.actor.to_string(),
        keep_billing: arguments.keep_billing,
    };
    let mut partners = arguments.server.partners().await?;
    let migrated = partners.migrate_to_partner_admin(request).await;
    let migrated = migrated.map_err(|status| refused(&status))?.into_inner();
    let revision = migrated.revision;
    match arguments.format.format {
        Format::Human => {
            let MigrateArguments { actor, client, .. } = &arguments;
            let billing = match arguments.keep_billing {
                true => "billing is kept",
                false => "billing is gone",
            };
            output.line(&format!(
                "{actor} is a partner admin in {client} and no super admin any more, {billing}, revision {revision}"
            ))?;
        }
        Format::Json => output.json(&Migrated { revision })?,
    }
    Ok(Exit::Success)
}
