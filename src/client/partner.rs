//! Agencies in the accounts of their clients: what `PartnerService` answers. The calls are in
//! [`calls`].

use serde::{Serialize, Serializer};

use crate::authz::model::Timestamp;
use crate::grpc::wire;

use super::error::ClientError;
use super::noted_right::NotedRight;

mod calls;

pub use calls::{HandOver, InClient, PersonInClients, Side, StaffMember};

/// A personal access link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessLink {
    pub id: String,
    /// The agency's user whose link it is.
    pub user_id: String,
    #[serde(serialize_with = "written")]
    pub issued_at: Option<Timestamp>,
    /// From when on no client approves it any more.
    #[serde(serialize_with = "written")]
    pub expires_at: Option<Timestamp>,
    #[serde(serialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// How many clients have approved it.
    pub approvals: u64,
}

/// A new link with the text that clients approve, a secret: it is told here only.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CreatedLink {
    pub access_link: AccessLink,
    pub link: String,
}

impl std::fmt::Debug for CreatedLink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CreatedLink")
            .field("access_link", &self.access_link)
            .finish_non_exhaustive()
    }
}

/// Who was let into a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LetIn {
    /// Who the agency's user is in the client.
    pub user_id: String,
    /// The client approved the link before, and nothing was written.
    pub already_approved: bool,
    pub revision: String,
}

/// What was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ended {
    /// Users of the client whose partnership it ended; 0: it had ended before.
    pub users_ended: u64,
    /// The client's revision, from which on they are inactive.
    pub revision: String,
}

/// A user of a client who stands for somebody of the agency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientMembership {
    pub client_account_id: String,
    /// The id in the client.
    pub user_id: String,
    /// The id in the agency's account.
    pub partner_user_id: String,
    /// `admin`, `employee` or `contractor`.
    pub role: &'static str,
    /// `active` or `ended`.
    pub partnership: &'static str,
    /// As of [`PartnerPerson::status`].
    pub status: &'static str,
    pub partner_admin: bool,
    pub super_admin: bool,
}

/// Somebody of an agency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartnerPerson {
    /// The id in the agency's account.
    pub user_id: String,
    /// `invited`, `active`, `deactivated` or `removed`; `unspecified`: not in the agency's account.
    pub status: &'static str,
    /// Clients in which they are a user, of those that the caller may name.
    pub clients: u64,
}

/// A page of a list, ordered bytewise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartnerPage<T> {
    pub found: Vec<T>,
    /// Of the next page; `None` at the end and only there.
    pub next: Option<String>,
}

/// Somebody with what became of their rights in a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlacedStaff {
    /// The id in the agency's account.
    pub partner_user_id: String,
    /// The id in the client.
    pub user_id: String,
    /// What was to go and stays.
    pub kept: Vec<NotedRight>,
    /// What the set holds and they were not given.
    pub withheld: Vec<NotedRight>,
}

/// People in a client, at its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Placed {
    pub staff: Vec<PlacedStaff>,
    pub revision: String,
}

/// What taking somebody out of clients would touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PreviewedRemoval {
    pub clients: Vec<ClientRemoval>,
    /// What the removal confirms. It is of just this, and of whoever asked.
    pub preview_token: String,
}

/// The same of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientRemoval {
    pub client_account_id: String,
    /// The id in the client.
    pub user_id: String,
    /// `admin`, `employee` or `contractor`.
    pub role: &'static str,
    /// As of [`PartnerPerson::status`].
    pub status: &'static str,
    pub owned: Vec<OwnedResources>,
    /// How many resources are assigned to them by name.
    pub assigned_total: u64,
    /// How many of these nobody else is assigned to.
    pub orphans_total: u64,
    /// The first 100 of these, as `contact/ines`.
    pub orphans: Vec<String>,
    /// Access requests of theirs that end with the removal.
    pub pending_requests: u64,
    /// The reason why it can't be made; empty: nothing stands in its way.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub blocker: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub blocker_message: String,
}

/// Resources of one type that somebody owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OwnedResources {
    pub resource_type: String,
    pub total: u64,
    /// The first 100 of them.
    pub ids: Vec<String>,
}

/// What became of a removal in one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemovedFrom {
    pub client_account_id: String,
    /// The id in the client.
    pub user_id: String,
    pub done: bool,
    /// The reason why the client was left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub skipped: String,
    pub revision: String,
}

/// Where a user stands in one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatusInClient {
    pub client_account_id: String,
    /// The id in the client.
    pub user_id: String,
    /// It was changed; it was so already otherwise.
    pub changed: bool,
    pub revision: String,
}

impl AccessLink {
    pub(crate) fn of_wire(link: wire::AccessLink) -> Self {
        Self {
            id: link.id,
            user_id: link.user_id,
            issued_at: moment(link.issued_at),
            expires_at: moment(link.expires_at),
            revoked_at: moment(link.revoked_at),
            approvals: link.approvals,
        }
    }
}

impl CreatedLink {
    pub(crate) fn of_wire(created: wire::CreateAccessLinkResponse) -> Result<Self, ClientError> {
        let link = created.access_link.map(AccessLink::of_wire);
        Ok(Self {
            access_link: link
                .ok_or_else(|| ClientError::unreadable("it lacks the access link".to_owned()))?,
            link: created.link,
        })
    }
}

impl LetIn {
    pub(crate) fn of_wire(approved: wire::ApproveAccessLinkResponse) -> Self {
        Self {
            user_id: approved.user_id,
            already_approved: approved.already_approved,
            revision: approved.revision,
        }
    }
}

impl Ended {
    pub(crate) fn of_wire(ended: wire::EndPartnershipResponse) -> Self {
        Self {
            users_ended: ended.users_ended,
            revision: ended.revision,
        }
    }
}

impl ClientMembership {
    pub(crate) fn of_wire(membership: wire::ClientMembership) -> Self {
        Self {
            role: role(membership.role()),
            partnership: match membership.partnership() {
                wire::Partnership::Active => "active",
                wire::Partnership::Ended => "ended",
                wire::Partnership::Unspecified => UNSPECIFIED,
            },
            status: status(membership.status()),
            client_account_id: membership.client_account_id,
            user_id: membership.user_id,
            partner_user_id: membership.partner_user_id,
            partner_admin: membership.partner_admin,
            super_admin: membership.super_admin,
        }
    }
}

impl PartnerPerson {
    pub(crate) fn of_wire(person: wire::PartnerPerson) -> Self {
        Self {
            status: status(person.status()),
            user_id: person.user_id,
            clients: person.clients,
        }
    }
}

impl PlacedStaff {
    pub(crate) fn of_wire(placed: wire::PlacedStaff) -> Self {
        Self {
            kept: NotedRight::of_all(&placed.kept),
            withheld: NotedRight::of_all(&placed.withheld),
            partner_user_id: placed.partner_user_id,
            user_id: placed.user_id,
        }
    }
}

impl Placed {
    pub(crate) fn of_wire(
        staff: impl IntoIterator<Item = wire::PlacedStaff>,
        revision: String,
    ) -> Self {
        Self {
            staff: staff.into_iter().map(PlacedStaff::of_wire).collect(),
            revision,
        }
    }
}

impl PreviewedRemoval {
    pub(crate) fn of_wire(previewed: wire::PreviewRemovalResponse) -> Self {
        let clients = previewed.clients.into_iter();
        Self {
            clients: clients.map(ClientRemoval::of_wire).collect(),
            preview_token: previewed.preview_token,
        }
    }
}

impl ClientRemoval {
    fn of_wire(removal: wire::ClientRemoval) -> Self {
        let owned = |owned: wire::OwnedResources| OwnedResources {
            resource_type: owned.resource_type,
            total: owned.total,
            ids: owned.ids,
        };
        let named = |of: wire::ResourceRef| format!("{}/{}", of.resource_type, of.id);
        Self {
            role: role(removal.role()),
            status: status(removal.status()),
            client_account_id: removal.client_account_id,
            user_id: removal.user_id,
            owned: removal.owned.into_iter().map(owned).collect(),
            assigned_total: removal.assigned_total,
            orphans_total: removal.orphans_total,
            orphans: removal.orphans.into_iter().map(named).collect(),
            pending_requests: removal.pending_requests,
            blocker: removal.blocker,
            blocker_message: removal.blocker_message,
        }
    }
}

impl RemovedFrom {
    pub(crate) fn of_wire(removed: wire::RemovedFrom) -> Self {
        Self {
            client_account_id: removed.client_account_id,
            user_id: removed.user_id,
            done: removed.done,
            skipped: removed.skipped,
            revision: removed.revision,
        }
    }
}

impl StatusInClient {
    pub(crate) fn of_wire(status: wire::StatusInClient) -> Self {
        Self {
            client_account_id: status.client_account_id,
            user_id: status.user_id,
            changed: status.changed,
            revision: status.revision,
        }
    }
}

/// The word for what a server did not say, or said in a word that this client does not know.
const UNSPECIFIED: &str = "unspecified";

fn role(role: wire::PartnerRole) -> &'static str {
    match role {
        wire::PartnerRole::Admin => "admin",
        wire::PartnerRole::Employee => "employee",
        wire::PartnerRole::Contractor => "contractor",
        wire::PartnerRole::Unspecified => UNSPECIFIED,
    }
}

fn status(status: wire::UserStatus) -> &'static str {
    match status {
        wire::UserStatus::Invited => "invited",
        wire::UserStatus::Active => "active",
        wire::UserStatus::Deactivated => "deactivated",
        wire::UserStatus::Removed => "removed",
        wire::UserStatus::Unspecified => UNSPECIFIED,
    }
}

/// In RFC 3339, as documents write moments.
fn written<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    moment
        .map(|moment| moment.to_string())
        .serialize(serializer)
}

fn moment(moment: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let moment = moment?;
    let micros = moment.seconds.checked_mul(1_000_000)?;
    Timestamp::from_unix_micros(micros.checked_add(i64::from(moment.nanos) / 1_000)?)
}
