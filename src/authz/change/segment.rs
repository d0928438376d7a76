//! Segments: stored, not run yet; the expression is kept as it is written (P5).

use std::collections::BTreeSet;

use super::super::model::{EntityKey, Id, Segment};
use super::overlay::{Link, entity_of};
use super::planner::Planner;
use super::{ChangeError, SEGMENT_TARGETS_MAX, SEGMENT_WHEN_BYTES_MAX, SegmentPatch};

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
        if segment.when.is_empty() || segment.when.len() > SEGMENT_WHEN_BYTES_MAX {
            return Err(self.overlay.invalid(
                "segment.when",
                format!(
                    "an expression has 1 to {SEGMENT_WHEN_BYTES_MAX} bytes, this one {}",
                    segment.when.len()
                ),
            ));
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
        Ok(segment)
    }

    /// P7: the rows that the rule made go with it; the rows of others stay.
    pub(super) fn delete_segment(&mut self, id: &Id) {
        self.overlay.segment(id).remove();
        self.forget(&EntityKey::Segment(id.clone()), None);
    }
}
