//! One part of a bulk: what it makes of the account as it stands, planned anew where another writer
//! was faster.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Partitions;
use super::bulk::{BulkError, BulkRequest, PART_RESOURCES, PartsOf, Selection, Work, add, is_told};
use crate::authz::assignment::{self, AssignRefusal, Authority, Effect, Order, ResourceFilter};
use crate::authz::change;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Attributes, EntityChange, Id, ResourceKey, Timestamp};
use crate::directory::{DirectoryError, Planned, Planning, Supposed};
use crate::graph_cache::{ReadError, ReadGraph};
use crate::store::batches::{Batch, BatchCounts, BatchEntry, BatchKind, BatchStep, EntryRefusal};

pub(super) struct PlanPart<'a> {
    pub(super) partitions: &'a Partitions,
    pub(super) request: &'a Arc<BulkRequest>,
    pub(super) kind: BatchKind,
    pub(super) batch: &'a Id,
    /// `None`: an undo.
    pub(super) order: Option<&'a Order>,
    pub(super) work: &'a PartsOf,
}

/// What became of a part.
#[derive(Debug, Default)]
pub(super) struct PartTold {
    /// Of the batch as it is kept.
    pub(super) counts: BatchCounts,
    pub(super) entries: Vec<BatchEntry>,
    pub(super) is_done: bool,
}

/// What became of a part of a dry run, which keeps nothing of it.
pub(super) struct PartSupposed {
    /// Of this part.
    pub(super) counts: BatchCounts,
    pub(super) entries: Vec<BatchEntry>,
    /// The last resource that was looked at.
    pub(super) reached: Option<ResourceKey>,
    pub(super) is_done: bool,
}

/// A resource whose turn it is, with what an earlier batch did to it where that is to be undone.
struct Item {
    key: ResourceKey,
    done: Option<Effect>,
}

struct Items {
    items: Vec<Item>,
    reached: Option<ResourceKey>,
    is_last: bool,
}

/// What a part comes to.
struct Made {
    changes: Vec<EntityChange>,
    /// What the account becomes by it.
    after: AccountGraph,
    counts: BatchCounts,
    entries: Vec<BatchEntry>,
}

impl Made {
    fn told(&self) -> Vec<BatchEntry> {
        let told = self.entries.iter().filter(|entry| is_told(entry));
        told.cloned().collect()
    }
}

#[async_trait]
impl Planning for PlanPart<'_> {
    type Told = PartTold;
    type Error = BulkError;

    async fn plan(&self, present: Option<Arc<ReadGraph>>) -> Result<Planned<PartTold>, BulkError> {
        let account = &self.request.account;
        let present = present.ok_or_else(|| ReadError::UnknownAccount(account.clone()))?;
        let (before, mut batch) = match self.stored().await? {
            Some(batch) if batch.is_done => return Ok(nothing_left(&batch)),
            Some(batch) => (Some(batch.reached.clone()), batch),
            None => (None, self.new_batch()),
        };
        let graph = Arc::new(present.graph.clone());
        let (made, items) = self.make(graph, batch.reached.clone()).await?;
        add(&mut batch.counts, made.counts);
        batch.reached.clone_from(&items.reached);
        batch.is_done = items.is_last;
        let told = PartTold {
            counts: batch.counts,
            entries: made.told(),
            is_done: items.is_last,
        };
        Ok(Planned {
            changes: made.changes,
            events: Vec::new(),
            answer: None,
            batch: Some(BatchStep {
                before,
                batch,
                entries: made.entries,
            }),
            remembered: false,
            stored: true,
            told,
        })
    }
}

/// Another call under the same key has finished it.
fn nothing_left(batch: &Batch) -> Planned<PartTold> {
    Planned {
        changes: Vec::new(),
        events: Vec::new(),
        answer: None,
        batch: None,
        remembered: false,
        stored: false,
        told: PartTold {
            counts: batch.counts,
            is_done: true,
            ..PartTold::default()
        },
    }
}

impl PlanPart<'_> {
    /// Makes the part on top of what is supposed of the account, and supposes it too.
    pub(super) async fn suppose(
        &self,
        supposed: &mut Supposed,
        after: Option<ResourceKey>,
    ) -> Result<PartSupposed, BulkError> {
        let (made, items) = self.make(Arc::clone(supposed.after()), after).await?;
        let entries = made.told();
        let directory = &self.partitions.directory;
        directory
            .suppose_changes(supposed, &made.changes, made.after)
            .await?;
        Ok(PartSupposed {
            counts: made.counts,
            entries,
            reached: items.reached,
            is_done: items.is_last,
        })
    }

    /// What the part behind a resource makes of the account.
    async fn make(
        &self,
        graph: Arc<AccountGraph>,
        after: Option<ResourceKey>,
    ) -> Result<(Made, Items), BulkError> {
        let mut items = self.items(after).await?;
        let attributes = self.attributes(&items.items).await?;
        let those = std::mem::take(&mut items.items);
        let made = self.made(graph, those, attributes).await?;
        Ok((made, items))
    }

    async fn stored(&self) -> Result<Option<Batch>, BulkError> {
        let batches = &self.partitions.batches;
        let stored = batches.batch(&self.request.account, self.batch).await?;
        match stored {
            Some((batch, _)) if batch.request_digest != self.request.request_digest => {
                Err(DirectoryError::IdempotencyKeyReused(self.batch.clone()).into())
            }
            Some((batch, _)) => Ok(Some(batch)),
            None => Ok(None),
        }
    }

    fn new_batch(&self) -> Batch {
        Batch {
            id: self.batch.clone(),
            request_digest: self.request.request_digest,
            kind: self.kind,
            reached: None,
            is_done: false,
            counts: BatchCounts::default(),
            actor: self.request.actor.clone(),
            begun_at: self.partitions.clock.now(),
        }
    }

    /// The resources whose turn it is, after the last one that was looked at.
    async fn items(&self, after: Option<ResourceKey>) -> Result<Items, BulkError> {
        let items: Vec<Item> = match self.work {
            PartsOf::Keys(keys) => {
                let start = after
                    .as_ref()
                    .map_or(0, |after| keys.partition_point(|key| key <= after));
                let rest = keys.get(start..).unwrap_or_default();
                let item = |key: &ResourceKey| Item {
                    key: key.clone(),
                    done: None,
                };
                rest.iter().take(PART_RESOURCES).map(item).collect()
            }
            PartsOf::Batch(batch) => {
                let batches = &self.partitions.batches;
                let limit = u32::try_from(PART_RESOURCES).unwrap_or(u32::MAX);
                let entries = batches
                    .batch_entries(&self.request.account, batch, after.as_ref(), limit)
                    .await?;
                entries
                    .into_iter()
                    .map(|entry| Item {
                        key: entry.resource,
                        done: Some(entry.effect.unwrap_or_default()),
                    })
                    .collect()
            }
        };
        let is_last = items.len() < PART_RESOURCES;
        Ok(Items {
            reached: items.last().map(|item| item.key.clone()).or(after),
            is_last,
            items,
        })
    }

    fn filter(&self) -> Option<&ResourceFilter> {
        match &self.request.work {
            Work::Order {
                on: Selection::Filter(filter),
                ..
            } => Some(filter),
            Work::Order { .. } | Work::UndoBatch(_) | Work::UndoImport(_) => None,
        }
    }

    /// What is stored of the resources, where it is asked about. The graph holds none; where the
    /// account has moved on since, the store answers the write with a conflict.
    async fn attributes(
        &self,
        items: &[Item],
    ) -> Result<BTreeMap<ResourceKey, Attributes>, BulkError> {
        if self
            .filter()
            .is_none_or(|filter| filter.attributes.is_empty())
            || items.is_empty()
        {
            return Ok(BTreeMap::new());
        }
        let keys: Vec<ResourceKey> = items.iter().map(|item| item.key.clone()).collect();
        let store = &self.partitions.store;
        let stored = store.attributes(&self.request.account, &keys).await?;
        Ok(stored.into_iter().collect())
    }

    /// Plans off the async workers.
    async fn made(
        &self,
        graph: Arc<AccountGraph>,
        items: Vec<Item>,
        attributes: BTreeMap<ResourceKey, Attributes>,
    ) -> Result<Made, BulkError> {
        let request = Arc::clone(self.request);
        let order = self.order.cloned();
        let filter = self.filter().cloned();
        let now = self.partitions.clock.now();
        let work = move || {
            let part = Part {
                graph: &graph,
                authority: Authority::of(&graph, request.actor.as_ref(), now),
                order: order.as_ref(),
                filter: filter.as_ref(),
                attributes: &attributes,
                now,
            };
            part.make(&request.account, items)
        };
        let graphs = self.partitions.directory.graphs();
        Ok(graphs.compute(&self.request.account, work).await??)
    }
}

struct Part<'a> {
    graph: &'a AccountGraph,
    authority: Authority<'a>,
    order: Option<&'a Order>,
    filter: Option<&'a ResourceFilter>,
    attributes: &'a BTreeMap<ResourceKey, Attributes>,
    now: Timestamp,
}

impl Part<'_> {
    fn make(&self, account: &Id, items: Vec<Item>) -> Result<Made, DirectoryError> {
        let (mut counts, mut entries) = (BatchCounts::default(), Vec::new());
        let mut changes = Vec::new();
        for item in items {
            if !self.is_meant(&item.key) {
                continue;
            }
            let entry = self.entry(item);
            match &entry.effect {
                Some(effect) if effect.is_change() => {
                    counts.changed += 1;
                    counts.orphaned += u64::from(effect.orphans);
                    changes.extend(effect.changes(&entry.resource));
                }
                _ if entry.refusal.is_some() => counts.refused += 1,
                _ => counts.unchanged += 1,
            }
            let says_nothing = entry.refusal.is_none()
                && entry
                    .effect
                    .as_ref()
                    .is_none_or(|effect| !effect.is_change() && effect.still_assigned.is_empty());
            if !says_nothing {
                entries.push(entry);
            }
        }
        let set = change::plan(account, Some(self.graph), &changes)?;
        // What would be stored can be loaded again.
        let after = self.graph.apply(&set.changes);
        Ok(Made {
            after: after.map_err(DirectoryError::Unusable)?,
            changes: set.changes,
            counts,
            entries,
        })
    }

    /// Whether a resource still meets the filter by which it was found.
    fn is_meant(&self, key: &ResourceKey) -> bool {
        self.filter.is_none_or(|filter| {
            filter.matches_attributes(self.attributes.get(key))
                && self
                    .graph
                    .resource(key)
                    .is_some_and(|resource| filter.matches(&resource, self.now))
        })
    }

    fn entry(&self, item: Item) -> BatchEntry {
        let decided = match (self.order, &item.done) {
            (Some(order), _) => assignment::decide(self.graph, &self.authority, order, &item.key)
                .map(|effect| (effect, Vec::new())),
            (None, Some(done)) => assignment::undo(self.graph, &self.authority, done, &item.key)
                .map(|undone| (undone.effect, undone.kept)),
            (None, None) => Ok((Effect::default(), Vec::new())),
        };
        match decided {
            Ok((effect, kept)) => BatchEntry {
                resource: item.key,
                effect: Some(effect),
                refusal: (!kept.is_empty())
                    .then(|| told(&AssignRefusal::ChangedSince(kept.join("; ")))),
            },
            Err(refusal) => BatchEntry {
                resource: item.key,
                effect: None,
                refusal: Some(told(&refusal)),
            },
        }
    }
}

fn told(refusal: &AssignRefusal) -> EntryRefusal {
    EntryRefusal {
        reason: refusal.name().to_owned(),
        message: refusal.to_string(),
    }
}
