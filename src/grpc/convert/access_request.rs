//! Access requests, their history, what would answer them, and what is told of them.

use super::{Path, check_response, id, known, level, level_to_wire, timestamp_to_wire};
use crate::authz::access_request::{
    AccessRequest, Approval, GrantOffer, RequestEvent, RequestEventKind, RequestState, Resolution,
    Suggestion,
};
use crate::authz::decision::Decision;
use crate::authz::model::{Id, PermissionKey, Timestamp};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::store::outbox::{Delivery, DeliveryState, Subject};
use wire::resolution::Kind;

fn text(id: Option<&Id>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

pub fn request_state_to_wire(state: RequestState) -> wire::AccessRequestState {
    match state {
        RequestState::Pending => wire::AccessRequestState::Pending,
        RequestState::Approved => wire::AccessRequestState::Approved,
        RequestState::Denied => wire::AccessRequestState::Denied,
        RequestState::Cancelled => wire::AccessRequestState::Cancelled,
        RequestState::Expired => wire::AccessRequestState::Expired,
        RequestState::Obsolete => wire::AccessRequestState::Obsolete,
    }
}

pub fn request_state_from_wire(value: i32, path: Path<'_>) -> Result<RequestState, Failure> {
    match known(wire::AccessRequestState::try_from(value), path)? {
        wire::AccessRequestState::Unspecified => Err(Failure::invalid(path, "name a state")),
        wire::AccessRequestState::Pending => Ok(RequestState::Pending),
        wire::AccessRequestState::Approved => Ok(RequestState::Approved),
        wire::AccessRequestState::Denied => Ok(RequestState::Denied),
        wire::AccessRequestState::Cancelled => Ok(RequestState::Cancelled),
        wire::AccessRequestState::Expired => Ok(RequestState::Expired),
        wire::AccessRequestState::Obsolete => Ok(RequestState::Obsolete),
    }
}

pub fn access_request_to_wire(request: &AccessRequest) -> wire::AccessRequest {
    wire::AccessRequest {
        id: request.id.to_string(),
        user_id: request.user.to_string(),
        resource_type: request.target.resource_type.to_string(),
        action: request.target.action.to_string(),
        resource_id: text(request.target.resource_id.as_ref()),
        reason: request.reason.clone(),
        denied_as: request.denied_as.as_str().to_owned(),
        wanted_seconds: request.wanted_seconds,
        origin_url: request.origin_url.clone().unwrap_or_default(),
        filed_at: Some(timestamp_to_wire(request.filed_at)),
        expires_at: Some(timestamp_to_wire(request.expires_at)),
        state: request_state_to_wire(request.state).into(),
        closing: request
            .closing
            .as_ref()
            .map(|closing| wire::AccessRequestClosing {
                at: Some(timestamp_to_wire(closing.at)),
                by_user_id: text(closing.by.as_ref()),
                note: closing.note.clone().unwrap_or_default(),
                approval: closing.approval.as_ref().map(approval_to_wire),
            }),
    }
}

fn approval_to_wire(approval: &Approval) -> wire::AccessRequestApproval {
    wire::AccessRequestApproval {
        resolution: Some(resolution_to_wire(&approval.resolution)),
        expires_at: approval.expires_at.map(timestamp_to_wire),
    }
}

pub fn resolution_to_wire(resolution: &Resolution) -> wire::Resolution {
    let kind = match resolution {
        Resolution::ObjectGrant => Kind::ObjectGrant(wire::ObjectGrantResolution {}),
        Resolution::AssignToUser => Kind::AssignToUser(wire::AssignToUserResolution {}),
        Resolution::DirectGrant(offer) => Kind::DirectGrant(offer_to_wire(offer)),
        Resolution::AssignToTeam(team) => Kind::AssignToTeamId(team.to_string()),
        Resolution::PermissionSet(set) => Kind::PermissionSetId(set.to_string()),
        Resolution::AddToTeam(team) => Kind::AddToTeamId(team.to_string()),
        Resolution::RaiseLevel(offer) => Kind::RaiseLevel(offer_to_wire(offer)),
    };
    wire::Resolution { kind: Some(kind) }
}

fn offer_to_wire(offer: &GrantOffer) -> wire::GrantOffer {
    wire::GrantOffer {
        resource_type: offer.key.resource_type.to_string(),
        permission: offer.key.permission.to_string(),
        level: level_to_wire(offer.level).into(),
        include_unassigned: offer.include_unassigned,
    }
}

pub fn resolution_from_wire(
    resolution: Option<&wire::Resolution>,
    path: Path<'_>,
) -> Result<Resolution, Failure> {
    let kind = resolution.and_then(|resolution| resolution.kind.as_ref());
    Ok(match kind {
        None => {
            return Err(Failure::invalid(
                path,
                "a resolution is required: set one of its fields, as SuggestResolutions answers them",
            ));
        }
        Some(Kind::ObjectGrant(_)) => Resolution::ObjectGrant,
        Some(Kind::AssignToUser(_)) => Resolution::AssignToUser,
        Some(Kind::DirectGrant(offer)) => {
            Resolution::DirectGrant(offer_from_wire(offer, &path.field("direct_grant"))?)
        }
        Some(Kind::AssignToTeamId(team)) => {
            Resolution::AssignToTeam(id(team, path.field("assign_to_team_id"))?)
        }
        Some(Kind::PermissionSetId(set)) => {
            Resolution::PermissionSet(id(set, path.field("permission_set_id"))?)
        }
        Some(Kind::AddToTeamId(team)) => {
            Resolution::AddToTeam(id(team, path.field("add_to_team_id"))?)
        }
        Some(Kind::RaiseLevel(offer)) => {
            Resolution::RaiseLevel(offer_from_wire(offer, &path.field("raise_level"))?)
        }
    })
}

fn offer_from_wire(offer: &wire::GrantOffer, path: &Path<'_>) -> Result<GrantOffer, Failure> {
    Ok(GrantOffer {
        key: PermissionKey {
            resource_type: id(&offer.resource_type, path.field("resource_type"))?,
            permission: id(&offer.permission, path.field("permission"))?,
        },
        level: level(offer.level, path.field("level"))?,
        include_unassigned: offer.include_unassigned,
    })
}

pub fn suggestion_to_wire(suggestion: &Suggestion) -> wire::Suggestion {
    let opens = &suggestion.opens;
    wire::Suggestion {
        resolution: Some(resolution_to_wire(&suggestion.resolution)),
        withheld_reason: suggestion
            .withheld
            .clone()
            .map(|refusal| Failure::from(refusal).reason.name().to_owned())
            .unwrap_or_default(),
        opens: opens.count,
        users: opens.users,
        sample: opens
            .sample
            .iter()
            .map(|opened| wire::OpenedAccess {
                user_id: opened.user.to_string(),
                resource_type: opened.resource_type.to_string(),
                action: opened.action.to_string(),
                resource_id: text(opened.resource_id.as_ref()),
            })
            .collect(),
    }
}

pub fn request_event_to_wire(event: &RequestEvent) -> wire::AccessRequestEvent {
    let kind = match event.kind {
        RequestEventKind::Filed => wire::AccessRequestEventKind::Filed,
        RequestEventKind::Approved => wire::AccessRequestEventKind::Approved,
        RequestEventKind::Denied => wire::AccessRequestEventKind::Denied,
        RequestEventKind::Cancelled => wire::AccessRequestEventKind::Cancelled,
        RequestEventKind::Expired => wire::AccessRequestEventKind::Expired,
        RequestEventKind::Obsolete => wire::AccessRequestEventKind::Obsolete,
        RequestEventKind::Revoked => wire::AccessRequestEventKind::Revoked,
    };
    let from = event
        .from
        .map_or(wire::AccessRequestState::Unspecified, request_state_to_wire);
    wire::AccessRequestEvent {
        ordinal: event.ordinal,
        kind: kind.into(),
        at: Some(timestamp_to_wire(event.at)),
        actor_user_id: text(event.actor.as_ref()),
        from_state: from.into(),
        to_state: request_state_to_wire(event.to).into(),
        note: event.note.clone().unwrap_or_default(),
        approval: event.approval.as_ref().map(approval_to_wire),
        reason_before: event.before.as_str().to_owned(),
        reason_after: event
            .after
            .map(|reason| reason.as_str().to_owned())
            .unwrap_or_default(),
    }
}

/// The request's check in an answer that carries its revision itself.
pub fn request_check_to_wire(decision: &Decision, revision: String) -> wire::CheckResponse {
    check_response(decision, String::new(), revision, None)
}

pub fn notification_to_wire(delivery: &Delivery) -> wire::Notification {
    let moment = |moment: Timestamp| Some(timestamp_to_wire(moment));
    let state = match delivery.state {
        DeliveryState::Pending => wire::NotificationState::Pending,
        DeliveryState::Delivered => wire::NotificationState::Delivered,
        DeliveryState::Dead => wire::NotificationState::Dead,
    };
    let (request, partner) = match &delivery.key.subject {
        Subject::Request(request) => (request.to_string(), String::new()),
        Subject::Partner(partner) => (String::new(), partner.to_string()),
    };
    wire::Notification {
        access_request_id: request,
        partner_account_id: partner,
        event_ordinal: delivery.key.ordinal,
        destination: delivery.key.destination.clone(),
        state: state.into(),
        attempts: delivery.attempts,
        created_at: moment(delivery.created_at),
        next_attempt_at: moment(delivery.next_attempt_at),
        settled_at: delivery.settled_at.and_then(moment),
        last_problem: delivery.last_problem.clone().unwrap_or_default(),
    }
}

/// `None`: any.
pub fn notification_state_from_wire(
    value: i32,
    path: Path<'_>,
) -> Result<Option<DeliveryState>, Failure> {
    Ok(
        match known(wire::NotificationState::try_from(value), path)? {
            wire::NotificationState::Unspecified => None,
            wire::NotificationState::Pending => Some(DeliveryState::Pending),
            wire::NotificationState::Delivered => Some(DeliveryState::Delivered),
            wire::NotificationState::Dead => Some(DeliveryState::Dead),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Level;

    fn parse(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn every_resolution_comes_back_as_it_was_sent() {
        let offer = GrantOffer {
            key: PermissionKey {
                resource_type: parse("contact"),
                permission: parse("export"),
            },
            level: Level::Team,
            include_unassigned: true,
        };
        for resolution in [
            Resolution::ObjectGrant,
            Resolution::AssignToUser,
            Resolution::DirectGrant(offer.clone()),
            Resolution::AssignToTeam(parse("de")),
            Resolution::PermissionSet(parse("rep")),
            Resolution::AddToTeam(parse("fr")),
            Resolution::RaiseLevel(offer),
        ] {
            let sent = resolution_to_wire(&resolution);
            let read = resolution_from_wire(Some(&sent), Path::root("resolution"));
            assert_eq!(read, Ok(resolution));
        }
    }

    #[test]
    fn a_resolution_is_blamed_by_its_field() {
        let field = |resolution: Option<&wire::Resolution>| {
            let failure = resolution_from_wire(resolution, Path::root("resolution")).unwrap_err();
            failure.field.unwrap()
        };
        assert_eq!(field(None), "resolution");
        let no_level = wire::Resolution {
            kind: Some(Kind::DirectGrant(wire::GrantOffer {
                resource_type: "contact".to_owned(),
                permission: "view".to_owned(),
                ..wire::GrantOffer::default()
            })),
        };
        assert_eq!(field(Some(&no_level)), "resolution.direct_grant.level");
        let no_team = wire::Resolution {
            kind: Some(Kind::AddToTeamId(String::new())),
        };
        assert_eq!(field(Some(&no_team)), "resolution.add_to_team_id");
    }
}
