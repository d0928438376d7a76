//! `ambit assign`, `unassign`, `unpartition` and `undo`: who resources are limited to, in bulk.

use crate::authz::model::{Id, Principal, Timestamp};
use crate::grpc::wire::partition_service_client::PartitionServiceClient;
use crate::grpc::{convert, wire};

use super::connection::{self, Link, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{FormatArgs, Output};

mod selecting;
mod telling;

use selecting::SelectArgs;
use telling::Told;

const ASSIGN_EXAMPLES: &str = "Examples:
  ambit assign northwind contact bosch siemens --to team:dach
  ambit assign northwind contact --where country=FR --to team:france --key france-2027 --dry-run
  ambit assign lumen contact - --to group:sales --replace < ids.txt
  ambit assign northwind email spring-dach --to user:pierre --until 2027-04-01T00:00:00Z --as ada";

const UNASSIGN_EXAMPLES: &str = "Examples:
  ambit unassign northwind email spring-dach --from user:pierre
  ambit unassign lumen contact --assigned-to group:pr --from group:pr";

const UNPARTITION_EXAMPLES: &str = "Examples:
  ambit unpartition northwind email spring-dach
  ambit unpartition northwind contact --assigned-to team:france --dry-run";

const UNDO_EXAMPLES: &str = "Examples:
  ambit undo northwind france-2027
  ambit undo northwind --import crm-2027-01 --dry-run";

/// What every bulk takes.
#[derive(Debug, clap::Args)]
struct BulkArgs {
    /// The user whose rights it is judged by; without one the caller must have the role `admin`
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    /// A name for the batch, kept for 30 days: a bulk that broke off is taken up by repeating the
    /// command with it, and `ambit undo` takes it back
    #[arg(long, value_name = "KEY")]
    key: Option<Id>,
    /// Judge every resource, write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ASSIGN_EXAMPLES)]
pub struct AssignArguments {
    #[command(flatten)]
    select: SelectArgs,
    /// Whom to assign to, as team:ID, user:ID or group:ID; may be given several times
    #[arg(long, value_name = "PRINCIPAL", required = true)]
    to: Vec<Principal>,
    /// Take away every other assignment that no rule makes
    #[arg(long)]
    replace: bool,
    /// When what is added ends
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = UNASSIGN_EXAMPLES)]
pub struct UnassignArguments {
    #[command(flatten)]
    select: SelectArgs,
    /// Whom to take the assignment from, as team:ID, user:ID or group:ID; may be given several times
    #[arg(long, value_name = "PRINCIPAL", required = true)]
    from: Vec<Principal>,
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = UNPARTITION_EXAMPLES)]
pub struct UnpartitionArguments {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = UNDO_EXAMPLES)]
pub struct UndoArguments {
    /// The account
    account: Id,
    /// The batch to take back
    #[arg(required_unless_present = "import")]
    batch: Option<Id>,
    /// Take back the assignments of an import, by its job
    #[arg(long, value_name = "JOB", conflicts_with = "batch")]
    import: Option<Id>,
    #[command(flatten)]
    bulk: BulkArgs,
}

pub async fn assign(arguments: AssignArguments, output: &mut Output) -> Result<Exit, CliError> {
    let mode = match arguments.replace {
        true => wire::AssignMode::Replace,
        false => wire::AssignMode::Add,
    };
    let until = arguments.until.map(connection::to_wire_time);
    assignments(
        &arguments.select,
        (mode, &arguments.to, until),
        &arguments.bulk,
        output,
    )
    .await
}

pub async fn unassign(arguments: UnassignArguments, output: &mut Output) -> Result<Exit, CliError> {
    assignments(
        &arguments.select,
        (wire::AssignMode::Remove, &arguments.from, None),
        &arguments.bulk,
        output,
    )
    .await
}

async fn assignments(
    select: &SelectArgs,
    (mode, principals, expires_at): (
        wire::AssignMode,
        &[Principal],
        Option<prost_types::Timestamp>,
    ),
    bulk: &BulkArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let request = wire::AssignResourcesRequest {
        account_id: select.account.to_string(),
        resources: Some(select.selection()?),
        mode: mode.into(),
        targets: principals.iter().map(convert::principal_to_wire).collect(),
        expires_at,
        actor_user_id: bulk.actor(),
        idempotency_key: bulk.key(),
        dry_run: bulk.dry_run,
    };
    let answers = bulk.client().await?.assign_resources(request).await;
    bulk.told(answers, |answer| answer.report, output).await
}

pub async fn unpartition(
    arguments: UnpartitionArguments,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let UnpartitionArguments { select, bulk } = arguments;
    let request = wire::UnpartitionRequest {
        account_id: select.account.to_string(),
        resources: Some(select.selection()?),
        actor_user_id: bulk.actor(),
        idempotency_key: bulk.key(),
        dry_run: bulk.dry_run,
    };
    let answers = bulk.client().await?.unpartition(request).await;
    bulk.told(answers, |answer| answer.report, output).await
}

pub async fn undo(arguments: UndoArguments, output: &mut Output) -> Result<Exit, CliError> {
    let bulk = &arguments.bulk;
    let mut client = bulk.client().await?;
    let account_id = arguments.account.to_string();
    if let Some(job) = &arguments.import {
        let request = wire::UndoImportRequest {
            account_id,
            job: job.to_string(),
            actor_user_id: bulk.actor(),
            idempotency_key: bulk.key(),
            dry_run: bulk.dry_run,
        };
        let answers = client.undo_import(request).await;
        return bulk.told(answers, |answer| answer.report, output).await;
    }
    let request = wire::UndoBatchRequest {
        account_id,
        batch_id: arguments.batch.map(|id| id.to_string()).unwrap_or_default(),
        actor_user_id: bulk.actor(),
        idempotency_key: bulk.key(),
        dry_run: bulk.dry_run,
    };
    let answers = client.undo_batch(request).await;
    bulk.told(answers, |answer| answer.report, output).await
}

impl BulkArgs {
    async fn client(&self) -> Result<PartitionServiceClient<Link>, CliError> {
        self.server.partitions().await
    }

    /// Prints what the answers of a bulk tell.
    async fn told<T>(
        &self,
        answers: Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>,
        report: impl Fn(T) -> Option<wire::BatchReport>,
        output: &mut Output,
    ) -> Result<Exit, CliError> {
        let refused = |status| connection::refused(&status);
        let mut answers = answers.map_err(refused)?.into_inner();
        let mut told = Told::new(self.dry_run, self.format.format);
        while let Some(answer) = answers.message().await.map_err(refused)? {
            told.part(report(answer), output)?;
        }
        told.end(output)
    }

    fn actor(&self) -> String {
        self.actor.as_ref().map(Id::to_string).unwrap_or_default()
    }

    fn key(&self) -> String {
        self.key.as_ref().map(Id::to_string).unwrap_or_default()
    }
}
