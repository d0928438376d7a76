//! What agencies have in several accounts, on PostgreSQL.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::apply;
use super::connect::{LARGE, Mode, SMALL, bounded};
use super::error::store_error;
use super::requests::micros_of;
use super::session::Session;
use super::statements::time_of;
use crate::authz::model::{Id, Timestamp};
use crate::authz::partner_event::PartnerNews;
use crate::store::partners::{
    AccessLink, ApprovalColumns, Counted, LINK_KEPT_MICROS, LINKS_FORGOTTEN_AT_ONCE, LINKS_MAX,
    LinkApproval, LinkColumns, LinkEvent, LinkStep, ListedLink, PartnerStore, PartnerUser,
    PartnerUserColumns, PartnerUserFilter, counted_of, too_many_links,
};
use crate::store::{Head, StoreError, Write};

static LINK_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "link_id, user_id, secret_hash, {}, {}, {}",
        micros_of("issued_at"),
        micros_of("expires_at"),
        micros_of("revoked_at")
    )
});

#[async_trait]
impl PartnerStore for PostgresStore {
    async fn access_link(&self, account: &Id, link: &Id) -> Result<Option<AccessLink>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = bounded(SMALL, access_link(lease.connection()?, account, link)).await;
        lease.settle(found).await
    }

    async fn access_links(
        &self,
        account: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<ListedLink>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = access_links(lease.connection()?, account, clients, after, limit);
        let page = bounded(SMALL, page).await;
        lease.settle(page).await
    }

    async fn link_approval(
        &self,
        account: &Id,
        link: &Id,
        client: &Id,
    ) -> Result<Option<LinkApproval>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let found = link_approval(lease.connection()?, account, link, client);
        let found = bounded(SMALL, found).await;
        lease.settle(found).await
    }

    async fn partner_users(
        &self,
        agency: &Id,
        filter: PartnerUserFilter<'_>,
        after: Option<(&Id, &Id)>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = partner_users(lease.connection()?, agency, filter, after, limit);
        let page = bounded(LARGE, page).await;
        lease.settle(page).await
    }

    async fn clients_counted(
        &self,
        agency: &Id,
        counted: Counted<'_>,
        clients: Option<&BTreeSet<Id>>,
        limit: u32,
    ) -> Result<Vec<(Id, u64)>, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let page = clients_counted(lease.connection()?, agency, counted, clients, limit);
        let page = bounded(LARGE, page).await;
        lease.settle(page).await
    }

    async fn apply_across(
        &self,
        writes: &[Write<'_>],
        link: Option<&LinkStep>,
        news: &[PartnerNews],
    ) -> Result<Vec<Head>, StoreError> {
        let written = apply::apply_across(&self.pools.writes, writes, link, news).await;
        written.map_err(|error| self.rules.told(error))
    }
}

async fn access_link(
    connection: &mut Session,
    account: &Id,
    link: &Id,
) -> Result<Option<AccessLink>, StoreError> {
    let columns = LINK_COLUMNS.as_str();
    let sql =
        format!("SELECT {columns} FROM ambit.access_link WHERE account_id = $1 AND link_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(link.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.as_ref().map(link_of).transpose()
}

async fn access_links(
    connection: &mut Session,
    account: &Id,
    clients: Option<&BTreeSet<Id>>,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<ListedLink>, StoreError> {
    let columns = LINK_COLUMNS.as_str();
    let sql = format!(
        "SELECT {columns}, (SELECT count(*) FROM ambit.access_link_approval AS a
                WHERE a.account_id = l.account_id AND a.link_id = l.link_id
                    AND ($4::text[] IS NULL OR client_account = ANY ($4)))
            FROM ambit.access_link AS l WHERE account_id = $1 AND link_id > $2
            ORDER BY link_id LIMIT $3"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", Id::as_str))
        .bind(i64::from(limit))
        .bind(texts(clients))
        .fetch_all(connection)
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
    connection: &mut Session,
    account: &Id,
    link: &Id,
    client: &Id,
) -> Result<Option<LinkApproval>, StoreError> {
    let sql = format!(
        "SELECT client_user, approved_by, {} FROM ambit.access_link_approval
            WHERE account_id = $1 AND link_id = $2 AND client_account = $3",
        micros_of("approved_at")
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(link.as_str())
        .bind(client.as_str())
        .fetch_optional(connection)
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
    connection: &mut Session,
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
            FROM ambit.app_user
            WHERE partner_account = $1 AND status <> 'removed'
                AND (account_id, user_id) > ($2, $3)
                AND ($4::text IS NULL OR partner_user = $4)
                AND ($5::text[] IS NULL OR account_id = ANY ($5))
            ORDER BY account_id, user_id LIMIT $6",
    )
    .bind(agency.as_str())
    .bind(after_client)
    .bind(after_user)
    .bind(filter.partner_user.map(Id::as_str))
    .bind(texts(filter.clients))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(store_error)?
    .iter()
    .map(partner_user_of)
    .collect()
}

async fn clients_counted(
    connection: &mut Session,
    agency: &Id,
    counted: Counted<'_>,
    clients: Option<&BTreeSet<Id>>,
    limit: u32,
) -> Result<Vec<(Id, u64)>, StoreError> {
    let (among, after) = match counted {
        Counted::Employees(people) => {
            let people: Vec<&str> = people.iter().map(Id::as_str).collect();
            (Some(people), None)
        }
        Counted::Contractors(after) => (None, after),
    };
    sqlx::query(
        "SELECT partner_user, count(DISTINCT account_id) FROM ambit.app_user
            WHERE partner_account = $1 AND status <> 'removed'
                AND (partner_role = 'contractor') = ($2::text[] IS NULL)
                AND ($2::text[] IS NULL OR partner_user = ANY ($2))
                AND partner_user > $3
                AND ($4::text[] IS NULL OR account_id = ANY ($4))
            GROUP BY partner_user ORDER BY partner_user LIMIT $5",
    )
    .bind(agency.as_str())
    .bind(among)
    .bind(after.map_or("", Id::as_str))
    .bind(texts(clients))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(store_error)?
    .iter()
    .map(|row| {
        let person: &str = row.try_get(0).map_err(store_error)?;
        counted_of(person, row.try_get(1).map_err(store_error)?)
    })
    .collect()
}

fn texts(ids: Option<&BTreeSet<Id>>) -> Option<Vec<&str>> {
    ids.map(|ids| ids.iter().map(Id::as_str).collect())
}

fn link_of(row: &PgRow) -> Result<AccessLink, StoreError> {
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

fn partner_user_of(row: &PgRow) -> Result<PartnerUser, StoreError> {
    PartnerUserColumns {
        client: row.try_get(0).map_err(store_error)?,
        user: row.try_get(1).map_err(store_error)?,
        partner_user: row.try_get(2).map_err(store_error)?,
        role: row.try_get(3).map_err(store_error)?,
        partnership: row.try_get(4).map_err(store_error)?,
        status: row.try_get(5).map_err(store_error)?,
        is_partner_admin: row.try_get(6).map_err(store_error)?,
        is_super_admin: row.try_get(7).map_err(store_error)?,
    }
    .partner_user()
}

/// Writes what happens to a link, with its record; its account is announced.
pub(super) async fn record(connection: &mut Session, step: &LinkStep) -> Result<(), StoreError> {
    let account = &step.account;
    match &step.event {
        LinkEvent::Issued(link) => issue(connection, account, link).await?,
        LinkEvent::Revoked { link, at } => revoke(connection, account, link, *at).await?,
        LinkEvent::Approved(approval) => approve(connection, account, approval).await?,
    }
    sqlx::query("SELECT ambit.audit_access_link($1)")
        .bind(account.as_str())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

async fn issue(
    connection: &mut Session,
    account: &Id,
    link: &AccessLink,
) -> Result<(), StoreError> {
    let forget = format!(
        "DELETE FROM ambit.access_link WHERE account_id = $1 AND link_id IN (
            SELECT link_id FROM ambit.access_link
            WHERE account_id = $1 AND expires_at < {} LIMIT $3)",
        time_of("$2")
    );
    sqlx::query(sqlx::AssertSqlSafe(forget))
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
    let issue = format!(
        "INSERT INTO ambit.access_link
                (account_id, link_id, user_id, secret_hash, issued_at, expires_at)
            SELECT $1, $2, $3, $4, {}, {}
            WHERE (SELECT count(*) FROM ambit.access_link WHERE account_id = $1) < $7",
        time_of("$5"),
        time_of("$6")
    );
    let issued = sqlx::query(sqlx::AssertSqlSafe(issue))
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
    connection: &mut Session,
    account: &Id,
    link: &Id,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE ambit.access_link SET revoked_at = {}
            WHERE account_id = $1 AND link_id = $2 AND revoked_at IS NULL",
        time_of("$3")
    );
    let revoked = sqlx::query(sqlx::AssertSqlSafe(sql))
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

/// The account's own turn keeps others of ours from the link meanwhile; its row is locked against
/// anybody else.
async fn approve(
    connection: &mut Session,
    account: &Id,
    approval: &LinkApproval,
) -> Result<(), StoreError> {
    let sql = format!(
        "WITH link AS (SELECT account_id, link_id FROM ambit.access_link
                WHERE account_id = $1 AND link_id = $2 AND revoked_at IS NULL FOR UPDATE)
            INSERT INTO ambit.access_link_approval
                (account_id, link_id, client_account, client_user, approved_by, approved_at)
            SELECT account_id, link_id, $3, $4, $5, {} FROM link
            ON CONFLICT DO NOTHING",
        time_of("$6")
    );
    let approved = sqlx::query(sqlx::AssertSqlSafe(sql))
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
