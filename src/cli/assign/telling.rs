//! What is printed of a bulk: refusals as they come, and the counts at its end.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::access_preview::ShownAccess;
use crate::cli::error::{CliError, Exit, one_line};
use crate::cli::output::{self, Colour, Format, Output};
use crate::grpc::wire;

pub(super) struct Told {
    is_dry_run: bool,
    format: Format,
    bar: ProgressBar,
    last: wire::BatchReport,
    refusals: Vec<RefusalDocument>,
    still_assigned: Vec<StillDocument>,
    access: ShownAccess,
}

#[derive(Debug, Serialize)]
struct Document {
    batch_id: String,
    changed: u64,
    unchanged: u64,
    refused: u64,
    orphaned: u64,
    dry_run: bool,
    refusals: Vec<RefusalDocument>,
    still_assigned: Vec<StillDocument>,
    revision: String,
    /// Of a dry run.
    #[serde(flatten)]
    access: ShownAccess,
}

#[derive(Debug, Serialize)]
struct RefusalDocument {
    resource: String,
    reason: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct StillDocument {
    resource: String,
    principal: String,
    segment_id: String,
}

impl Told {
    pub(super) fn new(is_dry_run: bool, format: Format) -> Self {
        Self {
            is_dry_run,
            format,
            bar: output::progress("resources", None),
            last: wire::BatchReport::default(),
            refusals: Vec::new(),
            still_assigned: Vec::new(),
            access: ShownAccess::default(),
        }
    }

    pub(super) fn part(
        &mut self,
        report: Option<wire::BatchReport>,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let Some(mut report) = report else {
            return Ok(());
        };
        let refusals = std::mem::take(&mut report.refusals);
        let still = std::mem::take(&mut report.still_assigned);
        for refusal in refusals {
            self.refusal(refusal, output)?;
        }
        for still in still {
            self.still(still, output)?;
        }
        let refused = std::mem::take(&mut report.preview_refused);
        self.access.add(report.preview.take(), refused);
        let counts = report.counts.unwrap_or_default();
        self.bar
            .set_position(counts.changed + counts.unchanged + counts.refused);
        self.last = report;
        Ok(())
    }

    fn refusal(
        &mut self,
        refusal: wire::BatchRefusal,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let resource = format!("{}/{}", refusal.resource_type, refusal.resource_id);
        if self.format == Format::Human {
            let reason = output.painted(Colour::Red, &refusal.reason);
            let message = one_line(&refusal.message);
            return output.line(&format!("{}: {reason}: {message}", one_line(&resource)));
        }
        self.refusals.push(RefusalDocument {
            resource,
            reason: refusal.reason,
            message: refusal.message,
        });
        Ok(())
    }

    fn still(&mut self, still: wire::StillAssigned, output: &mut Output) -> Result<(), CliError> {
        let resource = format!("{}/{}", still.resource_type, still.resource_id);
        let principal = match still.principal.and_then(|principal| principal.principal) {
            Some(wire::principal::Principal::UserId(id)) => format!("user:{id}"),
            Some(wire::principal::Principal::TeamId(id)) => format!("team:{id}"),
            Some(wire::principal::Principal::AccessGroupId(id)) => format!("group:{id}"),
            None => String::new(),
        };
        if self.format == Format::Human {
            return output.line(&format!(
                "{}: still assigned to {} by the segment {}",
                one_line(&resource),
                one_line(&principal),
                one_line(&still.segment_id)
            ));
        }
        self.still_assigned.push(StillDocument {
            resource,
            principal,
            segment_id: still.segment_id,
        });
        Ok(())
    }

    /// What was refused makes the command end with 1.
    pub(super) fn end(self, output: &mut Output) -> Result<Exit, CliError> {
        self.bar.finish_and_clear();
        if !self.last.done {
            return Err(CliError::refused(
                "the server ended before the bulk was done: repeat the command with the same --key",
            ));
        }
        let counts = self.last.counts.unwrap_or_default();
        let exit = match counts.refused {
            0 => Exit::Success,
            _ => Exit::No,
        };
        if self.format == Format::Json {
            output.json(&Document {
                batch_id: self.last.batch_id,
                changed: counts.changed,
                unchanged: counts.unchanged,
                refused: counts.refused,
                orphaned: counts.orphaned,
                dry_run: self.is_dry_run,
                refusals: self.refusals,
                still_assigned: self.still_assigned,
                revision: self.last.revision,
                access: self.access,
            })?;
            return Ok(exit);
        }
        let (verb, batch) = match self.is_dry_run {
            true => ("would change", String::new()),
            false => ("changed", format!(", batch {}", self.last.batch_id)),
        };
        output.line(&format!(
            "{verb} {}, unchanged {}, refused {}, orphaned {}{batch}, revision {}",
            counts.changed, counts.unchanged, counts.refused, counts.orphaned, self.last.revision
        ))?;
        self.access.print(false, output)?;
        Ok(exit)
    }
}
