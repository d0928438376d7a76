//! `CreateAccessLink`, `RevokeAccessLink`, `ListAccessLinks`, `ApproveAccessLink` and
//! `EndPartnership`.

use super::lists::NO_HEAD;
use super::{PartnerHandlers, failure, refused};
use crate::authz::model::Id;
use crate::authz::partnership::PartnerRefusal;
use crate::grpc::admission::Admission;
use crate::grpc::convert;
use crate::grpc::directory::{page_size, up_to_page_bytes};
use crate::grpc::page_token::Binding;
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::partners::{ApproveLink, EndPartnership, LinkText, Side};
use crate::store::audit::Author;
use crate::store::partners::{AccessLink, ListedLink};

/// The account that a partner call may name beside its own.
const OTHER: &str = "other_account_id";

impl PartnerHandlers {
    pub(super) async fn create_access_link(
        &self,
        admission: &Admission,
        message: &wire::CreateAccessLinkRequest,
        author: Author,
    ) -> Result<wire::CreateAccessLinkResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let created = self.partners.create_link(&account, &actor, author).await;
        let created = created.map_err(|error| failure(error, OTHER))?;
        Ok(wire::CreateAccessLinkResponse {
            access_link: Some(link_to_wire(&created.link, 0)),
            link: created.text.reveal().to_owned(),
        })
    }

    pub(super) async fn revoke_access_link(
        &self,
        admission: &Admission,
        message: &wire::RevokeAccessLinkRequest,
        author: Author,
    ) -> Result<wire::RevokeAccessLinkResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let link = convert::id(&message.link_id, "link_id")?;
        let revoking = self.partners.revoke_link(&account, &link, &actor, author);
        revoking.await.map_err(|error| failure(error, OTHER))?;
        Ok(wire::RevokeAccessLinkResponse {})
    }

    pub(super) async fn list_access_links(
        &self,
        admission: &Admission,
        message: &wire::ListAccessLinksRequest,
    ) -> Result<wire::ListAccessLinksResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let fields = [&*message.account_id, &*message.actor_user_id];
        let binding = Binding::new("ListAccessLinks", &fields);
        let place = self.reading.place(&binding, &message.page_token)?;
        let after = place.map(|place| place.id()).transpose()?;
        let size = page_size(message.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let visible = admission.listed();
        let links = self
            .partners
            .links(&account, &actor, visible, after.as_ref(), limit);
        let mut links = links.await.map_err(|error| failure(error, OTHER))?;
        let more = links.len() > size;
        links.truncate(size);
        let found = links.iter().map(|ListedLink { link, approvals }| {
            (link.id.to_string(), link_to_wire(link, *approvals))
        });
        let (access_links, next) = up_to_page_bytes(found, more);
        Ok(wire::ListAccessLinksResponse {
            access_links,
            next_page_token: next
                .map(|next| self.reading.page_token(&binding, &next, NO_HEAD))
                .unwrap_or_default(),
        })
    }

    pub(super) async fn approve_access_link(
        &self,
        admission: &Admission,
        message: &wire::ApproveAccessLinkRequest,
        author: Author,
    ) -> Result<wire::ApproveAccessLinkResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let approver = convert::id(&message.actor_user_id, "actor_user_id")?;
        let user = convert::optional_id(&message.user_id, "user_id")?;
        let link = LinkText::parse(&message.link).ok_or_else(|| {
            Failure::invalid("link", "that is no access link: copy the whole of it")
        })?;
        // As where there is no such agency.
        if !admission.may_name(link.agency()) {
            return Err(refused(&PartnerRefusal::LinkNotFound));
        }
        let approved = self.partners.approve_link(ApproveLink {
            client: Id::clone(&account),
            approver,
            link,
            user,
            author,
        });
        let approved = approved.await.map_err(|error| failure(error, OTHER))?;
        Ok(wire::ApproveAccessLinkResponse {
            user_id: approved.user.to_string(),
            already_approved: approved.already,
            revision: approved.token.encode(),
        })
    }

    pub(super) async fn end_partnership(
        &self,
        admission: &Admission,
        message: &wire::EndPartnershipRequest,
        author: Author,
    ) -> Result<wire::EndPartnershipResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let actor = convert::id(&message.actor_user_id, "actor_user_id")?;
        let other = admission.counterpart(&message.other_account_id, OTHER)?;
        let (own, other) = (Id::clone(&account), Id::clone(&other));
        let (client, agency, by) = match message.side() {
            wire::PartnerSide::Client => (own, other, Side::Client(actor)),
            wire::PartnerSide::Agency => (other, own, Side::Agency(actor)),
            wire::PartnerSide::Unspecified => {
                return Err(Failure::invalid(
                    "side",
                    "say on which side `account_id` stands: client or agency",
                ));
            }
        };
        let ended = self.partners.end_partnership(EndPartnership {
            client,
            agency,
            by,
            author,
        });
        let ended = ended.await.map_err(|error| failure(error, OTHER))?;
        Ok(wire::EndPartnershipResponse {
            users_ended: ended.users,
            revision: ended.token.encode(),
        })
    }
}

fn link_to_wire(link: &AccessLink, approvals: u64) -> wire::AccessLink {
    wire::AccessLink {
        id: link.id.to_string(),
        user_id: link.user.to_string(),
        issued_at: Some(convert::timestamp_to_wire(link.issued_at)),
        expires_at: Some(convert::timestamp_to_wire(link.expires_at)),
        revoked_at: link.revoked_at.map(convert::timestamp_to_wire),
        approvals,
    }
}
