//! Events of partnerships, and deliveries of all events, as rows, both ways.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::outbox::{
    ClaimedDelivery, Delivery, DeliveryKey, DeliveryState, Event, Subject, SubjectKind,
};
use super::request_rows::{Columns, EVENT, EventRow, account_of, parse, required_time};
use super::rows::{At, Text};
use crate::authz::model::{Id, PartnerRole, Timestamp};
use crate::authz::partner_event::{
    PartnerEvent, PartnerEventKind, PartnerNews, PartnerPerson, PartnerSide,
};

/// What a problem of a delivery may say at most, in characters.
const PROBLEM_MAX: usize = 1_000;

/// In the order of [`PartnerEventRow`].
const PARTNER_EVENT: &Columns = &[
    ("counterpart", false),
    ("ordinal", false),
    ("side", false),
    ("kind", false),
    ("at", true),
    ("actor", false),
    ("partner_user", false),
    ("client_user", false),
    ("role", false),
    ("permission_set", false),
    ("link_id", false),
];

/// In the order of [`DeliveryRow`], after the id of the subject.
const DELIVERY: [(&str, bool); 8] = [
    ("ordinal", false),
    ("destination", false),
    ("state", false),
    ("attempts", false),
    ("created_at", true),
    ("next_attempt_at", true),
    ("settled_at", true),
    ("last_problem", false),
];

impl SubjectKind {
    pub(super) fn event_columns(self) -> &'static Columns {
        match self {
            Self::Request => EVENT,
            Self::Partner => PARTNER_EVENT,
        }
    }

    pub(super) fn delivery_columns(self) -> Vec<(&'static str, bool)> {
        [&[(self.column(), false)], DELIVERY.as_slice()].concat()
    }

    fn event_table(self) -> &'static str {
        match self {
            Self::Request => "access_request_event",
            Self::Partner => "partner_event",
        }
    }

    fn delivery_table(self) -> &'static str {
        match self {
            Self::Request => "access_request_delivery",
            Self::Partner => "partner_delivery",
        }
    }
}

/// News in the order of [`PARTNER_EVENT`], but for the ordinal, which the database counts.
#[derive(Serialize)]
struct NewsColumns<'a>(
    &'a Id,
    PartnerSide,
    PartnerEventKind,
    i64,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<&'a Id>,
    Option<PartnerRole>,
    Option<&'a Id>,
    Option<&'a Id>,
);

pub(super) fn news_columns(news: &PartnerNews) -> impl Serialize + '_ {
    let person = news.person.as_ref();
    NewsColumns(
        &news.counterpart,
        news.side,
        news.kind,
        news.at.unix_micros(),
        news.actor.as_ref(),
        person.map(|person| &person.partner_user),
        person.map(|person| &person.client_user),
        person.map(|person| person.role),
        news.permission_set.as_ref(),
        news.link.as_ref(),
    )
}

#[derive(Deserialize)]
struct PartnerEventRow<'a> {
    #[serde(borrow)]
    counterpart: Text<'a>,
    ordinal: u32,
    side: Text<'a>,
    kind: Text<'a>,
    at: i64,
    actor: Option<Text<'a>>,
    partner_user: Option<Text<'a>>,
    client_user: Option<Text<'a>>,
    role: Option<Text<'a>>,
    permission_set: Option<Text<'a>>,
    link: Option<Text<'a>>,
}

impl PartnerEventRow<'_> {
    fn event(self, account: &Id) -> Result<PartnerEvent, StoreError> {
        let at = At {
            table: SubjectKind::Partner.event_table(),
            row: &self.counterpart,
        };
        let partner_user = at.optional_id("partner_user", self.partner_user)?;
        let client_user = at.optional_id("client_user", self.client_user)?;
        let role = self
            .role
            .map(|word| at.word("role", &word, PartnerRole::from_word))
            .transpose()?;
        let person = match (partner_user, client_user, role) {
            (Some(partner_user), Some(client_user), Some(role)) => Some(PartnerPerson {
                partner_user,
                client_user,
                role,
            }),
            (None, None, None) => None,
            _ => return Err(at.wrong("role", "it does not fit the users")),
        };
        Ok(PartnerEvent {
            ordinal: self.ordinal,
            news: PartnerNews {
                account: account.clone(),
                counterpart: at.id("counterpart", &self.counterpart)?,
                side: at.word("side", &self.side, PartnerSide::from_word)?,
                kind: at.word("kind", &self.kind, PartnerEventKind::from_word)?,
                at: required_time(at, "at", Some(self.at))?,
                actor: at.optional_id("actor", self.actor)?,
                person,
                permission_set: at.optional_id("permission_set", self.permission_set)?,
                link: at.optional_id("link_id", self.link)?,
            },
        })
    }
}

#[derive(Deserialize)]
struct DeliveryRow<'a> {
    #[serde(borrow)]
    subject: Text<'a>,
    ordinal: u32,
    destination: Text<'a>,
    state: Text<'a>,
    attempts: u32,
    created_at: i64,
    next_attempt_at: i64,
    settled_at: Option<i64>,
    last_problem: Option<Text<'a>>,
}

impl DeliveryRow<'_> {
    fn delivery(self, kind: SubjectKind, account: &Id) -> Result<Delivery, StoreError> {
        let at = At {
            table: kind.delivery_table(),
            row: &self.subject,
        };
        Ok(Delivery {
            key: DeliveryKey {
                account: account.clone(),
                subject: Subject::of(kind, at.id(kind.column(), &self.subject)?),
                ordinal: self.ordinal,
                destination: self.destination.into_owned(),
            },
            state: at.word("state", &self.state, DeliveryState::from_word)?,
            attempts: self.attempts,
            created_at: required_time(at, "created_at", Some(self.created_at))?,
            next_attempt_at: required_time(at, "next_attempt_at", Some(self.next_attempt_at))?,
            settled_at: at.time("settled_at", self.settled_at)?,
            last_problem: self.last_problem.map(Text::into_owned),
        })
    }
}

/// Events with their accounts.
pub(super) fn events_in(kind: SubjectKind, json: &[u8]) -> Result<Vec<(Id, Event)>, StoreError> {
    let table = kind.event_table();
    match kind {
        SubjectKind::Request => parse(table, json, |(account, row): (&str, EventRow<'_>)| {
            Ok((account_of(table, account)?, Event::Request(row.event()?)))
        }),
        SubjectKind::Partner => parse(
            table,
            json,
            |(account, row): (&str, PartnerEventRow<'_>)| {
                let account = account_of(table, account)?;
                let event = row.event(&account)?;
                Ok((account, Event::Partner(event)))
            },
        ),
    }
}

/// Deliveries of an account.
pub(super) fn deliveries_in(
    kind: SubjectKind,
    account: &Id,
    json: &[u8],
) -> Result<Vec<Delivery>, StoreError> {
    parse(kind.delivery_table(), json, |row: DeliveryRow<'_>| {
        row.delivery(kind, account)
    })
}

/// Deliveries with their accounts and their events.
pub(super) fn claimed_in(
    kind: SubjectKind,
    json: &[u8],
    lease: Timestamp,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let table = kind.delivery_table();
    let claimed = |account: &str, row: DeliveryRow<'_>| {
        let account = account_of(table, account)?;
        Ok((row.delivery(kind, &account)?, account))
    };
    match kind {
        SubjectKind::Request => parse(
            table,
            json,
            |(account, row, event): (&str, DeliveryRow<'_>, EventRow<'_>)| {
                let (delivery, _) = claimed(account, row)?;
                Ok(ClaimedDelivery {
                    delivery,
                    event: Event::Request(event.event()?),
                    lease,
                })
            },
        ),
        SubjectKind::Partner => parse(
            table,
            json,
            |(account, row, event): (&str, DeliveryRow<'_>, PartnerEventRow<'_>)| {
                let (delivery, account) = claimed(account, row)?;
                Ok(ClaimedDelivery {
                    delivery,
                    event: Event::Partner(event.event(&account)?),
                    lease,
                })
            },
        ),
    }
}

/// A problem as it is stored: of the outside world, so without what no database or terminal takes
/// well, and not without end.
pub(super) fn problem_text(problem: &str) -> String {
    problem
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(PROBLEM_MAX)
        .collect()
}
