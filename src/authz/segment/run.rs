//! Rules run over records that are there: what of their rows is not as a fresh evaluation has it.

use std::collections::HashMap;
use std::sync::Arc;

use super::rule::{Rule, Settled, Standing, settle};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Attributes, Id, Provenance, Resource, ResourceKey};

/// Which rules are run.
#[derive(Debug, Clone)]
pub enum Rules {
    /// All that the account has, each on its type.
    All,
    /// One of the account, which may be gone: then its rows go.
    Segment(Id),
}

/// What running rules over records came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The records whose rows are not as the rules say, as they are to be.
    pub changed: Vec<Resource>,
    pub settled: Settled,
    /// Records that are there.
    pub records: u64,
}

/// A record whose rows are not as the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Different {
    pub key: ResourceKey,
    /// Rows come, and rows go.
    pub gains: bool,
    pub loses: bool,
}

impl Outcome {
    /// How the changed records differ from those of the graph that the rules were run on.
    pub fn different(&self, graph: &AccountGraph) -> Vec<Different> {
        let different = self.changed.iter().filter_map(|after| {
            let before = graph.resource(&after.key)?;
            Some(Different {
                gains: !after.assignments.is_subset(&before.assignments),
                loses: !before.assignments.is_subset(&after.assignments),
                key: after.key.clone(),
            })
        });
        different.collect()
    }
}

/// Runs rules over records. `attributes` has those of the records that have any.
pub fn run(
    graph: &AccountGraph,
    rules: &Rules,
    keys: &[ResourceKey],
    attributes: &HashMap<ResourceKey, Attributes>,
) -> Outcome {
    let none = Attributes::new();
    let mut outcome = Outcome::default();
    for key in keys {
        let Some(mut resource) = graph.resource(key) else {
            continue;
        };
        outcome.records += 1;
        let standing = Standing {
            may_be_partitioned: graph.may_be_partitioned(&key.resource_type),
            is_new: false,
        };
        let attributes = attributes.get(key).unwrap_or(&none);
        let mut settled = Settled::default();
        let mut ask = |rule: &Rule| settled.add(settle(rule, &mut resource, attributes, standing));
        match rules {
            Rules::All => {
                let (closing, others) = closing_first(graph.rules());
                closing.chain(others).for_each(|rule| ask(rule));
            }
            Rules::Segment(id) => match graph.rule(id.as_str()) {
                Some(rule) => ask(rule),
                None => settled.add(let_go(id, &mut resource)),
            },
        }
        outcome.settled.add(settled);
        if settled.is_changed() {
            outcome.changed.push(resource);
        }
    }
    outcome
}

/// Rules in the order in which they come to a record: first those that may close it, since what
/// others may do depends on it (P1).
pub fn closing_first<'r>(
    rules: impl Iterator<Item = &'r Arc<Rule>> + Clone,
) -> (
    impl Iterator<Item = &'r Arc<Rule>>,
    impl Iterator<Item = &'r Arc<Rule>>,
) {
    let closing = rules.clone().filter(|rule| rule.segment().may_partition);
    let others = rules.filter(|rule| !rule.segment().may_partition);
    (closing, others)
}

/// P7: the rows of a rule that is gone go, and no others.
fn let_go(segment: &Id, resource: &mut Resource) -> Settled {
    let own = Provenance::Segment(segment.clone());
    let before = resource.assignments.len();
    resource.assignments.retain(|row| row.provenance != own);
    Settled {
        removed: u64::try_from(before - resource.assignments.len()).unwrap_or(u64::MAX),
        ..Settled::default()
    }
}

/// The records, other than those of its type, that have rows of a segment which it can't have any
/// more: of another type, or, where the rule is gone or does not run, any.
pub fn strays(graph: &AccountGraph, segment: &Id) -> Vec<ResourceKey> {
    let runs_on = graph
        .rule(segment.as_str())
        .filter(|rule| rule.is_running())
        .map(|rule| &rule.segment().resource_type);
    let mut keys = graph.resources_of_segment(segment.as_str());
    keys.retain(|key| runs_on != Some(&key.resource_type));
    keys
}
