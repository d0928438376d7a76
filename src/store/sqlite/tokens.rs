//! The tokens of callers on SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::error::store_error;
use crate::authz::model::Timestamp;
use crate::callers::TokenId;
use crate::store::StoreError;
use crate::store::rows::{inconsistent, micros};
use crate::store::tokens::{
    StoredToken, StoredTokens, TOKENS_MAX, TokenRow, TokenStore, TokensVersion, lists,
};

#[async_trait]
impl TokenStore for SqliteStore {
    async fn tokens_version(&self) -> Result<TokensVersion, StoreError> {
        self.file.verify()?;
        let mut connection = self.readers.acquire().await.map_err(store_error)?;
        version(&mut connection).await
    }

    async fn tokens(&self) -> Result<StoredTokens, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let version = version(&mut transaction).await?;
        let rows = sqlx::query(
            "SELECT token_id, secret_hash, name, roles, accounts, created_at, expires_at, revoked_at
                FROM caller_token ORDER BY token_id",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        let tokens: Result<Vec<_>, StoreError> = rows.iter().map(token).collect();
        Ok(StoredTokens {
            version,
            tokens: tokens?.into_iter().flatten().collect(),
        })
    }

    async fn put_token(&self, token: &StoredToken) -> Result<(), StoreError> {
        self.file.verify()?;
        let (roles, accounts) = lists(token)?;
        let put = sqlx::query(
            "INSERT INTO caller_token
                (token_id, secret_hash, name, roles, accounts, created_at, expires_at, revoked_at)
                SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
                WHERE (SELECT count(*) FROM caller_token WHERE revoked_at IS NULL) < ?9",
        )
        .bind(token.id.as_str())
        .bind(&token.hash.bytes()[..])
        .bind(token.name.as_str())
        .bind(roles)
        .bind(accounts)
        .bind(token.created_at.unix_micros())
        .bind(micros(token.expires_at))
        .bind(micros(token.revoked_at))
        .bind(TOKENS_MAX)
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        match put.rows_affected() {
            0 => Err(StoreError::Full),
            _ => Ok(()),
        }
    }

    async fn revoke_token(&self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        self.file.verify()?;
        let revoked = sqlx::query(
            "UPDATE caller_token SET revoked_at = coalesce(revoked_at, ?2) WHERE token_id = ?1",
        )
        .bind(id.as_str())
        .bind(now.unix_micros())
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(revoked.rows_affected() == 1)
    }
}

async fn version(connection: &mut SqliteConnection) -> Result<TokensVersion, StoreError> {
    let row = sqlx::query("SELECT version FROM caller_token_version")
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    let version: &[u8] = row.try_get(0).map_err(store_error)?;
    version
        .try_into()
        .map_err(|_| inconsistent("caller_token_version", "version", "1", "not of 16 bytes"))
}

fn token(row: &SqliteRow) -> Result<Option<StoredToken>, StoreError> {
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
