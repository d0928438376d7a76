//! The keys that a change log holds, whatever store keeps it.

use std::collections::BTreeSet;

use super::StoreError;
use super::rows::inconsistent;
use crate::authz::model::{Entity, EntityChange, EntityKey, Id, ResourceKey};

/// More keys than this are read faster by a fresh load.
pub(super) const KEYS_MAX: usize = 50_000;

/// The key in a row of the log. The kind `reload` is none.
pub(super) fn entity_key(
    kind: &str,
    resource_type: &str,
    id: &str,
) -> Result<EntityKey, StoreError> {
    let parse = |text, column| {
        Id::parse(text).map_err(|error| inconsistent("change_log", column, id, error))
    };
    Ok(match kind {
        "account" => EntityKey::Account,
        "team" => EntityKey::Team(parse(id, "id")?),
        "permission_set" => EntityKey::PermissionSet(parse(id, "id")?),
        "user" => EntityKey::User(parse(id, "id")?),
        "access_group" => EntityKey::AccessGroup(parse(id, "id")?),
        "segment" => EntityKey::Segment(parse(id, "id")?),
        "access_request" => EntityKey::AccessRequest(parse(id, "id")?),
        "resource" => EntityKey::Resource(ResourceKey {
            resource_type: parse(resource_type, "resource_type")?,
            id: parse(id, "id")?,
        }),
        other => {
            return Err(inconsistent(
                "change_log",
                "kind",
                id,
                format!("`{other}` is no kind of entity"),
            ));
        }
    })
}

/// Deletions last, so that nothing in between refers to what is gone.
pub(super) fn puts_then_deletes(present: Vec<Entity>, keys: &[EntityKey]) -> Vec<EntityChange> {
    let mut gone: BTreeSet<&EntityKey> = keys.iter().collect();
    for entity in &present {
        gone.remove(&entity.key());
    }
    let deletes: Vec<EntityChange> = gone
        .into_iter()
        .map(|key| EntityChange::Delete(key.clone()))
        .collect();
    present
        .into_iter()
        .map(EntityChange::Put)
        .chain(deletes)
        .collect()
}
