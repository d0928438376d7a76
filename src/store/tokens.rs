//! The bearer tokens that are kept in the database, as hashes.
//!
//! Every change of a token, whoever makes it, gives all of them together another version: asking for
//! that is cheap, and a server that asks often enough honours a revocation in time.

use async_trait::async_trait;
use serde::Serialize;

use super::StoreError;
use super::rows::inconsistent;
use crate::authz::model::{Id, Timestamp};
use crate::callers::{Accounts, Role, Roles, SecretHash, TokenId};

/// Tokens that are neither revoked nor removed at a time; all of them are held in memory.
pub const TOKENS_MAX: u32 = 10_000;

/// Differs whenever a token is not as it was; nothing else can be told from it.
pub type TokensVersion = [u8; 16];

/// What is kept of a token.
#[derive(Debug, Clone)]
pub struct StoredToken {
    pub id: TokenId,
    pub hash: SecretHash,
    pub name: Id,
    pub roles: Roles,
    pub accounts: Accounts,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// All tokens with the version that they were read at.
#[derive(Debug, Clone)]
pub struct StoredTokens {
    pub version: TokensVersion,
    /// In the order of their ids, the revoked ones included. What can't be read is left out and
    /// logged: it opens nothing.
    pub tokens: Vec<StoredToken>,
}

#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    async fn tokens_version(&self) -> Result<TokensVersion, StoreError>;

    /// All of them, of one moment.
    async fn tokens(&self) -> Result<StoredTokens, StoreError>;

    /// Keeps a new token.
    ///
    /// # Errors
    /// [`StoreError::Full`] where there are [`TOKENS_MAX`] that are not revoked.
    async fn put_token(&self, token: &StoredToken) -> Result<(), StoreError>;

    /// Revokes a token for good; `false`: there is none of this id. One that is revoked stays as it
    /// is.
    async fn revoke_token(&self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError>;
}

/// A row as both stores read it.
pub(super) struct TokenRow<'a> {
    pub(super) id: &'a str,
    pub(super) hash: &'a [u8],
    pub(super) name: &'a str,
    /// JSON arrays.
    pub(super) roles: &'a str,
    pub(super) accounts: Option<&'a str>,
    /// Unix microseconds.
    pub(super) created_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) revoked_at: Option<i64>,
}

impl TokenRow<'_> {
    /// `None`, and a line in the log, for a row that no version of this program writes.
    pub(super) fn read(&self) -> Option<StoredToken> {
        match self.token() {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::error!(error = %error, "a token of the database is left out");
                None
            }
        }
    }

    fn token(&self) -> Result<StoredToken, StoreError> {
        let wrong = |column, problem: &dyn std::fmt::Display| {
            inconsistent("caller_token", column, self.id, problem)
        };
        let moment = |column, micros| {
            Timestamp::from_unix_micros(micros).ok_or_else(|| wrong(column, &"no time"))
        };
        let roles: Vec<String> =
            serde_json::from_str(self.roles).map_err(|error| wrong("roles", &error))?;
        let role = |word: &String| {
            Role::from_word(word).ok_or_else(|| wrong("roles", &"not one of the roles"))
        };
        let accounts = match self.accounts {
            None => Accounts::All,
            Some(json) => Accounts::Only(
                serde_json::from_str(json).map_err(|error| wrong("accounts", &error))?,
            ),
        };
        let hash: [u8; 32] = self
            .hash
            .try_into()
            .map_err(|_| wrong("secret_hash", &"not of 32 bytes"))?;
        Ok(StoredToken {
            id: TokenId::parse(self.id).ok_or_else(|| wrong("token_id", &"not a token's id"))?,
            hash: SecretHash::new(hash),
            name: Id::parse(self.name).map_err(|error| wrong("name", &error))?,
            roles: roles.iter().map(role).collect::<Result<_, _>>()?,
            accounts,
            created_at: moment("created_at", self.created_at)?,
            expires_at: self
                .expires_at
                .map(|micros| moment("expires_at", micros))
                .transpose()?,
            revoked_at: self
                .revoked_at
                .map(|micros| moment("revoked_at", micros))
                .transpose()?,
        })
    }
}

/// The JSON arrays of a token's roles and accounts.
pub(super) fn lists(token: &StoredToken) -> Result<(String, Option<String>), StoreError> {
    fn json(list: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(list).map_err(super::rows::not_json)
    }
    let roles: Vec<Role> = token.roles.iter().collect();
    let accounts = match &token.accounts {
        Accounts::All => None,
        Accounts::Only(accounts) => Some(json(accounts)?),
    };
    Ok((json(&roles)?, accounts))
}
