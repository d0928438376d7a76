//! What agencies have in several accounts, on SQLite.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::apply;
use super::audit::{self, Made};
use super::error::store_error;
use super::read;
use crate::authz::model::{Id, Timestamp};
use crate::authz::partner_event::PartnerNews;
use crate::store::audit::{AuditEffect, Author, Told};
use crate::store::partners::{
    AccessLink, ApprovalColumns, Counted, LINK_KEPT_MICROS, LINKS_FORGOTTEN_AT_ONCE, LINKS_MAX,
    LinkApproval, LinkColumns, LinkEvent, LinkStep, ListedLink, PartnerStore, PartnerUser,
    PartnerUserColumns, PartnerUserFilter, counted_of, ids_text, too_many_links,
};
use crate::store::{Head, StoreError, Write};

const LINK_COLUMNS: &str = "link_id, user_id, secret_hash, issued_at, expires_at, revoked_at";

#[async_trait]
impl PartnerStore for SqliteStore {
    async fn access_link(&self, account: &Id, link: &Id) -> Result<Option<AccessLink>, StoreError> {
        let sql = format!(
            "SELECT {LINK_COLUMNS} FROM access_link WHERE account_id = ?1 AND link_id = ?2"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(account.as_str())
            .bind(link.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?;
        row.as_ref().map(link_of).transpose()
    }

    async fn access_links(
        &self,
        account: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<ListedLink>, StoreError> {
        let sql = format!(
            "SELECT {LINK_COLUMNS}, (SELECT count(*) FROM access_link_approval AS a
                    WHERE a.account_id = l.account_id AND a.link_id = l.link_id
                        AND (?4 IS NULL OR client_account IN (SELECT value FROM json_each(?4))))
                FROM access_link AS l WHERE account_id = ?1 AND link_id > ?2
                ORDER BY link_id LIMIT ?3"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(account.as_str())
            .bind(after.map_or("", Id::as_str))
            .bind(limit)
            .bind(clients_text(clients)?)
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?
            .iter()
            .map(|row| {
                let approvals: i64 = row.try_get(6).map_err(store_error)?;
                Ok(ListedLink {
                    link: link_of(row)?,
                    approvals: u64::try_from(approvals).unwrap_or(0),
                })
            })
            .collect()
    }

    async fn link_approval(
        &self,
        account: &Id,
        link: &Id,
        client: &Id,
    ) -> Result<Option<LinkApproval>, StoreError> {
        let row = sqlx::query(
            "SELECT client_user, approved_by, approved_at FROM access_link_approval
                WHERE account_id = ?1 AND link_id = ?2 AND client_account = ?3",
        )
        .bind(account.as_str())
        .bind(link.as_str())
        .bind(client.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(|row| {
            ApprovalColumns {
                user: row.try_get(0).map_err(store_error)?,
                approved_by: row.try_get(1).map_err(store_error)?,
                approved_at: row.try_get(2).map_err(store_error)?,
            }
            .approval(link, client)
        })
        .transpose()
    }

    async fn partner_users(
        &self,
        agency: &Id,
        filter: PartnerUserFilter<'_>,
        after: Option<(&Id, &Id)>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError> {
        let (after_client, after_user) =
            after.map_or(("", ""), |(client, user)| (client.as_str(), user.as_str()));
        sqlx::query(
            "SELECT account_id, user_id, partner_user, partner_role, partnership, status,
                    partner_admin, super_admin
                FROM app_user
                WHERE partner_account = ?1 AND status <> 'removed'
                    AND (account_id, user_id) > (?2, ?3)
                    AND (?4 IS NULL OR partner_user = ?4)
                    AND (?5 IS NULL OR account_id IN (SELECT value FROM json_each(?5)))
                ORDER BY account_id, user_id LIMIT ?6",
        )
        .bind(agency.as_str())
        .bind(after_client)
        .bind(after_user)
        .bind(filter.partner_user.map(Id::as_str))
        .bind(clients_text(filter.clients)?)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(partner_user_of)
        .collect()
    }

    async fn clients_counted(
        &self,
        agency: &Id,
        counted: Counted<'_>,
        clients: Option<&BTreeSet<Id>>,
        limit: u32,
    ) -> Result<Vec<(Id, u64)>, StoreError> {
        let (among, after) = match counted {
            Counted::Employees(people) => (Some(ids_text(people.iter())?), None),
            Counted::Contractors(after) => (None, after),
        };
        sqlx::query(
            "SELECT partner_user, count(DISTINCT account_id) FROM app_user
                WHERE partner_account = ?1 AND status <> 'removed'
                    AND (partner_role = 'contractor') = (?2 IS NULL)
                    AND (?2 IS NULL OR partner_user IN (SELECT value FROM json_each(?2)))
                    AND partner_user > ?3
                    AND (?4 IS NULL OR account_id IN (SELECT value FROM json_each(?4)))
                GROUP BY partner_user ORDER BY partner_user LIMIT ?5",
        )
        .bind(agency.as_str())
        .bind(among)
        .bind(after.map_or("", Id::as_str))
        .bind(clients_text(clients)?)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| {
            let person = read::text(row, 0, "app_user", "partner_user")?;
            counted_of(person, row.try_get(1).map_err(store_error)?)
        })
        .collect()
    }

    async fn apply_across(
        &self,
        writes: &[Write<'_>],
        link: Option<&LinkStep>,
        news: &[PartnerNews],
    ) -> Result<Vec<Head>, StoreError> {
        self.file.verify()?;
        apply::apply_across(&self.writer, writes, link, news).await
    }
}

fn clients_text(clients: Option<&BTreeSet<Id>>) -> Result<Option<String>, StoreError> {
    clients.map(|clients| ids_text(clients.iter())).transpose()
}

fn link_of(row: &SqliteRow) -> Result<AccessLink, StoreError> {
    LinkColumns {
        id: row.try_get(0).map_err(store_error)?,
        user: row.try_get(1).map_err(store_error)?,
        secret_hash: row.try_get(2).map_err(store_error)?,
        issued_at: row.try_get(3).map_err(store_error)?,
        expires_at: row.try_get(4).map_err(store_error)?,
        revoked_at: row.try_get(5).map_err(store_error)?,
    }
    .link()
}

fn partner_user_of(row: &SqliteRow) -> Result<PartnerUser, StoreError> {
    let text = |index, column| read::text(row, index, "app_user", column);
    PartnerUserColumns {
        client: text(0, "account_id")?,
        user: text(1, "user_id")?,
        partner_user: text(2, "partner_user")?,
        role: text(3, "partner_role")?,
        partnership: text(4, "partnership")?,
        status: text(5, "status")?,
        is_partner_admin: row.try_get(6).map_err(store_error)?,
        is_super_admin: row.try_get(7).map_err(store_error)?,
    }
    .partner_user()
}

/// Writes what happens to a link, with its record.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    step: &LinkStep,
    author: &Author,
    revision: u64,
) -> Result<(), StoreError> {
    let account = &step.account;
    match &step.event {
        LinkEvent::Issued(link) => issue(connection, account, link).await?,
        LinkEvent::Revoked { link, at } => revoke(connection, account, link, *at).await?,
        LinkEvent::Approved(approval) => approve(connection, account, approval).await?,
    }
    let made = Made {
        account,
        revision,
        effect: AuditEffect::Noted,
        idempotency: None,
    };
    let counts = BTreeMap::from([("access_link".to_owned(), 1)]);
    let told = Told::of(std::iter::empty(), &counts, false)?;
    audit::record(connection, author, made, &told).await
}

async fn issue(
    connection: &mut SqliteConnection,
    account: &Id,
    link: &AccessLink,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM access_link WHERE account_id = ?1 AND link_id IN (
            SELECT link_id FROM access_link WHERE account_id = ?1 AND expires_at < ?2 LIMIT ?3)",
    )
    .bind(account.as_str())
    .bind(
        link.issued_at
            .unix_micros()
            .saturating_sub(LINK_KEPT_MICROS),
    )
    .bind(LINKS_FORGOTTEN_AT_ONCE)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    let issued = sqlx::query(
        "INSERT INTO access_link (account_id, link_id, user_id, secret_hash, issued_at, expires_at)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6
            WHERE (SELECT count(*) FROM access_link WHERE account_id = ?1) < ?7",
    )
    .bind(account.as_str())
    .bind(link.id.as_str())
    .bind(link.user.as_str())
    .bind(&link.secret.bytes()[..])
    .bind(link.issued_at.unix_micros())
    .bind(link.expires_at.unix_micros())
    .bind(LINKS_MAX)
    .execute(connection)
    .await
    .map_err(store_error)?;
    match issued.rows_affected() {
        0 => Err(too_many_links()),
        _ => Ok(()),
    }
}

async fn revoke(
    connection: &mut SqliteConnection,
    account: &Id,
    link: &Id,
    at: Timestamp,
) -> Result<(), StoreError> {
    let revoked = sqlx::query(
        "UPDATE access_link SET revoked_at = ?3
            WHERE account_id = ?1 AND link_id = ?2 AND revoked_at IS NULL",
    )
    .bind(account.as_str())
    .bind(link.as_str())
    .bind(at.unix_micros())
    .execute(connection)
    .await
    .map_err(store_error)?;
    match revoked.rows_affected() {
        0 => Err(StoreError::Conflict),
        _ => Ok(()),
    }
}

async fn approve(
    connection: &mut SqliteConnection,
    account: &Id,
    approval: &LinkApproval,
) -> Result<(), StoreError> {
    let approved = sqlx::query(
        "INSERT INTO access_link_approval
                (account_id, link_id, client_account, client_user, approved_by, approved_at)
            SELECT account_id, link_id, ?3, ?4, ?5, ?6 FROM access_link
                WHERE account_id = ?1 AND link_id = ?2 AND revoked_at IS NULL
            ON CONFLICT DO NOTHING",
    )
    .bind(account.as_str())
    .bind(approval.link.as_str())
    .bind(approval.client.as_str())
    .bind(approval.user.as_str())
    .bind(approval.approved_by.as_str())
    .bind(approval.approved_at.unix_micros())
    .execute(connection)
    .await
    .map_err(store_error)?;
    match approved.rows_affected() {
        0 => Err(StoreError::Conflict),
        _ => Ok(()),
    }
}
