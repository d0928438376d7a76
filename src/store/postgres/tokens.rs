//! The tokens of callers on PostgreSQL. The role of a server reads them and no more.

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connect::{Mode, SMALL, bounded};
use super::error::store_error;
use super::requests::micros_of;
use super::session::Session;
use super::statements::time_of;
use crate::authz::model::Timestamp;
use crate::callers::TokenId;
use crate::store::StoreError;
use crate::store::rows::{inconsistent, micros};
use crate::store::tokens::{
    StoredToken, StoredTokens, TOKENS_MAX, TokenRow, TokenStore, TokensVersion, lists,
};

#[async_trait]
impl TokenStore for PostgresStore {
    async fn tokens_version(&self) -> Result<TokensVersion, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Alone).await?;
        let version = bounded(SMALL, version(lease.connection()?)).await;
        lease.settle(version).await
    }

    async fn tokens(&self) -> Result<StoredTokens, StoreError> {
        let mut lease = self.pools.small.lease(Mode::Read).await?;
        let tokens = bounded(SMALL, tokens(lease.connection()?)).await;
        lease.settle(tokens).await
    }

    async fn put_token(&self, token: &StoredToken) -> Result<(), StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let put = bounded(SMALL, put(lease.connection()?, token)).await;
        lease
            .settle(put)
            .await
            .map_err(|error| self.rules.told(error))
    }

    async fn revoke_token(&self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let mut lease = self.pools.writes.lease(Mode::Write).await?;
        let revoked = bounded(SMALL, revoke(lease.connection()?, id, now)).await;
        lease.settle(revoked).await
    }
}

async fn version(connection: &mut Session) -> Result<TokensVersion, StoreError> {
    // As bytes, for which no type of the driver is needed.
    let row = sqlx::query(
        "SELECT decode(replace(version::text, '-', ''), 'hex') FROM ambit.caller_token_version",
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    let version: &[u8] = row.try_get(0).map_err(store_error)?;
    version
        .try_into()
        .map_err(|_| inconsistent("caller_token_version", "version", "1", "not of 16 bytes"))
}

async fn tokens(connection: &mut Session) -> Result<StoredTokens, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT token_id, secret_hash, name, roles::text, accounts::text, {}, {}, {}
                FROM ambit.caller_token ORDER BY token_id",
            micros_of("created_at"),
            micros_of("expires_at"),
            micros_of("revoked_at")
        )
    });
    let version = version(&mut *connection).await?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(SQL.as_str()))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let tokens: Result<Vec<_>, StoreError> = rows.iter().map(token).collect();
    Ok(StoredTokens {
        version,
        tokens: tokens?.into_iter().flatten().collect(),
    })
}

async fn put(connection: &mut Session, token: &StoredToken) -> Result<(), StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "INSERT INTO ambit.caller_token
                (token_id, secret_hash, name, roles, accounts, created_at, expires_at, revoked_at)
                SELECT $1, $2, $3, $4::jsonb, $5::jsonb, {}, {}, {}
                WHERE (SELECT count(*) FROM ambit.caller_token WHERE revoked_at IS NULL) < $9",
            time_of("$6"),
            time_of("$7"),
            time_of("$8")
        )
    });
    let (roles, accounts) = lists(token)?;
    let put = sqlx::query(sqlx::AssertSqlSafe(SQL.as_str()))
        .bind(token.id.as_str())
        .bind(&token.hash.bytes()[..])
        .bind(token.name.as_str())
        .bind(roles)
        .bind(accounts)
        .bind(token.created_at.unix_micros())
        .bind(micros(token.expires_at))
        .bind(micros(token.revoked_at))
        .bind(i64::from(TOKENS_MAX))
        .execute(connection)
        .await
        .map_err(store_error)?;
    match put.rows_affected() {
        0 => Err(StoreError::Full),
        _ => Ok(()),
    }
}

async fn revoke(
    connection: &mut Session,
    id: &TokenId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "UPDATE ambit.caller_token SET revoked_at = coalesce(revoked_at, {})
                WHERE token_id = $1",
            time_of("$2")
        )
    });
    let revoked = sqlx::query(sqlx::AssertSqlSafe(SQL.as_str()))
        .bind(id.as_str())
        .bind(now.unix_micros())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(revoked.rows_affected() == 1)
}

fn token(row: &PgRow) -> Result<Option<StoredToken>, StoreError> {
    Ok(TokenRow {
        id: row.try_get(0).map_err(store_error)?,
        hash: row.try_get(1).map_err(store_error)?,
        name: row.try_get(2).map_err(store_error)?,
        roles: row.try_get(3).map_err(store_error)?,
        accounts: row.try_get(4).map_err(store_error)?,
        created_at: row.try_get(5).map_err(store_error)?,
        expires_at: row.try_get(6).map_err(store_error)?,
        revoked_at: row.try_get(7).map_err(store_error)?,
    }
    .read())
}
