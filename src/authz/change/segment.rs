//! Segments, and what they make of the records of a list of changes (P5, P6).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::graph::AccountGraph;
use super::super::model::{Attributes, EntityKey, Id, ResourceKey, Segment};
use super::super::segment::{Expression, Rule, Standing, closing_first, settle};
use super::overlay::{Link, Overlay, ResourceSlot, Slot, entity_of};
use super::planner::Planner;
use super::{ChangeError, SEGMENT_TARGETS_MAX, SegmentPatch};

impl Planner<'_> {
    pub(super) fn put_segment(&mut self, patch: &SegmentPatch) -> Result<(), ChangeError> {
        let stored = self.overlay.segment(&patch.id).get().cloned();
        let segment = self.patched_segment(stored, patch)?;
        if self
            .terms
            .catalog
            .type_ix(segment.resource_type.as_str())
            .is_none()
        {
            return Err(self.overlay.invalid(
                "segment.type",
                format!(
                    "the catalog has no resource type `{}`",
                    segment.resource_type
                ),
            ));
        }
        if patch.when.is_some() {
            Expression::parse(&segment.when)
                .map_err(|error| self.overlay.invalid("segment.when", error.to_string()))?;
        }
        self.overlay.within(
            segment.assign_to.len(),
            SEGMENT_TARGETS_MAX,
            "segment.assign_to",
            "targets of one segment",
        )?;
        if segment.enabled && segment.assign_to.is_empty() {
            return Err(self.overlay.invalid(
                "segment.assign_to",
                "an enabled segment needs a target; name one, or disable it (P5)",
            ));
        }
        let from = EntityKey::Segment(patch.id.clone());
        for target in patch.assign_to.iter().flatten() {
            self.overlay.claim(Link::Target, &from, entity_of(target));
        }
        self.overlay.segment(&patch.id).set(segment);
        Ok(())
    }

    fn patched_segment(
        &self,
        stored: Option<Segment>,
        patch: &SegmentPatch,
    ) -> Result<Segment, ChangeError> {
        let needed = |field: &str| {
            self.overlay.invalid(
                field,
                "a new segment needs a type, an expression and targets",
            )
        };
        let mut segment = match stored {
            Some(segment) => segment,
            None => Segment {
                id: patch.id.clone(),
                resource_type: patch
                    .resource_type
                    .clone()
                    .ok_or_else(|| needed("segment.type"))?,
                when: patch.when.clone().ok_or_else(|| needed("segment.when"))?,
                assign_to: BTreeSet::new(),
                enabled: true,
                may_partition: true,
            },
        };
        if let Some(resource_type) = &patch.resource_type {
            segment.resource_type.clone_from(resource_type);
        }
        if let Some(when) = &patch.when {
            segment.when.clone_from(when);
        }
        if let Some(assign_to) = &patch.assign_to {
            segment.assign_to.clone_from(assign_to);
        }
        if let Some(enabled) = patch.enabled {
            segment.enabled = enabled;
        }
        if let Some(may_partition) = patch.may_partition {
            segment.may_partition = may_partition;
        }
        Ok(segment)
    }

    /// P7: the rows that the rule made go with it; the rows of others stay.
    pub(super) fn delete_segment(&mut self, id: &Id) {
        self.overlay.segment(id).remove();
        self.forget(&EntityKey::Segment(id.clone()), None);
    }

    /// P6: the rows of segments change with the attributes that they speak of, by the rules as they
    /// stand after the list. What is there already and is given no attributes by the list is not
    /// looked at: the graph has none, and a rule that changed is run on it in the background.
    pub(super) fn run_segments(&mut self) {
        let graph = self.overlay.graph;
        let asked: Vec<ResourceKey> = self
            .overlay
            .resources
            .iter()
            .filter(|(key, slot)| asked_attributes(graph, key, slot).is_some())
            .map(|(key, _)| key.clone())
            .collect();
        if asked.is_empty() {
            return;
        }
        let rules = rules_after(&self.overlay);
        for key in asked {
            let standing = Standing {
                may_be_partitioned: self.terms.may_be_partitioned(&key.resource_type),
                is_new: graph.is_none_or(|graph| graph.resource(&key).is_none()),
            };
            let Some(slot) = self.overlay.resources.get_mut(&key) else {
                continue;
            };
            let Some(attributes) = asked_attributes(graph, &key, slot) else {
                continue;
            };
            let attributes = attributes.into_owned();
            let Some(resource) = slot.resource.get_mut() else {
                continue;
            };
            let (closing, others) = closing_first(rules.iter());
            for rule in closing.chain(others) {
                settle(rule, resource, &attributes, standing);
            }
        }
    }
}

/// What the list says of a record's attributes; `None`: nothing, or the record isn't there.
fn asked_attributes<'s>(
    graph: Option<&AccountGraph>,
    key: &ResourceKey,
    slot: &'s ResourceSlot,
) -> Option<Cow<'s, Attributes>> {
    if !slot.resource.is_there() {
        return None;
    }
    match &slot.attributes {
        Some(attributes) => Some(Cow::Borrowed(attributes)),
        // A new record without any.
        None => graph
            .is_none_or(|graph| graph.resource(key).is_none())
            .then(|| Cow::Owned(Attributes::new())),
    }
}

/// The rules that stand after the list, those of deleted segments left out.
fn rules_after(overlay: &Overlay<'_>) -> Vec<Arc<Rule>> {
    let touched = &overlay.segments;
    let stored = overlay.graph.into_iter().flat_map(AccountGraph::rules);
    let kept = stored.filter(|rule| !touched.contains_key(rule.id()));
    let new = touched.values().filter_map(Slot::get).cloned();
    kept.cloned()
        .chain(new.map(|segment| Arc::new(Rule::new(segment))))
        .collect()
}
