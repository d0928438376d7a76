//! Records compared with what rules say of them, a page at a time: nothing is held but the snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use super::{SegmentError, Segments};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, ResourceKey};
use crate::authz::segment::{Different, Rules, Settled, run};
use crate::graph_cache::ReadGraph;

/// Records that are compared at a time.
pub(super) const PAGE: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) records: u64,
    pub(super) settled: Settled,
    pub(super) different: Vec<Different>,
}

impl Segments {
    /// Compares records with what the rules of the snapshot say of their attributes. Those are read
    /// of the store as it is now, so of a record that was written meanwhile a difference may be told
    /// that is none, or none where there is one by now: whoever writes compares again, and whoever
    /// wrote that record has looked at it.
    pub(super) async fn compare(
        &self,
        account: &Id,
        read: &Arc<ReadGraph>,
        rules: &Rules,
        keys: Vec<ResourceKey>,
    ) -> Result<Compared, SegmentError> {
        let attributes = self.store.attributes(account, &keys).await?;
        let (read, rules) = (Arc::clone(read), rules.clone());
        let compare = move || {
            let attributes: HashMap<_, _> = attributes.into_iter().collect();
            let outcome = run(&read.graph, &rules, &keys, &attributes);
            Compared {
                different: outcome.different(&read.graph),
                records: outcome.records,
                settled: outcome.settled,
            }
        };
        Ok(self.directory.graphs().compute(account, compare).await?)
    }
}

/// The next records of a type in byte order of ids; `None`: there are no more.
pub(super) fn page(
    graph: &AccountGraph,
    resource_type: &Id,
    after: Option<&Id>,
) -> Option<Vec<ResourceKey>> {
    let ids = graph.resource_page(resource_type.as_str(), after.map(Id::as_str), PAGE);
    let key = |id| ResourceKey {
        resource_type: resource_type.clone(),
        id,
    };
    (!ids.is_empty()).then(|| ids.into_iter().map(key).collect())
}
