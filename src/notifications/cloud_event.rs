//! The body of a webhook: a CloudEvent 1.0 in structured JSON. `docs/webhooks.md` is its contract:
//! fields are added, never renamed or removed, within `.v1`.

use serde::Serialize;

use super::message::{Approvers, Told};
use crate::authz::access_request::{Approval, RequestState, Resolution};
use crate::authz::decision::ReasonCode;
use crate::authz::model::Id;
use crate::authz::partner_event::{PartnerEvent, PartnerSide};
use crate::links::{Links, segment_of};

const SPEC_VERSION: &str = "1.0";
const DATA_CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    subject: &'a Id,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

#[derive(Serialize)]
struct RequestData<'a> {
    account_id: &'a Id,
    request_id: &'a Id,
    /// As it is now, which may be later than the event.
    state: &'static str,
    requester: Requester<'a>,
    target: Target<'a>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_url: Option<&'a str>,
    filed_at: String,
    expires_at: String,
    event: Event<'a>,
    approvers: Vec<Approver<'a>>,
    approvers_omitted: usize,
}

#[derive(Serialize)]
struct Requester<'a> {
    user_id: &'a Id,
    teams: &'a [Id],
}

#[derive(Serialize)]
struct Target<'a> {
    context: &'static str,
    resource_type: &'a Id,
    action: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a Id>,
    denied_as: &'static str,
}

#[derive(Serialize)]
struct Event<'a> {
    kind: &'static str,
    ordinal: u32,
    /// Absent: Ambit itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Given<'a>>,
    before: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'static str>,
}

/// What was given, or taken back.
#[derive(Serialize, Default)]
struct Given<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_unassigned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission_set_id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Approver<'a> {
    user_id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    url: &'a str,
}

/// The body, with the id that the message has as a whole.
pub fn of_request(
    told: &Told,
    approvers: &Approvers,
    id: &str,
    links: &Links,
) -> Result<Vec<u8>, serde_json::Error> {
    let request = &told.request;
    let event = &told.event;
    serde_json::to_vec(&CloudEvent {
        specversion: SPEC_VERSION,
        id,
        kind: format!("com.ambit.access_request.{}.v1", event.kind),
        source: source(links, &told.account),
        subject: &request.id,
        time: event.at.to_string(),
        datacontenttype: DATA_CONTENT_TYPE,
        data: RequestData {
            account_id: &told.account,
            request_id: &request.id,
            state: request.state.as_str(),
            requester: Requester {
                user_id: &request.user,
                teams: &told.teams,
            },
            target: Target {
                context: match request.target.resource_id {
                    Some(_) => "object",
                    None => "tool",
                },
                resource_type: &request.target.resource_type,
                action: &request.target.action,
                resource_id: request.target.resource_id.as_ref(),
                denied_as: request.denied_as.as_str(),
            },
            reason: &request.reason,
            wanted_seconds: request.wanted_seconds,
            origin_url: request.origin_url.as_deref(),
            filed_at: request.filed_at.to_string(),
            expires_at: request.expires_at.to_string(),
            event: Event {
                kind: event.kind.as_str(),
                ordinal: event.ordinal,
                actor: event.actor.as_ref(),
                from: event.from.map(RequestState::as_str),
                to: event.to.as_str(),
                note: event.note.as_deref(),
                resolution: event.approval.as_ref().map(given),
                before: event.before.as_str(),
                after: event.after.map(ReasonCode::as_str),
            },
            approvers: approvers
                .named
                .iter()
                .map(|approver| Approver {
                    user_id: &approver.user,
                    email: approver.email.as_deref(),
                    url: &approver.link,
                })
                .collect(),
            approvers_omitted: approvers.omitted,
        },
    })
}

fn source(links: &Links, account: &Id) -> String {
    format!("{}/accounts/{}", links.console_url(), segment_of(account))
}

/// The body of an event between an agency and a client: who it is about is named as the two accounts
/// know them, who did it as the account that is told does.
pub fn of_partner(
    event: &PartnerEvent,
    id: &str,
    links: &Links,
) -> Result<Vec<u8>, serde_json::Error> {
    let news = &event.news;
    let (agency, client) = match news.side {
        PartnerSide::Agency => (&news.account, &news.counterpart),
        PartnerSide::Client => (&news.counterpart, &news.account),
    };
    let person = news.person.as_ref();
    serde_json::to_vec(&CloudEvent {
        specversion: SPEC_VERSION,
        id,
        kind: format!("com.ambit.partner.{}.v1", news.kind),
        source: source(links, &news.account),
        subject: &news.counterpart,
        time: news.at.to_string(),
        datacontenttype: DATA_CONTENT_TYPE,
        data: PartnerData {
            account_id: &news.account,
            side: news.side.as_str(),
            agency_id: agency,
            client_id: client,
            person: person.map(|person| Person {
                partner_user_id: &person.partner_user,
                client_user_id: &person.client_user,
                role: person.role.as_str(),
            }),
            permission_set_id: news.permission_set.as_ref(),
            link_id: news.link.as_ref(),
            event: PartnerEventData {
                kind: news.kind.as_str(),
                ordinal: event.ordinal,
                actor: news.actor.as_ref(),
            },
        },
    })
}

#[derive(Serialize)]
struct PartnerData<'a> {
    account_id: &'a Id,
    side: &'static str,
    agency_id: &'a Id,
    client_id: &'a Id,
    /// Absent: it is about all of the agency's people in the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Person<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission_set_id: Option<&'a Id>,
    /// Of the link, which opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_id: Option<&'a Id>,
    event: PartnerEventData<'a>,
}

#[derive(Serialize)]
struct Person<'a> {
    partner_user_id: &'a Id,
    client_user_id: &'a Id,
    role: &'static str,
}

#[derive(Serialize)]
struct PartnerEventData<'a> {
    kind: &'static str,
    ordinal: u32,
    /// Absent: nobody of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Id>,
}

fn given(approval: &Approval) -> Given<'_> {
    let given = Given {
        kind: approval.resolution.kind().as_str(),
        expires_at: approval.expires_at.map(|moment| moment.to_string()),
        ..Given::default()
    };
    match &approval.resolution {
        Resolution::ObjectGrant | Resolution::AssignToUser => given,
        Resolution::AssignToTeam(team) | Resolution::AddToTeam(team) => Given {
            team_id: Some(team),
            ..given
        },
        Resolution::PermissionSet(set) => Given {
            permission_set_id: Some(set),
            ..given
        },
        Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => Given {
            permission: Some(offer.key.to_string()),
            level: Some(offer.level.as_str()),
            include_unassigned: Some(offer.include_unassigned),
            ..given
        },
    }
}
