//! Resources and their assignments, and the sticky partition (3.5).

use std::collections::BTreeSet;

use super::super::model::{
    Assignment, Attributes, EntityKey, Id, Principal, Provenance, Resource, ResourceKey, Timestamp,
};
use super::overlay::{Link, Need, entity_of, segment_of};
use super::planner::Planner;
use super::{ASSIGNMENTS_MAX, ATTRIBUTES_BYTES_MAX, ChangeError, OWNERS_MAX, ResourcePatch};

fn bare(key: &ResourceKey) -> Resource {
    Resource {
        key: key.clone(),
        owners: BTreeSet::new(),
        owning_team: None,
        partitioned: false,
        assignments: BTreeSet::new(),
    }
}

impl Planner<'_> {
    pub(super) fn put_resource(&mut self, patch: &ResourcePatch) -> Result<(), ChangeError> {
        self.check_type("resource.type", &patch.key.resource_type)?;
        self.check_resource_patch(patch)?;
        let at = self.overlay.at;
        let slot = self.overlay.resource(&patch.key);
        let contradiction = slot.assigned && patch.partitioned == Some(false);
        if let Some(creator) = &patch.creator
            && !slot.resource.is_there()
        {
            slot.created = Some((at, creator.clone()));
        }
        let resource = slot.resource.put(|| bare(&patch.key));
        if let Some(owners) = &patch.owners {
            resource.owners.clone_from(owners);
        }
        if let Some(owning_team) = &patch.owning_team {
            resource.owning_team.clone_from(owning_team);
        }
        match patch.partitioned {
            None => {}
            Some(true) => {
                if !resource.partitioned {
                    slot.partitioned_by = Some(Need {
                        index: at,
                        field: "resource.partitioned",
                    });
                }
                resource.partitioned = true;
            }
            Some(false) => {
                resource.partitioned = false;
                resource.assignments.clear();
                slot.unpartitioned = true;
            }
        }
        if let Some(attributes) = &patch.attributes {
            slot.attributes = Some(attributes.clone());
        }
        if contradiction {
            return Err(self.contradiction("resource.partitioned", &patch.key));
        }
        let from = EntityKey::Resource(patch.key.clone());
        for owner in patch.owners.iter().flatten() {
            let owner = EntityKey::User(owner.clone());
            self.overlay.claim(Link::Owner, &from, owner);
        }
        if let Some(Some(team)) = &patch.owning_team {
            let team = EntityKey::Team(team.clone());
            self.overlay.claim(Link::OwningTeam, &from, team);
        }
        Ok(())
    }

    pub(super) fn delete_resource(&mut self, key: &ResourceKey) {
        let slot = self.overlay.resource(key);
        slot.resource.remove();
        slot.created = None;
        // Created again by a later change, it doesn't find its old attributes.
        slot.attributes = Some(Attributes::new());
        self.forget(&EntityKey::Resource(key.clone()), None);
    }

    /// The first assignment partitions the resource, in share mode too (3.5).
    pub(super) fn put_assignment(
        &mut self,
        key: &ResourceKey,
        principal: &Principal,
        provenance: &Provenance,
        expires_at: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        self.check_type("assignment.resource", &key.resource_type)?;
        let by = Need {
            index: self.overlay.at,
            field: "assignment.principal",
        };
        let slot = self.overlay.resource(key);
        if slot.unpartitioned {
            return Err(self.contradiction("assignment.resource", key));
        }
        slot.assigned = true;
        let resource = slot
            .resource
            .part(by.index, "assignment.resource", || bare(key));
        resource.assignments.retain(|assignment| {
            assignment.principal != *principal || assignment.provenance != *provenance
        });
        resource.assignments.insert(Assignment {
            principal: principal.clone(),
            provenance: provenance.clone(),
            expires_at,
        });
        let count = resource.assignments.len();
        if !resource.partitioned {
            slot.partitioned_by = Some(by);
        }
        resource.partitioned = true;
        self.overlay.within(
            count,
            ASSIGNMENTS_MAX,
            "assignment.resource",
            "assignments of one resource",
        )?;
        let from = EntityKey::Resource(key.clone());
        self.overlay
            .claim(Link::Assignment, &from, entity_of(principal));
        if let Some(segment) = segment_of(provenance) {
            self.overlay.refer(&from, segment);
        }
        Ok(())
    }

    /// Sticky: the last one gone leaves the resource partitioned (3.5).
    pub(super) fn delete_assignment(
        &mut self,
        key: &ResourceKey,
        principal: &Principal,
        provenance: &Provenance,
    ) {
        let at = self.overlay.at;
        let slot = self.overlay.resource(key);
        let resource = slot
            .resource
            .part(at, "delete_assignment.resource", || bare(key));
        resource.assignments.retain(|assignment| {
            assignment.principal != *principal || assignment.provenance != *provenance
        });
    }

    fn check_type(&self, field: &str, resource_type: &Id) -> Result<(), ChangeError> {
        if self.terms.catalog.type_ix(resource_type.as_str()).is_none() {
            return Err(self.overlay.invalid(
                field,
                format!("the catalog has no resource type `{resource_type}`"),
            ));
        }
        Ok(())
    }

    fn check_resource_patch(&self, patch: &ResourcePatch) -> Result<(), ChangeError> {
        self.overlay.within(
            patch.owners.as_ref().map_or(0, BTreeSet::len),
            OWNERS_MAX,
            "resource.owners",
            "owners of one resource",
        )?;
        let Some(attributes) = &patch.attributes else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(attributes).map_or(usize::MAX, |json| json.len());
        self.overlay.within(
            bytes,
            ATTRIBUTES_BYTES_MAX,
            "resource.attributes",
            "bytes of attributes of one resource",
        )
    }

    fn contradiction(&self, field: &str, key: &ResourceKey) -> ChangeError {
        self.overlay.invalid(
            field,
            format!(
                "`{key}` is both unpartitioned and assigned by these changes; leave out `partitioned: false` or the assignments"
            ),
        )
    }
}
