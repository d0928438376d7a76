//! Segments, jobs and trials as they are printed.

use serde::Serialize;

use crate::cli::access_preview::ShownAccess;
use crate::cli::answer;
use crate::cli::error::{CliError, one_line};
use crate::cli::output::{Colour, Format, Output};
use crate::grpc::wire;

#[derive(Serialize)]
pub struct ShownSegment {
    pub id: String,
    pub resource_type: String,
    pub when: String,
    pub assign_to: Vec<String>,
    pub enabled: bool,
    pub may_partition: bool,
}

impl From<wire::Segment> for ShownSegment {
    fn from(segment: wire::Segment) -> Self {
        Self {
            id: segment.id,
            resource_type: segment.resource_type,
            when: segment.when,
            assign_to: segment.assign_to.into_iter().map(principal).collect(),
            enabled: segment.enabled,
            may_partition: segment.may_partition.unwrap_or(true),
        }
    }
}

fn principal(principal: wire::Principal) -> String {
    use wire::principal::Principal;
    match principal.principal {
        Some(Principal::UserId(id)) => format!("user:{id}"),
        Some(Principal::TeamId(id)) => format!("team:{id}"),
        Some(Principal::AccessGroupId(id)) => format!("group:{id}"),
        None => "unknown".to_owned(),
    }
}

#[derive(Serialize)]
pub struct ShownJob {
    pub segment_id: String,
    pub revision_number: u64,
    pub state: &'static str,
    pub cause: &'static str,
    pub records: u64,
    pub records_total: u64,
    pub matched: u64,
    pub added: u64,
    pub removed: u64,
    pub withheld: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

impl From<wire::SegmentJob> for ShownJob {
    fn from(job: wire::SegmentJob) -> Self {
        Self {
            state: match wire::SegmentJobState::try_from(job.state) {
                Ok(wire::SegmentJobState::Pending) => "pending",
                Ok(wire::SegmentJobState::Running) => "running",
                Ok(wire::SegmentJobState::Done) => "done",
                Ok(wire::SegmentJobState::Failed) => "failed",
                Ok(wire::SegmentJobState::Replaced) => "replaced",
                Ok(wire::SegmentJobState::Unspecified) | Err(_) => "unknown",
            },
            cause: match wire::SegmentJobCause::try_from(job.cause) {
                Ok(wire::SegmentJobCause::RuleChanged) => "rule_changed",
                Ok(wire::SegmentJobCause::AccountChanged) => "account_changed",
                Ok(wire::SegmentJobCause::Reloaded) => "reloaded",
                Ok(wire::SegmentJobCause::Asked) => "asked",
                Ok(wire::SegmentJobCause::Unspecified) | Err(_) => "unknown",
            },
            created_at: answer::time(job.created_at.as_ref()),
            updated_at: answer::time(job.updated_at.as_ref()),
            ended_at: answer::time(job.ended_at.as_ref()),
            segment_id: job.segment_id,
            revision_number: job.revision_number,
            records: job.records,
            records_total: job.records_total,
            matched: job.matched,
            added: job.added,
            removed: job.removed,
            withheld: job.withheld,
            problem: job.problem,
        }
    }
}

impl ShownJob {
    pub fn has_ended(&self) -> bool {
        matches!(self.state, "done" | "failed" | "replaced")
    }

    /// As `done  3 of 3 records  matched 2  added 2  removed 0`.
    pub fn in_a_line(&self, output: &Output) -> String {
        let colour = match self.state {
            "done" => Colour::Green,
            "failed" => Colour::Red,
            "replaced" => Colour::Dim,
            _ => Colour::Yellow,
        };
        let mut line = format!(
            "{}  {} of {} records  {}",
            output.painted(colour, self.state),
            self.records,
            self.records_total.max(self.records),
            counts(self.matched, self.added, self.removed, self.withheld)
        );
        if !self.problem.is_empty() {
            line.push_str(&format!("  {}", one_line(&self.problem)));
        }
        line
    }
}

#[derive(Serialize)]
pub struct ShownTrial {
    pub revision: String,
    pub records: u64,
    pub matched: u64,
    pub added: u64,
    pub removed: u64,
    pub withheld: u64,
    pub gaining: Vec<String>,
    pub losing: Vec<String>,
    #[serde(flatten)]
    access: ShownAccess,
}

impl From<wire::SegmentTrial> for ShownTrial {
    fn from(trial: wire::SegmentTrial) -> Self {
        let keys = |keys: Vec<wire::EntityKey>| {
            keys.into_iter()
                .map(|key| format!("{}/{}", key.resource_type, key.id))
                .collect()
        };
        let mut access = ShownAccess::default();
        access.add(trial.preview, trial.preview_refused);
        Self {
            revision: trial.revision,
            records: trial.records,
            matched: trial.matched,
            added: trial.added,
            removed: trial.removed,
            withheld: trial.withheld,
            gaining: keys(trial.gaining),
            losing: keys(trial.losing),
            access,
        }
    }
}

impl ShownTrial {
    pub fn print(&self, format: Format, output: &mut Output) -> Result<(), CliError> {
        match format {
            Format::Json => output.json(self),
            Format::Human => {
                for line in self.lines() {
                    output.line(&line)?;
                }
                self.access.print(false, output)
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} records  {}",
            self.records,
            counts(self.matched, self.added, self.removed, self.withheld)
        )];
        let samples = |sign: char, keys: &[String]| {
            keys.iter()
                .map(|key| format!("{sign} {}", one_line(key)))
                .collect::<Vec<_>>()
        };
        lines.extend(samples('+', &self.gaining));
        lines.extend(samples('-', &self.losing));
        lines
    }
}

fn counts(matched: u64, added: u64, removed: u64, withheld: u64) -> String {
    let mut text = format!("matched {matched}  added {added}  removed {removed}");
    if withheld > 0 {
        text.push_str(&format!("  withheld {withheld}"));
    }
    text
}
