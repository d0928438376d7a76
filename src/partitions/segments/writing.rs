//! Rows of segments written where they differ, by the way of every write: each transaction is
//! planned on the account as it stands and refused where that has moved, so whatever races with it,
//! what it leaves of its records is what the rules say of them then.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{SegmentError, Segments};
use crate::authz::model::{Entity, EntityChange, Id, ResourceKey};
use crate::authz::segment::{Rules, Settled, run};
use crate::directory::{
    DirectoryError, Planned, Planning, Precondition, WRITE_TRIES_MAX, WriteHeader, Written,
};
use crate::graph_cache::{ReadError, ReadGraph};
use crate::store::Head;
use crate::store::audit::Author;

/// Most records of one transaction: others that write have their turn between two.
const AT_ONCE: usize = 500;

/// Records that are not worth a smaller transaction.
const AT_ONCE_MIN: usize = 8;

/// What was written, and where the account went.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) settled: Settled,
    /// From which head to which; of several transactions, each.
    pub(super) steps: Vec<(Head, Head)>,
}

impl Segments {
    /// Brings the rows of records in line with the rules, in as many transactions as are needed.
    pub(super) async fn bring_in_line(
        &self,
        account: &Id,
        rules: &Rules,
        keys: &[ResourceKey],
    ) -> Result<Made, SegmentError> {
        let mut made = Made {
            settled: Settled::default(),
            steps: Vec::new(),
        };
        let mut parts: Vec<&[ResourceKey]> = keys.chunks(AT_ONCE).rev().collect();
        while let Some(part) = parts.pop() {
            match self.write(account, rules, part).await {
                Ok((settled, step)) => {
                    made.settled.add(settled);
                    made.steps.extend(step);
                }
                // Other writers were faster each time: less is sooner done.
                Err(SegmentError::Directory(DirectoryError::Contended))
                    if part.len() > AT_ONCE_MIN =>
                {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    async fn write(
        &self,
        account: &Id,
        rules: &Rules,
        keys: &[ResourceKey],
    ) -> Result<(Settled, Option<(Head, Head)>), SegmentError> {
        let header = WriteHeader {
            account,
            precondition: Precondition::None,
            idempotency: None,
            tries_max: WRITE_TRIES_MAX,
            author: &Author::named("ambit:segments", "RecalculateSegment"),
        };
        let planning = PlanRows {
            segments: self,
            account,
            rules,
            keys,
        };
        match self.directory.write_planned(&header, &planning).await? {
            Written::Made {
                head: Some(to),
                told: (settled, from),
            } => Ok((settled, (from != to).then_some((from, to)))),
            // Nothing is repeated under a key, and an account that is gone is an error of the plan.
            Written::Made { head: None, .. } | Written::Replayed(_) => {
                Ok((Settled::default(), None))
            }
        }
    }
}

struct PlanRows<'a> {
    segments: &'a Segments,
    account: &'a Id,
    rules: &'a Rules,
    keys: &'a [ResourceKey],
}

#[async_trait]
impl Planning for PlanRows<'_> {
    /// What was settled, and where the account stood.
    type Told = (Settled, Head);
    type Error = SegmentError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Self::Told>, SegmentError> {
        let read = present.ok_or_else(|| ReadError::UnknownAccount(self.account.clone()))?;
        let head = read.head;
        // Where the account has moved on since, the store answers the write with a conflict.
        let keys = self.keys.to_vec();
        let attributes = self.segments.store.attributes(self.account, &keys).await?;
        let rules = self.rules.clone();
        let compare = move || {
            let attributes: HashMap<_, _> = attributes.into_iter().collect();
            run(&read.graph, &rules, &keys, &attributes)
        };
        let graphs = self.segments.directory.graphs();
        let outcome = graphs.compute(self.account, compare).await?;
        let put = |resource| EntityChange::Put(Entity::Resource(resource, None));
        let changes: Vec<EntityChange> = outcome.changed.into_iter().map(put).collect();
        Ok(Planned {
            stored: !changes.is_empty(),
            changes,
            events: Vec::new(),
            batch: None,
            answer: None,
            remembered: false,
            told: (outcome.settled, head),
        })
    }
}
