//! `ambit segment recalculate`: a rule run over all records.

use std::time::Duration;

use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, FormatArgs, Output};
use crate::grpc::wire;

use super::shown::{ShownJob, ShownTrial};
use super::{given, refused};

const EXAMPLES: &str = "Examples:
  ambit segment recalculate lumen readers --dry-run
  ambit segment recalculate lumen readers --wait

A rule that changes is run by itself; this is for whoever wants to be sure.";

/// Between two looks at a job that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The segment
    segment: Id,
    /// Only say what would be added and removed
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is done
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.partitions().await?;
    let answer = client
        .recalculate_segment(wire::RecalculateSegmentRequest {
            account_id: arguments.account.to_string(),
            segment_id: arguments.segment.to_string(),
            dry_run: arguments.dry_run,
            instead: None,
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    if arguments.dry_run {
        let trial = ShownTrial::from(given(answer.trial)?);
        trial.print(arguments.format.format, output)?;
        return Ok(Exit::Success);
    }
    let mut job = ShownJob::from(given(answer.job)?);
    while arguments.wait && !job.has_ended() {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let answer = client
            .get_segment_job(wire::GetSegmentJobRequest {
                account_id: arguments.account.to_string(),
                segment_id: arguments.segment.to_string(),
                revision_number: Some(job.revision_number),
            })
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        job = ShownJob::from(given(answer.job)?);
    }
    match arguments.format.format {
        Format::Human => {
            let line = job.in_a_line(output);
            output.line(&line)?;
        }
        Format::Json => output.json(&job)?,
    }
    Ok(if job.state == "failed" {
        Exit::No
    } else {
        Exit::Success
    })
}
