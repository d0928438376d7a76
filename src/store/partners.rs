//! What agencies have in several accounts: their personal access links (S4.4), and the users that
//! stand for their people in the accounts of their clients.
//!
//! This is the one part of the contract that reads across accounts and writes several of them in one
//! transaction (D7); everything else is of one account. A database that is distributed by account
//! needs distributed transactions for it, and asks all of its nodes for an agency's clients.

use std::collections::BTreeSet;
use std::fmt::Display;

use async_trait::async_trait;

use super::rows::inconsistent;
use super::{Head, StoreError, Write};
use crate::authz::model::{Id, PartnerRole, Partnership, Timestamp, UserStatus};
use crate::authz::partner_event::PartnerNews;
use crate::callers::SecretHash;

/// Links that an account keeps at most, ended ones included.
pub const LINKS_MAX: i64 = 10_000;

/// How long a link is kept after its end, for who asks what became of it, in microseconds: a year.
pub(super) const LINK_KEPT_MICROS: i64 = 365 * 24 * 60 * 60 * 1_000_000;

/// Ended links that the making of one forgets at most.
pub(super) const LINKS_FORGOTTEN_AT_ONCE: i64 = 16;

/// A personal access link of an agency's user.
#[derive(Debug, Clone)]
pub struct AccessLink {
    pub id: Id,
    /// The agency's user whose link it is.
    pub user: Id,
    pub secret: SecretHash,
    pub issued_at: Timestamp,
    /// It opens nothing from here on.
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// A link with how many clients have approved it.
#[derive(Debug, Clone)]
pub struct ListedLink {
    pub link: AccessLink,
    pub approvals: u64,
}

/// That a client let the user of a link in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkApproval {
    pub link: Id,
    pub client: Id,
    /// Who it became in the client.
    pub user: Id,
    /// The client's user who approved.
    pub approved_by: Id,
    pub approved_at: Timestamp,
}

/// What happens to the links of an agency by a write.
#[derive(Debug, Clone)]
pub struct LinkStep {
    /// The agency's account, which is among those that the write names.
    pub account: Id,
    pub event: LinkEvent,
}

#[derive(Debug, Clone)]
pub enum LinkEvent {
    Issued(AccessLink),
    /// Of a link that is not revoked yet, else the write is a conflict.
    Revoked {
        link: Id,
        at: Timestamp,
    },
    /// Of a link that is not revoked, by a client that has not approved it yet; else the write is a
    /// conflict.
    Approved(LinkApproval),
}

/// A user of a client who stands for somebody of the agency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerUser {
    pub client: Id,
    /// The id in the client.
    pub user: Id,
    /// The id in the agency.
    pub partner_user: Id,
    pub role: PartnerRole,
    pub partnership: Partnership,
    pub status: UserStatus,
    pub is_partner_admin: bool,
    pub is_super_admin: bool,
}

/// Which of them are asked for; tombstones of removed users never are.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartnerUserFilter<'a> {
    /// Of this user of the agency alone.
    pub partner_user: Option<&'a Id>,
    /// In these accounts alone.
    pub clients: Option<&'a BTreeSet<Id>>,
}

/// Whose clients are counted.
#[derive(Debug, Clone, Copy)]
pub enum Counted<'a> {
    /// These users of the agency, where they are anything but contractors.
    Employees(&'a [Id]),
    /// Whoever is a contractor anywhere, after this user in byte order.
    Contractors(Option<&'a Id>),
}

#[async_trait]
pub trait PartnerStore: Send + Sync + 'static {
    async fn access_link(&self, account: &Id, link: &Id) -> Result<Option<AccessLink>, StoreError>;

    /// Links of an agency after an id, in byte order of ids, at most `limit`, with the approvals of
    /// `clients`, where they are given.
    async fn access_links(
        &self,
        account: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<ListedLink>, StoreError>;

    /// How a client approved a link, if it did.
    async fn link_approval(
        &self,
        account: &Id,
        link: &Id,
        client: &Id,
    ) -> Result<Option<LinkApproval>, StoreError>;

    /// Users of clients who stand for people of an agency, after a (client, user), in byte order of
    /// these, at most `limit`.
    async fn partner_users(
        &self,
        agency: &Id,
        filter: PartnerUserFilter<'_>,
        after: Option<(&Id, &Id)>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError>;

    /// How many clients (of `clients`, where they are given) each of some people of an agency has, in
    /// byte order of their ids; who has none is left out.
    async fn clients_counted(
        &self,
        agency: &Id,
        counted: Counted<'_>,
        clients: Option<&BTreeSet<Id>>,
        limit: u32,
    ) -> Result<Vec<(Id, u64)>, StoreError>;

    /// Writes several accounts in one transaction, all or none, each as [`super::Store::apply`]
    /// writes one: with its own expected head, one revision where it changes anything, and its own
    /// record of the audit. They are locked in byte order of ids, whatever the order in which they
    /// are given; the heads are answered in that of the writes. No account is named twice.
    ///
    /// What happens to a link is written with its account, and noted in the audit of that. News is
    /// written with its account too, and is at once an entry of the [outbox](super::outbox): of an
    /// account that no write names there is none.
    async fn apply_across(
        &self,
        writes: &[Write<'_>],
        link: Option<&LinkStep>,
        news: &[PartnerNews],
    ) -> Result<Vec<Head>, StoreError>;
}

/// The order in which accounts are locked: where each write of it stands in the list.
pub(super) fn locking_order(writes: &[Write<'_>]) -> Result<Vec<usize>, StoreError> {
    let mut order: Vec<usize> = (0..writes.len()).collect();
    order.sort_by_key(|at| writes.get(*at).map(|write| write.account));
    let mut accounts = BTreeSet::new();
    match writes.iter().all(|write| accounts.insert(write.account)) {
        true => Ok(order),
        false => Err(StoreError::Constraint {
            rule: "a write across accounts names each account once".to_owned(),
        }),
    }
}

/// What is to be told in an account, in the order in which it happened.
pub(super) fn news_of<'a>(account: &Id, news: &'a [PartnerNews]) -> Vec<&'a PartnerNews> {
    news.iter().filter(|one| one.account == *account).collect()
}

/// What is told of an account that has as many links as it may.
pub(super) fn too_many_links() -> StoreError {
    StoreError::Constraint {
        rule: format!(
            "an account keeps at most {LINKS_MAX} access links; those that ended more than a year ago are forgotten"
        ),
    }
}

/// Ids as a JSON array, for a statement that looks into it.
pub(super) fn ids_text<'a>(ids: impl Iterator<Item = &'a Id>) -> Result<String, StoreError> {
    let ids: Vec<&str> = ids.map(Id::as_str).collect();
    serde_json::to_string(&ids).map_err(super::rows::not_json)
}

/// The columns of a link, as a database answers them.
pub(super) struct LinkColumns<'a> {
    pub(super) id: &'a str,
    pub(super) user: &'a str,
    pub(super) secret_hash: &'a [u8],
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) revoked_at: Option<i64>,
}

impl LinkColumns<'_> {
    pub(super) fn link(self) -> Result<AccessLink, StoreError> {
        let row = Row {
            table: "access_link",
            id: self.id,
        };
        let bytes: [u8; 32] = self
            .secret_hash
            .try_into()
            .map_err(|_| row.wrong("secret_hash", "not of 32 bytes"))?;
        Ok(AccessLink {
            id: row.id("link_id", self.id)?,
            user: row.id("user_id", self.user)?,
            secret: SecretHash::new(bytes),
            issued_at: row.time("issued_at", self.issued_at)?,
            expires_at: row.time("expires_at", self.expires_at)?,
            revoked_at: self
                .revoked_at
                .map(|at| row.time("revoked_at", at))
                .transpose()?,
        })
    }
}

/// The columns of an approval, as a database answers them.
pub(super) struct ApprovalColumns<'a> {
    pub(super) user: &'a str,
    pub(super) approved_by: &'a str,
    pub(super) approved_at: i64,
}

impl ApprovalColumns<'_> {
    pub(super) fn approval(self, link: &Id, client: &Id) -> Result<LinkApproval, StoreError> {
        let row = Row {
            table: "access_link_approval",
            id: link.as_str(),
        };
        Ok(LinkApproval {
            link: link.clone(),
            client: client.clone(),
            user: row.id("client_user", self.user)?,
            approved_by: row.id("approved_by", self.approved_by)?,
            approved_at: row.time("approved_at", self.approved_at)?,
        })
    }
}

/// The columns of a user of a client, as a database answers them.
pub(super) struct PartnerUserColumns<'a> {
    pub(super) client: &'a str,
    pub(super) user: &'a str,
    pub(super) partner_user: &'a str,
    pub(super) role: &'a str,
    pub(super) partnership: &'a str,
    pub(super) status: &'a str,
    pub(super) is_partner_admin: bool,
    pub(super) is_super_admin: bool,
}

impl PartnerUserColumns<'_> {
    pub(super) fn partner_user(self) -> Result<PartnerUser, StoreError> {
        let row = Row {
            table: "app_user",
            id: self.user,
        };
        let unknown = |column| row.wrong(column, "a word that is not known");
        Ok(PartnerUser {
            client: row.id("account_id", self.client)?,
            user: row.id("user_id", self.user)?,
            partner_user: row.id("partner_user", self.partner_user)?,
            role: PartnerRole::from_word(self.role).ok_or_else(|| unknown("partner_role"))?,
            partnership: Partnership::from_word(self.partnership)
                .ok_or_else(|| unknown("partnership"))?,
            status: UserStatus::from_word(self.status).ok_or_else(|| unknown("status"))?,
            is_partner_admin: self.is_partner_admin,
            is_super_admin: self.is_super_admin,
        })
    }
}

/// A person with how many clients they have, as a database answers it.
pub(super) fn counted_of(partner_user: &str, clients: i64) -> Result<(Id, u64), StoreError> {
    let row = Row {
        table: "app_user",
        id: partner_user,
    };
    let clients = u64::try_from(clients).unwrap_or(0);
    Ok((row.id("partner_user", partner_user)?, clients))
}

struct Row<'a> {
    table: &'static str,
    id: &'a str,
}

impl Row<'_> {
    fn wrong(&self, column: &'static str, problem: impl Display) -> StoreError {
        inconsistent(self.table, column, self.id, problem)
    }

    fn id(&self, column: &'static str, text: &str) -> Result<Id, StoreError> {
        Id::parse(text).map_err(|error| self.wrong(column, error))
    }

    fn time(&self, column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
        Timestamp::from_unix_micros(micros)
            .ok_or_else(|| self.wrong(column, "no time between the years 1 and 9999"))
    }
}
