//! Who changed what: the author that every write names, and the records that the store keeps of
//! them.
//!
//! A record is written in the transaction that makes the change, so there is none of what was not
//! made, and one of everything that was. It names what changed by keys, never by content: no
//! attributes, no reasons, no notes. It outlives the account.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::change_keys::entity_key;
use super::difference::Wanted;
use super::rows::{inconsistent, not_json};
use crate::authz::model::{EntityKey, Id, Timestamp, worded};
use crate::authz::on_behalf::CeilingReport;

mod ceiling;

pub use ceiling::{AuditedCeiling, NOTED_MAX};

/// Entities that a record names at most; it counts all of them.
pub const ENTITIES_MAX: usize = 50;

/// Records that one call of [`super::Store::audit_records`] looks at.
pub const SCANNED_MAX: u32 = 10_000;

/// Youngest age at which a record may be trimmed; the databases themselves hold to it.
pub const AGE_LEAST_S: u64 = 86_400;

/// Longest name of a caller, and id of a request, that is kept, in bytes.
pub const CALLER_BYTES_MAX: usize = 256;

/// Who makes a write, and by what; and what the grant ceiling of the user in whose name it is done
/// has made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    caller: Option<Arc<str>>,
    actor: Option<Id>,
    ceiling: Option<Arc<AuditedCeiling>>,
    method: &'static str,
    request_id: Option<Arc<str>>,
}

impl Author {
    /// One of whom nothing is known but what they do, e.g. `ApplyChanges`.
    pub const fn anyone(method: &'static str) -> Self {
        Self {
            caller: None,
            actor: None,
            ceiling: None,
            method,
            request_id: None,
        }
    }

    /// A caller with a name, e.g. `token:crm` or `ambit:keeper`; never a credential.
    pub fn named(caller: &str, method: &'static str) -> Self {
        Self {
            caller: Some(shown(caller)),
            ..Self::anyone(method)
        }
    }

    /// The user of the account in whose name it is done.
    #[must_use]
    pub fn for_actor(self, actor: Option<Id>) -> Self {
        Self { actor, ..self }
    }

    /// What the ceiling kept and withheld.
    #[must_use]
    pub fn under(self, ceiling: &CeilingReport) -> Self {
        Self {
            ceiling: AuditedCeiling::of(ceiling).map(Arc::new),
            ..self
        }
    }

    /// The id of the request or of its trace, for who looks into the logs.
    #[must_use]
    pub fn in_request(self, request_id: Option<&str>) -> Self {
        Self {
            request_id: request_id.map(shown),
            ..self
        }
    }

    pub(super) fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    pub fn actor(&self) -> Option<&Id> {
        self.actor.as_ref()
    }

    pub(super) fn ceiling(&self) -> Option<&AuditedCeiling> {
        self.ceiling.as_deref()
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// A text from outside as it is kept: no control characters, and cut where it is too long.
fn shown(text: &str) -> Arc<str> {
    let mut kept = String::new();
    for character in text.chars() {
        let character = if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        };
        if kept.len() + character.len_utf8() > CALLER_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept.into()
}

/// What became of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEffect {
    Created,
    Changed,
    /// Something happened that changed nothing of the account: to an access request, an access link or
    /// a form, or the ceiling left nothing to change.
    Noted,
    Deleted,
}

impl AuditEffect {
    pub const ALL: [Self; 4] = [Self::Created, Self::Changed, Self::Noted, Self::Deleted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Noted => "noted",
            Self::Deleted => "deleted",
        }
    }
}

worded! {
    /// The kinds of entities, as the change log calls them; rare ones first, as a record lists them.
    AuditKind {
        Account = "account",
        Team = "team",
        PermissionSet = "permission_set",
        User = "user",
        AccessGroup = "access_group",
        Segment = "segment",
        AccessRequest = "access_request",
        Resource = "resource",
    }
}

/// One committed change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Grows within an account in the order of the commits, with gaps.
    pub ordinal: u64,
    /// Where the account stood after it; 0: it was gone.
    pub revision: u64,
    pub effect: AuditEffect,
    pub at: Timestamp,
    /// `None`: the server asked nobody who they were.
    pub caller: Option<String>,
    pub actor: Option<String>,
    pub method: Option<String>,
    pub idempotency_key: Option<String>,
    pub request_id: Option<String>,
    /// The first [`ENTITIES_MAX`] of what changed, rare kinds first.
    pub entities: Vec<AuditedEntity>,
    /// The forms that were set up or deleted.
    pub forms: Vec<AuditedForm>,
    /// How many of each kind changed.
    pub counts: BTreeMap<String, u64>,
    /// More changed than is counted.
    pub is_partial: bool,
    /// What the ceiling kept and withheld of it; `None`: nothing.
    pub ceiling: Option<AuditedCeiling>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEntity {
    pub key: EntityKey,
    /// It is gone since; else it was put.
    pub is_deleted: bool,
}

/// A form, which is no entity of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedForm {
    pub id: Id,
    /// It is gone since; else it was set up.
    pub is_deleted: bool,
}

/// Which records are asked for; all that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub caller: Option<String>,
    pub actor: Option<Id>,
    /// Also records that changed more than they count.
    pub kind: Option<AuditKind>,
    /// Also records that changed more of its kind than they name: they may have changed it.
    pub entity: Option<EntityKey>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOrder {
    OldestFirst,
    NewestFirst,
}

/// A step through the records of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditStep {
    pub order: AuditOrder,
    /// Goes on behind the record of this ordinal, in the order.
    pub after: Option<u64>,
    /// Records at most.
    pub limit: u32,
}

impl AuditStep {
    /// The bound of the ordinal that it goes on behind, exclusive.
    pub(super) fn bound(self) -> i64 {
        let number = |ordinal| i64::try_from(ordinal).unwrap_or(i64::MAX);
        match (self.order, self.after) {
            (AuditOrder::OldestFirst, after) => after.map_or(0, number),
            (AuditOrder::NewestFirst, after) => after.map_or(i64::MAX, number),
        }
    }

    /// The comparison with the bound, and the direction, in SQL.
    pub(super) fn sql(self) -> (&'static str, &'static str) {
        match self.order {
            AuditOrder::OldestFirst => (">", "ASC"),
            AuditOrder::NewestFirst => ("<", "DESC"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    pub records: Vec<AuditRecord>,
    /// The ordinal that the next page goes on behind; `None`: there is no more.
    pub next: Option<u64>,
}

impl AuditPage {
    /// From the records that were found, one more than asked for where there are so many, and the
    /// last ordinal that was looked at, where not all were.
    pub(super) fn of(mut records: Vec<AuditRecord>, limit: u32, unseen: Option<i64>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = if records.len() > limit {
            records.truncate(limit);
            records.last().map(|record| record.ordinal)
        } else {
            unseen.and_then(|ordinal| u64::try_from(ordinal).ok())
        };
        Self { records, next }
    }
}

/// What a record says of the changes, as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) entities: String,
    pub(super) counts: String,
    pub(super) is_partial: bool,
}

/// What forms are called in a record.
const FORM: &str = "form";

/// One entity in a record, as it is stored; or a form.
#[derive(Debug, Serialize, Deserialize)]
struct StoredEntity {
    k: String,
    t: String,
    i: String,
    d: bool,
}

impl StoredEntity {
    fn of(key: &EntityKey, is_deleted: bool) -> Self {
        let (kind, resource_type, id) = parts(key);
        Self {
            k: kind.to_owned(),
            t: resource_type.to_owned(),
            i: id.to_owned(),
            d: is_deleted,
        }
    }
}

impl Told {
    /// Of nothing that changed.
    pub(super) fn of_nothing() -> Self {
        Self {
            entities: "[]".to_owned(),
            counts: "{}".to_owned(),
            is_partial: false,
        }
    }

    /// Of one form.
    pub(super) fn of_form(form: &Id, is_deleted: bool) -> Result<Self, StoreError> {
        let named = StoredEntity {
            k: FORM.to_owned(),
            t: String::new(),
            i: form.to_string(),
            d: is_deleted,
        };
        Ok(Self {
            entities: serde_json::to_string(&[named]).map_err(not_json)?,
            counts: serde_json::to_string(&BTreeMap::from([(FORM, 1)])).map_err(not_json)?,
            is_partial: false,
        })
    }

    /// Of entities, rare kinds first, no more of them than a record names, and counts of all.
    pub(super) fn of<'a>(
        first: impl IntoIterator<Item = (&'a EntityKey, bool)>,
        counts: &BTreeMap<String, u64>,
        is_partial: bool,
    ) -> Result<Self, StoreError> {
        let entities: Vec<StoredEntity> = first
            .into_iter()
            .take(ENTITIES_MAX)
            .map(|(key, is_deleted)| StoredEntity::of(key, is_deleted))
            .collect();
        Ok(Self {
            entities: serde_json::to_string(&entities).map_err(not_json)?,
            counts: serde_json::to_string(counts).map_err(not_json)?,
            is_partial,
        })
    }

    /// Of everything that a write names.
    pub(super) fn of_wanted(wanted: &Wanted<'_>, is_partial: bool) -> Result<Self, StoreError> {
        let mut counts = BTreeMap::new();
        let mut keys: Vec<(&EntityKey, bool)> = Vec::with_capacity(wanted.len());
        for (key, entity) in wanted {
            *counts.entry(kind(key).to_string()).or_default() += 1;
            keys.push((key, entity.is_none()));
        }
        keys.sort_by_key(|(key, _)| kind(key));
        Self::of(keys, &counts, is_partial)
    }
}

/// Kind, resource type and id, as the change log has them.
pub(super) fn parts(key: &EntityKey) -> (&'static str, &str, &str) {
    let (resource_type, id) = match key {
        EntityKey::Account => ("", ""),
        EntityKey::Team(id)
        | EntityKey::PermissionSet(id)
        | EntityKey::User(id)
        | EntityKey::AccessGroup(id)
        | EntityKey::Segment(id)
        | EntityKey::AccessRequest(id) => ("", id.as_str()),
        EntityKey::Resource(key) => (key.resource_type.as_str(), key.id.as_str()),
    };
    (kind(key).as_str(), resource_type, id)
}

fn kind(key: &EntityKey) -> AuditKind {
    match key {
        EntityKey::Account => AuditKind::Account,
        EntityKey::Team(_) => AuditKind::Team,
        EntityKey::PermissionSet(_) => AuditKind::PermissionSet,
        EntityKey::User(_) => AuditKind::User,
        EntityKey::AccessGroup(_) => AuditKind::AccessGroup,
        EntityKey::Segment(_) => AuditKind::Segment,
        EntityKey::AccessRequest(_) => AuditKind::AccessRequest,
        EntityKey::Resource(_) => AuditKind::Resource,
    }
}

/// The columns of a record, as a database answers them.
pub(super) struct AuditColumns<'a> {
    pub(super) ordinal: i64,
    pub(super) revision: i64,
    pub(super) effect: &'a str,
    pub(super) at: i64,
    pub(super) caller: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) method: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) entities: &'a str,
    pub(super) counts: &'a str,
    pub(super) is_partial: bool,
    pub(super) ceiling: Option<&'a str>,
}

impl AuditColumns<'_> {
    pub(super) fn record(self) -> Result<AuditRecord, StoreError> {
        let row = self.ordinal.to_string();
        let wrong =
            |column, problem: &str| inconsistent("audit_record", column, row.clone(), problem);
        let number = |column, value| u64::try_from(value).map_err(|_| wrong(column, "negative"));
        let stored: Vec<StoredEntity> = serde_json::from_str(self.entities)
            .map_err(|error| wrong("entities", &error.to_string()))?;
        let (of_forms, of_entities): (Vec<_>, Vec<_>) =
            stored.iter().partition(|stored| stored.k == FORM);
        let forms: Vec<AuditedForm> = of_forms
            .iter()
            .filter_map(|stored| {
                Some(AuditedForm {
                    id: Id::parse(&stored.i).ok()?,
                    is_deleted: stored.d,
                })
            })
            .collect();
        let entities: Vec<AuditedEntity> = of_entities
            .iter()
            .filter_map(|stored| {
                Some(AuditedEntity {
                    // An id that a plain SQL writer stored in no valid text names nothing.
                    key: entity_key(&stored.k, &stored.t, &stored.i).ok()?,
                    is_deleted: stored.d,
                })
            })
            .collect();
        Ok(AuditRecord {
            ordinal: number("ordinal", self.ordinal)?,
            revision: number("revision", self.revision)?,
            effect: AuditEffect::ALL
                .into_iter()
                .find(|effect| effect.as_str() == self.effect)
                .ok_or_else(|| wrong("effect", "not one"))?,
            at: Timestamp::from_unix_micros(self.at).ok_or_else(|| wrong("at", "no time"))?,
            caller: self.caller,
            actor: self.actor,
            method: self.method,
            idempotency_key: self.idempotency_key,
            request_id: self.request_id,
            is_partial: self.is_partial || entities.len() + forms.len() < stored.len(),
            entities,
            forms,
            counts: serde_json::from_str(self.counts)
                .map_err(|error| wrong("counts", &error.to_string()))?,
            ceiling: self
                .ceiling
                .map(AuditedCeiling::from_json)
                .transpose()
                .map_err(|error| wrong("ceiling", &error.to_string()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_is_kept_short_and_in_one_line() {
        let author = Author::named("token:a\nb\0", "ApplyChanges");
        assert_eq!(author.caller(), Some("token:a\u{fffd}b\u{fffd}"));
        let long = Author::named(&"ü".repeat(1_000), "ApplyChanges");
        assert_eq!(long.caller().map(str::len), Some(CALLER_BYTES_MAX));
    }

    #[test]
    fn a_record_names_rare_kinds_first_and_counts_all() {
        let id = |text: &str| Id::parse(text).unwrap();
        let resource = |text: &str| {
            EntityKey::Resource(crate::authz::model::ResourceKey {
                resource_type: id("contact"),
                id: id(text),
            })
        };
        let mut wanted = Wanted::new();
        for number in 0..100 {
            wanted.insert(resource(&number.to_string()), None);
        }
        wanted.insert(EntityKey::Segment(id("s")), None);
        let told = Told::of_wanted(&wanted, false).unwrap();
        let entities: Vec<StoredEntity> = serde_json::from_str(&told.entities).unwrap();
        assert_eq!(entities.len(), ENTITIES_MAX);
        assert_eq!((entities[0].k.as_str(), entities[0].d), ("segment", true));
        assert_eq!(told.counts, r#"{"resource":100,"segment":1}"#);
    }
}
