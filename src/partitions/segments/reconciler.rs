//! Brings rules to records in the background, in every server: what the change log tells of, and the
//! jobs that come of it.
//!
//! - **Following.** For each account with segments it is remembered up to which revision what changed
//!   has been looked at. A record that changed since is judged by all rules, which finds nothing to do
//!   where the server wrote it; a rule that changed becomes a job; where what changed is not known in
//!   steps, every rule does. A job is written before the mark moves past its cause, so that whatever
//!   dies, none is lost.
//! - **Jobs.** A rule is run over the records of its type, a page at a time, for a slice of time and
//!   then it is another account's turn. How far it is, is kept with each slice. What is written are
//!   differences, each in a transaction that judges its records anew.
//! - **One at a time.** An account is taken in hand by a lease, so that of several servers one works
//!   on it, and another takes over where that one died. Two that did so at once would do the same
//!   twice, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{SegmentError, Segments, scan};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id, ResourceKey};
use crate::authz::segment::{Rules, strays};
use crate::directory::DirectoryError;
use crate::graph_cache::{ReadError, ReadGraph};
use crate::metrics::SegmentMetrics;
use crate::randomness::{Randomness, RandomnessError};
use crate::store::segment_jobs::{FollowedAccount, JobCause, JobFilter, JobState, SegmentJob};
use crate::store::{Changes, Head, StoreError};

/// Between two rounds that had nothing left to do.
const INTERVAL: Duration = Duration::from_millis(500);

/// Accounts that one look at the store reads.
const ACCOUNTS_STEP: u32 = 500;

/// How long an account is in hand: far longer than a slice, and no longer than it must, since what a
/// server had in hand when it died waits for the end.
const LEASE: Duration = Duration::from_secs(10);

/// How long one account is worked on before it is another's turn.
const SLICE: Duration = Duration::from_secs(1);

/// Longest part of a message about a problem that is kept.
const PROBLEM_CHARACTERS_MAX: usize = 500;

pub struct Reconciler {
    segments: Segments,
    metrics: SegmentMetrics,
    /// Tells this server from others that hold a lease.
    holder: [u8; 16],
}

/// What became of one look at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// There may be more to do.
    Unfinished,
    Finished,
    /// Another server has it in hand, and tells of it.
    Elsewhere,
}

impl Reconciler {
    pub fn new(
        segments: Segments,
        metrics: SegmentMetrics,
        randomness: &dyn Randomness,
    ) -> Result<Self, RandomnessError> {
        Ok(Self {
            segments,
            metrics,
            holder: randomness.bytes()?,
        })
    }

    /// Runs until told to end.
    pub async fn run(self, ending: CancellationToken) {
        ending
            .run_until_cancelled(async {
                let mut failures = 0_u32;
                loop {
                    match self.round().await {
                        Ok(true) => {
                            failures = 0;
                            continue;
                        }
                        Ok(false) => failures = 0,
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            if failures == 1 {
                                tracing::warn!(error = %error, "segments wait for the database");
                            }
                        }
                    }
                    tokio::time::sleep(self.spread()).await;
                }
            })
            .await;
    }

    /// Looks at every account that has something to do; whether something is left.
    pub async fn round(&self) -> Result<bool, StoreError> {
        let mut is_any_left = false;
        let mut behind = 0;
        let mut after: Option<Id> = None;
        loop {
            let jobs = &self.segments.jobs;
            let step = jobs
                .accounts_to_reconcile(after.as_ref(), ACCOUNTS_STEP)
                .await?;
            let is_last = step.len() < usize::try_from(ACCOUNTS_STEP).unwrap_or(usize::MAX);
            for followed in step {
                match self.look(&followed).await {
                    Ok(looked) => {
                        is_any_left |= looked == Looked::Unfinished;
                        behind += u64::from(looked == Looked::Unfinished);
                    }
                    Err(SegmentError::Directory(DirectoryError::Read(
                        ReadError::UnknownAccount(_),
                    ))) => {}
                    Err(error) => {
                        behind += 1;
                        tracing::warn!(account = %followed.account, error = %error, "the segments of an account could not be brought to its records; it is tried again");
                    }
                }
                after = Some(followed.account);
            }
            if is_last {
                self.metrics.accounts_behind(behind);
                return Ok(is_any_left);
            }
        }
    }

    async fn look(&self, followed: &FollowedAccount) -> Result<Looked, SegmentError> {
        let account = &followed.account;
        if !self.claim(account).await? {
            return Ok(Looked::Elsewhere);
        }
        let began = self.segments.clock.monotonic();
        let mut at = self.follow(followed).await?;
        loop {
            let filter = JobFilter {
                unfinished: true,
                ..JobFilter::default()
            };
            let next = self.segments.jobs.segment_jobs(account, filter, 1).await?;
            let Some(job) = next.into_iter().next() else {
                return Ok(Looked::Finished);
            };
            self.work_on(account, job, &mut at, began).await?;
            self.set_reconciled(account, at).await?;
            if self.has_had_its_slice(began) {
                return Ok(Looked::Unfinished);
            }
        }
    }

    /// Looks at what changed since the account was looked at; where it stands then.
    async fn follow(&self, followed: &FollowedAccount) -> Result<Head, SegmentError> {
        let account = &followed.account;
        let (since, cause) = match followed.reconciled {
            Some(reconciled) => {
                let store = &self.segments.store;
                let since = store.changes_since(account, reconciled).await?;
                (since, JobCause::Reloaded)
            }
            // Its first segment, or the first look of a version that runs them.
            None => (Changes::Reload, JobCause::RuleChanged),
        };
        let at = match since {
            Changes::None => return Ok(followed.head),
            Changes::Gone => return Err(ReadError::UnknownAccount(account.clone()).into()),
            Changes::Reload => {
                let read = self.segments.present(account).await?;
                let every = self.every_segment(account, &read).await?;
                self.put_jobs(account, every, read.head, cause).await?;
                read.head
            }
            Changes::Delta { head, changes, .. } => {
                self.take_in(account, head, &changes).await?;
                head
            }
        };
        self.set_reconciled(account, at).await?;
        Ok(at)
    }

    /// Makes jobs of the rules that changed, and judges the records that did.
    async fn take_in(
        &self,
        account: &Id,
        head: Head,
        changes: &[EntityChange],
    ) -> Result<(), SegmentError> {
        let mut segments = BTreeSet::new();
        let mut records = Vec::new();
        let mut is_account_changed = false;
        for change in changes {
            match change {
                EntityChange::Put(Entity::Segment(segment)) => {
                    segments.insert(segment.id.clone());
                }
                EntityChange::Delete(EntityKey::Segment(id)) => {
                    segments.insert(id.clone());
                }
                EntityChange::Put(Entity::Resource(resource, _)) => {
                    records.push(resource.key.clone());
                }
                EntityChange::Put(Entity::Account(_)) => is_account_changed = true,
                EntityChange::Put(_) | EntityChange::Delete(_) => {}
            }
        }
        let cause = if is_account_changed {
            let read = self.segments.present(account).await?;
            segments.extend(self.every_segment(account, &read).await?);
            JobCause::AccountChanged
        } else {
            JobCause::RuleChanged
        };
        self.put_jobs(account, segments, head, cause).await?;
        self.judge(account, records).await
    }

    /// Judges records by all rules, and writes what differs.
    async fn judge(&self, account: &Id, mut records: Vec<ResourceKey>) -> Result<(), SegmentError> {
        let read = self.segments.present(account).await?;
        let types: BTreeSet<&Id> = read
            .graph
            .rules()
            .map(|rule| &rule.segment().resource_type)
            .collect();
        records.retain(|key| types.contains(&key.resource_type));
        for keys in records.chunks(scan::PAGE) {
            let compared = self
                .segments
                .compare(account, &read, &Rules::All, keys.to_vec())
                .await?;
            self.metrics.judged(compared.records);
            let different: Vec<_> = compared.different.into_iter().map(|one| one.key).collect();
            let segments = &self.segments;
            segments
                .bring_in_line(account, &Rules::All, &different)
                .await?;
            self.claim(account).await?;
        }
        Ok(())
    }

    /// The segments that are there, and those that only have rows any more.
    async fn every_segment(
        &self,
        account: &Id,
        read: &Arc<ReadGraph>,
    ) -> Result<BTreeSet<Id>, SegmentError> {
        let of = Arc::clone(read);
        let find = move || {
            let mut segments = of.graph.segments_with_rows();
            segments.extend(of.graph.rules().map(|rule| rule.id().clone()));
            segments
        };
        let graphs = self.segments.directory.graphs();
        Ok(graphs.compute(account, find).await?)
    }

    async fn put_jobs(
        &self,
        account: &Id,
        segments: BTreeSet<Id>,
        head: Head,
        cause: JobCause,
    ) -> Result<(), SegmentError> {
        let now = self.segments.clock.now();
        let jobs: Vec<SegmentJob> = segments
            .into_iter()
            .map(|segment| SegmentJob::new(segment, head.revision, cause, now))
            .collect();
        if !jobs.is_empty() && !self.segments.jobs.put_segment_jobs(account, &jobs).await? {
            return Err(ReadError::UnknownAccount(account.clone()).into());
        }
        Ok(())
    }

    /// Works on a job for what is left of the slice, and keeps how far it has come.
    async fn work_on(
        &self,
        account: &Id,
        mut job: SegmentJob,
        at: &mut Head,
        began: Duration,
    ) -> Result<(), SegmentError> {
        job.state = JobState::Running;
        let worked = self.go_on(account, &mut job, at, began).await;
        let now = self.segments.clock.now();
        job.updated_at = now;
        match &worked {
            Ok(Looked::Unfinished | Looked::Elsewhere) => job.problem = None,
            Ok(Looked::Finished) => {
                job.state = if job.problem.is_some() {
                    JobState::Failed
                } else {
                    JobState::Done
                };
                job.ended_at = Some(now);
                self.metrics.ended(job.problem.is_none());
                tracing::info!(account = %account, segment = %job.segment, added = job.settled.added, removed = job.settled.removed, "a segment was brought to the records");
            }
            Err(error) => job.problem = Some(shortened(&error.to_string())),
        }
        let kept = self.keep(account, job).await;
        worked.map(drop)?;
        kept
    }

    /// A job that another has taken the place of meanwhile is left as it is.
    async fn keep(&self, account: &Id, job: SegmentJob) -> Result<(), SegmentError> {
        let filter = JobFilter {
            segment: Some(&job.segment),
            ..JobFilter::default()
        };
        let newest = self.segments.jobs.segment_jobs(account, filter, 1).await?;
        if newest
            .first()
            .is_some_and(|newest| newest.revision == job.revision)
        {
            self.segments.jobs.put_segment_jobs(account, &[job]).await?;
        }
        Ok(())
    }

    async fn go_on(
        &self,
        account: &Id,
        job: &mut SegmentJob,
        at: &mut Head,
        began: Duration,
    ) -> Result<Looked, SegmentError> {
        let read = self.segments.present(account).await?;
        let rules = Rules::Segment(job.segment.clone());
        if job.position.is_none() {
            let (of, segment) = (Arc::clone(&read), job.segment.clone());
            let graphs = self.segments.directory.graphs();
            let find = move || strays(&of.graph, &segment);
            for keys in graphs.compute(account, find).await?.chunks(scan::PAGE) {
                self.write(account, job, &rules, keys, at).await?;
                self.claim(account).await?;
            }
        }
        let rule = read.graph.rule(job.segment.as_str());
        job.problem = rule
            .and_then(|rule| rule.problem())
            .map(ToString::to_string);
        let Some(rule) = rule.filter(|rule| rule.is_running()) else {
            return Ok(Looked::Finished);
        };
        let resource_type = &rule.segment().resource_type;
        job.total = read.graph.resource_count(resource_type.as_str());
        while let Some(keys) = scan::page(&read.graph, resource_type, job.position.as_ref()) {
            let last = keys.last().map(|key| key.id.clone());
            let compared = self.segments.compare(account, &read, &rules, keys).await?;
            let different: Vec<_> = compared.different.into_iter().map(|one| one.key).collect();
            self.write(account, job, &rules, &different, at).await?;
            self.metrics.judged(compared.records);
            job.records += compared.records;
            job.settled.matched += compared.settled.matched;
            job.settled.withheld += compared.settled.withheld;
            job.position = last;
            if self.has_had_its_slice(began) {
                return Ok(Looked::Unfinished);
            }
        }
        Ok(Looked::Finished)
    }

    /// Writes what differs. Where nobody else wrote in between, what was written need not be looked
    /// at again, but for rules that may assign a record only once another closed it (P1).
    async fn write(
        &self,
        account: &Id,
        job: &mut SegmentJob,
        rules: &Rules,
        keys: &[ResourceKey],
        at: &mut Head,
    ) -> Result<(), SegmentError> {
        if keys.is_empty() {
            return Ok(());
        }
        let made = self.segments.bring_in_line(account, rules, keys).await?;
        job.settled.added += made.settled.added;
        job.settled.removed += made.settled.removed;
        let read = self.segments.present(account).await?;
        let depends = read.graph.rules().any(|rule| !rule.segment().may_partition);
        for (from, to) in made.steps {
            if from == *at && !depends {
                *at = to;
            }
        }
        Ok(())
    }

    async fn set_reconciled(&self, account: &Id, at: Head) -> Result<(), SegmentError> {
        let jobs = &self.segments.jobs;
        jobs.set_reconciled(account, self.holder, at).await?;
        Ok(())
    }

    async fn claim(&self, account: &Id) -> Result<bool, SegmentError> {
        let now = self.segments.clock.now();
        let until = now.later_by(LEASE.as_micros());
        let jobs = &self.segments.jobs;
        Ok(jobs
            .claim_reconciling(account, self.holder, now, until)
            .await?)
    }

    fn has_had_its_slice(&self, began: Duration) -> bool {
        self.segments.clock.monotonic().saturating_sub(began) >= SLICE
    }

    /// Up to a half longer, so that replicas don't look in step.
    fn spread(&self) -> Duration {
        let part = self.segments.clock.monotonic().subsec_nanos() % 1_000;
        INTERVAL + INTERVAL.mul_f64(f64::from(part) / 2_000.0)
    }
}

fn shortened(problem: &str) -> String {
    problem.chars().take(PROBLEM_CHARACTERS_MAX).collect()
}
