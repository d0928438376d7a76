//! Who calls, and what they may: credentials, roles, and accounts that are not theirs.

mod audited;
mod certificates;
mod settings;
mod signed;
mod tenancy;
pub mod tokens;
mod walk;
pub mod wire;

use std::sync::Arc;

use ambit::authz::model::{Id, Timestamp};
use ambit::callers::{Accounts, BearerToken, Role};
use ambit::clock::{Clock as _, SystemClock};
use ambit::randomness::SystemRandomness;
use ambit::store::tokens::{StoredToken, TokenStore};

use crate::database::Database;
use crate::grpc::server::{TestServer, put_contact, put_user};

/// A token with what is kept of it.
pub struct Made {
    pub text: String,
    pub kept: StoredToken,
}

/// Makes a token, for some accounts or, where there are none, for all.
pub fn make(roles: &[Role], accounts: &[&str]) -> Made {
    let token = BearerToken::make(&SystemRandomness).unwrap();
    let ids = accounts.iter().map(|account| Id::parse(account).unwrap());
    Made {
        text: token.reveal().to_owned(),
        kept: StoredToken {
            id: token.id().unwrap(),
            hash: token.hash(),
            name: Id::parse("test").unwrap(),
            roles: roles.iter().copied().collect(),
            accounts: if accounts.is_empty() {
                Accounts::All
            } else {
                Accounts::Only(ids.collect())
            },
            created_at: now(),
            expires_at: None,
            revoked_at: None,
        },
    }
}

pub fn now() -> Timestamp {
    SystemClock::new().now()
}

pub fn seconds_from_now(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(now().unix_micros() + seconds * 1_000_000).unwrap()
}

/// A database with the accounts `mine` and `ours`, and a server on it that asks who calls.
pub struct Scene {
    /// Kept as long as the server.
    database: Database,
    pub tokens: Arc<dyn TokenStore>,
    pub server: TestServer,
    /// Of `ours`.
    pub revision: String,
}

pub const MINE: &str = "mine";
/// As long as [`UNKNOWN`] and [`MINE`], so that answers can be compared byte by byte.
pub const FOREIGN: &str = "ours";
pub const UNKNOWN: &str = "none";

impl Scene {
    /// With these tokens in the database before the server starts.
    pub async fn with(tokens: &[&Made]) -> Self {
        Self::with_settings(tokens, &[("authentication", "required")]).await
    }

    pub async fn with_settings(tokens: &[&Made], settings: &[(&str, &str)]) -> Self {
        let database = Database::new();
        let open = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
        open.make_account(MINE, &["c".to_owned()]).await;
        let revision = open.make_account(FOREIGN, &["c".to_owned()]).await;
        open.stop().await;
        let store = database.open_tokens().await;
        for token in tokens {
            store.put_token(&token.kept).await.unwrap();
        }
        let clock = Arc::new(SystemClock::new());
        let server = TestServer::start_with(&database, clock, settings).await;
        Self {
            database,
            tokens: store,
            server,
            revision,
        }
    }

    /// Ends the server; what it leaves is for another.
    pub async fn stop(self) -> Database {
        self.server.stop().await;
        self.database
    }
}

/// Changes that any account takes.
pub fn some_changes() -> Vec<ambit::grpc::wire::Change> {
    vec![put_user("more", None), put_contact("more")]
}
