//! Who gets mail about what happens between an agency and a client (S4.6), judged on the account in
//! which it is told: the person concerned, in the agency, where they are theirs to write to; and at the
//! end of a partnership those who answer for it on either side.

use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp, UserStatus};
use crate::authz::partner_event::{PartnerEvent, PartnerEventKind, PartnerSide};
use crate::authz::partnership::{require_approver, require_management};

/// Whom an event is news for.
enum Audience<'a> {
    Person(&'a Id),
    /// Who manages the agency's people, or lets them into the client.
    Responsible(PartnerSide),
    Nobody,
}

impl<'a> Audience<'a> {
    fn of(event: &'a PartnerEvent) -> Self {
        let news = &event.news;
        match (news.kind, news.side) {
            (PartnerEventKind::PartnershipEnded, side) => Self::Responsible(side),
            (
                PartnerEventKind::LinkApproved
                | PartnerEventKind::StaffAdded
                | PartnerEventKind::StaffChanged
                | PartnerEventKind::StaffRemoved
                | PartnerEventKind::StaffDeactivated
                | PartnerEventKind::StaffReactivated,
                PartnerSide::Agency,
            ) => match &news.person {
                Some(person) => Self::Person(&person.partner_user),
                None => Self::Nobody,
            },
            // The client reads of it in its webhooks; who migrated did it themselves.
            (_, PartnerSide::Client) | (PartnerEventKind::AdminMigrated, _) => Self::Nobody,
        }
    }
}

pub fn may_be_mailed(event: &PartnerEvent) -> bool {
    !matches!(Audience::of(event), Audience::Nobody)
}

pub fn recipients(graph: &AccountGraph, event: &PartnerEvent, now: Timestamp) -> Vec<Id> {
    let candidates: Vec<&Id> = match Audience::of(event) {
        Audience::Nobody => Vec::new(),
        Audience::Person(user) => vec![user],
        Audience::Responsible(_) => graph.users().map(|user| &user.id).collect(),
    };
    let is_told = |user: &&Id| is_told(graph, event, user, now);
    candidates.into_iter().filter(is_told).cloned().collect()
}

/// Whether it is news for a user now: nobody is told what they did themselves, and nobody who is not
/// active.
pub fn is_told(graph: &AccountGraph, event: &PartnerEvent, user: &Id, now: Timestamp) -> bool {
    let is_active = graph
        .user(user.as_str())
        .is_some_and(|user| user.status == UserStatus::Active);
    if !is_active || event.news.actor.as_ref() == Some(user) {
        return false;
    }
    match Audience::of(event) {
        Audience::Nobody => false,
        Audience::Person(person) => person == user,
        Audience::Responsible(PartnerSide::Agency) => require_management(graph, user, now).is_ok(),
        Audience::Responsible(PartnerSide::Client) => require_approver(graph, user, now).is_ok(),
    }
}
