//! The calls of `PartnerService`. Each names the user by whose rights it is judged.
//!
//! No write is repeated after a broken connection: what came of it is to be asked.

use crate::grpc::wire;
use wire::commit_removal_request::Resolution;

use super::{
    AccessLink, ClientMembership, CreatedLink, Ended, LetIn, PartnerPage, PartnerPerson, Placed,
    PreviewedRemoval, RemovedFrom, StatusInClient,
};
use crate::client::Client;
use crate::client::decision::non_empty;
use crate::client::error::ClientError;
use crate::client::retry::Repeat;

/// What a partner admin does in one client: where, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InClient {
    agency: String,
    client: String,
    by: String,
}

impl InClient {
    /// `by` is the user of the agency who asks, whom the caller has authenticated.
    pub fn new(
        agency: impl Into<String>,
        client: impl Into<String>,
        by: impl Into<String>,
    ) -> Self {
        Self {
            agency: agency.into(),
            client: client.into(),
            by: by.into(),
        }
    }
}

/// Somebody of an agency in clients of it: in all that the caller may name, unless some are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonInClients {
    agency: String,
    person: String,
    by: String,
    clients: Vec<String>,
}

impl PersonInClients {
    /// `person` is a user of the agency, and `by` the one who asks, whom the caller has authenticated.
    pub fn new(
        agency: impl Into<String>,
        person: impl Into<String>,
        by: impl Into<String>,
    ) -> Self {
        Self {
            agency: agency.into(),
            person: person.into(),
            by: by.into(),
            clients: Vec::new(),
        }
    }

    /// In these clients alone.
    #[must_use]
    pub fn in_clients<C: Into<String>>(mut self, clients: impl IntoIterator<Item = C>) -> Self {
        self.clients = clients.into_iter().map(Into::into).collect();
        self
    }
}

/// Somebody of the agency who is to be a user of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffMember {
    person: String,
    user: String,
}

impl StaffMember {
    /// By the id in the agency's account; in the client by the id that they have there, else one made
    /// of both.
    pub fn new(person: impl Into<String>) -> Self {
        Self {
            person: person.into(),
            user: String::new(),
        }
    }

    /// By this id in the client.
    #[must_use]
    pub fn known_as(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    fn to_wire(&self) -> wire::StaffMember {
        wire::StaffMember {
            partner_user_id: self.person.clone(),
            user_id: self.user.clone(),
        }
    }
}

/// What becomes of what somebody owns and is assigned to, who is taken out of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// This user of the agency takes it over in each client.
    ReassignTo(String),
    /// Owners and assignments are removed.
    Unassign,
}

/// On which side of a partnership somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Agency,
}

impl Client {
    /// Makes a personal access link of the user who asks.
    ///
    /// # Errors
    /// As the server answers it, such as `NOT_A_PARTNER` or `NO_PARTNER_MANAGEMENT`.
    pub async fn create_access_link(
        &self,
        agency: &str,
        by: &str,
    ) -> Result<CreatedLink, ClientError> {
        let message = wire::CreateAccessLinkRequest {
            account_id: agency.to_owned(),
            actor_user_id: by.to_owned(),
        };
        let answer = self
            .call(agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().create_access_link(request).await }
            })
            .await?;
        CreatedLink::of_wire(answer)
    }

    /// Makes a link one that no client approves any more; what was approved with it stays.
    ///
    /// # Errors
    /// As the server answers it, such as `ACCESS_LINK_NOT_FOUND`.
    pub async fn revoke_access_link(
        &self,
        agency: &str,
        link_id: &str,
        by: &str,
    ) -> Result<(), ClientError> {
        let message = wire::RevokeAccessLinkRequest {
            account_id: agency.to_owned(),
            link_id: link_id.to_owned(),
            actor_user_id: by.to_owned(),
        };
        self.call(agency, Repeat::Never, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.partners().revoke_access_link(request).await }
        })
        .await?;
        Ok(())
    }

    /// One page of an agency's links.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn list_access_links(
        &self,
        agency: &str,
        by: &str,
        page_token: Option<&str>,
    ) -> Result<PartnerPage<AccessLink>, ClientError> {
        let message = wire::ListAccessLinksRequest {
            account_id: agency.to_owned(),
            actor_user_id: by.to_owned(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(agency, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().list_access_links(request).await }
            })
            .await?;
        Ok(page(
            answer.access_links,
            AccessLink::of_wire,
            answer.next_page_token,
        ))
    }

    /// Lets the user of a link into a client; `user` is the id that they are to have there.
    ///
    /// # Errors
    /// As the server answers it, such as `NOT_AN_APPROVER` or `ACCESS_LINK_EXPIRED`.
    pub async fn approve_access_link(
        &self,
        client: &str,
        link: &str,
        by: &str,
        user: Option<&str>,
    ) -> Result<LetIn, ClientError> {
        let message = wire::ApproveAccessLinkRequest {
            account_id: client.to_owned(),
            link: link.to_owned(),
            actor_user_id: by.to_owned(),
            user_id: user.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(client, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().approve_access_link(request).await }
            })
            .await?;
        self.saw(client, &answer.revision)?;
        Ok(LetIn::of_wire(answer))
    }

    /// Ends what an agency has in a client; `by` is a user of the account of that side.
    ///
    /// # Errors
    /// As the server answers it, such as `NO_PARTNERSHIP` or `LAST_SUPER_ADMIN`.
    pub async fn end_partnership(
        &self,
        agency: &str,
        client: &str,
        side: Side,
        by: &str,
    ) -> Result<Ended, ClientError> {
        let (own, other, side) = match side {
            Side::Client => (client, agency, wire::PartnerSide::Client),
            Side::Agency => (agency, client, wire::PartnerSide::Agency),
        };
        let message = wire::EndPartnershipRequest {
            account_id: own.to_owned(),
            side: side.into(),
            other_account_id: other.to_owned(),
            actor_user_id: by.to_owned(),
        };
        let answer = self
            .call(own, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().end_partnership(request).await }
            })
            .await?;
        self.saw(client, &answer.revision)?;
        Ok(Ended::of_wire(answer))
    }

    /// One page of the users of clients who stand for people of an agency, or for one of them.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn list_clients(
        &self,
        agency: &str,
        by: &str,
        person: Option<&str>,
        page_token: Option<&str>,
    ) -> Result<PartnerPage<ClientMembership>, ClientError> {
        let message = wire::ListClientsRequest {
            account_id: agency.to_owned(),
            actor_user_id: by.to_owned(),
            partner_user_id: person.unwrap_or_default().to_owned(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(agency, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().list_clients(request).await }
            })
            .await?;
        Ok(page(
            answer.memberships,
            ClientMembership::of_wire,
            answer.next_page_token,
        ))
    }

    /// One page of an agency's full-time staff.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn list_partner_employees(
        &self,
        agency: &str,
        by: &str,
        page_token: Option<&str>,
    ) -> Result<PartnerPage<PartnerPerson>, ClientError> {
        let message = wire::ListPartnerEmployeesRequest {
            account_id: agency.to_owned(),
            actor_user_id: by.to_owned(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(agency, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().list_partner_employees(request).await }
            })
            .await?;
        Ok(page(
            answer.employees,
            PartnerPerson::of_wire,
            answer.next_page_token,
        ))
    }

    /// One page of an agency's contractors.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn list_contractors(
        &self,
        agency: &str,
        by: &str,
        page_token: Option<&str>,
    ) -> Result<PartnerPage<PartnerPerson>, ClientError> {
        let message = wire::ListContractorsRequest {
            account_id: agency.to_owned(),
            actor_user_id: by.to_owned(),
            page_size: 0,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let answer = self
            .call(agency, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().list_contractors(request).await }
            })
            .await?;
        Ok(page(
            answer.contractors,
            PartnerPerson::of_wire,
            answer.next_page_token,
        ))
    }

    /// Makes people of the agency users of a client with one permission set, under the ceiling of the
    /// partner admin who asks. All of them or none.
    ///
    /// # Errors
    /// As the server answers it, such as `NOT_PARTNER_ADMIN` or `STAFF_NOT_CHANGEABLE`.
    pub async fn add_staff(
        &self,
        place: &InClient,
        people: &[StaffMember],
        permission_set: &str,
    ) -> Result<Placed, ClientError> {
        let message = wire::AddStaffRequest {
            account_id: place.agency.clone(),
            client_account_id: place.client.clone(),
            actor_user_id: place.by.clone(),
            people: people.iter().map(StaffMember::to_wire).collect(),
            permission_set_id: permission_set.to_owned(),
        };
        let answer = self
            .call(&place.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().add_staff(request).await }
            })
            .await?;
        self.placed(place, answer.staff, answer.revision)
    }

    /// Makes a contractor of the agency a user of a further client.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn link_contractor(
        &self,
        place: &InClient,
        contractor: &StaffMember,
        permission_set: &str,
    ) -> Result<Placed, ClientError> {
        let message = wire::LinkContractorRequest {
            account_id: place.agency.clone(),
            client_account_id: place.client.clone(),
            actor_user_id: place.by.clone(),
            contractor: Some(contractor.to_wire()),
            permission_set_id: permission_set.to_owned(),
        };
        let answer = self
            .call(&place.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().link_contractor(request).await }
            })
            .await?;
        self.placed(place, answer.staff, answer.revision)
    }

    /// Gives somebody one permission set in place of what they have by hand, under the same ceiling.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn change_permission_set(
        &self,
        place: &InClient,
        person: &str,
        permission_set: &str,
    ) -> Result<Placed, ClientError> {
        let message = wire::ChangePermissionSetRequest {
            account_id: place.agency.clone(),
            client_account_id: place.client.clone(),
            actor_user_id: place.by.clone(),
            partner_user_id: person.to_owned(),
            permission_set_id: permission_set.to_owned(),
        };
        let answer = self
            .call(&place.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().change_permission_set(request).await }
            })
            .await?;
        self.placed(place, answer.staff, answer.revision)
    }

    /// Says what taking somebody out of clients would touch, and writes nothing.
    ///
    /// # Errors
    /// As the server answers it, such as `STAFF_NOT_FOUND`.
    pub async fn preview_removal(
        &self,
        of: &PersonInClients,
    ) -> Result<PreviewedRemoval, ClientError> {
        let message = wire::PreviewRemovalRequest {
            account_id: of.agency.clone(),
            actor_user_id: of.by.clone(),
            partner_user_id: of.person.clone(),
            client_account_ids: of.clients.clone(),
        };
        let answer = self
            .call(&of.agency, Repeat::Safe, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().preview_removal(request).await }
            })
            .await?;
        Ok(PreviewedRemoval::of_wire(answer))
    }

    /// Takes somebody out of the clients that were previewed: of all or of none, unless those where
    /// something stands in the way are to be skipped.
    ///
    /// # Errors
    /// As the server answers it, such as `PREVIEW_STALE` or `SUPER_ADMIN_NOT_REMOVABLE`.
    pub async fn commit_removal(
        &self,
        of: &PersonInClients,
        preview_token: &str,
        hand_over: &HandOver,
        skip_blocked: bool,
    ) -> Result<Vec<RemovedFrom>, ClientError> {
        let message = wire::CommitRemovalRequest {
            account_id: of.agency.clone(),
            actor_user_id: of.by.clone(),
            partner_user_id: of.person.clone(),
            client_account_ids: of.clients.clone(),
            preview_token: preview_token.to_owned(),
            resolution: Some(match hand_over {
                HandOver::ReassignTo(person) => Resolution::ReassignToPartnerUserId(person.clone()),
                HandOver::Unassign => Resolution::Unassign(true),
            }),
            skip_blocked,
        };
        let answer = self
            .call(&of.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().commit_removal(request).await }
            })
            .await?;
        for client in &answer.clients {
            self.saw(&client.client_account_id, &client.revision)?;
        }
        let removed = answer.clients.into_iter();
        Ok(removed.map(RemovedFrom::of_wire).collect())
    }

    /// Denies an employee of the agency everything in clients; grants and ownership stay.
    ///
    /// # Errors
    /// As the server answers it, such as `CONTRACTOR_NOT_DEACTIVATABLE` or `LAST_SUPER_ADMIN`.
    pub async fn deactivate_employee(
        &self,
        of: &PersonInClients,
    ) -> Result<Vec<StatusInClient>, ClientError> {
        let message = wire::DeactivateEmployeeRequest {
            account_id: of.agency.clone(),
            actor_user_id: of.by.clone(),
            partner_user_id: of.person.clone(),
            client_account_ids: of.clients.clone(),
        };
        let answer = self
            .call(&of.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().deactivate_employee(request).await }
            })
            .await?;
        self.stands(answer.clients)
    }

    /// Takes a deactivation back.
    ///
    /// # Errors
    /// As the server answers it.
    pub async fn reactivate_employee(
        &self,
        of: &PersonInClients,
    ) -> Result<Vec<StatusInClient>, ClientError> {
        let message = wire::ReactivateEmployeeRequest {
            account_id: of.agency.clone(),
            actor_user_id: of.by.clone(),
            partner_user_id: of.person.clone(),
            client_account_ids: of.clients.clone(),
        };
        let answer = self
            .call(&of.agency, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().reactivate_employee(request).await }
            })
            .await?;
        self.stands(answer.clients)
    }

    /// Makes a super admin of a client, who is of an agency, a partner admin instead; `user` does it
    /// for oneself. Answers the client's revision.
    ///
    /// # Errors
    /// As the server answers it, such as `NOT_SUPER_ADMIN` or `LAST_SUPER_ADMIN`.
    pub async fn migrate_to_partner_admin(
        &self,
        client: &str,
        user: &str,
        keep_billing: bool,
    ) -> Result<String, ClientError> {
        let message = wire::MigrateToPartnerAdminRequest {
            account_id: client.to_owned(),
            actor_user_id: user.to_owned(),
            user_id: user.to_owned(),
            keep_billing,
        };
        let answer = self
            .call(client, Repeat::Never, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.partners().migrate_to_partner_admin(request).await }
            })
            .await?;
        self.saw(client, &answer.revision)?;
        Ok(answer.revision)
    }

    fn placed(
        &self,
        place: &InClient,
        staff: impl IntoIterator<Item = wire::PlacedStaff>,
        revision: String,
    ) -> Result<Placed, ClientError> {
        self.saw(&place.client, &revision)?;
        Ok(Placed::of_wire(staff, revision))
    }

    fn stands(
        &self,
        clients: Vec<wire::StatusInClient>,
    ) -> Result<Vec<StatusInClient>, ClientError> {
        for client in &clients {
            self.saw(&client.client_account_id, &client.revision)?;
        }
        Ok(clients.into_iter().map(StatusInClient::of_wire).collect())
    }
}

fn page<T, W>(found: Vec<W>, of_wire: impl Fn(W) -> T, next: String) -> PartnerPage<T> {
    PartnerPage {
        found: found.into_iter().map(of_wire).collect(),
        next: non_empty(next),
    }
}
