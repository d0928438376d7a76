//! How far the rules of segments have been brought to the records of each account.
//!
//! A rule that changes, or a record that a plain SQL writer changes, is found in the change log: a
//! follower remembers up to which revision it has looked at what changed. A rule that is to be run
//! over all records is a job, which is remembered until it has ended, so that another server takes it
//! up where one died.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::rows::{inconsistent, not_json};
use super::{Head, StoreError};
use crate::authz::model::{Id, Timestamp, worded};
use crate::authz::segment::Settled;

/// Jobs of one segment that are remembered.
pub const JOBS_KEPT: u32 = 20;

worded! {
    JobState {
        Pending = "pending",
        Running = "running",
        Done = "done",
        /// The rule can't be run; it matches nothing.
        Failed = "failed",
        /// A later job of the same segment has taken its place.
        Replaced = "replaced",
    }
}

worded! {
    /// Why a rule is run over all records.
    JobCause {
        /// It was created, changed or deleted.
        RuleChanged = "rule_changed",
        /// The account's plan or catalog changed.
        AccountChanged = "account_changed",
        /// What changed is not known in steps, e.g. after a bulk change by plain SQL.
        Reloaded = "reloaded",
        /// Somebody asked for it.
        Asked = "asked",
    }
}

impl JobState {
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Replaced)
    }
}

/// One run of a rule over all records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentJob {
    pub segment: Id,
    /// The revision of the account at which it became due; with the segment it names the job.
    pub revision: u64,
    pub state: JobState,
    pub cause: JobCause,
    /// The last record that was looked at, in byte order of ids.
    pub position: Option<Id>,
    /// Records looked at, of about `total`.
    pub records: u64,
    pub total: u64,
    pub settled: Settled,
    /// Why the rule can't be run, or why the last attempt at it broke off.
    pub problem: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

impl SegmentJob {
    pub fn new(segment: Id, revision: u64, cause: JobCause, now: Timestamp) -> Self {
        Self {
            segment,
            revision,
            state: JobState::Pending,
            cause,
            position: None,
            records: 0,
            total: 0,
            settled: Settled::default(),
            problem: None,
            created_at: now,
            updated_at: now,
            ended_at: None,
        }
    }
}

/// An account where rules may have to be brought to records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedAccount {
    pub account: Id,
    pub head: Head,
    /// Up to where it has been looked at; `None`: never.
    pub reconciled: Option<Head>,
}

/// Which jobs are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobFilter<'a> {
    pub segment: Option<&'a Id>,
    /// Those that have not ended alone.
    pub unfinished: bool,
    /// Jobs after this one in the order of segments, the newest of each first.
    pub after: Option<(&'a Id, u64)>,
}

#[async_trait]
pub trait SegmentJobs: Send + Sync + 'static {
    /// Accounts after `after`, in byte order of ids, that have segments or had any, and that have
    /// changed since they were looked at or have a job to do; at most `limit`.
    async fn accounts_to_reconcile(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<FollowedAccount>, StoreError>;

    /// Takes an account in hand until the lease ends, or for longer where the holder has it already;
    /// `false`: another has it, or there is no such account.
    async fn claim_reconciling(
        &self,
        account: &Id,
        holder: [u8; 16],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Notes up to where an account in hand has been looked at; `false`: the holder has it no longer.
    async fn set_reconciled(
        &self,
        account: &Id,
        holder: [u8; 16],
        head: Head,
    ) -> Result<bool, StoreError>;

    /// Writes jobs, each as it is from now on. A job that has not ended takes the place of earlier
    /// ones of its segment that have not, and of a segment only [`JOBS_KEPT`] are kept. `false`:
    /// there is no such account.
    async fn put_segment_jobs(&self, account: &Id, jobs: &[SegmentJob])
    -> Result<bool, StoreError>;

    /// Jobs in the order of their segments, the newest of each first; at most `limit`.
    async fn segment_jobs(
        &self,
        account: &Id,
        filter: JobFilter<'_>,
        limit: u32,
    ) -> Result<Vec<SegmentJob>, StoreError>;
}

/// What is kept of a job beside its key and its state.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    cause: JobCause,
    position: Option<Id>,
    records: u64,
    total: u64,
    matched: u64,
    added: u64,
    removed: u64,
    withheld: u64,
    problem: Option<String>,
    /// Unix microseconds.
    created_at: i64,
    updated_at: i64,
    ended_at: Option<i64>,
}

pub(super) fn record_of(job: &SegmentJob) -> Result<String, StoreError> {
    serde_json::to_string(&Record {
        cause: job.cause,
        position: job.position.clone(),
        records: job.records,
        total: job.total,
        matched: job.settled.matched,
        added: job.settled.added,
        removed: job.settled.removed,
        withheld: job.settled.withheld,
        problem: job.problem.clone(),
        created_at: job.created_at.unix_micros(),
        updated_at: job.updated_at.unix_micros(),
        ended_at: job.ended_at.map(Timestamp::unix_micros),
    })
    .map_err(not_json)
}

/// A row as both stores read it.
pub(super) struct JobRow<'a> {
    pub(super) segment: &'a str,
    pub(super) revision: i64,
    pub(super) state: &'a str,
    pub(super) record: &'a str,
}

impl JobRow<'_> {
    pub(super) fn job(&self) -> Result<SegmentJob, StoreError> {
        let wrong = |column, problem: &dyn std::fmt::Display| {
            inconsistent("segment_job", column, self.segment, problem)
        };
        let record: Record =
            serde_json::from_str(self.record).map_err(|error| wrong("record", &error))?;
        let time =
            |micros| Timestamp::from_unix_micros(micros).ok_or_else(|| wrong("record", &"no time"));
        Ok(SegmentJob {
            segment: Id::parse(self.segment).map_err(|error| wrong("segment_id", &error))?,
            revision: u64::try_from(self.revision).map_err(|error| wrong("revision", &error))?,
            state: JobState::from_word(self.state)
                .ok_or_else(|| wrong("state", &"not one of the states"))?,
            cause: record.cause,
            position: record.position,
            records: record.records,
            total: record.total,
            settled: Settled {
                matched: record.matched,
                added: record.added,
                removed: record.removed,
                withheld: record.withheld,
            },
            problem: record.problem,
            created_at: time(record.created_at)?,
            updated_at: time(record.updated_at)?,
            ended_at: record.ended_at.map(time).transpose()?,
        })
    }
}

/// A revision as a database holds it.
pub(super) fn stored_revision(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
