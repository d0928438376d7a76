//! Segment rules brought to records (P5-P7), on the real store: in the transaction of a write, and in
//! the background after a change of a rule or a plain SQL write.

mod jobs;
mod program;
mod raced;
mod wire;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;

use ambit::authz::change::{AccountPatch, Change, ResourcePatch, SegmentPatch};
use ambit::authz::model::*;
use ambit::authz::segment::Rule;
use ambit::clock::{Clock, SystemClock};
use ambit::metrics::Metrics;
use ambit::partitions::segments::Segments;
use ambit::partitions::segments::reconciler::Reconciler;
use ambit::randomness::SystemRandomness;
use ambit::store::audit::Author;
use ambit::store::segment_jobs::{JobFilter, SegmentJob, SegmentJobs};

use crate::database::Database;
use crate::directory::{LIMITS, Replica, contact, fresh_graph, id};

/// A replica with the use cases of segments and its part of the work in the background.
pub struct Working {
    pub replica: Replica,
    pub jobs: Arc<dyn SegmentJobs>,
    pub segments: Segments,
    pub reconciler: Reconciler,
}

impl Working {
    pub async fn open(database: &Database) -> Self {
        Self::with(database, Arc::new(SystemClock::new())).await
    }

    pub async fn with(database: &Database, clock: Arc<dyn Clock>) -> Self {
        let replica = Replica::with(database, Arc::clone(&clock), LIMITS).await;
        let jobs = database.open_segment_jobs().await;
        let segments = Segments::new(
            replica.directory.clone(),
            Arc::clone(&replica.store),
            Arc::clone(&jobs),
            clock,
        );
        let counted = Metrics::new().unwrap().segments();
        let reconciler = Reconciler::new(segments.clone(), counted, &SystemRandomness).unwrap();
        Self {
            replica,
            jobs,
            segments,
            reconciler,
        }
    }

    /// An account of the catalog of iPresso with three groups and a user.
    pub async fn acme(database: &Database) -> Self {
        let working = Self::open(database).await;
        let patch = AccountPatch {
            catalog: Some(CatalogRef::BuiltIn(id("ipresso"))),
            plan: Some(id("standard")),
            ..AccountPatch::default()
        };
        let author = Author::anyone("CreateAccount");
        let directory = &working.replica.directory;
        directory
            .create_account(id("acme"), patch, None, author)
            .await
            .unwrap();
        let groups = ["marketing", "sales", "pr"].map(|group| Change::PutAccessGroup(id(group)));
        working.apply(groups.to_vec()).await;
        working
    }

    pub async fn apply(&self, changes: Vec<Change>) {
        self.replica.apply("acme", changes).await.unwrap();
    }

    /// Works until nothing is left to do: what was done last finds nothing.
    pub async fn settle(&self) {
        for _ in 0..10_000 {
            let waiting = self.jobs.accounts_to_reconcile(None, 10).await.unwrap();
            if waiting.is_empty() {
                return;
            }
            self.reconciler.round().await.unwrap();
        }
        panic!("there is always something left to do");
    }

    /// The rows of a contact as text.
    pub async fn rows(&self, resource: &str) -> Vec<String> {
        let (graph, _) = fresh_graph(&self.replica.store, "acme").await;
        let resource = graph.resource(&contact(resource)).unwrap();
        let row = |row: &Assignment| format!("{} {}", row.principal, row.provenance);
        resource.assignments.iter().map(row).collect()
    }

    pub async fn revision(&self) -> u64 {
        let head = self.replica.store.head(&id("acme")).await.unwrap();
        head.unwrap().revision
    }

    /// The newest job of a segment.
    pub async fn job(&self, segment: &str) -> SegmentJob {
        let segment = id(segment);
        let filter = JobFilter {
            segment: Some(&segment),
            ..JobFilter::default()
        };
        let jobs = self.jobs.segment_jobs(&id("acme"), filter, 1).await;
        jobs.unwrap().pop().expect("a job")
    }

    /// P6: the rows of every rule on every contact are those of a fresh evaluation, and a record that
    /// was ever assigned is partitioned.
    pub async fn assert_is_as_evaluated_afresh(&self) {
        let (graph, _) = fresh_graph(&self.replica.store, "acme").await;
        let keys: Vec<ResourceKey> = graph
            .resource_page("contact", None, usize::MAX)
            .into_iter()
            .map(|resource| contact(resource.as_str()))
            .collect();
        let stored = self.replica.store.attributes(&id("acme"), &keys).await;
        let stored: std::collections::BTreeMap<_, _> = stored.unwrap().into_iter().collect();
        let rules: Vec<Rule> = graph.segments().cloned().map(Rule::new).collect();
        for key in keys {
            let none = Attributes::new();
            let attributes = stored.get(&key).unwrap_or(&none);
            let mut expected = BTreeSet::new();
            for rule in &rules {
                if rule.matches(&key.resource_type, attributes) {
                    let targets = rule.segment().assign_to.iter();
                    expected.extend(targets.map(|to| format!("{to} segment:{}", rule.id())));
                }
            }
            let resource = graph.resource(&key).unwrap();
            let rows = resource.assignments.iter();
            let made = rows.filter(|row| matches!(row.provenance, Provenance::Segment(_)));
            let made = made.map(|row| format!("{} {}", row.principal, row.provenance));
            assert_eq!(
                made.collect::<BTreeSet<_>>(),
                expected,
                "{key}: {attributes:?}"
            );
            assert!(resource.partitioned || resource.assignments.is_empty());
        }
    }
}

pub fn record(resource: &str, json: &str) -> Change {
    Change::PutResource(ResourcePatch {
        key: contact(resource),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: Some(serde_json::from_str(json).unwrap()),
        creator: None,
    })
}

pub fn rule(segment: &str, when: &str, to: &[&str]) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(segment),
        resource_type: Some(id("contact")),
        when: Some(when.to_owned()),
        assign_to: Some(to.iter().map(|to| to.parse().unwrap()).collect()),
        enabled: None,
        may_partition: None,
    })
}

pub fn switched(segment: &str, enabled: bool) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(segment),
        resource_type: None,
        when: None,
        assign_to: None,
        enabled: Some(enabled),
        may_partition: None,
    })
}

pub fn by_hand(resource: &str, to: &str) -> Change {
    Change::PutAssignment {
        resource: contact(resource),
        principal: to.parse().unwrap(),
        provenance: Provenance::Manual,
        expires_at: None,
    }
}

pub fn not_by_hand(resource: &str, to: &str) -> Change {
    Change::DeleteAssignment {
        resource: contact(resource),
        principal: to.parse().unwrap(),
        provenance: Provenance::Manual,
    }
}
