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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::access_request::{Closing, RequestState};
    use crate::authz::decision::ReasonCode;
    use crate::authz::model::Timestamp;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn target(resource: Option<&str>) -> RequestTarget {
        RequestTarget {
            resource_type: id("contact"),
            action: id("view"),
            resource_id: resource.map(id),
        }
    }

    fn request(name: &str, user: &str, resource: Option<&str>) -> AccessRequest {
        AccessRequest {
            id: id(name),
            user: id(user),
            target: target(resource),
            reason: "why".to_owned(),
            denied_as: ReasonCode::NoPermission,
            wanted_seconds: None,
            origin_url: None,
            filed_at: Timestamp::MIN,
            expires_at: Timestamp::MIN,
            state: RequestState::Pending,
            closing: None,
        }
    }

    fn ended(of: &AccessRequest, state: RequestState) -> AccessRequest {
        AccessRequest {
            state,
            closing: Some(Closing {
                at: Timestamp::MIN,
                by: None,
                note: None,
                approval: None,
            }),
            ..of.clone()
        }
    }

    fn names<'r>(requests: impl Iterator<Item = &'r AccessRequest>) -> Vec<&'r str> {
        requests.map(|request| request.id.as_str()).collect()
    }

    #[test]
    fn one_is_found_by_requester_and_target_alone() {
        let mut pending = PendingRequests::default();
        assert_eq!(pending.find("ann", &target(None)), None);
        for request in [
            request("r2", "ann", Some("c1")),
            request("r1", "ann", None),
            request("r3", "bob", Some("c1")),
        ] {
            pending.put(request);
        }
        let found = |user, resource| {
            let found = pending.find(user, &target(resource));
            found.map(|request| request.id.as_str())
        };
        assert_eq!(found("ann", Some("c1")), Some("r2"));
        assert_eq!(found("ann", None), Some("r1"));
        assert_eq!(found("bob", Some("c1")), Some("r3"));
        assert_eq!(found("bob", None), None);
        assert_eq!(found("Ann", None), None);
        assert_eq!(names(pending.all()), ["r1", "r2", "r3"]);
        assert_eq!(names(pending.of_user("ann")), ["r1", "r2"]);
        assert_eq!(names(pending.of_user("eve")), [""; 0]);
    }

    #[test]
    fn what_has_ended_or_is_gone_is_not_kept() {
        for state in RequestState::ALL.iter().filter(|state| state.is_terminal()) {
            let mut pending = PendingRequests::default();
            let one = request("r1", "ann", None);
            pending.put(one.clone());
            pending.apply(&EntityChange::Put(Entity::AccessRequest(ended(
                &one, *state,
            ))));
            assert_eq!(pending.find("ann", &target(None)), None);
            assert_eq!((pending.by_id.len(), pending.by_user.len()), (0, 0));
            // One that has ended already is not taken up.
            pending.put(ended(&one, *state));
            assert_eq!((pending.by_id.len(), pending.by_user.len()), (0, 0));
        }
        let mut pending = PendingRequests::default();
        pending.put(request("r1", "ann", None));
        pending.apply(&EntityChange::Delete(EntityKey::User(id("ann"))));
        assert_eq!(names(pending.all()), ["r1"], "a user is no request");
        for _ in 0..2 {
            pending.apply(&EntityChange::Delete(EntityKey::AccessRequest(id("r1"))));
            assert_eq!((pending.by_id.len(), pending.by_user.len()), (0, 0));
        }
    }

    /// Only a writer that switched the rules off can have stored such.
    #[test]
    fn of_two_for_the_same_the_first_by_id_counts_whatever_the_order() {
        let (one, two) = (request("r1", "ann", None), request("r2", "ann", None));
        for order in [[&one, &two], [&two, &one]] {
            let mut pending = PendingRequests::default();
            for request in order {
                pending.put(request.clone());
            }
            assert_eq!(pending.find("ann", &target(None)), Some(&one));
            pending.put(ended(&one, RequestState::Denied));
            assert_eq!(pending.find("ann", &target(None)), Some(&two));
        }
        // One that has another requester all of a sudden is that one's.
        let mut pending = PendingRequests::default();
        pending.put(one);
        pending.put(request("r1", "bob", None));
        assert_eq!(pending.find("ann", &target(None)), None);
        assert_eq!(names(pending.of_user("bob")), ["r1"]);
    }
}
