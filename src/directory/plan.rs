//! From a request to what is to be stored, with the proof that it can be loaded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DirectoryError, Intent, IntentWrite};
use crate::authz::change::{self, ChangeProblem, ChangeSet};
use crate::authz::graph::{AccountGraph, GraphBuilder, GraphError};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id};
use crate::graph_cache::{ReadError, ReadGraph, off_worker};
use crate::store::{Head, Store};

/// A planned write: what to store, and on top of what.
pub(super) struct Planned {
    pub(super) expected: Option<Head>,
    pub(super) set: ChangeSet,
}

/// Plans off the async workers, and proves that what would be stored can be loaded: a write that
/// would take the account out of service is refused before it is made.
pub(super) async fn plan(
    store: &dyn Store,
    request: &IntentWrite,
    present: Option<Arc<ReadGraph>>,
) -> Result<Planned, DirectoryError> {
    let expected = present.as_ref().map(|present| present.head);
    let account = request.account.clone();
    let intent = Arc::clone(&request.intent);
    let (set, next) = off_worker(move || {
        let graph = present.as_ref().map(|present| &present.graph);
        let set = plan_on(&account, intent.as_ref(), graph)?;
        let next = match graph {
            Some(graph) => graph.apply(&set.changes),
            None => built_of(&set.changes, BTreeMap::new()),
        };
        Ok::<_, DirectoryError>((set, next.map(drop)))
    })
    .await??;
    match (next, expected) {
        (Ok(()), _) => {}
        (Err(error), None) => return Err(DirectoryError::Unusable(error)),
        // What can't be applied in steps, e.g. a catalog that brings back a type of stored
        // resources, may still load.
        (Err(_), Some(_)) => prove_by_loading(store, &request.account, &set).await?,
    }
    Ok(Planned { expected, set })
}

fn plan_on(
    account: &Id,
    intent: &dyn Intent,
    graph: Option<&AccountGraph>,
) -> Result<ChangeSet, DirectoryError> {
    let changes = intent.changes(graph);
    change::plan(account, graph, &changes).map_err(|error| match error.problem {
        ChangeProblem::NoAccount => ReadError::UnknownAccount(account.clone()).into(),
        ChangeProblem::Dangling { .. }
        | ChangeProblem::Invalid(_)
        | ChangeProblem::TeamCycle(_)
        | ChangeProblem::NotEntitled(_)
        | ChangeProblem::LastSuperAdmin
        | ChangeProblem::TooMany { .. } => DirectoryError::Change(error),
    })
}

/// Builds the graph as a load after the write would. An account that changes meanwhile makes the
/// write itself meet a conflict.
async fn prove_by_loading(
    store: &dyn Store,
    account: &Id,
    set: &ChangeSet,
) -> Result<(), DirectoryError> {
    let Some(mut snapshot) = store.snapshot(account, false).await? else {
        return Err(ReadError::UnknownAccount(account.clone()).into());
    };
    let mut stored = BTreeMap::new();
    while let Some(chunk) = snapshot.chunks.recv().await {
        stored.extend(chunk?.into_iter().map(|entity| (entity.key(), entity)));
    }
    let changes = set.changes.clone();
    off_worker(move || built_of(&changes, stored).map(drop))
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
