//! Bulks: one order for many resources, carried out in parts.
//!
//! A part is some hundreds of resources in the order of their keys, written in one transaction with
//! how far the batch has come. So a bulk that broke off is taken up by repeating the call under the
//! same key: it goes on behind the last resource that was looked at, and each resource is done once.
//! Which resources a filter means is found at the beginning; whether one still meets it is asked
//! again when its turn comes. A resource that is refused spoils no other, and is told with its
//! reason, also to whoever repeats the call.

use std::sync::Arc;
use std::time::Duration;

use crate::authz::assignment::{Authority, Order, ResourceFilter};
use crate::authz::difference::Halted;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Principal, Provenance, ResourceKey};
use crate::directory::{DirectoryError, Foreseen, Precondition, Supposed, WriteHeader, Written};
use crate::graph_cache::{Consistency, ReadError};
use crate::revision::RevisionToken;
use crate::store::audit::Author;
use crate::store::batches::{BatchCounts, BatchEntry, BatchKind};
use crate::store::{Head, StoreError};

use super::Partitions;
use super::part::PlanPart;

/// Resources of one part: few enough that other writers find their turn in between.
pub const PART_RESOURCES: usize = 1_000;

/// Times that a part is planned before the bulk gives up to other writers.
const TRIES_MAX: u32 = 200;

/// Rest after each part. Writers of this process queue for their turn; those of others only find
/// one while nobody writes.
const REST: Duration = Duration::from_millis(15);

/// Entries that are told again in one go to whoever takes a batch up.
const RETOLD_AT_ONCE: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A field of the request names something that the account does not have.
    #[error("there is no {what} `{id}` in the account")]
    Unknown {
        field: String,
        what: &'static str,
        id: Id,
    },
    #[error("the account's catalog has no resource type `{0}`")]
    UnknownType(Id),
    #[error("`{0}` is no active user of the account")]
    Actor(Id),
    #[error("the account has no batch `{0}`; batches are kept for 30 days")]
    NoSuchBatch(Id),
    #[error("the batch `{0}` is not finished: repeat its call under the same key, then undo it")]
    Unfinished(Id),
    #[error("the system gives no randomness to make a batch id of: name one as `idempotency_key`")]
    Randomness,
}

impl From<StoreError> for BulkError {
    fn from(error: StoreError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<ReadError> for BulkError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

/// Which resources.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    Keys(Vec<ResourceKey>),
    Filter(ResourceFilter),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    Order {
        order: Order,
        on: Selection,
    },
    /// Takes back what a batch did, where nobody has changed it since.
    UndoBatch(Id),
    /// Takes back the assignments that an import job made, and nothing else of it (P8).
    UndoImport(Id),
}

impl Work {
    fn kind(&self) -> BatchKind {
        match self {
            Self::Order {
                order: Order::Unpartition,
                ..
            } => BatchKind::Unpartition,
            Self::Order { .. } => BatchKind::Assign,
            Self::UndoBatch(_) => BatchKind::UndoBatch,
            Self::UndoImport(_) => BatchKind::UndoImport,
        }
    }
}

#[derive(Debug, Clone)]
pub struct BulkRequest {
    pub account: Id,
    pub work: Work,
    /// The user whose rights it is judged by; `None`: an operator's.
    pub actor: Option<Id>,
    /// The name of the batch, by which it is taken up; `None`: one is made.
    pub key: Option<Id>,
    /// SHA-256 of what is ordered, so that the same key with another order is told.
    pub request_digest: [u8; 32],
    /// Judges everything, writes nothing.
    pub dry_run: bool,
    /// Who asks for it, for the audit.
    pub author: Author,
}

/// What is told of a bulk after each part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of the whole bulk so far.
    pub counts: BatchCounts,
    /// What was refused, or is still assigned by a rule, and was not told before in this call.
    pub entries: Vec<BatchEntry>,
    /// Where the account stands after what was written last.
    pub head: Head,
    /// Nothing is left to do.
    pub is_done: bool,
}

/// One running bulk. Dropped before its end it has written whole parts.
pub struct Bulk {
    partitions: Partitions,
    request: Arc<BulkRequest>,
    batch: Id,
    order: Option<Order>,
    work: PartsOf,
    /// Of a dry run, which keeps nothing.
    trying: Option<Trying>,
    counts: BatchCounts,
    head: Head,
    /// What an earlier call was told is told again, from behind this resource on.
    retelling: Option<Option<ResourceKey>>,
    is_done: bool,
}

/// How far a dry run is.
struct Trying {
    /// The account as the parts so far would make it. It stands where it stood at the beginning.
    supposed: Supposed,
    /// The last resource that was looked at.
    reached: Option<ResourceKey>,
}

/// Where the parts come from.
#[derive(Clone)]
pub(super) enum PartsOf {
    /// In the order of keys, each once.
    Keys(Arc<Vec<ResourceKey>>),
    /// The resources that a batch changed.
    Batch(Id),
}

impl Partitions {
    /// Begins a bulk, or takes it up where one of the same key stopped.
    ///
    /// # Errors
    /// What is wrong with the request as a whole; nothing is written then.
    pub async fn begin(&self, request: BulkRequest) -> Result<Bulk, BulkError> {
        let account = request.account.clone();
        let graphs = self.directory.graphs();
        let read = graphs.read(&account, &Consistency::FullyConsistent).await?;
        let batch = match &request.key {
            Some(key) => key.clone(),
            None => self.new_batch_id()?,
        };
        let stored = match (&request.key, request.dry_run) {
            (Some(key), false) => self.batches.batch(&account, key).await?,
            _ => None,
        };
        if let Some((stored, _)) = &stored
            && stored.request_digest != request.request_digest
        {
            return Err(DirectoryError::IdempotencyKeyReused(batch).into());
        }
        if let Work::UndoBatch(of) = &request.work {
            match self.batches.batch(&account, of).await? {
                None => return Err(BulkError::NoSuchBatch(of.clone())),
                Some((of_batch, _)) if !of_batch.is_done => {
                    return Err(BulkError::Unfinished(of.clone()));
                }
                Some(_) => {}
            }
        }
        let request = Arc::new(request);
        let is_finished = stored.as_ref().is_some_and(|(batch, _)| batch.is_done);
        let work = match &request.work {
            _ if is_finished => PartsOf::Keys(Arc::default()),
            Work::UndoBatch(of) => PartsOf::Batch(of.clone()),
            Work::Order { .. } | Work::UndoImport(_) => {
                let (request, read) = (Arc::clone(&request), Arc::clone(&read));
                let now = self.clock.now();
                let choose = move || {
                    check(&read.graph, &request, now)?;
                    Ok::<_, BulkError>(keys_of(&read.graph, &request.work))
                };
                PartsOf::Keys(Arc::new(graphs.compute(&account, choose).await??))
            }
        };
        check_actor(&read.graph, &request, self.clock.now())?;
        let trying = match request.dry_run {
            true => Some(Trying {
                supposed: self.directory.supposing(&account).await?,
                reached: None,
            }),
            false => None,
        };
        Ok(Bulk {
            partitions: self.clone(),
            order: order_of(&request.work),
            batch,
            work,
            trying,
            counts: stored
                .as_ref()
                .map_or_else(BatchCounts::default, |(batch, _)| batch.counts),
            head: stored.as_ref().map_or(read.head, |(_, head)| *head),
            retelling: stored.as_ref().map(|_| None),
            is_done: false,
            request,
        })
    }

    fn new_batch_id(&self) -> Result<Id, BulkError> {
        let bytes = self
            .randomness
            .bytes()
            .map_err(|_no_source| BulkError::Randomness)?;
        Id::parse(&format!("{:032x}", u128::from_be_bytes(bytes)))
            .map_err(|_| BulkError::Randomness)
    }
}

impl Bulk {
    /// The name that the batch is kept under.
    pub fn batch_id(&self) -> &Id {
        &self.batch
    }

    /// The token of the revision at which everything written so far is seen.
    pub fn token(&self) -> RevisionToken {
        let graphs = self.partitions.directory.graphs();
        graphs.token(&self.request.account, self.head)
    }

    /// Carries out the next part; `None`: it was told that all is done.
    pub async fn next(&mut self) -> Result<Option<Told>, BulkError> {
        if self.is_done {
            return Ok(None);
        }
        while let Some(after) = self.retelling.take() {
            let entries = self.retold(after).await?;
            if !entries.is_empty() {
                return Ok(Some(self.told(entries)));
            }
        }
        let request = Arc::clone(&self.request);
        let planning = PlanPart {
            partitions: &self.partitions,
            request: &self.request,
            kind: self.request.work.kind(),
            batch: &self.batch,
            order: self.order.as_ref(),
            work: &self.work,
        };
        if let Some(trying) = &mut self.trying {
            let after = trying.reached.clone();
            let part = planning.suppose(&mut trying.supposed, after).await?;
            trying.reached = part.reached;
            add(&mut self.counts, part.counts);
            self.is_done = part.is_done;
            return Ok(Some(self.told(part.entries)));
        }
        let header = WriteHeader {
            account: &request.account,
            precondition: Precondition::None,
            idempotency: None,
            tries_max: TRIES_MAX,
            author: &request.author,
        };
        let directory = &self.partitions.directory;
        let (head, part) = match directory.write_planned(&header, &planning).await? {
            Written::Made { head, told } => (head, told),
            // No key of the directory is given, so nothing is remembered there.
            Written::Replayed(before) => (Some(before.head), super::part::PartTold::default()),
        };
        self.head = head.unwrap_or(self.head);
        self.is_done = part.is_done;
        self.counts = part.counts;
        if !self.is_done {
            tokio::time::sleep(REST).await;
        }
        Ok(Some(self.told(part.entries)))
    }

    /// What a dry run so far would do to access; `None`: it is none.
    pub async fn foresee(&mut self) -> Result<Option<Result<Foreseen, Halted>>, BulkError> {
        match &mut self.trying {
            Some(trying) => {
                let directory = &self.partitions.directory;
                Ok(Some(directory.preview(&mut trying.supposed).await?))
            }
            None => Ok(None),
        }
    }

    fn told(&self, entries: Vec<BatchEntry>) -> Told {
        Told {
            counts: self.counts,
            entries,
            head: self.head,
            is_done: self.is_done,
        }
    }

    /// What the batch refused before this call, of the next of its resources.
    async fn retold(&mut self, after: Option<ResourceKey>) -> Result<Vec<BatchEntry>, BulkError> {
        let entries = self
            .partitions
            .batches
            .batch_entries(
                &self.request.account,
                &self.batch,
                after.as_ref(),
                RETOLD_AT_ONCE,
            )
            .await?;
        if entries.len() >= usize::try_from(RETOLD_AT_ONCE).unwrap_or(usize::MAX) {
            self.retelling = entries.last().map(|entry| Some(entry.resource.clone()));
        }
        Ok(entries.into_iter().filter(is_told).collect())
    }
}

/// Whether a caller is told of an entry: what was simply done is only counted.
pub(super) fn is_told(entry: &BatchEntry) -> bool {
    entry.refusal.is_some()
        || entry
            .effect
            .as_ref()
            .is_some_and(|effect| !effect.still_assigned.is_empty())
}

pub(super) fn add(to: &mut BatchCounts, more: BatchCounts) {
    to.changed += more.changed;
    to.unchanged += more.unchanged;
    to.refused += more.refused;
    to.orphaned += more.orphaned;
}

fn order_of(work: &Work) -> Option<Order> {
    match work {
        Work::Order { order, .. } => Some(order.clone()),
        Work::UndoImport(job) => Some(Order::Retract(Provenance::Import(job.clone()))),
        Work::UndoBatch(_) => None,
    }
}

/// In the order of keys, each once.
fn keys_of(graph: &AccountGraph, work: &Work) -> Vec<ResourceKey> {
    let mut keys = match work {
        Work::Order {
            on: Selection::Keys(keys),
            ..
        } => keys.clone(),
        Work::Order {
            on: Selection::Filter(filter),
            ..
        } => filter
            .candidates(graph)
            .into_iter()
            .map(|id| ResourceKey {
                resource_type: filter.resource_type.clone(),
                id,
            })
            .collect(),
        Work::UndoImport(job) => graph
            .resources_with(|provenance| matches!(provenance, Provenance::Import(of) if of == job)),
        Work::UndoBatch(_) => Vec::new(),
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What is wrong with a request whatever becomes of its resources.
fn check(
    graph: &AccountGraph,
    request: &BulkRequest,
    now: crate::authz::model::Timestamp,
) -> Result<(), BulkError> {
    check_actor(graph, request, now)?;
    let Work::Order { order, on } = &request.work else {
        return Ok(());
    };
    let types = match on {
        Selection::Keys(keys) => keys.iter().map(|key| &key.resource_type).collect(),
        Selection::Filter(filter) => vec![&filter.resource_type],
    };
    if let Some(unknown) = types
        .into_iter()
        .find(|name| graph.catalog().type_ix(name.as_str()).is_none())
    {
        return Err(BulkError::UnknownType(unknown.clone()));
    }
    if let Order::Assign { targets, .. } = order {
        for (index, target) in targets.iter().enumerate() {
            check_principal(graph, target, format!("targets[{index}]"))?;
        }
    }
    if let Selection::Filter(filter) = on {
        if let Some(owner) = &filter.owner {
            let owner = Principal::User(owner.clone());
            check_principal(graph, &owner, "resources.filter.owner_user_id".to_owned())?;
        }
        if let Some(team) = &filter.owning_team {
            let team = Principal::Team(team.clone());
            check_principal(graph, &team, "resources.filter.owning_team_id".to_owned())?;
        }
        if let Some(principal) = &filter.assigned_to {
            check_principal(graph, principal, "resources.filter.assigned_to".to_owned())?;
        }
    }
    Ok(())
}

fn check_actor(
    graph: &AccountGraph,
    request: &BulkRequest,
    now: crate::authz::model::Timestamp,
) -> Result<(), BulkError> {
    match &request.actor {
        Some(actor) if !Authority::of(graph, Some(actor), now).is_somebody() => {
            Err(BulkError::Actor(actor.clone()))
        }
        _ => Ok(()),
    }
}

fn check_principal(
    graph: &AccountGraph,
    principal: &Principal,
    field: String,
) -> Result<(), BulkError> {
    let (what, is_there) = match principal {
        Principal::User(id) => ("user", graph.user(id.as_str()).is_some()),
        Principal::Team(id) => ("team", graph.team(id.as_str()).is_some()),
        Principal::Group(id) => ("access group", graph.access_group(id.as_str()).is_some()),
    };
    match is_there {
        true => Ok(()),
        false => Err(BulkError::Unknown {
            field,
            what,
            id: principal.id().clone(),
        }),
    }
}
