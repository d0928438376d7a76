//! The jobs of segment rules, and what a rule would come to.

use super::PartitionHandlers;
use crate::authz::model::Id;
use crate::grpc::admission::Admission;
use crate::grpc::convert::{self, Path};
use crate::grpc::directory::{page_size, up_to_page_bytes};
use crate::grpc::page_token::{self, Binding};
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::partitions::segments::SegmentError;
use crate::store::Head;
use crate::store::segment_jobs::{JobFilter, SegmentJob};

/// Jobs are of no revision of the account.
const NO_HEAD: Head = Head {
    revision: 0,
    nonce: [0; 8],
};

impl PartitionHandlers {
    pub(super) async fn list_segment_jobs(
        &self,
        admission: &Admission,
        request: &wire::ListSegmentJobsRequest,
    ) -> Result<wire::ListSegmentJobsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let segment = convert::optional_id(&request.segment_id, "segment_id")?;
        let binding = Binding::new(
            "ListSegmentJobs",
            &[&request.account_id, &request.segment_id],
        );
        let place = self.reading.place(&binding, &request.page_token)?;
        let after = place.map(|place| after_of(&place.after)).transpose()?;
        let filter = JobFilter {
            segment: segment.as_ref(),
            unfinished: false,
            after: after
                .as_ref()
                .map(|(segment, revision)| (segment, *revision)),
        };
        let size = page_size(request.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let mut jobs = self.segments.jobs(&account, filter, limit).await?;
        let more = jobs.len() > size;
        jobs.truncate(size);
        let found = jobs
            .iter()
            .map(|job| (place_of(job), convert::segment_job_to_wire(job)));
        let (jobs, next) = up_to_page_bytes(found, more);
        Ok(wire::ListSegmentJobsResponse {
            jobs,
            next_page_token: next
                .map(|next| self.reading.page_token(&binding, &next, NO_HEAD))
                .unwrap_or_default(),
        })
    }

    pub(super) async fn get_segment_job(
        &self,
        admission: &Admission,
        request: &wire::GetSegmentJobRequest,
    ) -> Result<wire::GetSegmentJobResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let segment = convert::id(&request.segment_id, "segment_id")?;
        let job = self
            .segments
            .job(&account, &segment, request.revision_number)
            .await?;
        Ok(wire::GetSegmentJobResponse {
            job: job.as_ref().map(convert::segment_job_to_wire),
        })
    }

    pub(super) async fn recalculate_segment(
        &self,
        admission: &Admission,
        request: &wire::RecalculateSegmentRequest,
    ) -> Result<wire::RecalculateSegmentResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let segment = convert::id(&request.segment_id, "segment_id")?;
        let instead = request
            .instead
            .as_ref()
            .map(|instead| convert::segment_from_wire(instead, &segment, Path::root("instead")))
            .transpose()?;
        if !request.dry_run {
            if instead.is_some() {
                return Err(Failure::invalid(
                    "instead",
                    "only a dry run tries another rule; change the segment with ApplyChanges",
                ));
            }
            let job = self.segments.recalculate(&account, &segment).await?;
            return Ok(wire::RecalculateSegmentResponse {
                job: Some(convert::segment_job_to_wire(&job)),
                trial: None,
            });
        }
        let trial = self.segments.trial(&account, &segment, instead).await?;
        let revision = self.reading.revision(&account, trial.head);
        Ok(wire::RecalculateSegmentResponse {
            job: None,
            trial: Some(convert::trial_to_wire(&trial, revision)),
        })
    }
}

/// What a page ended with, as text.
fn place_of(job: &SegmentJob) -> String {
    format!("{}/{}", job.revision, job.segment)
}

fn after_of(place: &str) -> Result<(Id, u64), Failure> {
    let parts = place
        .split_once('/')
        .and_then(|(revision, segment)| Some((Id::parse(segment).ok()?, revision.parse().ok()?)));
    // Genuine tokens have both.
    parts.ok_or_else(page_token::invalid)
}

impl From<SegmentError> for Failure {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Directory(error) => error.into(),
            SegmentError::UnknownSegment(_) => {
                Self::field(Reason::SegmentNotFound, "segment_id", &error)
            }
            SegmentError::UnknownJob { .. } => {
                Self::field(Reason::SegmentJobNotFound, "revision_number", &error)
            }
            SegmentError::UnknownType(_) => {
                Self::field(Reason::UnknownResourceType, "instead.resource_type", &error)
            }
            SegmentError::Expression(_) => Self::invalid("instead.when", &error),
        }
    }
}
