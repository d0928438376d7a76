//! The pending access requests of a snapshot: what `Check` names beside a denial, and what the
//! keeper and the approvers look at. Requests that have ended are in the store alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authz::access_request::{AccessRequest, RequestTarget};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id};

/// Pending requests by id, and those of each user in id order. A user has few (R2), so that one is
/// found among them by looking at each.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingRequests {
    by_id: BTreeMap<Id, Arc<AccessRequest>>,
    by_user: BTreeMap<Id, BTreeMap<Id, Arc<AccessRequest>>>,
}

impl PendingRequests {
    /// Takes over a request as it is now: one that has ended is not kept.
    pub(super) fn put(&mut self, request: AccessRequest) {
        self.remove(&request.id);
        if request.state.is_terminal() {
            return;
        }
        let request = Arc::new(request);
        self.by_user
            .entry(request.user.clone())
            .or_default()
            .insert(request.id.clone(), Arc::clone(&request));
        self.by_id.insert(request.id.clone(), request);
    }

    fn remove(&mut self, id: &Id) {
        let Some(request) = self.by_id.remove(id) else {
            return;
        };
        if let Some(of_user) = self.by_user.get_mut(&request.user) {
            of_user.remove(id);
            if of_user.is_empty() {
                self.by_user.remove(&request.user);
            }
        }
    }

    /// What changes say of requests; others are passed over.
    pub(super) fn apply(&mut self, change: &EntityChange) {
        match change {
            EntityChange::Put(Entity::AccessRequest(request)) => self.put(request.clone()),
            EntityChange::Delete(EntityKey::AccessRequest(id)) => self.remove(id),
            EntityChange::Put(_) | EntityChange::Delete(_) => {}
        }
    }

    /// The first by id, where a writer that switched the rules off stored several.
    pub(super) fn find(&self, user: &str, target: &RequestTarget) -> Option<&AccessRequest> {
        self.of_user(user).find(|request| request.target == *target)
    }

    pub(super) fn of_user(&self, user: &str) -> impl Iterator<Item = &AccessRequest> + use<'_> {
        self.by_user
            .get(user)
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(AsRef::as_ref)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &AccessRequest> {
        self.by_id.values().map(AsRef::as_ref)
    }

    pub(super) fn get(&self, id: &str) -> Option<&AccessRequest> {
        self.by_id.get(id).map(AsRef::as_ref)
    }

    /// A rough size.
    pub(super) fn bytes(&self) -> usize {
        const REQUEST: usize = 800;
        self.by_id.len() * REQUEST
    }
}
