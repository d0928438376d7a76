//! Bulks of assignments, as they are kept: how far each has come, and what it did to which resource,
//! so that a broken one is taken up where it stopped and a finished one can be undone.
//!
//! A step is written in the transaction of the changes that it makes ([`super::Write::batch`]), so
//! what is told of a batch is what was done. Batches are no part of the account that decisions rest
//! on: they take no revision of their own. They go with their account, and by their age.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::rows::inconsistent;
use super::{Head, StoreError};
use crate::authz::assignment::Effect;
use crate::authz::model::{Assignment, Id, Principal, Provenance, ResourceKey, Timestamp, worded};

/// How long a batch is kept, to be taken up, asked about and undone: 30 days.
pub const BATCH_AGE_MAX_S: u64 = 30 * 24 * 60 * 60;

worded! {
    /// What a batch does.
    BatchKind {
        Assign = "assign",
        Unpartition = "unpartition",
        UndoBatch = "undo_batch",
        UndoImport = "undo_import",
    }
}

/// Resources that a batch has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCounts {
    pub changed: u64,
    pub unchanged: u64,
    /// Each is told with its reason.
    pub refused: u64,
    /// Of those changed, the ones that are left without any assignment (3.5).
    pub orphaned: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub id: Id,
    /// SHA-256 of what was ordered.
    pub request_digest: [u8; 32],
    pub kind: BatchKind,
    /// The last resource that it has looked at, in the order of keys.
    pub reached: Option<ResourceKey>,
    pub is_done: bool,
    pub counts: BatchCounts,
    /// The user in whose name it was ordered.
    pub actor: Option<Id>,
    pub begun_at: Timestamp,
}

/// What a batch did to one resource; those that it found as they should be have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEntry {
    pub resource: ResourceKey,
    pub effect: Option<Effect>,
    pub refusal: Option<EntryRefusal>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRefusal {
    /// A name of the closed list of reasons.
    pub reason: String,
    pub message: String,
}

/// A step of a batch, to be written with the changes that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchStep {
    /// How far it had come before; anything else in the store, a batch that is done included, is
    /// [`StoreError::Conflict`]. `None`: there is no such batch yet.
    pub before: Option<Option<ResourceKey>>,
    /// As it stands after the step.
    pub batch: Batch,
    pub entries: Vec<BatchEntry>,
}

#[async_trait]
pub trait BatchStore: Send + Sync + 'static {
    async fn batch(&self, account: &Id, id: &Id) -> Result<Option<(Batch, Head)>, StoreError>;

    /// Entries after a resource, in the order of keys, at most `limit`.
    async fn batch_entries(
        &self,
        account: &Id,
        batch: &Id,
        after: Option<&ResourceKey>,
        limit: u32,
    ) -> Result<Vec<BatchEntry>, StoreError>;

    /// Removes at most `limit` entries of batches that began before a moment, of any accounts, and
    /// such batches that have none left; answers how many of both.
    async fn trim_batches(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// An entry as it is stored: principals, provenances and times in their texts, short names since
/// there is one of them for each resource of a bulk.
#[derive(Debug, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StoredEntry {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    added: Vec<StoredRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<StoredRow>,
    /// Whether it was and is partitioned; absent: nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitioned: Option<(bool, bool)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    still: Vec<(String, Id)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    orphans: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<(String, String)>,
}

type StoredRow = (String, String, Option<i64>);

/// The text of an entry without its key.
pub(super) fn entry_text(entry: &BatchEntry) -> Result<String, StoreError> {
    let rows = |rows: &BTreeSet<Assignment>| -> Vec<StoredRow> {
        rows.iter()
            .map(|row| {
                let expires_at = row.expires_at.map(Timestamp::unix_micros);
                (
                    row.principal.to_string(),
                    row.provenance.to_string(),
                    expires_at,
                )
            })
            .collect()
    };
    let mut stored = StoredEntry::default();
    if let Some(effect) = &entry.effect {
        stored.added = rows(&effect.added);
        stored.removed = rows(&effect.removed);
        stored.partitioned = Some((effect.was_partitioned, effect.is_partitioned));
        stored.still = effect
            .still_assigned
            .iter()
            .map(|(principal, rule)| (principal.to_string(), rule.clone()))
            .collect();
        stored.orphans = effect.orphans;
    }
    stored.refusal = entry
        .refusal
        .as_ref()
        .map(|refusal| (refusal.reason.clone(), refusal.message.clone()));
    serde_json::to_string(&stored).map_err(super::rows::not_json)
}

/// An entry out of its columns.
pub(super) fn entry_of(
    resource_type: &str,
    resource_id: &str,
    text: &str,
) -> Result<BatchEntry, StoreError> {
    let wrong =
        |problem: String| inconsistent("assignment_batch_entry", "entry", resource_id, problem);
    let resource = ResourceKey {
        resource_type: Id::parse(resource_type).map_err(|error| wrong(error.to_string()))?,
        id: Id::parse(resource_id).map_err(|error| wrong(error.to_string()))?,
    };
    let stored: StoredEntry =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let principal = |text: &str| -> Result<Principal, StoreError> {
        text.parse().map_err(|error| wrong(format!("{error}")))
    };
    let rows = |rows: &[StoredRow]| -> Result<BTreeSet<Assignment>, StoreError> {
        rows.iter()
            .map(|(to, provenance, expires_at)| {
                let provenance: Provenance = provenance
                    .parse()
                    .map_err(|error| wrong(format!("{error}")))?;
                let expires_at = expires_at
                    .map(|micros| {
                        Timestamp::from_unix_micros(micros)
                            .ok_or_else(|| wrong(format!("{micros} is no time")))
                    })
                    .transpose()?;
                Ok(Assignment {
                    principal: principal(to)?,
                    provenance,
                    expires_at,
                })
            })
            .collect()
    };
    let effect = match stored.partitioned {
        None => None,
        Some((was_partitioned, is_partitioned)) => Some(Effect {
            added: rows(&stored.added)?,
            removed: rows(&stored.removed)?,
            was_partitioned,
            is_partitioned,
            still_assigned: stored
                .still
                .iter()
                .map(|(to, rule)| Ok((principal(to)?, rule.clone())))
                .collect::<Result<_, StoreError>>()?,
            orphans: stored.orphans,
        }),
    };
    Ok(BatchEntry {
        resource,
        effect,
        refusal: stored
            .refusal
            .map(|(reason, message)| EntryRefusal { reason, message }),
    })
}

/// The columns of a batch, as a database answers them.
pub(super) struct BatchColumns<'a> {
    pub(super) id: &'a str,
    pub(super) request_digest: &'a [u8],
    pub(super) kind: &'a str,
    pub(super) reached: Option<(&'a str, &'a str)>,
    pub(super) is_done: bool,
    pub(super) counts: [i64; 4],
    pub(super) actor: Option<&'a str>,
    pub(super) begun_at: i64,
}

impl BatchColumns<'_> {
    pub(super) fn batch(self) -> Result<Batch, StoreError> {
        let wrong =
            |column, problem: &str| inconsistent("assignment_batch", column, self.id, problem);
        let id =
            |column, text: &str| Id::parse(text).map_err(|error| wrong(column, &error.to_string()));
        let count = |value: i64| u64::try_from(value).map_err(|_| wrong("changed", "negative"));
        let [changed, unchanged, refused, orphaned] = self.counts;
        Ok(Batch {
            id: id("batch_id", self.id)?,
            request_digest: self
                .request_digest
                .try_into()
                .map_err(|_| wrong("request_digest", "not of 32 bytes"))?,
            kind: BatchKind::from_word(self.kind).ok_or_else(|| wrong("kind", "not one"))?,
            reached: self
                .reached
                .map(|(resource_type, resource_id)| {
                    Ok::<_, StoreError>(ResourceKey {
                        resource_type: id("reached_type", resource_type)?,
                        id: id("reached_id", resource_id)?,
                    })
                })
                .transpose()?,
            is_done: self.is_done,
            counts: BatchCounts {
                changed: count(changed)?,
                unchanged: count(unchanged)?,
                refused: count(refused)?,
                orphaned: count(orphaned)?,
            },
            actor: self.actor.map(|actor| id("actor", actor)).transpose()?,
            begun_at: Timestamp::from_unix_micros(self.begun_at)
                .ok_or_else(|| wrong("begun_at", "no time"))?,
        })
    }
}

/// Counts as a database takes them.
pub(super) fn counted(counts: BatchCounts) -> [i64; 4] {
    [
        counts.changed,
        counts.unchanged,
        counts.refused,
        counts.orphaned,
    ]
    .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let id = |text: &str| Id::parse(text).unwrap();
        let row = |to: &str, provenance: &str, expires_at| Assignment {
            principal: to.parse().unwrap(),
            provenance: provenance.parse().unwrap(),
            expires_at: Timestamp::from_unix_micros(expires_at),
        };
        let entry = BatchEntry {
            resource: ResourceKey {
                resource_type: id("contact"),
                id: id("c:1"),
            },
            effect: Some(Effect {
                added: [row("team:a:b", "manual", 7)].into(),
                removed: [row("user:u", "import:j", -1)].into(),
                was_partitioned: false,
                is_partitioned: true,
                still_assigned: [("group:g".parse().unwrap(), id("gold"))].into(),
                orphans: false,
            }),
            refusal: Some(EntryRefusal {
                reason: "CHANGED_SINCE".to_owned(),
                message: "why".to_owned(),
            }),
        };
        let text = entry_text(&entry).unwrap();
        assert_eq!(entry_of("contact", "c:1", &text).unwrap(), entry);
        let none = BatchEntry {
            effect: None,
            refusal: None,
            ..entry
        };
        assert_eq!(entry_text(&none).unwrap(), "{}");
        assert_eq!(entry_of("contact", "c:1", "{}").unwrap(), none);
        assert!(entry_of("contact", "c:1", "{\"x\":1}").is_err());
    }
}
