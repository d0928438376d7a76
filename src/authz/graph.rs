//! One account at one revision, immutable: what every decision reads.
//!
//! A graph is a `Directory` (users, teams, sets, groups, segments: small, compiled) and, for each
//! resource type, a `TypeIndex` (rows, ids, postings: as large as the account). A change gives the
//! next graph, which shares all that did not change; a long list keeps the one it began with.
//!
//! What is stored although the rules forbid it (a team cycle planted by SQL, a grant of an action
//! that the catalog lost) gives nobody access and is reported by [`AccountGraph::anomalies`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::access_request::{AccessRequest, RequestTarget};
use super::catalog::{Catalog, Plan, TypeIx};
use super::model::{
    AccessGroup, Account, Entity, EntityChange, EntityKey, Id, PermissionSet, PrincipalKind,
    Provenance, Resource, ResourceKey, ResourceRows, Segment, Team, User,
};
use super::segment::Rule;

mod cow;
mod directory;
mod index;
mod names;
mod pending;
mod row;
mod row_numbers;
mod teams;
mod timed;

pub(in crate::authz) use directory::{
    CompiledGrant, CompiledObjectGrant, CompiledUser, Directory, Holding, TypeMode,
};
pub(in crate::authz) use index::TypeIndex;
pub(in crate::authz) use names::Names;
pub(in crate::authz) use row::{AssignmentFact, Facts};

use directory::Entities;
use index::IndexBuilder;
use pending::PendingRequests;
use row::REFERENCES_MAX;
use row_numbers::RowNumbers;

/// Most names (users, teams, groups, provenances) of one account: rows keep their numbers in 30 bits.
const NAMES_MAX: usize = 1 << 30;

/// Stored data that no graph can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("the account has no account entity")]
    NoAccount,
    #[error("the account's catalog can't be used: {0}")]
    Catalog(String),
    #[error("the catalog has no plan `{0}`")]
    UnknownPlan(String),
    #[error("the account has more than {limit} {what}")]
    TooMany { what: &'static str, limit: u64 },
}

#[derive(Debug, Clone)]
pub struct AccountGraph {
    pub(in crate::authz) directory: Arc<Directory>,
    pub(in crate::authz) names: Names,
    /// By [`TypeIx`].
    indexes: Vec<Arc<TypeIndex>>,
    pending: Arc<PendingRequests>,
    /// Resources of types that the catalog does not have: kept out of every answer.
    stray: BTreeMap<ResourceKey, ()>,
    /// Size of the postings when they were last measured.
    posting_bytes: usize,
    /// The load that the graph comes of: numbers of names are those of one load and of all that was
    /// made of it by changes.
    load: Arc<Load>,
}

/// Nothing but itself; only its place in memory means anything.
#[derive(Debug)]
struct Load;

/// Collects the entities of a load, in the order of [`crate::store::Snapshot`] or any other.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    entities: Entities,
    pending: PendingRequests,
    names: Names,
    indexes: BTreeMap<Id, IndexBuilder>,
    oversized: bool,
}

impl GraphBuilder {
    pub fn push(&mut self, entity: Entity) {
        let resource = match entity {
            Entity::Resource(resource, _) => resource,
            Entity::AccessRequest(request) => return self.pending.put(request),
            other => return self.entities.put(other),
        };
        self.oversized |= is_oversized(&resource);
        let facts = Facts::of(&resource, &mut self.names);
        self.indexes
            .entry(resource.key.resource_type)
            .or_default()
            .push(resource.key.id.as_str(), &facts);
    }

    /// Many resources at once; each name is looked up once for all of them.
    pub fn push_rows(&mut self, rows: &ResourceRows) {
        let index = self
            .indexes
            .entry(rows.resource_type().clone())
            .or_default();
        let mut numbers = RowNumbers::new(rows);
        for row in rows.iter() {
            self.oversized |= row.owners.len().max(row.assignments.len()) > REFERENCES_MAX;
            index.push(row.id, &numbers.facts(&row, &mut self.names));
        }
    }

    pub fn finish(mut self) -> Result<AccountGraph, GraphError> {
        if self.oversized {
            return Err(OVERSIZED);
        }
        let directory = Directory::build(self.entities, &mut self.names, None)?;
        check_names(&self.names)?;
        let mut indexes = Vec::with_capacity(directory.catalog.types.len());
        for resource_type in &directory.catalog.types {
            let builder = self.indexes.remove(&resource_type.name).unwrap_or_default();
            indexes.push(Arc::new(builder.finish(resource_type.name.clone())?));
        }
        let mut stray = BTreeMap::new();
        for (resource_type, builder) in self.indexes {
            let index = builder.finish(resource_type.clone())?;
            let keys = index
                .postings
                .alive
                .iter()
                .filter_map(|row| row::key_of(&resource_type, index.row(row).id()));
            stray.extend(keys.map(|key| (key, ())));
        }
        let mut graph = AccountGraph {
            directory: Arc::new(directory),
            names: self.names,
            indexes,
            pending: Arc::new(self.pending),
            stray,
            posting_bytes: 0,
            load: Arc::new(Load),
        };
        graph.measure();
        Ok(graph)
    }
}

const OVERSIZED: GraphError = GraphError::TooMany {
    what: "owners or assignments of one resource",
    limit: REFERENCES_MAX as u64,
};

fn is_oversized(resource: &Resource) -> bool {
    resource.owners.len().max(resource.assignments.len()) > REFERENCES_MAX
}

fn check_names(names: &Names) -> Result<(), GraphError> {
    if names.len() > NAMES_MAX {
        return Err(GraphError::TooMany {
            what: "users, teams, groups and provenances",
            limit: NAMES_MAX as u64,
        });
    }
    Ok(())
}

impl AccountGraph {
    /// The next snapshot; shares all that did not change. Changes are those of one or more whole
    /// revisions, in any order.
    pub fn apply(&self, changes: &[EntityChange]) -> Result<Self, GraphError> {
        let (mut resources, mut requests, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            match change {
                EntityChange::Put(Entity::Resource(..))
                | EntityChange::Delete(EntityKey::Resource(_)) => resources.push(change),
                EntityChange::Put(Entity::AccessRequest(_))
                | EntityChange::Delete(EntityKey::AccessRequest(_)) => requests.push(change),
                EntityChange::Put(_) | EntityChange::Delete(_) => others.push(change),
            }
        }
        let mut next = self.clone();
        if !requests.is_empty() {
            let pending = Arc::make_mut(&mut next.pending);
            requests
                .into_iter()
                .for_each(|change| pending.apply(change));
        }
        if !others.is_empty() {
            let directory = self.directory.apply(&others, &mut next.names)?;
            if !Arc::ptr_eq(&directory.catalog, &self.directory.catalog) {
                next.adopt_catalog(&directory.catalog)?;
            }
            next.directory = Arc::new(directory);
        }
        for change in resources {
            next.apply_to_resource(change)?;
        }
        check_names(&next.names)?;
        for index in &mut next.indexes {
            if index.wants_rebuild() {
                *index = Arc::new(index.rebuilt()?);
            }
        }
        Ok(next)
    }

    fn apply_to_resource(&mut self, change: &EntityChange) -> Result<(), GraphError> {
        let (key, put) = match change {
            EntityChange::Put(Entity::Resource(resource, _)) => (&resource.key, Some(resource)),
            EntityChange::Delete(EntityKey::Resource(key)) => (key, None),
            EntityChange::Put(_) | EntityChange::Delete(_) => return Ok(()),
        };
        let index = self
            .directory
            .catalog
            .type_ix(key.resource_type.as_str())
            .and_then(|type_ix| self.indexes.get_mut(usize::from(type_ix.0)));
        match (index, put) {
            (Some(_), Some(resource)) if is_oversized(resource) => Err(OVERSIZED),
            (Some(index), Some(resource)) => {
                let facts = Facts::of(resource, &mut self.names);
                Arc::make_mut(index).put(key.id.as_str(), &facts)
            }
            (Some(index), None) => {
                Arc::make_mut(index).delete(key.id.as_str());
                Ok(())
            }
            (None, Some(_)) => {
                self.stray.insert(key.clone(), ());
                Ok(())
            }
            (None, None) => {
                self.stray.remove(key);
                Ok(())
            }
        }
    }

    /// Puts the indexes in the order of another catalog's types. Facts of stray resources are not
    /// kept, so a catalog that knows their type again needs the account loaded anew.
    fn adopt_catalog(&mut self, catalog: &Catalog) -> Result<(), GraphError> {
        let mut by_type: BTreeMap<Id, Arc<TypeIndex>> = std::mem::take(&mut self.indexes)
            .into_iter()
            .map(|index| (index.resource_type.clone(), index))
            .collect();
        self.indexes = catalog
            .types
            .iter()
            .map(|resource_type| {
                by_type
                    .remove(&resource_type.name)
                    .unwrap_or_else(|| Arc::new(TypeIndex::empty(resource_type.name.clone())))
            })
            .collect();
        if self
            .stray
            .keys()
            .any(|key| catalog.type_ix(key.resource_type.as_str()).is_some())
        {
            return Err(GraphError::Catalog(
                "the catalog brings back a type of stored resources: load anew".to_owned(),
            ));
        }
        for (resource_type, index) in by_type {
            let keys = index
                .postings
                .alive
                .iter()
                .filter_map(|row| row::key_of(&resource_type, index.row(row).id()));
            self.stray.extend(keys.map(|key| (key, ())));
        }
        Ok(())
    }

    /// The provenance of an assignment of this graph, as documents write it.
    pub(in crate::authz) fn provenance_of(&self, assignment: &AssignmentFact) -> String {
        assignment
            .provenance(&self.names)
            .map_or_else(String::new, |provenance| provenance.to_string())
    }

    fn measure(&mut self) {
        self.posting_bytes = self.indexes.iter().map(|index| index.posting_bytes()).sum();
    }

    pub fn account(&self) -> &Account {
        &self.directory.account
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.directory.catalog
    }

    pub fn plan(&self) -> &Plan {
        self.directory.plan()
    }

    pub fn user(&self, id: &str) -> Option<&User> {
        self.directory.entities.users.get(id).map(AsRef::as_ref)
    }

    /// In id byte order, as are the other lists.
    pub fn users(&self) -> Box<dyn Iterator<Item = &User> + Send + '_> {
        Box::new(self.directory.entities.users.values().map(AsRef::as_ref))
    }

    pub fn team(&self, id: &str) -> Option<&Team> {
        self.directory.entities.teams.get(id).map(AsRef::as_ref)
    }

    pub fn teams(&self) -> Box<dyn Iterator<Item = &Team> + Send + '_> {
        Box::new(self.directory.entities.teams.values().map(AsRef::as_ref))
    }

    pub fn permission_set(&self, id: &str) -> Option<&PermissionSet> {
        self.directory
            .entities
            .permission_sets
            .get(id)
            .map(AsRef::as_ref)
    }

    pub fn permission_sets(&self) -> Box<dyn Iterator<Item = &PermissionSet> + Send + '_> {
        Box::new(
            self.directory
                .entities
                .permission_sets
                .values()
                .map(AsRef::as_ref),
        )
    }

    pub fn access_group(&self, id: &str) -> Option<&AccessGroup> {
        self.directory
            .entities
            .access_groups
            .get(id)
            .map(AsRef::as_ref)
    }

    pub fn access_groups(&self) -> Box<dyn Iterator<Item = &AccessGroup> + Send + '_> {
        Box::new(
            self.directory
                .entities
                .access_groups
                .values()
                .map(AsRef::as_ref),
        )
    }

    pub fn segment(&self, id: &str) -> Option<&Segment> {
        self.rule(id).map(|rule| rule.segment())
    }

    pub fn segments(&self) -> Box<dyn Iterator<Item = &Segment> + Send + '_> {
        Box::new(self.rules().map(|rule| rule.segment()))
    }

    /// A segment with its expression parsed.
    pub fn rule(&self, id: &str) -> Option<&Arc<Rule>> {
        self.directory.entities.segments.get(id)
    }

    /// All segments so, in id byte order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> + Clone + Send {
        self.directory.entities.segments.values()
    }

    /// The pending request of a user for just this. A lookup in memory, which costs nothing where
    /// there is none.
    pub fn pending_request(&self, user: &str, target: &RequestTarget) -> Option<&AccessRequest> {
        self.pending.find(user, target)
    }

    /// All that are pending, in id order.
    pub fn pending_requests(&self) -> Box<dyn Iterator<Item = &AccessRequest> + Send + '_> {
        Box::new(self.pending.all())
    }

    /// Those of one user, in id order.
    pub fn pending_requests_of(
        &self,
        user: &str,
    ) -> impl Iterator<Item = &AccessRequest> + Send + use<'_> {
        self.pending.of_user(user)
    }

    /// A pending request by its id; `None` also for one that has ended.
    pub fn pending_request_by_id(&self, id: &str) -> Option<&AccessRequest> {
        self.pending.get(id)
    }

    pub(in crate::authz) fn compiled_user(&self, id: &str) -> Option<&CompiledUser> {
        self.directory.user_by_number(self.names.users.find(id)?)
    }

    pub(in crate::authz) fn index(&self, type_ix: TypeIx) -> Option<&TypeIndex> {
        self.indexes.get(usize::from(type_ix.0)).map(AsRef::as_ref)
    }

    /// Whether numbers of names mean the same in both: one of the two came of the other by changes.
    pub(in crate::authz) fn shares_numbers(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.load, &other.load)
    }

    fn index_of(&self, resource_type: &str) -> Option<&TypeIndex> {
        self.index(self.directory.catalog.type_ix(resource_type)?)
    }

    /// Decoded from its row; without attributes, which the graph does not hold.
    pub fn resource(&self, key: &ResourceKey) -> Option<Resource> {
        let index = self.index_of(key.resource_type.as_str())?;
        let row = index.row(index.find(key.id.as_str())?);
        Some(row.facts().to_resource(key.clone(), &self.names))
    }

    /// Ids of a type after `after` in byte order, at most `limit`.
    pub fn resource_page(&self, resource_type: &str, after: Option<&str>, limit: usize) -> Vec<Id> {
        let Some(index) = self.index_of(resource_type) else {
            return Vec::new();
        };
        let ordinals = index.ordered(&index.postings.alive, after, limit);
        ordinals
            .into_iter()
            .filter_map(|ordinal| Id::parse(index.row(ordinal).id()).ok())
            .collect()
    }

    pub fn resource_count(&self, resource_type: &str) -> u64 {
        self.index_of(resource_type).map_or(0, TypeIndex::count)
    }

    /// Of all types that the catalog has.
    pub fn resources_total(&self) -> u64 {
        self.indexes.iter().map(|index| index.count()).sum()
    }

    pub fn users_total(&self) -> u64 {
        u64::try_from(self.directory.entities.users.len()).unwrap_or(u64::MAX)
    }

    /// Keys of the resources that have the user as an owner or are assigned to the user, expired
    /// assignments included.
    pub fn resources_of_user(&self, user: &str) -> Vec<ResourceKey> {
        self.referring(PrincipalKind::User, user)
    }

    /// Keys of the resources that are stamped with the team or assigned to it.
    pub fn resources_of_team(&self, team: &str) -> Vec<ResourceKey> {
        self.referring(PrincipalKind::Team, team)
    }

    /// Keys of the resources that are assigned to the group.
    pub fn resources_of_group(&self, group: &str) -> Vec<ResourceKey> {
        self.referring(PrincipalKind::Group, group)
    }

    /// Keys of the resources with an assignment that this segment made (P7).
    pub fn resources_of_segment(&self, segment: &str) -> Vec<ResourceKey> {
        self.resources_with(
            |provenance| matches!(provenance, Provenance::Segment(id) if id.as_str() == segment),
        )
    }

    /// Keys of the resources with an assignment of a provenance. Reads every partitioned row, since
    /// postings don't know provenance.
    pub fn resources_with(&self, is_meant: impl Fn(&Provenance) -> bool) -> Vec<ResourceKey> {
        let made = |assignment: &AssignmentFact| {
            assignment
                .provenance(&self.names)
                .is_some_and(|provenance| is_meant(&provenance))
        };
        let mut keys = Vec::new();
        for index in &self.indexes {
            let rows = index
                .postings
                .partitioned
                .iter()
                .map(|ordinal| index.row(ordinal));
            let rows = rows.filter(|row| row.facts().assignments.iter().any(made));
            keys.extend(rows.filter_map(|row| row::key_of(&index.resource_type, row.id())));
        }
        keys
    }

    /// The segments that some assignment was made by, whether they are there or not. Reads every
    /// partitioned row.
    pub fn segments_with_rows(&self) -> BTreeSet<Id> {
        let mut numbers = BTreeSet::new();
        for index in &self.indexes {
            for ordinal in index.postings.partitioned.iter() {
                let facts = index.row(ordinal).facts();
                numbers.extend(facts.assignments.iter().filter_map(AssignmentFact::made_by));
            }
        }
        let made = numbers
            .into_iter()
            .filter_map(|number| self.names.provenance_of(number));
        made.filter_map(|provenance| match provenance {
            Provenance::Segment(id) => Some(id.clone()),
            Provenance::Manual
            | Provenance::Import(_)
            | Provenance::Form(_)
            | Provenance::Default
            | Provenance::Request(_) => None,
        })
        .collect()
    }

    /// S2.4: whether the plan lets resources of a type be partitioned.
    pub fn may_be_partitioned(&self, resource_type: &Id) -> bool {
        let type_ix = self.catalog().type_ix(resource_type.as_str());
        type_ix
            .and_then(|ix| self.plan().partitionable.get(usize::from(ix.0)))
            .copied()
            .unwrap_or(false)
    }

    fn referring(&self, kind: PrincipalKind, id: &str) -> Vec<ResourceKey> {
        let Some(number) = self.names.principals(kind).find(id) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        for index in &self.indexes {
            let postings = &index.postings;
            let referring = match kind {
                PrincipalKind::User => [
                    postings.owners.get(number),
                    postings.assigned_users.get(number),
                ],
                PrincipalKind::Team => [
                    postings.owning_teams.get(number),
                    postings.assigned_teams.get(number),
                ],
                PrincipalKind::Group => [postings.assigned_groups.get(number), None],
            };
            let mut ordinals = referring
                .into_iter()
                .flatten()
                .fold(roaring::RoaringBitmap::new(), |all, one| all | one);
            ordinals.extend(postings.timed.iter().filter(|ordinal| {
                let facts = index.row(*ordinal).facts();
                facts
                    .assignments
                    .iter()
                    .any(|fact| fact.kind == kind && fact.principal == number)
            }));
            keys.extend(
                ordinals
                    .iter()
                    .filter_map(|row| row::key_of(&index.resource_type, index.row(row).id())),
            );
        }
        keys
    }

    /// Bytes that this snapshot holds, near enough for the cache's weigher.
    pub fn bytes(&self) -> usize {
        const NAME: usize = 120;
        let indexes: usize = self.indexes.iter().map(|index| index.bytes()).sum();
        indexes
            + self.posting_bytes
            + self.directory.bytes()
            + self.pending.bytes()
            + self.names.len() * NAME
    }

    /// What is stored that the rules forbid, e.g. a team cycle planted by SQL; survived, but reported.
    pub fn anomalies(&self) -> Vec<String> {
        let stray = self
            .stray
            .keys()
            .map(|key| format!("resource `{key}` is of a type that the catalog does not have"));
        self.directory
            .anomalies
            .iter()
            .cloned()
            .chain(stray)
            .collect()
    }
}
