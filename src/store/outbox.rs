//! What is still to be told, of access requests and of partnerships, and to whom.
//!
//! An event is of a subject, and the events of one subject are told in order. It is written in the transaction of the change that it tells of, and is at once an entry
//! of the outbox: nothing that was committed goes untold, whatever dies in between. Fanning an
//! entry out makes it deliveries, one for each destination. A delivery is claimed for a while by a
//! lease, so that of several servers one sends it, and another takes over where that one died.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use super::audit::Author;
use crate::authz::access_request::RequestEvent;
use crate::authz::model::{Id, Timestamp, worded};
use crate::authz::partner_event::PartnerEvent;

worded! {
    /// What events are of. Each has tables of its own of the same form, whose names begin with its
    /// word: an event refers to what it is of, and a server of before goes on with those that it
    /// knows.
    SubjectKind { Request = "access_request", Partner = "partner" }
}

impl SubjectKind {
    /// The column of its tables that has its id.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Request => "access_request_id",
            Self::Partner => "counterpart",
        }
    }
}

/// What an event is of, within an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An access request.
    Request(Id),
    /// The partnership with another account.
    Partner(Id),
}

impl Subject {
    pub fn of(kind: SubjectKind, id: Id) -> Self {
        match kind {
            SubjectKind::Request => Self::Request(id),
            SubjectKind::Partner => Self::Partner(id),
        }
    }

    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Request(_) => SubjectKind::Request,
            Self::Partner(_) => SubjectKind::Partner,
        }
    }

    pub fn id(&self) -> &Id {
        match self {
            Self::Request(id) | Self::Partner(id) => id,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(id) => write!(formatter, "the request `{id}`"),
            Self::Partner(id) => write!(formatter, "the partnership with `{id}`"),
        }
    }
}

/// Something that happened and is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Request(RequestEvent),
    Partner(PartnerEvent),
}

impl Event {
    pub fn subject(&self) -> Subject {
        match self {
            Self::Request(event) => Subject::Request(event.request.clone()),
            Self::Partner(event) => Subject::Partner(event.news.counterpart.clone()),
        }
    }

    pub fn ordinal(&self) -> u32 {
        match self {
            Self::Request(event) => event.ordinal,
            Self::Partner(event) => event.ordinal,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(event) => event.kind.as_str(),
            Self::Partner(event) => event.news.kind.as_str(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    pub account: Id,
    pub subject: Subject,
    /// Of the event.
    pub ordinal: u32,
    /// `webhook:NAME` or `email:USER`.
    pub destination: String,
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            account,
            subject,
            ordinal,
            destination,
        } = self;
        write!(
            formatter,
            "event {ordinal} of {subject} in {account} to {destination}"
        )
    }
}

worded! {
    DeliveryState {
        Pending = "pending",
        Delivered = "delivered",
        /// Given up; may be replayed.
        Dead = "dead",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub key: DeliveryKey,
    pub state: DeliveryState,
    /// How often it was claimed, the present time included.
    pub attempts: u32,
    pub created_at: Timestamp,
    /// Of a claimed one: when another may take over.
    pub next_attempt_at: Timestamp,
    pub settled_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_problem: Option<String>,
}

/// A delivery that is the caller's until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    pub delivery: Delivery,
    pub event: Event,
    pub lease: Timestamp,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    Delivered,
    Retry { at: Timestamp, problem: String },
    Dead { problem: String },
}

/// Which destinations a claim is about. Each lane is claimed for itself, so that a destination that
/// takes nothing can't hold up the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane<'a> {
    /// One destination.
    Destination(&'a str),
    /// All that begin with `email:`.
    Mail,
    /// Those that are no mail and none of these.
    Others(&'a [String]),
}

impl Lane<'_> {
    /// The destinations that it names: all of its own, or all that are not.
    pub(super) fn named(&self) -> Vec<&str> {
        match self {
            Self::Destination(destination) => vec![destination],
            Self::Mail => Vec::new(),
            Self::Others(others) => others.iter().map(String::as_str).collect(),
        }
    }
}

/// Where a list goes on after a key: the kinds of subjects that are left, in their order, the first
/// of them after the key where that is of it.
pub(super) fn kinds_after(
    after: Option<&DeliveryKey>,
) -> impl Iterator<Item = (SubjectKind, Option<&DeliveryKey>)> {
    let from = after.map(|key| key.subject.kind());
    SubjectKind::ALL
        .iter()
        .filter(move |kind| from.is_none_or(|from| **kind >= from))
        .map(move |kind| (*kind, after.filter(|_| from == Some(*kind))))
}

#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Events that are not fanned out yet, at most `limit` of each kind of subject; those of one
    /// subject in order.
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, Event)>, StoreError>;

    /// Makes an event deliveries, once: `false` where it was fanned out before, or is none. No
    /// destinations: there is nobody to tell.
    async fn fan_out(
        &self,
        account: &Id,
        subject: &Subject,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Takes deliveries of a lane that are due and that nobody else has, at most `limit`, those that are due
    /// for longest first. One whose destination has yet to be told of an earlier event of the same
    /// subject waits for that.
    async fn claim_deliveries(
        &self,
        lane: Lane<'_>,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// The moment of the oldest event, or delivery, that is still to be told; `None`: nothing is.
    async fn undelivered(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Events and deliveries that are still to be told.
    async fn depth(&self) -> Result<u64, StoreError>;

    /// Ends a claim; `false`: the lease was lost, and what became of it is for its new holder to
    /// say.
    async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Deliveries of an account after a key, in the order of subject, event and destination,
    /// those of access requests first, at most `limit`. Of `after` the account is not looked at.
    async fn deliveries(
        &self,
        account: &Id,
        state: Option<DeliveryState>,
        after: Option<&DeliveryKey>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Lets a delivery that is settled be attempted anew; `false`: it is pending, or not there.
    async fn replay_delivery(
        &self,
        key: &DeliveryKey,
        now: Timestamp,
        author: &Author,
    ) -> Result<bool, StoreError>;

    /// Forgets at most `limit` deliveries of each kind of subject that were settled before a moment;
    /// answers how many. With them go events of partnerships that are as old and told, but for the
    /// last of each partnership, from which the next one counts on.
    async fn trim_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
