//! `PartnerService`: agencies in the accounts of their clients, thin.

use tonic::{Request, Response, Status};

use super::admission::Admission;
use super::author::author;
use super::reading::Reading;
use super::status::{Failure, Reason};
use super::wire;
use crate::authz::partnership::PartnerRefusal;
use crate::partners::{PartnerError, Partners};

mod links;
mod lists;
mod removal;
mod staff;

#[derive(Clone)]
pub struct PartnerHandlers {
    partners: Partners,
    reading: Reading,
}

impl PartnerHandlers {
    pub fn new(partners: Partners, reading: Reading) -> Self {
        Self { partners, reading }
    }
}

#[tonic::async_trait]
impl wire::partner_service_server::PartnerService for PartnerHandlers {
    async fn create_access_link(
        &self,
        request: Request<wire::CreateAccessLinkRequest>,
    ) -> Result<Response<wire::CreateAccessLinkResponse>, Status> {
        let author = author(&request, "CreateAccessLink");
        let admission = Admission::of(request.extensions())?;
        let created = self.create_access_link(&admission, request.get_ref(), author);
        Ok(Response::new(created.await?))
    }

    async fn revoke_access_link(
        &self,
        request: Request<wire::RevokeAccessLinkRequest>,
    ) -> Result<Response<wire::RevokeAccessLinkResponse>, Status> {
        let author = author(&request, "RevokeAccessLink");
        let admission = Admission::of(request.extensions())?;
        let revoked = self.revoke_access_link(&admission, request.get_ref(), author);
        Ok(Response::new(revoked.await?))
    }

    async fn list_access_links(
        &self,
        request: Request<wire::ListAccessLinksRequest>,
    ) -> Result<Response<wire::ListAccessLinksResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let listed = self.list_access_links(&admission, request.get_ref());
        Ok(Response::new(listed.await?))
    }

    async fn approve_access_link(
        &self,
        request: Request<wire::ApproveAccessLinkRequest>,
    ) -> Result<Response<wire::ApproveAccessLinkResponse>, Status> {
        let author = author(&request, "ApproveAccessLink");
        let admission = Admission::of(request.extensions())?;
        let approved = self.approve_access_link(&admission, request.get_ref(), author);
        Ok(Response::new(approved.await?))
    }

    async fn end_partnership(
        &self,
        request: Request<wire::EndPartnershipRequest>,
    ) -> Result<Response<wire::EndPartnershipResponse>, Status> {
        let author = author(&request, "EndPartnership");
        let admission = Admission::of(request.extensions())?;
        let ended = self.end_partnership(&admission, request.get_ref(), author);
        Ok(Response::new(ended.await?))
    }

    async fn list_clients(
        &self,
        request: Request<wire::ListClientsRequest>,
    ) -> Result<Response<wire::ListClientsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let listed = self.list_clients(&admission, request.get_ref());
        Ok(Response::new(listed.await?))
    }

    async fn list_partner_employees(
        &self,
        request: Request<wire::ListPartnerEmployeesRequest>,
    ) -> Result<Response<wire::ListPartnerEmployeesResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let listed = self.list_partner_employees(&admission, request.get_ref());
        Ok(Response::new(listed.await?))
    }

    async fn list_contractors(
        &self,
        request: Request<wire::ListContractorsRequest>,
    ) -> Result<Response<wire::ListContractorsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let listed = self.list_contractors(&admission, request.get_ref());
        Ok(Response::new(listed.await?))
    }

    async fn add_staff(
        &self,
        request: Request<wire::AddStaffRequest>,
    ) -> Result<Response<wire::AddStaffResponse>, Status> {
        let author = author(&request, "AddStaff");
        let admission = Admission::of(request.extensions())?;
        let done = self.add_staff(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn link_contractor(
        &self,
        request: Request<wire::LinkContractorRequest>,
    ) -> Result<Response<wire::LinkContractorResponse>, Status> {
        let author = author(&request, "LinkContractor");
        let admission = Admission::of(request.extensions())?;
        let done = self.link_contractor(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn change_permission_set(
        &self,
        request: Request<wire::ChangePermissionSetRequest>,
    ) -> Result<Response<wire::ChangePermissionSetResponse>, Status> {
        let author = author(&request, "ChangePermissionSet");
        let admission = Admission::of(request.extensions())?;
        let done = self.change_permission_set(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn commit_removal(
        &self,
        request: Request<wire::CommitRemovalRequest>,
    ) -> Result<Response<wire::CommitRemovalResponse>, Status> {
        let author = author(&request, "CommitRemoval");
        let admission = Admission::of(request.extensions())?;
        let done = self.commit_removal(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn deactivate_employee(
        &self,
        request: Request<wire::DeactivateEmployeeRequest>,
    ) -> Result<Response<wire::DeactivateEmployeeResponse>, Status> {
        let author = author(&request, "DeactivateEmployee");
        let admission = Admission::of(request.extensions())?;
        let done = self.deactivate_employee(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn reactivate_employee(
        &self,
        request: Request<wire::ReactivateEmployeeRequest>,
    ) -> Result<Response<wire::ReactivateEmployeeResponse>, Status> {
        let author = author(&request, "ReactivateEmployee");
        let admission = Admission::of(request.extensions())?;
        let done = self.reactivate_employee(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn migrate_to_partner_admin(
        &self,
        request: Request<wire::MigrateToPartnerAdminRequest>,
    ) -> Result<Response<wire::MigrateToPartnerAdminResponse>, Status> {
        let author = author(&request, "MigrateToPartnerAdmin");
        let admission = Admission::of(request.extensions())?;
        let done = self.migrate_to_partner_admin(&admission, request.get_ref(), author);
        Ok(Response::new(done.await?))
    }

    async fn preview_removal(
        &self,
        request: Request<wire::PreviewRemovalRequest>,
    ) -> Result<Response<wire::PreviewRemovalResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let previewed = self.preview_removal(&admission, request.get_ref());
        Ok(Response::new(previewed.await?))
    }
}

/// `counterpart` is the field that names the other account.
fn failure(error: PartnerError, counterpart: &str) -> Failure {
    match error {
        PartnerError::Directory(error) => error.into(),
        PartnerError::Refusal(refusal) => refused(&refusal),
        PartnerError::In { ref refusal, .. } => {
            let (reason, field) = reason_of(refusal);
            Failure {
                field: Some(field.to_owned()).filter(|field| !field.is_empty()),
                ..Failure::new(reason, error.to_string())
            }
        }
        PartnerError::PreviewStale => Failure::field(Reason::PreviewStale, "preview_token", &error),
        PartnerError::TooManyClients => {
            Failure::field(Reason::InvalidField, "client_account_ids", &error)
        }
        PartnerError::NoSuchCounterpart(_) => {
            Failure::field(Reason::AccountNotFound, counterpart, &error)
        }
        PartnerError::Randomness(_) | PartnerError::Id(_) => {
            tracing::error!(error = %error, "an access link could not be made");
            Failure::internal()
        }
    }
}

fn refused(refusal: &PartnerRefusal) -> Failure {
    match reason_of(refusal) {
        (reason, "") => Failure::new(reason, refusal.to_string()),
        (reason, field) => Failure::field(reason, field, refusal),
    }
}

/// The reason of a refusal, and the field that it blames, if it is one.
fn reason_of(refusal: &PartnerRefusal) -> (Reason, &'static str) {
    match refusal {
        PartnerRefusal::NotAPartner => (Reason::NotAPartner, ""),
        PartnerRefusal::NoPartnerManagement(_) => (Reason::NoPartnerManagement, ""),
        PartnerRefusal::NotPartnerAdmin(_) => (Reason::NotPartnerAdmin, "actor_user_id"),
        PartnerRefusal::NotAnApprover(_) => (Reason::NotAnApprover, "actor_user_id"),
        PartnerRefusal::LinkNotFound => (Reason::AccessLinkNotFound, ""),
        PartnerRefusal::LinkExpired(_) => (Reason::AccessLinkExpired, ""),
        PartnerRefusal::LinkRevoked(_) => (Reason::AccessLinkRevoked, ""),
        PartnerRefusal::LinkUsed => (Reason::AccessLinkUsed, ""),
        PartnerRefusal::OwnClient => (Reason::InvalidField, "link"),
        PartnerRefusal::UserTaken(_) | PartnerRefusal::KnownAs(_) => {
            (Reason::InvalidField, "user_id")
        }
        PartnerRefusal::NoPartnership => (Reason::NoPartnership, ""),
        PartnerRefusal::LastSuperAdmin => (Reason::LastSuperAdmin, ""),
        PartnerRefusal::NotStaff(_) => (Reason::StaffNotFound, "partner_user_id"),
        PartnerRefusal::NotChangeable(_) => (Reason::StaffNotChangeable, "partner_user_id"),
        PartnerRefusal::Deactivated(_) => (Reason::StaffDeactivated, "partner_user_id"),
        PartnerRefusal::ContractorStays(_) => {
            (Reason::ContractorNotDeactivatable, "partner_user_id")
        }
        PartnerRefusal::NotOfAgency(_) | PartnerRefusal::NotAContractor(_) => {
            (Reason::UnknownReference, "partner_user_id")
        }
        PartnerRefusal::UnknownSet(_) => (Reason::UnknownReference, "permission_set_id"),
        PartnerRefusal::TooManyRights(_) => (Reason::TooManyChanges, ""),
        PartnerRefusal::SuperAdminNotRemovable(_) => {
            (Reason::SuperAdminNotRemovable, "partner_user_id")
        }
        PartnerRefusal::NoHeir(_) => (Reason::InvalidField, "reassign_to_partner_user_id"),
        PartnerRefusal::SelfOnly => (Reason::SelfOnly, "user_id"),
        PartnerRefusal::NotSuperAdmin(_) => (Reason::NotSuperAdmin, "user_id"),
        PartnerRefusal::NoBillingToKeep => (Reason::InvalidField, "keep_billing"),
        PartnerRefusal::SamePerson(_) => (Reason::SamePerson, "actor_user_id"),
        PartnerRefusal::BeyondApprover(_) => (Reason::BeyondOwnRights, ""),
        PartnerRefusal::YetToAccept(_) => (Reason::StaffNotChangeable, "partner_user_id"),
        PartnerRefusal::IdTooLong(_) => (Reason::InvalidField, "user_id"),
    }
}
