//! Jobs and trials of segment rules.

use std::collections::BTreeSet;

use super::{Path, entity_key_to_wire, principal, timestamp_to_wire};
use crate::authz::model::{EntityKey, Id, ResourceKey, Segment};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::partitions::segments::Trial;
use crate::store::segment_jobs::{JobCause, JobState, SegmentJob};

pub fn segment_job_to_wire(job: &SegmentJob) -> wire::SegmentJob {
    let state = match job.state {
        JobState::Pending => wire::SegmentJobState::Pending,
        JobState::Running => wire::SegmentJobState::Running,
        JobState::Done => wire::SegmentJobState::Done,
        JobState::Failed => wire::SegmentJobState::Failed,
        JobState::Replaced => wire::SegmentJobState::Replaced,
    };
    let cause = match job.cause {
        JobCause::RuleChanged => wire::SegmentJobCause::RuleChanged,
        JobCause::AccountChanged => wire::SegmentJobCause::AccountChanged,
        JobCause::Reloaded => wire::SegmentJobCause::Reloaded,
        JobCause::Asked => wire::SegmentJobCause::Asked,
    };
    wire::SegmentJob {
        segment_id: job.segment.to_string(),
        revision_number: job.revision,
        state: state.into(),
        cause: cause.into(),
        records: job.records,
        records_total: job.total,
        matched: job.settled.matched,
        added: job.settled.added,
        removed: job.settled.removed,
        withheld: job.settled.withheld,
        problem: job.problem.clone().unwrap_or_default(),
        created_at: Some(timestamp_to_wire(job.created_at)),
        updated_at: Some(timestamp_to_wire(job.updated_at)),
        ended_at: job.ended_at.map(timestamp_to_wire),
    }
}

pub fn trial_to_wire(trial: &Trial, revision: String) -> wire::SegmentTrial {
    let keys = |keys: &[ResourceKey]| {
        keys.iter()
            .map(|key| entity_key_to_wire(&EntityKey::Resource(key.clone())))
            .collect()
    };
    let (preview, preview_refused) = super::foreseen_to_wire(&trial.foreseen);
    wire::SegmentTrial {
        revision,
        records: trial.records,
        matched: trial.settled.matched,
        added: trial.settled.added,
        removed: trial.settled.removed,
        withheld: trial.settled.withheld,
        gaining: keys(&trial.gaining),
        losing: keys(&trial.losing),
        preview,
        preview_refused,
    }
}

/// A whole segment; its expression is judged by who tries it.
pub fn segment_from_wire(
    segment: &wire::Segment,
    id: &Id,
    path: Path<'_>,
) -> Result<Segment, Failure> {
    if segment.id != id.as_str() {
        return Err(Failure::invalid(
            path.field("id"),
            "it is not the segment that the request names in segment_id",
        ));
    }
    let targets = path.field("assign_to");
    let assign_to = segment
        .assign_to
        .iter()
        .enumerate()
        .map(|(index, value)| principal(Some(value), targets.at(index)))
        .collect::<Result<BTreeSet<_>, Failure>>()?;
    Ok(Segment {
        id: id.clone(),
        resource_type: super::id(&segment.resource_type, path.field("resource_type"))?,
        when: segment.when.clone(),
        assign_to,
        enabled: segment.enabled,
        may_partition: segment.may_partition.unwrap_or(true),
    })
}
