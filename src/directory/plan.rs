//! From a request to what is to be stored, with the proof that it can be loaded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{DirectoryError, Intent, IntentWrite, Planned, Planning};
use crate::authz::change::{self, ChangeLine, ChangeProblem, ChangeSet};
use crate::authz::graph::{AccountGraph, GraphBuilder, GraphError};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id, Timestamp};
use crate::authz::on_behalf::{self, CeilingReport};
use crate::clock::Clock;
use crate::graph_cache::{GraphCache, ReadError, ReadGraph};
use crate::store::Store;

/// Plans the changes that an intent makes of an account.
pub(super) struct PlanIntent<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) graphs: &'a GraphCache,
    pub(super) clock: &'a dyn Clock,
    pub(super) request: &'a IntentWrite,
}

/// What is told of planned changes.
pub(super) struct ToldOfPlan {
    pub(super) lines: Vec<ChangeLine>,
    pub(super) ceiling: CeilingReport,
}

/// Changes as they are planned: what they come to, and what the ceiling made of them.
pub(super) struct Plan<T> {
    pub(super) set: ChangeSet,
    pub(super) ceiling: CeilingReport,
    pub(super) made: T,
}

/// By whose rights changes are judged, and at which moment.
#[derive(Debug, Clone)]
pub(super) struct Acting {
    pub(super) actor: Id,
    pub(super) now: Timestamp,
}

impl Acting {
    pub(super) fn of(actor: Option<&Id>, clock: &dyn Clock) -> Option<Self> {
        actor.map(|actor| Self {
            actor: actor.clone(),
            now: clock.now(),
        })
    }
}

#[async_trait]
impl Planning for PlanIntent<'_> {
    type Told = ToldOfPlan;
    type Error = DirectoryError;

    fn ceiling(told: &ToldOfPlan) -> Option<&CeilingReport> {
        Some(&told.ceiling)
    }

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<ToldOfPlan>, DirectoryError> {
        let intent = Arc::clone(&self.request.intent);
        let PlanIntent {
            store,
            graphs,
            clock,
            request,
        } = self;
        let acting = Acting::of(request.actor.as_ref(), *clock);
        let account = &request.account;
        let planned = plan(*store, graphs, account, (intent, acting), present, drop).await?;
        let set = planned.set;
        Ok(Planned {
            changes: set.changes,
            events: Vec::new(),
            answer: None,
            batch: None,
            remembered: true,
            stored: !self.request.dry_run,
            told: ToldOfPlan {
                lines: set.summary,
                ceiling: planned.ceiling,
            },
        })
    }
}

/// Takes attributes that are stored just so out of a plan: the graph doesn't hold any. Where the
/// account has moved on since the plan, the store answers the write with a conflict.
pub(super) async fn settle_attributes(
    store: &dyn Store,
    account: &Id,
    set: &mut ChangeSet,
) -> Result<(), DirectoryError> {
    let keys = set.attribute_keys();
    if !keys.is_empty() {
        set.settle_attributes(store.attributes(account, &keys).await?);
    }
    Ok(())
}

/// Plans off the async workers, and proves that what would be stored can be loaded: a write that
/// would take the account out of service is refused before it is made. What the account becomes is
/// handed to `made`, where it may take its time.
pub(super) async fn plan<T: Send + 'static>(
    store: &dyn Store,
    graphs: &GraphCache,
    account: &Id,
    (intent, acting): (Arc<dyn Intent>, Option<Acting>),
    present: Option<Arc<ReadGraph>>,
    made: impl FnOnce(AccountGraph) -> T + Copy + Send + 'static,
) -> Result<Plan<T>, DirectoryError> {
    let exists = present.is_some();
    let graph = present.map(|present| present.graph.clone());
    let stepped = plan_in_steps(graphs, account, (intent, acting), graph, made).await?;
    let Plan {
        mut set,
        ceiling,
        made: next,
    } = stepped;
    let made = match next {
        Ok(made) => made,
        Err(error) if !exists => return Err(DirectoryError::Unusable(error)),
        // What can't be applied in steps, e.g. a catalog that brings back a type of stored
        // resources, may still load.
        Err(_) => prove_by_loading(store, graphs, account, &set, made).await?,
    };
    settle_attributes(store, account, &mut set).await?;
    Ok(Plan { set, ceiling, made })
}

/// Plans off the async workers, and says what the graph becomes by the plan where that can be told
/// of the graph alone.
pub(super) async fn plan_in_steps<T: Send + 'static>(
    graphs: &GraphCache,
    account: &Id,
    (intent, acting): (Arc<dyn Intent>, Option<Acting>),
    graph: Option<AccountGraph>,
    made: impl FnOnce(AccountGraph) -> T + Send + 'static,
) -> Result<Plan<Result<T, GraphError>>, DirectoryError> {
    let of = account.clone();
    let work = move || {
        let (set, ceiling) = plan_on(&of, intent.as_ref(), acting.as_ref(), graph.as_ref())?;
        let next = match &graph {
            Some(graph) => graph.apply(&set.changes),
            None => built_of(&set.changes, BTreeMap::new()),
        };
        Ok::<_, DirectoryError>(Plan {
            set,
            ceiling,
            made: next.map(made),
        })
    };
    graphs.compute(account, work).await?
}

fn plan_on(
    account: &Id,
    intent: &dyn Intent,
    acting: Option<&Acting>,
    graph: Option<&AccountGraph>,
) -> Result<(ChangeSet, CeilingReport), DirectoryError> {
    let planned = intent.changes(graph).and_then(|changes| {
        let mut set = change::plan(account, graph, &changes)?;
        let ceiling = match acting {
            Some(Acting { actor, now }) => {
                on_behalf::judge(graph, actor, &changes, &mut set, *now)?
            }
            None => CeilingReport::default(),
        };
        Ok((set, ceiling))
    });
    planned.map_err(|error| match error.problem {
        ChangeProblem::NoAccount => ReadError::UnknownAccount(account.clone()).into(),
        ChangeProblem::Dangling { .. }
        | ChangeProblem::Invalid(_)
        | ChangeProblem::TeamCycle(_)
        | ChangeProblem::NotEntitled(_)
        | ChangeProblem::LastSuperAdmin
        | ChangeProblem::Forbidden(_)
        | ChangeProblem::Refused(_)
        | ChangeProblem::TooMany { .. } => DirectoryError::Change(error),
    })
}

/// Builds the graph as a load after the write would. An account that changes meanwhile makes the
/// write itself meet a conflict.
async fn prove_by_loading<T: Send + 'static>(
    store: &dyn Store,
    graphs: &GraphCache,
    account: &Id,
    set: &ChangeSet,
    made: impl FnOnce(AccountGraph) -> T + Send + 'static,
) -> Result<T, DirectoryError> {
    let Some(mut snapshot) = store.snapshot(account, false).await? else {
        return Err(ReadError::UnknownAccount(account.clone()).into());
    };
    let mut stored = BTreeMap::new();
    while let Some(chunk) = snapshot.chunks.recv().await {
        stored.extend(
            chunk?
                .into_entities()
                .into_iter()
                .map(|entity| (entity.key(), entity)),
        );
    }
    let changes = set.changes.clone();
    graphs
        .compute(account, move || built_of(&changes, stored).map(made))
        .await?
        .map_err(DirectoryError::Unusable)
}

fn built_of(
    changes: &[EntityChange],
    mut stored: BTreeMap<EntityKey, Entity>,
) -> Result<AccountGraph, GraphError> {
    for change in changes {
        match change {
            EntityChange::Put(entity) => stored.insert(entity.key(), entity.clone()),
            EntityChange::Delete(key) => stored.remove(key),
        };
    }
    let mut builder = GraphBuilder::default();
    for entity in stored.into_values() {
        builder.push(entity);
    }
    builder.finish()
}
