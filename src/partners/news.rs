//! What the calls of agencies and clients have to tell (S4.6): each in both accounts, with nobody in it
//! whom the account doesn't know but the person that it is about.

use crate::authz::delegation::Placed;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp, User};
use crate::authz::partner_event::{PartnerEventKind, PartnerNews, PartnerPerson, PartnerSide};
use crate::authz::partnership::stands_for;

/// Something that happened between an agency and a client.
#[derive(Debug, Clone)]
pub(super) struct Happening<'a> {
    pub(super) agency: &'a Id,
    pub(super) client: &'a Id,
    pub(super) kind: PartnerEventKind,
    pub(super) at: Timestamp,
    /// Who did it, in the agency, where they are of it.
    pub(super) agency_actor: Option<&'a Id>,
    /// Who did it, in the client, where they are a user of it.
    pub(super) client_actor: Option<&'a Id>,
    pub(super) person: Option<PartnerPerson>,
    pub(super) permission_set: Option<&'a Id>,
    pub(super) link: Option<&'a Id>,
}

impl<'a> Happening<'a> {
    pub(super) fn new(
        agency: &'a Id,
        client: &'a Id,
        kind: PartnerEventKind,
        at: Timestamp,
    ) -> Self {
        Self {
            agency,
            client,
            kind,
            at,
            agency_actor: None,
            client_actor: None,
            person: None,
            permission_set: None,
            link: None,
        }
    }

    /// As the agency is told of it, and as the client is.
    pub(super) fn news(self) -> [PartnerNews; 2] {
        let in_client = PartnerNews {
            account: self.client.clone(),
            counterpart: self.agency.clone(),
            side: PartnerSide::Client,
            kind: self.kind,
            at: self.at,
            actor: self.client_actor.cloned(),
            person: self.person,
            permission_set: self.permission_set.cloned(),
            link: None,
        };
        let in_agency = PartnerNews {
            account: self.agency.clone(),
            counterpart: self.client.clone(),
            side: PartnerSide::Agency,
            actor: self.agency_actor.cloned(),
            link: self.link.cloned(),
            ..in_client.clone()
        };
        [in_agency, in_client]
    }
}

/// Whom a user of a client stands for; `None`: for nobody.
pub(super) fn person(user: &User) -> Option<PartnerPerson> {
    let partner = user.partner.as_ref()?;
    Some(PartnerPerson {
        partner_user: partner.user.clone(),
        client_user: user.id.clone(),
        role: partner.role,
    })
}

/// Whether somebody who was placed comes to the client by it, or was there and may other things now.
pub(super) fn placing(client: &AccountGraph, agency: &Id, placed: &Placed) -> PartnerEventKind {
    match stands_for(client, agency, &placed.partner_user) {
        true => PartnerEventKind::StaffChanged,
        false => PartnerEventKind::StaffAdded,
    }
}
