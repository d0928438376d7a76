//! What the grant ceiling kept and withheld, on the wire.

use super::{entity_key_to_wire, level_to_wire, timestamp_to_wire};
use crate::authz::ceiling::{Note, Subject};
use crate::authz::model::EntityKey;
use crate::authz::on_behalf::{CeilingReport, Noted};
use crate::grpc::wire;
use crate::store::audit::AuditedCeiling;
use wire::noted_right::What;

/// Of each list the most that an answer holds.
const NOTED_MAX: usize = 1_000;

/// `None` where nothing was kept and nothing withheld.
pub fn ceiling_to_wire(report: &CeilingReport) -> Option<wire::CeilingReport> {
    let first = |noted: &[Noted]| noted.iter().take(NOTED_MAX).map(noted_to_wire).collect();
    let total = |noted: &[Noted]| u64::try_from(noted.len()).unwrap_or(u64::MAX);
    (!report.is_empty()).then(|| wire::CeilingReport {
        kept: first(&report.kept),
        withheld: first(&report.withheld),
        kept_total: total(&report.kept),
        withheld_total: total(&report.withheld),
    })
}

/// Of a record of the audit.
pub fn audited_ceiling_to_wire(ceiling: &AuditedCeiling) -> wire::CeilingReport {
    wire::CeilingReport {
        kept: ceiling.kept.iter().map(noted_to_wire).collect(),
        withheld: ceiling.withheld.iter().map(noted_to_wire).collect(),
        kept_total: ceiling.kept_total,
        withheld_total: ceiling.withheld_total,
    }
}

pub fn noted_to_wire(noted: &Noted) -> wire::NotedRight {
    note_to_wire(&noted.of, &noted.note)
}

pub fn note_to_wire(of: &EntityKey, note: &Note) -> wire::NotedRight {
    let what = match &note.what {
        Subject::Permission {
            key,
            level,
            include_unassigned,
        } => What::Permission(wire::NotedPermission {
            resource_type: key.resource_type.to_string(),
            permission: key.permission.to_string(),
            level: level_to_wire(*level).into(),
            include_unassigned: *include_unassigned,
        }),
        Subject::Object { resource, action } => What::Object(wire::NotedObject {
            resource_type: resource.resource_type.to_string(),
            resource_id: resource.id.to_string(),
            action: action.to_string(),
        }),
        Subject::Role(role) => What::Role((*role).to_owned()),
    };
    wire::NotedRight {
        of: Some(entity_key_to_wire(of)),
        what: Some(what),
        expires_at: note.expires_at.map(timestamp_to_wire),
        permission_set_id: note
            .permission_set
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}
