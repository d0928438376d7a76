//! What happens between an agency and a client that people are told of (S4.6): plain data, written in
//! the transaction of the change, in both of the accounts.

use super::model::{Id, PartnerRole, Timestamp, worded};

worded! {
    /// On which side of a partnership an account stands.
    PartnerSide { Agency = "agency", Client = "client" }
}

worded! {
    PartnerEventKind {
        /// A client approved a personal access link (S4.5).
        LinkApproved = "link_approved",
        /// Somebody of the agency works in the client from here on (S4.13, S4.14).
        StaffAdded = "staff_added",
        /// Somebody who does got another permission set (S4.15).
        StaffChanged = "staff_changed",
        StaffRemoved = "staff_removed",
        StaffDeactivated = "staff_deactivated",
        StaffReactivated = "staff_reactivated",
        /// A super admin of the client became a partner admin (S4.24).
        AdminMigrated = "admin_migrated",
        PartnershipEnded = "partnership_ended",
    }
}

/// Whom an event is about, as both accounts know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerPerson {
    /// The user in the agency.
    pub partner_user: Id,
    /// The user in the client.
    pub client_user: Id,
    pub role: PartnerRole,
}

/// What is to be told in one of the two accounts. The other one's users are named by none but
/// `person`, so that neither account learns of people who are not between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerNews {
    /// In whose account it is told.
    pub account: Id,
    /// The other account.
    pub counterpart: Id,
    /// Where `account` stands.
    pub side: PartnerSide,
    pub kind: PartnerEventKind,
    pub at: Timestamp,
    /// Who did it, where that is a user of `account`.
    pub actor: Option<Id>,
    /// `None` where it is about all of the agency's people.
    pub person: Option<PartnerPerson>,
    /// The set of the client that was chosen for them; what the ceiling withheld of it they don't
    /// have.
    pub permission_set: Option<Id>,
    /// The link that was approved, for the agency whose it is.
    pub link: Option<Id>,
}

/// News as it is stored. The events of a partnership are counted in each of its accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerEvent {
    /// From 0.
    pub ordinal: u32,
    pub news: PartnerNews,
}
