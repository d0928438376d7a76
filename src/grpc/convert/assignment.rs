//! Selections of resources, and what is told of a bulk.

use super::{Path, id, optional_id, principal, principal_to_wire};
use crate::authz::assignment::ResourceFilter;
use crate::authz::model::{Attributes, ResourceKey};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::partitions::Selection;
use crate::store::batches::{BatchCounts, BatchEntry};

/// Which resources a bulk is about, from the field `resources`.
pub fn selection(selection: Option<&wire::ResourceSelection>) -> Result<Selection, Failure> {
    use wire::resource_selection::Selection as Wire;
    let path = Path::root("resources");
    let Some(selection) = selection else {
        return Err(Failure::invalid(path, "say which resources"));
    };
    let resource_type = id(&selection.resource_type, path.field("resource_type"))?;
    match &selection.selection {
        None => Err(Failure::invalid(
            path,
            "name the resources by `ids` or by a `filter`",
        )),
        Some(Wire::Ids(ids)) => {
            let of = path.field("ids");
            let list = of.field("ids");
            let keys = ids.ids.iter().enumerate().map(|(index, text)| {
                Ok(ResourceKey {
                    resource_type: resource_type.clone(),
                    id: id(text, list.at(index))?,
                })
            });
            let keys = keys.collect::<Result<Vec<_>, Failure>>()?;
            match keys.is_empty() {
                true => Err(Failure::invalid(list, "name at least one resource")),
                false => Ok(Selection::Keys(keys)),
            }
        }
        Some(Wire::Filter(filter)) => {
            let of = path.field("filter");
            let read = ResourceFilter {
                owner: optional_id(&filter.owner_user_id, of.field("owner_user_id"))?,
                owning_team: optional_id(&filter.owning_team_id, of.field("owning_team_id"))?,
                assigned_to: filter
                    .assigned_to
                    .as_ref()
                    .map(|to| principal(Some(to), of.field("assigned_to")))
                    .transpose()?,
                attributes: match filter.attributes_json.as_str() {
                    "" => Attributes::new(),
                    text => super::change::attributes(text, of.field("attributes_json"))?,
                },
                resource_type,
            };
            if read.is_everything() != filter.everything {
                return Err(Failure::invalid(
                    of,
                    "name a condition, or `everything` alone for all resources of the type",
                ));
            }
            Ok(Selection::Filter(read))
        }
    }
}

pub fn batch_counts_to_wire(counts: BatchCounts) -> wire::BatchCounts {
    wire::BatchCounts {
        changed: counts.changed,
        unchanged: counts.unchanged,
        refused: counts.refused,
        orphaned: counts.orphaned,
    }
}

/// What was refused of a resource, and what is still assigned by rules.
pub fn batch_entry_to_wire(
    entry: &BatchEntry,
) -> (Option<wire::BatchRefusal>, Vec<wire::StillAssigned>) {
    let key = &entry.resource;
    let refusal = entry.refusal.as_ref().map(|refusal| wire::BatchRefusal {
        resource_type: key.resource_type.to_string(),
        resource_id: key.id.to_string(),
        reason: refusal.reason.clone(),
        message: crate::grpc::status::truncated(&refusal.message),
    });
    let still = entry
        .effect
        .iter()
        .flat_map(|effect| &effect.still_assigned)
        .map(|(to, segment)| wire::StillAssigned {
            resource_type: key.resource_type.to_string(),
            resource_id: key.id.to_string(),
            principal: Some(principal_to_wire(to)),
            segment_id: segment.to_string(),
        })
        .collect();
    (refusal, still)
}
