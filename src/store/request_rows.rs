//! Access requests and their events as rows, both ways.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::rows::{At, Flag, Text, inconsistent, micros};
use super::{PendingAccount, StoreError, rows};
use crate::authz::access_request::{
    AccessRequest, Approval, Closing, GrantOffer, RequestEvent, RequestEventKind, RequestState,
    RequestTarget, Resolution, ResolutionKind,
};
use crate::authz::decision::ReasonCode;
use crate::authz::model::{Id, Level, PermissionKey, Timestamp};

/// Columns as they are gathered into JSON, each with whether it is a time.
pub(super) type Columns = [(&'static str, bool)];

/// In the order of [`RequestColumns`].
pub(super) const REQUEST: &Columns = &[
    ("access_request_id", false),
    ("user_id", false),
    ("resource_type", false),
    ("action", false),
    ("resource_id", false),
    ("reason", false),
    ("denied_as", false),
    ("wanted_seconds", false),
    ("origin_url", false),
    ("filed_at", true),
    ("expires_at", true),
    ("state", false),
    ("closed_at", true),
    ("closed_by", false),
    ("closing_note", false),
    ("resolution", false),
    ("resolution_id", false),
    ("resolution_type", false),
    ("resolution_permission", false),
    ("resolution_level", false),
    ("resolution_unassigned", false),
    ("resolution_expires_at", true),
];

/// In the order of [`EventColumns`].
pub(super) const EVENT: &Columns = &[
    ("access_request_id", false),
    ("ordinal", false),
    ("kind", false),
    ("at", true),
    ("actor", false),
    ("from_state", false),
    ("to_state", false),
    ("note", false),
    ("resolution", false),
    ("resolution_id", false),
    ("resolution_type", false),
    ("resolution_permission", false),
    ("resolution_level", false),
    ("resolution_unassigned", false),
    ("resolution_expires_at", true),
    ("reason_before", false),
    ("reason_after", false),
];

/// Columns of a table that goes by `alias`, as arguments of the function that makes them an array;
/// `time` writes a column as microseconds.
pub(super) fn gathered(columns: &Columns, alias: &str, time: impl Fn(&str) -> String) -> String {
    let written: Vec<String> = columns
        .iter()
        .map(|(column, is_time)| {
            let column = format!("{alias}.{column}");
            if *is_time { time(&column) } else { column }
        })
        .collect();
    written.join(", ")
}

/// The columns of [`Approval`].
#[derive(Default)]
struct ApprovalColumns<'a> {
    kind: Option<ResolutionKind>,
    id: Option<&'a Id>,
    grant: Option<&'a GrantOffer>,
    expires_at: Option<i64>,
}

impl<'a> ApprovalColumns<'a> {
    fn of(approval: Option<&'a Approval>) -> Self {
        let Some(approval) = approval else {
            return Self::default();
        };
        let (id, grant) = match &approval.resolution {
            Resolution::ObjectGrant | Resolution::AssignToUser => (None, None),
            Resolution::AssignToTeam(id)
            | Resolution::PermissionSet(id)
            | Resolution::AddToTeam(id) => (Some(id), None),
            Resolution::DirectGrant(grant) | Resolution::RaiseLevel(grant) => (None, Some(grant)),
        };
        Self {
            kind: Some(approval.resolution.kind()),
            id,
            grant,
            expires_at: micros(approval.expires_at),
        }
    }
}

/// A row of `access_request` in the order of [`REQUEST`].
#[derive(Serialize)]
struct RequestColumns<'a>(
    &'a Id,
    &'a Id,
    &'a Id,
    &'a Id,
    Option<&'a Id>,
    &'a str,
    ReasonCode,
    Option<u64>,
    Option<&'a str>,
    i64,
    i64,
    RequestState,
    Option<i64>,
    Option<&'a Id>,
    Option<&'a str>,
    Option<ResolutionKind>,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<Level>,
    Option<bool>,
    Option<i64>,
);

pub(super) fn request_columns(request: &AccessRequest) -> impl Serialize + '_ {
    let closing = request.closing.as_ref();
    let approval = ApprovalColumns::of(closing.and_then(|closing| closing.approval.as_ref()));
    let grant = approval.grant;
    RequestColumns(
        &request.id,
        &request.user,
        &request.target.resource_type,
        &request.target.action,
        request.target.resource_id.as_ref(),
        &request.reason,
        request.denied_as,
        request.wanted_seconds,
        request.origin_url.as_deref(),
        request.filed_at.unix_micros(),
        request.expires_at.unix_micros(),
        request.state,
        closing.map(|closing| closing.at.unix_micros()),
        closing.and_then(|closing| closing.by.as_ref()),
        closing.and_then(|closing| closing.note.as_deref()),
        approval.kind,
        approval.id,
        grant.map(|grant| &grant.key.resource_type),
        grant.map(|grant| &grant.key.permission),
        grant.map(|grant| grant.level),
        grant.map(|grant| grant.include_unassigned),
        approval.expires_at,
    )
}

/// A row of `access_request_event` in the order of [`EVENT`].
#[derive(Serialize)]
struct EventColumns<'a>(
    &'a Id,
    u32,
    RequestEventKind,
    i64,
    Option<&'a Id>,
    Option<RequestState>,
    RequestState,
    Option<&'a str>,
    Option<ResolutionKind>,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<Level>,
    Option<bool>,
    Option<i64>,
    ReasonCode,
    Option<ReasonCode>,
);

pub(super) fn event_columns(event: &RequestEvent) -> impl Serialize + '_ {
    let approval = ApprovalColumns::of(event.approval.as_ref());
    let grant = approval.grant;
    EventColumns(
        &event.request,
        event.ordinal,
        event.kind,
        event.at.unix_micros(),
        event.actor.as_ref(),
        event.from,
        event.to,
        event.note.as_deref(),
        approval.kind,
        approval.id,
        grant.map(|grant| &grant.key.resource_type),
        grant.map(|grant| &grant.key.permission),
        grant.map(|grant| grant.level),
        grant.map(|grant| grant.include_unassigned),
        approval.expires_at,
        event.before,
        event.after,
    )
}

/// The columns of an approval as they are read.
struct ApprovalRow<'a> {
    kind: Option<Text<'a>>,
    id: Option<Text<'a>>,
    resource_type: Option<Text<'a>>,
    permission: Option<Text<'a>>,
    level: Option<Text<'a>>,
    unassigned: Option<Flag>,
    expires_at: Option<i64>,
}

impl ApprovalRow<'_> {
    fn approval(self, at: At<'_>) -> Result<Option<Approval>, StoreError> {
        let Some(kind) = &self.kind else {
            return Ok(None);
        };
        let resolution = match at.word("resolution", kind, ResolutionKind::from_word)? {
            ResolutionKind::ObjectGrant => Resolution::ObjectGrant,
            ResolutionKind::AssignToUser => Resolution::AssignToUser,
            ResolutionKind::DirectGrant => Resolution::DirectGrant(self.offer(at)?),
            ResolutionKind::AssignToTeam => Resolution::AssignToTeam(self.id(at)?),
            ResolutionKind::PermissionSet => Resolution::PermissionSet(self.id(at)?),
            ResolutionKind::AddToTeam => Resolution::AddToTeam(self.id(at)?),
            ResolutionKind::RaiseLevel => Resolution::RaiseLevel(self.offer(at)?),
        };
        Ok(Some(Approval {
            resolution,
            expires_at: at.time("resolution_expires_at", self.expires_at)?,
        }))
    }

    fn id(&self, at: At<'_>) -> Result<Id, StoreError> {
        required_id(at, "resolution_id", self.id.as_deref())
    }

    fn offer(&self, at: At<'_>) -> Result<GrantOffer, StoreError> {
        let flag = self
            .unassigned
            .ok_or_else(|| at.wrong("resolution_unassigned", "it is missing"))?;
        Ok(GrantOffer {
            key: PermissionKey {
                resource_type: required_id(at, "resolution_type", self.resource_type.as_deref())?,
                permission: required_id(at, "resolution_permission", self.permission.as_deref())?,
            },
            level: at.word(
                "resolution_level",
                self.level.as_deref().unwrap_or_default(),
                Level::from_word,
            )?,
            include_unassigned: at.flag("resolution_unassigned", flag)?,
        })
    }
}

pub(super) fn required_id(
    at: At<'_>,
    column: &'static str,
    text: Option<&str>,
) -> Result<Id, StoreError> {
    at.id(column, text.unwrap_or_default())
}

pub(super) fn required_time(
    at: At<'_>,
    column: &'static str,
    micros: Option<i64>,
) -> Result<Timestamp, StoreError> {
    at.time(column, micros)?
        .ok_or_else(|| at.wrong(column, "it is missing"))
}

#[derive(Deserialize)]
pub(super) struct RequestRow<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    user: Text<'a>,
    resource_type: Text<'a>,
    action: Text<'a>,
    resource_id: Option<Text<'a>>,
    reason: Text<'a>,
    denied_as: Text<'a>,
    wanted_seconds: Option<u64>,
    origin_url: Option<Text<'a>>,
    filed_at: i64,
    expires_at: i64,
    state: Text<'a>,
    closed_at: Option<i64>,
    closed_by: Option<Text<'a>>,
    closing_note: Option<Text<'a>>,
    resolution: Option<Text<'a>>,
    resolution_id: Option<Text<'a>>,
    resolution_type: Option<Text<'a>>,
    resolution_permission: Option<Text<'a>>,
    resolution_level: Option<Text<'a>>,
    resolution_unassigned: Option<Flag>,
    resolution_expires_at: Option<i64>,
}

impl RequestRow<'_> {
    pub(super) fn request(self) -> Result<AccessRequest, StoreError> {
        let at = At {
            table: "access_request",
            row: &self.id,
        };
        let approval = ApprovalRow {
            kind: self.resolution,
            id: self.resolution_id,
            resource_type: self.resolution_type,
            permission: self.resolution_permission,
            level: self.resolution_level,
            unassigned: self.resolution_unassigned,
            expires_at: self.resolution_expires_at,
        }
        .approval(at)?;
        let state = at.word("state", &self.state, RequestState::from_word)?;
        let closing = match (state.is_terminal(), at.time("closed_at", self.closed_at)?) {
            (false, None) => None,
            (true, Some(closed_at)) => Some(Closing {
                at: closed_at,
                by: at.optional_id("closed_by", self.closed_by)?,
                note: self.closing_note.map(Text::into_owned),
                approval,
            }),
            _ => return Err(at.wrong("closed_at", "it does not fit the state")),
        };
        Ok(AccessRequest {
            id: at.id("access_request_id", &self.id)?,
            user: at.id("user_id", &self.user)?,
            target: RequestTarget {
                resource_type: at.id("resource_type", &self.resource_type)?,
                action: at.id("action", &self.action)?,
                resource_id: at.optional_id("resource_id", self.resource_id)?,
            },
            reason: self.reason.into_owned(),
            denied_as: at.word("denied_as", &self.denied_as, ReasonCode::from_word)?,
            wanted_seconds: self.wanted_seconds,
            origin_url: self.origin_url.map(Text::into_owned),
            filed_at: required_time(at, "filed_at", Some(self.filed_at))?,
            expires_at: required_time(at, "expires_at", Some(self.expires_at))?,
            state,
            closing,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct EventRow<'a> {
    #[serde(borrow)]
    request: Text<'a>,
    ordinal: u32,
    kind: Text<'a>,
    at: i64,
    actor: Option<Text<'a>>,
    from: Option<Text<'a>>,
    to: Text<'a>,
    note: Option<Text<'a>>,
    resolution: Option<Text<'a>>,
    resolution_id: Option<Text<'a>>,
    resolution_type: Option<Text<'a>>,
    resolution_permission: Option<Text<'a>>,
    resolution_level: Option<Text<'a>>,
    resolution_unassigned: Option<Flag>,
    resolution_expires_at: Option<i64>,
    before: Text<'a>,
    after: Option<Text<'a>>,
}

impl EventRow<'_> {
    pub(super) fn event(self) -> Result<RequestEvent, StoreError> {
        let at = At {
            table: "access_request_event",
            row: &self.request,
        };
        let approval = ApprovalRow {
            kind: self.resolution,
            id: self.resolution_id,
            resource_type: self.resolution_type,
            permission: self.resolution_permission,
            level: self.resolution_level,
            unassigned: self.resolution_unassigned,
            expires_at: self.resolution_expires_at,
        }
        .approval(at)?;
        Ok(RequestEvent {
            request: at.id("access_request_id", &self.request)?,
            ordinal: self.ordinal,
            kind: at.word("kind", &self.kind, RequestEventKind::from_word)?,
            at: required_time(at, "at", Some(self.at))?,
            actor: at.optional_id("actor", self.actor)?,
            from: self
                .from
                .map(|word| at.word("from_state", &word, RequestState::from_word))
                .transpose()?,
            to: at.word("to_state", &self.to, RequestState::from_word)?,
            note: self.note.map(Text::into_owned),
            approval,
            before: at.word("reason_before", &self.before, ReasonCode::from_word)?,
            after: self
                .after
                .map(|word| at.word("reason_after", &word, ReasonCode::from_word))
                .transpose()?,
        })
    }
}

/// Parses a JSON array of rows of one table.
pub(super) fn parse<'a, R: Deserialize<'a>, T>(
    table: &'static str,
    json: &'a [u8],
    convert: impl Fn(R) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows::parse_rows(table, "", json, convert)
}

/// From the columns that both stores group by account.
pub(super) fn pending_account(
    account: &str,
    head: super::Head,
    pending: i64,
    next_expiry: i64,
) -> Result<PendingAccount, StoreError> {
    let at = At {
        table: "access_request",
        row: account,
    };
    Ok(PendingAccount {
        account: at.id("account_id", account)?,
        head,
        pending: u64::try_from(pending).unwrap_or(0),
        next_expiry: required_time(at, "expires_at", Some(next_expiry))?,
    })
}

/// A moment out of a column that may be empty.
pub(super) fn moment(
    row: impl Display,
    column: &'static str,
    micros: Option<i64>,
) -> Result<Option<Timestamp>, StoreError> {
    let row = row.to_string();
    At {
        table: "access_request",
        row: &row,
    }
    .time(column, micros)
}

/// An account's id where a row begins with one.
pub(super) fn account_of(table: &'static str, text: &str) -> Result<Id, StoreError> {
    Id::parse(text).map_err(|error| inconsistent(table, "account_id", text, error))
}
