//! One account at one revision, immutable: what every decision reads.
use super::catalog::{Catalog, Plan};
use super::model::{
    AccessGroup, Account, Entity, EntityChange, Id, PermissionSet, Resource, ResourceKey, Segment,
    Team, User,
};
use std::sync::Arc;

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
pub struct AccountGraph;

/// Collects the entities of a load, in the order of [`crate::store::Snapshot`] or any other.
#[derive(Debug, Default)]
pub struct GraphBuilder;

impl GraphBuilder {
    pub fn push(&mut self, _entity: Entity) {
        todo!()
    }
    pub fn finish(self) -> Result<AccountGraph, GraphError> {
        todo!()
    }
}

impl AccountGraph {
    /// The next snapshot; shares all that did not change.
    pub fn apply(&self, _changes: &[EntityChange]) -> Result<AccountGraph, GraphError> {
        todo!()
    }
    pub fn account(&self) -> &Account {
        todo!()
    }
    pub fn catalog(&self) -> &Arc<Catalog> {
        todo!()
    }
    pub fn plan(&self) -> &Plan {
        todo!()
    }
    pub fn user(&self, _id: &str) -> Option<&User> {
        todo!()
    }
    /// In id byte order, as are the other lists.
    pub fn users(&self) -> Box<dyn Iterator<Item = &User> + Send + '_> {
        todo!()
    }
    pub fn team(&self, _id: &str) -> Option<&Team> {
        todo!()
    }
    pub fn teams(&self) -> Box<dyn Iterator<Item = &Team> + Send + '_> {
        todo!()
    }
    pub fn permission_set(&self, _id: &str) -> Option<&PermissionSet> {
        todo!()
    }
    pub fn permission_sets(&self) -> Box<dyn Iterator<Item = &PermissionSet> + Send + '_> {
        todo!()
    }
    pub fn access_group(&self, _id: &str) -> Option<&AccessGroup> {
        todo!()
    }
    pub fn access_groups(&self) -> Box<dyn Iterator<Item = &AccessGroup> + Send + '_> {
        todo!()
    }
    pub fn segment(&self, _id: &str) -> Option<&Segment> {
        todo!()
    }
    pub fn segments(&self) -> Box<dyn Iterator<Item = &Segment> + Send + '_> {
        todo!()
    }
    /// Decoded from its row; without attributes, which the graph does not hold.
    pub fn resource(&self, _key: &ResourceKey) -> Option<Resource> {
        todo!()
    }
    /// Ids of a type after `after` in byte order, at most `limit`.
    pub fn resource_page(
        &self,
        _resource_type: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Vec<Id> {
        todo!()
    }
    pub fn resource_count(&self, _resource_type: &str) -> u64 {
        todo!()
    }
    /// Keys of the resources that refer to a user (as owner or assigned), a team (stamped or assigned) or a group.
    pub fn resources_of_user(&self, _user: &str) -> Vec<ResourceKey> {
        todo!()
    }
    pub fn resources_of_team(&self, _team: &str) -> Vec<ResourceKey> {
        todo!()
    }
    pub fn resources_of_group(&self, _group: &str) -> Vec<ResourceKey> {
        todo!()
    }
    /// Bytes that this snapshot holds, for the cache's weigher.
    pub fn bytes(&self) -> usize {
        todo!()
    }
    /// What is stored that the rules forbid, e.g. a team cycle planted by SQL; survived, but reported.
    pub fn anomalies(&self) -> &[String] {
        todo!()
    }
}
