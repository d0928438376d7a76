//! One row, and the changes that it stands for.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::ImportRequest;
use super::rights::Rights;
use crate::authz::change::{Change, ChangeError, ResourcePatch};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Principal, PrincipalKind, Provenance, Resource, ResourceKey, Timestamp};

/// What a row means for a resource that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the row names is set, the rest stays; assignments are added.
    #[default]
    Merge,
    /// The row is all that this job says: fields that it doesn't name get their default, and the
    /// job's assignments that it doesn't name go. What others assigned stays, and a partition is
    /// never opened by saying nothing.
    Replace,
}

/// A row as the importer read it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where it was found, for errors.
    pub line: u64,
    pub(super) content: Result<RowContent, Unreadable>,
    /// Of the content, so that a batch is told apart by what it says.
    pub(super) digest: [u8; 32],
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RowContent {
    pub resource: ResourcePatch,
    pub assigned_to: Vec<Assigned>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub principal: Principal,
    pub expires_at: Option<Timestamp>,
}

/// A row that could not be read, in the words of who tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub field: String,
    /// A name of the closed list of reasons.
    pub reason: String,
    pub message: String,
}

/// A change and the field of the row that asks for it.
pub(super) struct PlacedChange {
    /// Index of the row in its batch.
    pub(super) row: usize,
    /// Index in the row's list of assignments.
    pub(super) assignment: Option<usize>,
    pub(super) change: Change,
}

/// A target of the job that was not applied to the record of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    pub line: u64,
    pub target: Principal,
    /// A name of the closed list of reasons.
    pub reason: &'static str,
    pub message: String,
}

/// What rows come to.
#[derive(Default)]
pub(super) struct PlannedRows {
    pub(super) placed: Vec<PlacedChange>,
    pub(super) withheld: Vec<Withheld>,
    /// The first that the user in whose name it is imported may not do.
    pub(super) overreach: Option<ChangeError>,
}

impl PlannedRows {
    fn place(&mut self, row: usize, assignment: Option<usize>, change: Change) {
        self.placed.push(PlacedChange {
            row,
            assignment,
            change,
        });
    }

    /// Stands for the change that is refused, so that its place is known.
    fn blame(&mut self, row: usize, assignment: Option<usize>, patch: &ResourcePatch) {
        self.place(row, assignment, Change::PutResource(patch.clone()));
    }
}

fn has(resource: &Resource, target: &Principal, provenance: &Provenance) -> bool {
    resource.assignments.iter().any(|row| {
        row.principal == *target && row.provenance == *provenance && row.expires_at.is_none()
    })
}

impl Row {
    pub fn new(line: u64, content: Result<RowContent, Unreadable>) -> Self {
        let (digest, bytes) = match &content {
            Ok(content) => content.digest(),
            // A batch with such a row is never written, so nothing is remembered of it.
            Err(_) => ([0; 32], 0),
        };
        Self {
            line,
            content,
            digest,
            bytes,
        }
    }
}

impl RowContent {
    pub(super) fn change_count(&self) -> usize {
        1 + self.assigned_to.len()
    }

    /// The changes of the row, on top of the account as it stands, after those of the rows before.
    pub(super) fn plan(
        &self,
        (row, line): (usize, u64),
        request: &ImportRequest,
        present: Option<(&AccountGraph, &Rights<'_>)>,
        planned: &mut PlannedRows,
    ) {
        let key = &self.resource.key;
        let provenance = Provenance::Import(request.job.clone());
        let before = present.and_then(|(graph, _)| graph.resource(key));
        let mut patch = match request.mode {
            Mode::Merge => self.resource.clone(),
            Mode::Replace => whole(self.resource.clone()),
        };
        if let Some((_, rights)) = present
            && let Err(overreach) = rights.check(self, &patch, before.as_ref())
            && planned.overreach.is_none()
        {
            planned.overreach = Some(ChangeError {
                index: planned.placed.len(),
                field: overreach.field.to_owned(),
                problem: overreach.problem,
            });
            planned.blame(row, overreach.assignment, &patch);
        }
        patch.creator = patch.creator.or_else(|| request.actor.clone());
        planned.place(row, None, Change::PutResource(patch));
        for (index, assigned) in self.assigned_to.iter().enumerate() {
            let change = Change::PutAssignment {
                resource: key.clone(),
                principal: assigned.principal.clone(),
                provenance: provenance.clone(),
                expires_at: assigned.expires_at,
            };
            planned.place(row, Some(index), change);
        }
        for target in &request.targets {
            let is_there = before
                .as_ref()
                .is_some_and(|before| has(before, target, &provenance));
            let judged = match present {
                Some((_, rights)) if !is_there => {
                    rights.target(&key.resource_type, before.as_ref(), target)
                }
                _ => Ok(()),
            };
            match judged {
                Ok(()) => planned.place(
                    row,
                    None,
                    Change::PutAssignment {
                        resource: key.clone(),
                        principal: target.clone(),
                        provenance: provenance.clone(),
                        expires_at: None,
                    },
                ),
                Err(refusal) => planned.withheld.push(Withheld {
                    line,
                    target: target.clone(),
                    reason: refusal.name(),
                    message: refusal.to_string(),
                }),
            }
        }
        if request.mode == Mode::Replace {
            let gone = self.no_longer_assigned(request, &provenance, before.as_ref());
            if let Some((_, rights)) = present
                && !gone.is_empty()
                && planned.overreach.is_none()
                && let Err(overreach) = rights.check_taking()
            {
                planned.overreach = Some(ChangeError {
                    index: planned.placed.len(),
                    field: overreach.field.to_owned(),
                    problem: overreach.problem,
                });
            }
            for principal in gone {
                let change = Change::DeleteAssignment {
                    resource: key.clone(),
                    principal,
                    provenance: provenance.clone(),
                };
                planned.place(row, None, change);
            }
        }
    }

    /// The targets of the job that the record doesn't have.
    pub(super) fn missing(
        &self,
        line: u64,
        request: &ImportRequest,
        graph: &AccountGraph,
    ) -> Vec<Withheld> {
        let provenance = Provenance::Import(request.job.clone());
        let Some(resource) = graph.resource(&self.resource.key) else {
            return Vec::new();
        };
        let missing = |target: &&Principal| !has(&resource, target, &provenance);
        request
            .targets
            .iter()
            .filter(missing)
            .map(|target| Withheld {
                line,
                target: target.clone(),
                reason: "NO_ASSIGN_AUTHORITY",
                message: "the job does not assign the record to it".to_owned(),
            })
            .collect()
    }

    fn no_longer_assigned(
        &self,
        request: &ImportRequest,
        provenance: &Provenance,
        before: Option<&Resource>,
    ) -> BTreeSet<Principal> {
        let Some(before) = before else {
            return BTreeSet::new();
        };
        let named = |principal: &Principal| {
            request.targets.contains(principal)
                || self
                    .assigned_to
                    .iter()
                    .any(|assigned| assigned.principal == *principal)
        };
        before
            .assignments
            .iter()
            .filter(|old| old.provenance == *provenance && !named(&old.principal))
            .map(|old| old.principal.clone())
            .collect()
    }

    /// A hash that is equal for rows that say the same, and about the bytes that the row takes.
    fn digest(&self) -> ([u8; 32], usize) {
        let mut parts = Parts::default();
        let ResourcePatch {
            key,
            owners,
            owning_team,
            partitioned,
            attributes,
            creator,
        } = &self.resource;
        let ResourceKey { resource_type, id } = key;
        parts.text(resource_type.as_str());
        parts.text(id.as_str());
        parts.tag(u8::from(owners.is_some()));
        parts.count(owners.as_ref().map_or(0, BTreeSet::len));
        for owner in owners.iter().flatten() {
            parts.text(owner.as_str());
        }
        match owning_team {
            None => parts.tag(0),
            Some(None) => parts.tag(1),
            Some(Some(team)) => {
                parts.tag(2);
                parts.text(team.as_str());
            }
        }
        parts.tag(match partitioned {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        match attributes {
            None => parts.tag(0),
            Some(attributes) => {
                parts.tag(1);
                // A map of JSON values can always be written.
                parts.text(&serde_json::to_string(attributes).unwrap_or_default());
            }
        }
        // Nothing where nobody is named, as before there was such a field.
        if let Some(creator) = creator {
            parts.text("creator");
            parts.text(creator.as_str());
        }
        parts.count(self.assigned_to.len());
        for Assigned {
            principal,
            expires_at,
        } in &self.assigned_to
        {
            parts.tag(match principal.kind() {
                PrincipalKind::User => 0,
                PrincipalKind::Team => 1,
                PrincipalKind::Group => 2,
            });
            parts.text(principal.id().as_str());
            parts.tag(u8::from(expires_at.is_some()));
            let micros = expires_at.map_or(0, Timestamp::unix_micros);
            parts.0.extend(micros.to_be_bytes());
        }
        (Sha256::digest(&parts.0).into(), parts.0.len())
    }
}

/// What a row doesn't name is its default; of the partition nothing is said.
fn whole(patch: ResourcePatch) -> ResourcePatch {
    ResourcePatch {
        owners: Some(patch.owners.unwrap_or_default()),
        owning_team: Some(patch.owning_team.unwrap_or_default()),
        attributes: Some(patch.attributes.unwrap_or_default()),
        ..patch
    }
}

/// Parts with their lengths, so that no two lists of parts are written alike.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn count(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.extend(count.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.as_bytes());
    }
}

/// The digest of rows under what the import says of all of them.
pub(super) fn digest_of<'a>(
    rows: impl Iterator<Item = &'a Row>,
    request: &ImportRequest,
) -> [u8; 32] {
    let mut parts = Parts::default();
    parts.text("ImportResources");
    parts.tag(match request.mode {
        Mode::Merge => 0,
        Mode::Replace => 1,
    });
    parts.text(request.job.as_str());
    // Nothing where there are none, as before there were any.
    for target in &request.targets {
        parts.text("target");
        parts.text(&target.to_string());
    }
    if let Some(actor) = &request.actor {
        parts.text("actor");
        parts.text(actor.as_str());
    }
    let mut digest = Sha256::new();
    digest.update(&parts.0);
    for row in rows {
        digest.update(row.digest);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::{Attributes, Id};

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn content() -> RowContent {
        RowContent {
            resource: ResourcePatch {
                key: ResourceKey {
                    resource_type: id("contact"),
                    id: id("c1"),
                },
                owners: None,
                owning_team: None,
                partitioned: None,
                attributes: None,
                creator: None,
            },
            assigned_to: Vec::new(),
        }
    }

    #[test]
    fn rows_that_say_something_else_have_other_digests() {
        let mut rows = vec![content()];
        let mut add = |change: &dyn Fn(&mut RowContent)| {
            let mut row = content();
            change(&mut row);
            rows.push(row);
        };
        let assigned = |principal, micros| Assigned {
            principal,
            expires_at: Timestamp::from_unix_micros(micros),
        };
        add(&|row| row.resource.key.resource_type = id("contactc"));
        add(&|row| row.resource.key.id = id("c2"));
        add(&|row| row.resource.owners = Some(BTreeSet::new()));
        add(&|row| row.resource.owners = Some(BTreeSet::from([id("a"), id("b")])));
        add(&|row| row.resource.owners = Some(BTreeSet::from([id("ab")])));
        add(&|row| row.resource.owning_team = Some(None));
        add(&|row| row.resource.owning_team = Some(Some(id("de"))));
        add(&|row| row.resource.partitioned = Some(false));
        add(&|row| row.resource.partitioned = Some(true));
        add(&|row| row.resource.attributes = Some(Attributes::new()));
        add(&|row| row.resource.attributes = Some(Attributes::from_iter([("a".into(), 1.into())])));
        add(&|row| row.assigned_to = vec![assigned(Principal::Team(id("de")), 1)]);
        add(&|row| row.assigned_to = vec![assigned(Principal::User(id("de")), 1)]);
        add(&|row| row.assigned_to = vec![assigned(Principal::Group(id("de")), 1)]);
        add(&|row| row.assigned_to = vec![assigned(Principal::Team(id("de")), 2)]);
        add(&|row| {
            row.assigned_to = vec![Assigned {
                principal: Principal::Team(id("de")),
                expires_at: None,
            }];
        });
        let digests: BTreeSet<[u8; 32]> = rows.iter().map(|row| row.digest().0).collect();
        assert_eq!(digests.len(), rows.len());
    }

    #[test]
    fn mode_and_job_are_part_of_a_batch() {
        let rows = [Row::new(1, Ok(content()))];
        let request = |mode, job: &str| ImportRequest {
            account: id("acme"),
            key: id("k"),
            job: id(job),
            mode,
            targets: Vec::new(),
            actor: None,
            batch_rows: 0,
            errors_max: 0,
            dry_run: false,
            author: crate::store::audit::Author::anyone("ImportResources"),
        };
        let digest = |mode, job: &str| digest_of(rows.iter(), &request(mode, job));
        assert_ne!(digest(Mode::Merge, "a"), digest(Mode::Replace, "a"));
        assert_ne!(digest(Mode::Merge, "a"), digest(Mode::Merge, "b"));
        let elsewhere = [Row::new(99, Ok(content()))];
        assert_eq!(
            digest(Mode::Merge, "a"),
            digest_of(elsewhere.iter(), &request(Mode::Merge, "a")),
            "the line is where the row was found, not what it says"
        );
        let assigned = ImportRequest {
            targets: vec![Principal::Team(id("de"))],
            ..request(Mode::Merge, "a")
        };
        let judged = ImportRequest {
            actor: Some(id("u")),
            ..request(Mode::Merge, "a")
        };
        for other in [assigned, judged] {
            assert_ne!(digest(Mode::Merge, "a"), digest_of(rows.iter(), &other));
        }
    }
}
