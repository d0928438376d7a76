//! What is still to be told of access requests, and to whom.
//!
//! An event is written in the transaction of the change that it tells of, and is at once an entry
//! of the outbox: nothing that was committed goes untold, whatever dies in between. Fanning an
//! entry out makes it deliveries, one for each destination. A delivery is claimed for a while by a
//! lease, so that of several servers one sends it, and another takes over where that one died.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use super::audit::Author;
use crate::authz::access_request::RequestEvent;
use crate::authz::model::{Id, Timestamp, worded};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    pub account: Id,
    pub request: Id,
    /// Of the event.
    pub ordinal: u32,
    /// `webhook:NAME` or `email:USER`.
    pub destination: String,
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            account,
            request,
            ordinal,
            destination,
        } = self;
        write!(formatter, "{account}/{request}/{ordinal} to {destination}")
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
    pub event: RequestEvent,
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

#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Events that are not fanned out yet, at most `limit`; those of one request in order.
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, RequestEvent)>, StoreError>;

    /// Makes an event deliveries, once: `false` where it was fanned out before, or is none. No
    /// destinations: there is nobody to tell.
    async fn fan_out(
        &self,
        account: &Id,
        request: &Id,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Takes deliveries of a lane that are due and that nobody else has, at most `limit`, those that are due
    /// for longest first. One whose destination has yet to be told of an earlier event of the same
    /// request waits for that.
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

    /// Deliveries of an account after a key, in the order of request, event and destination, at
    /// most `limit`. Of `after` the account is not looked at.
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

    /// Forgets at most `limit` deliveries that were settled before a moment; answers how many.
    async fn trim_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
