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
use crate::store::outbox::{DeliveryKey, Event};

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
        request: AccessRequest,
        event: RequestEvent,
        now: Timestamp,
    ) -> Self {
        Self {
            teams: teams_of(graph.user(request.user.as_str()), now),
            account: graph.account().id.clone(),
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
pub fn message_id(key: &DeliveryKey, event: &Event) -> String {
    let mut digest = Sha256::new();
    digest.update(b"ambit notification 1\0");
    let ordinal = key.ordinal.to_string();
    let mut parts = vec![
        key.account.as_str(),
        key.subject.id().as_str(),
        &ordinal,
        &key.destination,
    ];
    // The account of a partnership may be made anew, and counts from 0 again.
    let moment;
    if let Event::Partner(event) = event {
        moment = event.news.at.unix_micros().to_string();
        parts.extend(["partner", &moment]);
    }
    for part in parts {
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
    use crate::authz::access_request::{RequestEventKind, RequestState};
    use crate::authz::decision::ReasonCode;
    use crate::authz::partner_event::{PartnerEvent, PartnerEventKind, PartnerNews, PartnerSide};
    use crate::store::outbox::Subject;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).unwrap()
    }

    fn of_request(account: &str, request: &str, ordinal: u32, destination: &str) -> String {
        let key = DeliveryKey {
            account: id(account),
            subject: Subject::Request(id(request)),
            ordinal,
            destination: destination.to_owned(),
        };
        let event = Event::Request(RequestEvent {
            request: id(request),
            ordinal,
            kind: RequestEventKind::Filed,
            at: at(0),
            actor: None,
            from: None,
            to: RequestState::Pending,
            note: None,
            approval: None,
            before: ReasonCode::NoPermission,
            after: None,
        });
        message_id(&key, &event)
    }

    fn of_partner(counterpart: &str, micros: i64) -> String {
        let key = DeliveryKey {
            account: id("acme"),
            subject: Subject::Partner(id(counterpart)),
            ordinal: 0,
            destination: "webhook:chat".to_owned(),
        };
        let news = PartnerNews {
            account: id("acme"),
            counterpart: id(counterpart),
            side: PartnerSide::Client,
            kind: PartnerEventKind::PartnershipEnded,
            at: at(micros),
            actor: None,
            person: None,
            permission_set: None,
            link: None,
        };
        message_id(&key, &Event::Partner(PartnerEvent { ordinal: 0, news }))
    }

    #[test]
    fn an_id_is_one_deliverys_own_and_always_the_same() {
        let first = of_request("acme", "r1", 0, "webhook:chat");
        assert_eq!(first, of_request("acme", "r1", 0, "webhook:chat"));
        // As servers of before made it, for what they began to send.
        assert_eq!(first, "msg_n1oa6zeBIJN2OUh3nS0kmg");
        assert_eq!(first.len(), "msg_".len() + 22);
        assert!(!first.contains('.'));
        for other in [
            of_request("acm", "er1", 0, "webhook:chat"),
            of_request("acme", "r2", 0, "webhook:chat"),
            of_request("acme", "r1", 1, "webhook:chat"),
            of_request("acme", "r1", 0, "webhook:audit"),
            of_request("acme", "r1", 0, "email:chat"),
            of_partner("r1", 0),
        ] {
            assert_ne!(first, other);
        }
        // An account that is made anew counts its events from 0 again.
        assert_eq!(of_partner("kite", 1), of_partner("kite", 1));
        assert_ne!(of_partner("kite", 1), of_partner("kite", 2));
    }
}
