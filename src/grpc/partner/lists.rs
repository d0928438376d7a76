//! `ListClients`, `ListPartnerEmployees` and `ListContractors`.

use super::{PartnerHandlers, failure};
use crate::authz::model::Id;
use crate::grpc::admission::Admission;
use crate::grpc::convert;
use crate::grpc::directory::{page_size, up_to_page_bytes};
use crate::grpc::page_token::{self, Binding};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::partners::Person;
use crate::store::Head;
use crate::store::partners::{PartnerUser, PartnerUserFilter};

/// These pages are of several accounts, and so of no revision.
pub(super) const NO_HEAD: Head = Head {
    revision: 0,
    nonce: [0; 8],
};

/// Between the client and the user in a page token: no id holds a control character.
const BETWEEN: char = '\n';

impl PartnerHandlers {
    pub(super) async fn list_clients(
        &self,
        admission: &Admission,
        message: &wire::ListClientsRequest,
    ) -> Result<wire::ListClientsResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let partner_user = convert::optional_id(&message.partner_user_id, "partner_user_id")?;
        let fields = [
            &*message.account_id,
            &*message.actor_user_id,
            &*message.partner_user_id,
        ];
        let binding = Binding::new("ListClients", &fields);
        let place = self.reading.place(&binding, &message.page_token)?;
        let after = place.map(|place| after_of(&place.after)).transpose()?;
        let filter = PartnerUserFilter {
            partner_user: partner_user.as_ref(),
            clients: admission.listed(),
        };
        let size = page_size(message.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let after = after.as_ref().map(|(client, user)| (client, user));
        let users = self
            .partners
            .clients(&account, &actor, filter, after, limit);
        let mut users = users.await.map_err(|error| failure(error, "account_id"))?;
        let more = users.len() > size;
        users.truncate(size);
        let found = users.iter().map(|user| {
            let place = format!("{}{BETWEEN}{}", user.client, user.user);
            (place, membership_to_wire(user))
        });
        let (memberships, next) = up_to_page_bytes(found, more);
        Ok(wire::ListClientsResponse {
            memberships,
            next_page_token: next
                .map(|next| self.reading.page_token(&binding, &next, NO_HEAD))
                .unwrap_or_default(),
        })
    }

    pub(super) async fn list_partner_employees(
        &self,
        admission: &Admission,
        message: &wire::ListPartnerEmployeesRequest,
    ) -> Result<wire::ListPartnerEmployeesResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let fields = [&*message.account_id, &*message.actor_user_id];
        let binding = Binding::new("ListPartnerEmployees", &fields);
        let place = self.reading.place(&binding, &message.page_token)?;
        let after = place.map(|place| place.id()).transpose()?;
        let size = page_size(message.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let clients = admission.listed();
        let people = self
            .partners
            .employees(&account, &actor, clients, after.as_ref(), limit);
        let people = people.await.map_err(|error| failure(error, "account_id"))?;
        let (employees, next_page_token) = self.people(&binding, people, size);
        Ok(wire::ListPartnerEmployeesResponse {
            employees,
            next_page_token,
        })
    }

    pub(super) async fn list_contractors(
        &self,
        admission: &Admission,
        message: &wire::ListContractorsRequest,
    ) -> Result<wire::ListContractorsResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let fields = [&*message.account_id, &*message.actor_user_id];
        let binding = Binding::new("ListContractors", &fields);
        let place = self.reading.place(&binding, &message.page_token)?;
        let after = place.map(|place| place.id()).transpose()?;
        let size = page_size(message.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let clients = admission.listed();
        let people = self
            .partners
            .contractors(&account, &actor, clients, after.as_ref(), limit);
        let people = people.await.map_err(|error| failure(error, "account_id"))?;
        let (contractors, next_page_token) = self.people(&binding, people, size);
        Ok(wire::ListContractorsResponse {
            contractors,
            next_page_token,
        })
    }

    /// A page of people, of one more than it holds where more follow.
    fn people(
        &self,
        binding: &Binding,
        mut people: Vec<Person>,
        size: usize,
    ) -> (Vec<wire::PartnerPerson>, String) {
        let more = people.len() > size;
        people.truncate(size);
        let found = people
            .iter()
            .map(|person| (person.user.to_string(), person_to_wire(person)));
        let (page, next) = up_to_page_bytes(found, more);
        let next = next.map(|next| self.reading.page_token(binding, &next, NO_HEAD));
        (page, next.unwrap_or_default())
    }
}

fn after_of(place: &str) -> Result<(Id, Id), Failure> {
    let (client, user) = place.split_once(BETWEEN).ok_or_else(page_token::invalid)?;
    let id = |text| Id::parse(text).map_err(|_| page_token::invalid());
    Ok((id(client)?, id(user)?))
}

fn membership_to_wire(user: &PartnerUser) -> wire::ClientMembership {
    wire::ClientMembership {
        client_account_id: user.client.to_string(),
        user_id: user.user.to_string(),
        partner_user_id: user.partner_user.to_string(),
        role: convert::partner_role_to_wire(user.role).into(),
        partnership: convert::partnership_to_wire(user.partnership).into(),
        status: convert::user_status_to_wire(user.status).into(),
        partner_admin: user.is_partner_admin,
        super_admin: user.is_super_admin,
    }
}

fn person_to_wire(person: &Person) -> wire::PartnerPerson {
    let status = person.status.map(convert::user_status_to_wire);
    wire::PartnerPerson {
        user_id: person.user.to_string(),
        status: status.unwrap_or(wire::UserStatus::Unspecified).into(),
        clients: person.clients,
    }
}
