//! From a request to what is to be stored, with the proof that it can be loaded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{DirectoryError, Intent, IntentWrite, Planned, Planning};
use crate::authz::change::{self, ChangeLine, ChangeProblem, ChangeSet};
use crate::authz::graph::{AccountGraph, GraphBuilder, GraphError};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id};
use crate::graph_cache::{GraphCache, ReadError, ReadGraph};
use crate::store::Store;

/// Plans the changes that an intent makes of an account.
pub(super) struct PlanIntent<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) graphs: &'a GraphCache,
    pub(super) request: &'a IntentWrite,
}

#[async_trait]
impl Planning for PlanIntent<'_> {
    type Told = Vec<ChangeLine>;
    type Error = DirectoryError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Vec<ChangeLine>>, DirectoryError> {
        let intent = Arc::clone(&self.request.intent);
        let PlanIntent {
            store,
            graphs,
            request,
        } = self;
        let (set, ()) = plan(*store, graphs, &request.account, intent, present, drop).await?;
        Ok(Planned {
            changes: set.changes,
            events: Vec::new(),
            answer: None,
            batch: None,
            remembered: true,
            stored: !self.request.dry_run,
            told: set.summary,
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
    intent: Arc<dyn Intent>,
    present: Option<Arc<ReadGraph>>,
    made: impl FnOnce(AccountGraph) -> T + Copy + Send + 'static,
) -> Result<(ChangeSet, T), DirectoryError> {
    let exists = present.is_some();
    let graph = present.map(|present| present.graph.clone());
    let (mut set, next) = plan_in_steps(graphs, account, intent, graph, made).await?;
    let made = match next {
        Ok(made) => made,
        Err(error) if !exists => return Err(DirectoryError::Unusable(error)),
        // What can't be applied in steps, e.g. a catalog that brings back a type of stored
        // resources, may still load.
        Err(_) => prove_by_loading(store, graphs, account, &set, made).await?,
    };
    settle_attributes(store, account, &mut set).await?;
    Ok((set, made))
}

/// Plans off the async workers, and says what the graph becomes by the plan where that can be told
/// of the graph alone.
pub(super) async fn plan_in_steps<T: Send + 'static>(
    graphs: &GraphCache,
    account: &Id,
    intent: Arc<dyn Intent>,
    graph: Option<AccountGraph>,
    made: impl FnOnce(AccountGraph) -> T + Send + 'static,
) -> Result<(ChangeSet, Result<T, GraphError>), DirectoryError> {
    let of = account.clone();
    let work = move || {
        let set = plan_on(&of, intent.as_ref(), graph.as_ref())?;
        let next = match &graph {
            Some(graph) => graph.apply(&set.changes),
            None => built_of(&set.changes, BTreeMap::new()),
        };
        Ok::<_, DirectoryError>((set, next.map(made)))
    };
    graphs.compute(account, work).await?
}

fn plan_on(
    account: &Id,
    intent: &dyn Intent,
    graph: Option<&AccountGraph>,
) -> Result<ChangeSet, DirectoryError> {
    let planned = intent
        .changes(graph)
        .and_then(|changes| change::plan(account, graph, &changes));
    planned.map_err(|error| match error.problem {
        ChangeProblem::NoAccount => ReadError::UnknownAccount(account.clone()).into(),
        ChangeProblem::Dangling { .. }
        | ChangeProblem::Invalid(_)
        | ChangeProblem::TeamCycle(_)
        | ChangeProblem::NotEntitled(_)
        | ChangeProblem::LastSuperAdmin
        | ChangeProblem::Forbidden(_)
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
