//! `ambit segment list` and `show`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::grpc::wire;

use super::refused;
use super::shown::{ShownJob, ShownSegment};

const LIST_EXAMPLES: &str = "Examples:
  ambit segment list lumen
  ambit segment list lumen --output json";

const SHOW_EXAMPLES: &str = "Examples:
  ambit segment show lumen readers
  ambit segment show lumen readers --output json";

/// Segments, or jobs, of one call.
const PAGE_SIZE: u32 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArguments {
    /// The account
    account: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct ShowArguments {
    /// The account
    account: Id,
    /// The segment
    segment: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Listed {
    segments: Vec<ListedSegment>,
}

#[derive(Serialize)]
struct ListedSegment {
    #[serde(flatten)]
    segment: ShownSegment,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<ShownJob>,
}

#[derive(Serialize)]
struct Shown {
    /// Absent where it is gone and only its jobs are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<ShownSegment>,
    jobs: Vec<ShownJob>,
}

pub async fn list(arguments: ListArguments, output: &mut Output) -> Result<Exit, CliError> {
    let segments = segments(&arguments.server, &arguments.account).await?;
    let mut newest: BTreeMap<String, ShownJob> = BTreeMap::new();
    for job in jobs(&arguments.server, &arguments.account, "").await? {
        newest.entry(job.segment_id.clone()).or_insert(job);
    }
    let listed = segments.into_iter().map(|segment| ListedSegment {
        job: newest.remove(&segment.id),
        segment,
    });
    match arguments.format.format {
        Format::Human => {
            for one in listed {
                let state = match &one.job {
                    Some(job) => job.in_a_line(output),
                    None => output.painted(Colour::Dim, "not run yet"),
                };
                output.line(&format!("{}  {state}", in_a_line(&one.segment, output)))?;
            }
        }
        Format::Json => output.json(&Listed {
            segments: listed.collect(),
        })?,
    }
    Ok(Exit::Success)
}

pub async fn show(arguments: ShowArguments, output: &mut Output) -> Result<Exit, CliError> {
    let segment = segments(&arguments.server, &arguments.account)
        .await?
        .into_iter()
        .find(|segment| segment.id == arguments.segment.as_str());
    let jobs = jobs(
        &arguments.server,
        &arguments.account,
        arguments.segment.as_str(),
    )
    .await?;
    if segment.is_none() && jobs.is_empty() {
        return Err(CliError::refused(format!(
            "there is no segment `{}` in account `{}`",
            arguments.segment, arguments.account
        )));
    }
    let shown = Shown { segment, jobs };
    match arguments.format.format {
        Format::Human => {
            match &shown.segment {
                Some(segment) => {
                    output.line(&in_a_line(segment, output))?;
                    output.line(&format!("  when {}", one_line(&segment.when)))?;
                }
                None => output.line(&format!("{}  deleted", arguments.segment))?,
            }
            for job in &shown.jobs {
                let line = job.in_a_line(output);
                output.line(&format!(
                    "  {}  {}  {line}",
                    job.updated_at.as_deref().unwrap_or("?"),
                    job.cause
                ))?;
            }
        }
        Format::Json => output.json(&shown)?,
    }
    Ok(Exit::Success)
}

/// As `readers  contact -> group:newsletter`.
fn in_a_line(segment: &ShownSegment, output: &Output) -> String {
    let to: Vec<String> = segment.assign_to.iter().map(|to| one_line(to)).collect();
    let off = if segment.enabled {
        String::new()
    } else {
        format!("  {}", output.painted(Colour::Dim, "off"))
    };
    format!(
        "{}  {} -> {}{off}",
        output.painted(Colour::Bold, &one_line(&segment.id)),
        one_line(&segment.resource_type),
        to.join(", ")
    )
}

async fn segments(server: &ServerArgs, account: &Id) -> Result<Vec<ShownSegment>, CliError> {
    let mut client = server.directory().await?;
    let mut request = wire::ListSegmentsRequest {
        account_id: account.to_string(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
        consistency: None,
    };
    let mut segments = Vec::new();
    loop {
        let page = client
            .list_segments(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        segments.extend(page.segments.into_iter().map(ShownSegment::from));
        if page.next_page_token.is_empty() {
            return Ok(segments);
        }
        request.page_token = page.next_page_token;
    }
}

/// The newest of each segment first; an empty segment: those of all.
async fn jobs(server: &ServerArgs, account: &Id, segment: &str) -> Result<Vec<ShownJob>, CliError> {
    let mut client = server.partitions().await?;
    let mut request = wire::ListSegmentJobsRequest {
        account_id: account.to_string(),
        segment_id: segment.to_owned(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut jobs = Vec::new();
    loop {
        let page = client
            .list_segment_jobs(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        jobs.extend(page.jobs.into_iter().map(ShownJob::from));
        if page.next_page_token.is_empty() {
            return Ok(jobs);
        }
        request.page_token = page.next_page_token;
    }
}
