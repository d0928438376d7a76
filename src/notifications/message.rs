//! What is told of an event, gathered at the moment of sending: who asks, what for and why (S1.4),
//! and for each approver the link to where it is resolved (S1.5).
//!
//! Resources are named by type and id alone. Ambit knows no titles, so none can be told (R3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::authz::access_request::{AccessRequest, RequestEvent, RequestState, approvers};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, MembershipOf, Timestamp, User};
use crate::links::Links;
use crate::randomness::{Randomness, RandomnessError};
use crate::store::outbox::DeliveryKey;

/// Approvers that one message names; how many more there are is said.
pub const APPROVERS_MAX: usize = 100;

/// An event with what is known of its request now.
pub struct Told {
    pub account: Id,
    pub request: AccessRequest,
    pub event: RequestEvent,
    /// Teams of the requester, the main one first.
    pub teams: Vec<Id>,
}

impl Told {
    /// Judged on a graph at least as fresh as the event.
    pub fn gather(
        graph: &AccountGraph,
        account: Id,
        request: AccessRequest,
        event: RequestEvent,
        now: Timestamp,
    ) -> Self {
        Self {
            teams: teams_of(graph.user(request.user.as_str()), now),
            account,
            request,
            event,
        }
    }
}

/// Someone who may decide, with the link to do it by.
pub struct Approver {
    pub user: Id,
    pub email: Option<String>,
    pub link: String,
}

/// Those who may decide now: of a request that is still pending.
#[derive(Default)]
pub struct Approvers {
    pub named: Vec<Approver>,
    pub omitted: usize,
}

/// Where links come from.
pub struct LinkMaker<'a> {
    pub links: &'a Links,
    pub randomness: &'a dyn Randomness,
}

impl LinkMaker<'_> {
    pub fn approvers(
        &self,
        graph: &AccountGraph,
        told: &Told,
        now: Timestamp,
    ) -> Result<Approvers, RandomnessError> {
        if told.request.state != RequestState::Pending {
            return Ok(Approvers::default());
        }
        let able = approvers(graph, &told.request, now);
        Ok(Approvers {
            omitted: able.len().saturating_sub(APPROVERS_MAX),
            named: able
                .into_iter()
                .take(APPROVERS_MAX)
                .map(|approver| self.approver(graph, told, approver, now))
                .collect::<Result<_, _>>()?,
        })
    }

    pub fn approver(
        &self,
        graph: &AccountGraph,
        told: &Told,
        approver: Id,
        now: Timestamp,
    ) -> Result<Approver, RandomnessError> {
        let (account, request) = (&told.account, &told.request);
        let random = self.randomness.bytes()?;
        let link = self
            .links
            .make(account, &request.id, &request.user, &approver, random, now);
        let user = graph.user(approver.as_str());
        Ok(Approver {
            email: user.and_then(|user| user.email.clone()),
            link,
            user: approver,
        })
    }
}

/// Teams that count now, the main team first, each once.
pub fn teams_of(user: Option<&User>, now: Timestamp) -> Vec<Id> {
    let Some(user) = user else {
        return Vec::new();
    };
    let timed = user
        .memberships
        .iter()
        .filter_map(|membership| match &membership.of {
            MembershipOf::Team(team) if membership.is_live(now) => Some(team),
            MembershipOf::Team(_) | MembershipOf::PermissionSet(_) => None,
        });
    let mut teams: Vec<Id> = Vec::new();
    for team in user.all_teams().chain(timed) {
        if !teams.contains(team) {
            teams.push(team.clone());
        }
    }
    teams
}

/// The id of what one destination is told of one event: the same at each attempt and after each
/// replay, so that who receives it twice knows it again. Without a full stop, which separates what
/// is signed.
pub fn message_id(key: &DeliveryKey) -> String {
    let mut digest = Sha256::new();
    digest.update(b"ambit notification 1\0");
    let ordinal = key.ordinal.to_string();
    for part in [
        key.account.as_str(),
        key.request.as_str(),
        &ordinal,
        &key.destination,
    ] {
        let bytes = u64::try_from(part.len()).unwrap_or(u64::MAX);
        digest.update(bytes.to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let (id, _) = digest.split_at(16);
    format!("msg_{}", URL_SAFE_NO_PAD.encode(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str, request: &str, ordinal: u32, destination: &str) -> DeliveryKey {
        DeliveryKey {
            account: Id::parse(account).unwrap(),
            request: Id::parse(request).unwrap(),
            ordinal,
            destination: destination.to_owned(),
        }
    }

    #[test]
    fn an_id_is_one_deliverys_own_and_always_the_same() {
        let first = key("acme", "r1", 0, "webhook:chat");
        let id = message_id(&first);
        assert_eq!(id, message_id(&first.clone()));
        assert_eq!(id.len(), "msg_".len() + 22);
        assert!(!id.contains('.'));
        for other in [
            key("acm", "er1", 0, "webhook:chat"),
            key("acme", "r2", 0, "webhook:chat"),
            key("acme", "r1", 1, "webhook:chat"),
            key("acme", "r1", 0, "webhook:audit"),
            key("acme", "r1", 0, "email:chat"),
        ] {
            assert_ne!(id, message_id(&other), "{other}");
        }
    }
}
