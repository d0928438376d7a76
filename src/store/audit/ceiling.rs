//! What the grant ceiling made of a write, in its record (D3, D5): the rights that were kept and
//! withheld, the first of each, and how many there were.

use serde::{Deserialize, Serialize};

use super::StoredEntity;
use crate::authz::ceiling::{Note, Subject};
use crate::authz::model::{Id, Level, PermissionKey, ResourceKey, Timestamp};
use crate::authz::on_behalf::{CeilingReport, Noted};
use crate::store::StoreError;
use crate::store::change_keys::entity_key;
use crate::store::rows::not_json;

/// Rights of each kind that a record names at most; it counts all of them.
pub const NOTED_MAX: usize = 50;

/// Kept and withheld, as a record has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditedCeiling {
    /// The first [`NOTED_MAX`] that were to go and stay.
    pub kept: Vec<Noted>,
    /// The first [`NOTED_MAX`] that were wanted and not given whole.
    pub withheld: Vec<Noted>,
    pub kept_total: u64,
    pub withheld_total: u64,
}

impl AuditedCeiling {
    /// `None` where nothing was kept and nothing withheld.
    pub fn of(report: &CeilingReport) -> Option<Self> {
        let first = |noted: &[Noted]| noted.iter().take(NOTED_MAX).cloned().collect();
        let total = |noted: &[Noted]| u64::try_from(noted.len()).unwrap_or(u64::MAX);
        (!report.is_empty()).then(|| Self {
            kept: first(&report.kept),
            withheld: first(&report.withheld),
            kept_total: total(&report.kept),
            withheld_total: total(&report.withheld),
        })
    }

    pub(in crate::store) fn to_json(&self) -> Result<serde_json::Value, StoreError> {
        let stored = |noted: &[Noted]| noted.iter().map(StoredRight::of).collect();
        let stored = StoredCeiling {
            kept: stored(&self.kept),
            withheld: stored(&self.withheld),
            kept_total: self.kept_total,
            withheld_total: self.withheld_total,
        };
        serde_json::to_value(stored).map_err(not_json)
    }

    /// What is no right of this version is counted, and not named.
    pub(super) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let stored: StoredCeiling = serde_json::from_str(text)?;
        let noted = |rights: &[StoredRight]| rights.iter().filter_map(StoredRight::noted).collect();
        Ok(Self {
            kept: noted(&stored.kept),
            withheld: noted(&stored.withheld),
            kept_total: stored.kept_total,
            withheld_total: stored.withheld_total,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredCeiling {
    kept: Vec<StoredRight>,
    withheld: Vec<StoredRight>,
    kept_total: u64,
    withheld_total: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredRight {
    of: StoredEntity,
    what: StoredSubject,
    /// In microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredSubject {
    Permission {
        t: String,
        permission: String,
        level: String,
        unassigned: bool,
    },
    Object {
        t: String,
        i: String,
        action: String,
    },
    Role(String),
}

impl StoredRight {
    fn of(noted: &Noted) -> Self {
        let what = match &noted.note.what {
            Subject::Permission {
                key,
                level,
                include_unassigned,
            } => StoredSubject::Permission {
                t: key.resource_type.to_string(),
                permission: key.permission.to_string(),
                level: level.to_string(),
                unassigned: *include_unassigned,
            },
            Subject::Object { resource, action } => StoredSubject::Object {
                t: resource.resource_type.to_string(),
                i: resource.id.to_string(),
                action: action.to_string(),
            },
            Subject::Role(role) => StoredSubject::Role((*role).to_owned()),
        };
        Self {
            of: StoredEntity::of(&noted.of, false),
            what,
            until: noted.note.expires_at.map(Timestamp::unix_micros),
            set: noted.note.permission_set.as_ref().map(Id::to_string),
        }
    }

    fn noted(&self) -> Option<Noted> {
        let id = |text: &str| Id::parse(text).ok();
        let what = match &self.what {
            StoredSubject::Permission {
                t,
                permission,
                level,
                unassigned,
            } => Subject::Permission {
                key: PermissionKey {
                    resource_type: id(t)?,
                    permission: id(permission)?,
                },
                level: Level::from_word(level)?,
                include_unassigned: *unassigned,
            },
            StoredSubject::Object { t, i, action } => Subject::Object {
                resource: ResourceKey {
                    resource_type: id(t)?,
                    id: id(i)?,
                },
                action: id(action)?,
            },
            StoredSubject::Role(role) => Subject::Role(
                ["super_admin", "account_owner", "partner_admin"]
                    .into_iter()
                    .find(|known| known == role)?,
            ),
        };
        Some(Noted {
            of: entity_key(&self.of.k, &self.of.t, &self.of.i).ok()?,
            note: Note {
                what,
                expires_at: match self.until {
                    Some(micros) => Some(Timestamp::from_unix_micros(micros)?),
                    None => None,
                },
                permission_set: match &self.set {
                    Some(set) => Some(id(set)?),
                    None => None,
                },
            },
        })
    }
}
