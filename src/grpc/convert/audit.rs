//! Records of the audit on the wire.

use super::{Path, audited_ceiling_to_wire, entity_key_to_wire, id, known, timestamp_to_wire};
use crate::authz::model::{EntityKey, ResourceKey};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::store::audit::{AuditEffect, AuditKind, AuditOrder, AuditRecord, AuditedEntity};

pub fn audit_record_to_wire(record: &AuditRecord) -> wire::AuditRecord {
    let AuditRecord {
        ordinal,
        revision,
        effect,
        at,
        caller,
        actor,
        method,
        idempotency_key,
        request_id,
        entities,
        forms,
        counts,
        is_partial,
        ceiling,
    } = record;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    wire::AuditRecord {
        ordinal: *ordinal,
        revision_number: *revision,
        effect: effect_to_wire(*effect).into(),
        at: Some(timestamp_to_wire(*at)),
        caller: text(caller),
        actor_user_id: text(actor),
        method: text(method),
        idempotency_key: text(idempotency_key),
        request_id: text(request_id),
        entities: entities.iter().map(entity_to_wire).collect(),
        counts: counts.clone(),
        partial: *is_partial,
        forms: forms
            .iter()
            .map(|form| wire::AuditedForm {
                id: form.id.to_string(),
                deleted: form.is_deleted,
            })
            .collect(),
        ceiling: ceiling.as_ref().map(audited_ceiling_to_wire),
    }
}

fn entity_to_wire(entity: &AuditedEntity) -> wire::AuditedEntity {
    wire::AuditedEntity {
        key: Some(entity_key_to_wire(&entity.key)),
        deleted: entity.is_deleted,
    }
}

fn effect_to_wire(effect: AuditEffect) -> wire::AuditEffect {
    match effect {
        AuditEffect::Created => wire::AuditEffect::Created,
        AuditEffect::Changed => wire::AuditEffect::Changed,
        AuditEffect::Noted => wire::AuditEffect::Noted,
        AuditEffect::Deleted => wire::AuditEffect::Deleted,
    }
}

pub fn audit_order_from_wire(value: i32, path: Path<'_>) -> Result<AuditOrder, Failure> {
    Ok(match known(wire::AuditOrder::try_from(value), path)? {
        wire::AuditOrder::Unspecified | wire::AuditOrder::NewestFirst => AuditOrder::NewestFirst,
        wire::AuditOrder::OldestFirst => AuditOrder::OldestFirst,
    })
}

/// `None`: any kind.
pub fn audit_kind_from_wire(value: i32, path: Path<'_>) -> Result<Option<AuditKind>, Failure> {
    Ok(match known(wire::EntityKind::try_from(value), path)? {
        wire::EntityKind::Unspecified => None,
        wire::EntityKind::Account => Some(AuditKind::Account),
        wire::EntityKind::Team => Some(AuditKind::Team),
        wire::EntityKind::PermissionSet => Some(AuditKind::PermissionSet),
        wire::EntityKind::User => Some(AuditKind::User),
        wire::EntityKind::AccessGroup => Some(AuditKind::AccessGroup),
        wire::EntityKind::Resource => Some(AuditKind::Resource),
        wire::EntityKind::Segment => Some(AuditKind::Segment),
        wire::EntityKind::AccessRequest => Some(AuditKind::AccessRequest),
    })
}

pub fn entity_key_from_wire(key: &wire::EntityKey, path: Path<'_>) -> Result<EntityKey, Failure> {
    let kind = known(wire::EntityKind::try_from(key.kind), path.field("kind"))?;
    let none = |text: &str, field: &str| match text {
        "" => Ok(()),
        _ => Err(Failure::invalid(
            path.field(field),
            "leave it empty: an entity of this kind has none",
        )),
    };
    if kind != wire::EntityKind::Resource {
        none(&key.resource_type, "resource_type")?;
    }
    let id = || id(&key.id, path.field("id"));
    Ok(match kind {
        wire::EntityKind::Unspecified => {
            return Err(Failure::invalid(
                path.field("kind"),
                "name the kind of the entity",
            ));
        }
        wire::EntityKind::Account => {
            none(&key.id, "id")?;
            EntityKey::Account
        }
        wire::EntityKind::Team => EntityKey::Team(id()?),
        wire::EntityKind::PermissionSet => EntityKey::PermissionSet(id()?),
        wire::EntityKind::User => EntityKey::User(id()?),
        wire::EntityKind::AccessGroup => EntityKey::AccessGroup(id()?),
        wire::EntityKind::Resource => EntityKey::Resource(ResourceKey {
            resource_type: super::id(&key.resource_type, path.field("resource_type"))?,
            id: id()?,
        }),
        wire::EntityKind::Segment => EntityKey::Segment(id()?),
        wire::EntityKind::AccessRequest => EntityKey::AccessRequest(id()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Id;

    #[test]
    fn a_key_comes_back_as_it_was_given_and_half_of_one_names_its_field() {
        let of = |text: &str| Id::parse(text).unwrap();
        for key in [
            EntityKey::Account,
            EntityKey::Team(of("eu")),
            EntityKey::PermissionSet(of("rep")),
            EntityKey::User(of("anna")),
            EntityKey::AccessGroup(of("vip")),
            EntityKey::Segment(of("gold")),
            EntityKey::AccessRequest(of("r")),
            EntityKey::Resource(ResourceKey {
                resource_type: of("contact"),
                id: of("c1"),
            }),
        ] {
            let sent = entity_key_to_wire(&key);
            assert_eq!(
                entity_key_from_wire(&sent, Path::root("entity")).unwrap(),
                key
            );
        }
        let user = wire::EntityKind::User.into();
        let account = wire::EntityKind::Account.into();
        let resource = wire::EntityKind::Resource.into();
        for (kind, id, resource_type, field) in [
            (0, "anna", "", "entity.kind"),
            (99, "anna", "", "entity.kind"),
            (user, "", "", "entity.id"),
            (user, "anna", "contact", "entity.resource_type"),
            (account, "acme", "", "entity.id"),
            (resource, "c1", "", "entity.resource_type"),
        ] {
            let key = wire::EntityKey {
                kind,
                id: id.to_owned(),
                resource_type: resource_type.to_owned(),
            };
            let refused = entity_key_from_wire(&key, Path::root("entity")).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some(field), "{key:?}");
        }
    }
}
