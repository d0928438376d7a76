//! Segment rules at work (P5-P7): what they come to when they are tried, and the jobs that run them
//! over records that are there.
//!
//! A record that is written through the server is judged by its rules in the same transaction, by
//! the planner of every write ([`crate::authz::change`]). What is left is done in the background by
//! the [`reconciler`]: a rule that changed is run over all records, and a record whose attributes a
//! plain SQL writer changed is judged by all rules. Both follow the change log, so nothing has to be
//! remembered by whoever makes the change.

use std::collections::HashMap;
use std::sync::Arc;

use crate::authz::difference::Halted;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, ResourceKey, Segment};
use crate::authz::segment::{Expression, ExpressionError, Rules, Settled, strays};
use crate::clock::Clock;
use crate::directory::{Directory, DirectoryError, Foreseen, Judged};
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::store::segment_jobs::{JobCause, JobFilter, SegmentJob, SegmentJobs};
use crate::store::{Head, Store, StoreError};

pub mod reconciler;
mod scan;
mod writing;

/// Records that a trial names at most, of those that would come and of those that would go.
pub const SAMPLES_MAX: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("there is no segment `{0}`")]
    UnknownSegment(Id),
    #[error("the segment `{segment}` has not been run over the records at revision {revision}")]
    UnknownJob { segment: Id, revision: u64 },
    #[error("there is no resource type `{0}` in the account's catalog")]
    UnknownType(Id),
    #[error("{0}")]
    Expression(#[from] ExpressionError),
}

impl From<ReadError> for SegmentError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<StoreError> for SegmentError {
    fn from(error: StoreError) -> Self {
        Self::Directory(error.into())
    }
}

/// What running a rule would come to.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Where the account stood.
    pub head: Head,
    pub records: u64,
    pub settled: Settled,
    /// The first of the records that would get or lose rows, at most [`SAMPLES_MAX`] each.
    pub gaining: Vec<ResourceKey>,
    pub losing: Vec<ResourceKey>,
    /// What it would do to access; the counts are whole also where that is too much to compare.
    pub foreseen: Result<Foreseen, Halted>,
}

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct Segments {
    directory: Directory,
    store: Arc<dyn Store>,
    jobs: Arc<dyn SegmentJobs>,
    clock: Arc<dyn Clock>,
}

impl Segments {
    pub fn new(
        directory: Directory,
        store: Arc<dyn Store>,
        jobs: Arc<dyn SegmentJobs>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            directory,
            store,
            jobs,
            clock,
        }
    }

    /// Jobs in the order of their segments, the newest of each first.
    pub async fn jobs(
        &self,
        account: &Id,
        filter: JobFilter<'_>,
        limit: u32,
    ) -> Result<Vec<SegmentJob>, SegmentError> {
        self.present(account).await?;
        Ok(self.jobs.segment_jobs(account, filter, limit).await?)
    }

    /// One job; with no revision the newest of its segment. `None`: the segment is there and was
    /// never run.
    pub async fn job(
        &self,
        account: &Id,
        segment: &Id,
        revision: Option<u64>,
    ) -> Result<Option<SegmentJob>, SegmentError> {
        let read = self.present(account).await?;
        let filter = JobFilter {
            segment: Some(segment),
            unfinished: false,
            // The first one that is older than the next revision.
            after: revision.map(|revision| (segment, revision.saturating_add(1))),
        };
        let found = self.jobs.segment_jobs(account, filter, 1).await?.pop();
        match (revision, found) {
            (Some(revision), Some(job)) if job.revision == revision => Ok(Some(job)),
            (Some(revision), _) => Err(SegmentError::UnknownJob {
                segment: segment.clone(),
                revision,
            }),
            (None, None) if read.graph.rule(segment.as_str()).is_none() => {
                Err(SegmentError::UnknownSegment(segment.clone()))
            }
            (None, found) => Ok(found),
        }
    }

    /// Has a rule run over all records, as if it had changed.
    pub async fn recalculate(
        &self,
        account: &Id,
        segment: &Id,
    ) -> Result<SegmentJob, SegmentError> {
        let read = self.present(account).await?;
        if read.graph.rule(segment.as_str()).is_none() {
            return Err(SegmentError::UnknownSegment(segment.clone()));
        }
        let now = self.clock.now();
        let job = SegmentJob::new(segment.clone(), read.head.revision, JobCause::Asked, now);
        let jobs = std::slice::from_ref(&job);
        if !self.jobs.put_segment_jobs(account, jobs).await? {
            return Err(ReadError::UnknownAccount(account.clone()).into());
        }
        Ok(job)
    }

    /// What running a rule of the account would come to, or, with `instead`, one that it does not
    /// have so. Writes nothing.
    pub async fn trial(
        &self,
        account: &Id,
        segment: &Id,
        instead: Option<Segment>,
    ) -> Result<Trial, SegmentError> {
        let mut supposed = self.directory.supposing(account).await?;
        let head = supposed
            .head()
            .ok_or_else(|| ReadError::UnknownAccount(account.clone()))?;
        if let Some(instead) = instead {
            if let Err(problem) = Expression::parse(&instead.when) {
                return Err(problem.into());
            }
            self.directory.suppose_rule(&mut supposed, instead).await?;
        }
        let graph = Arc::clone(supposed.after());
        let resource_type = match graph.rule(segment.as_str()) {
            Some(rule) => rule.segment().resource_type.clone(),
            None => return Err(SegmentError::UnknownSegment(segment.clone())),
        };
        let rules = Rules::Segment(segment.clone());
        if graph.catalog().type_ix(resource_type.as_str()).is_none() {
            return Err(SegmentError::UnknownType(resource_type));
        }
        let mut tally = Tally::default();
        let others = self
            .strays(account, &graph, segment, &resource_type)
            .await?;
        let none = HashMap::new();
        for keys in others.chunks(scan::PAGE) {
            let keys = keys.to_vec();
            let judged = self.directory.judge(&mut supposed, &rules, keys, &none);
            tally.note(&judged.await?);
        }
        let mut after = None;
        while let Some(keys) = scan::page(&graph, &resource_type, after.as_ref()) {
            after = keys.last().map(|key| key.id.clone());
            let judged = self.directory.judge(&mut supposed, &rules, keys, &none);
            tally.note(&judged.await?);
        }
        let foreseen = self.directory.preview(&mut supposed).await?;
        Ok(Trial {
            head,
            records: tally.records,
            settled: tally.settled,
            gaining: tally.gaining,
            losing: tally.losing,
            foreseen,
        })
    }

    /// Records of other types with rows of a segment.
    async fn strays(
        &self,
        account: &Id,
        graph: &Arc<AccountGraph>,
        segment: &Id,
        resource_type: &Id,
    ) -> Result<Vec<ResourceKey>, SegmentError> {
        let (graph, segment) = (Arc::clone(graph), segment.clone());
        let graphs = self.directory.graphs();
        let find = move || strays(&graph, &segment);
        let mut keys = graphs.compute(account, find).await?;
        keys.retain(|key| key.resource_type != *resource_type);
        Ok(keys)
    }

    async fn present(&self, account: &Id) -> Result<Arc<ReadGraph>, SegmentError> {
        let graphs = self.directory.graphs();
        Ok(graphs.read(account, &Consistency::FullyConsistent).await?)
    }
}

/// What was judged of a trial so far.
#[derive(Default)]
struct Tally {
    records: u64,
    settled: Settled,
    gaining: Vec<ResourceKey>,
    losing: Vec<ResourceKey>,
}

impl Tally {
    fn note(&mut self, judged: &Judged) {
        self.records += judged.outcome.records;
        self.settled.add(judged.outcome.settled);
        let sample = |samples: &mut Vec<ResourceKey>, key: &ResourceKey| {
            if samples.len() < SAMPLES_MAX {
                samples.push(key.clone());
            }
        };
        for different in judged.outcome.different(&judged.before) {
            if different.gains {
                sample(&mut self.gaining, &different.key);
            }
            if different.loses {
                sample(&mut self.losing, &different.key);
            }
        }
    }
}
