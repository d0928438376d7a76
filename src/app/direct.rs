//! A database without a server.

use std::sync::Arc;
use std::time::Duration;

use super::{AppError, Opened, open_directory};
use crate::clock::Clock;
use crate::config::Database;
use crate::directory::Directory;
use crate::graph_cache::{CacheLimits, GraphCache};
use crate::store::Store;
use crate::store::postgres::{OpenOptions, PostgresStore};
use crate::store::tokens::TokenStore;

/// Connections of a command that works on a database beside its servers.
const DIRECT_CONNECTIONS_MAX: u32 = 4;

/// A store that a command works on without a server, beside running ones too.
pub struct DirectStore {
    pub directory: Directory,
    pub tokens: Arc<dyn TokenStore>,
    store: Arc<dyn Store>,
}

impl DirectStore {
    /// An embedded database is brought up to this version's schema, a PostgreSQL that is not is
    /// refused: its servers may be of another version.
    pub async fn open(database: &Database, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let Opened { store, tokens, .. } = match database {
            Database::Directory(data_dir) => Opened::of(open_directory(data_dir).await?),
            Database::Url(url) => {
                let options = OpenOptions {
                    migrate: false,
                    connections_max: DIRECT_CONNECTIONS_MAX,
                };
                let opened = PostgresStore::open(url.reveal(), options).await;
                Opened::of(Arc::new(opened.map_err(AppError::Postgres)?))
            }
        };
        // Nothing follows the store here, so reads are fully consistent or fail at the bound.
        let limits = CacheLimits {
            bytes_max: u64::MAX,
            staleness_bound: Duration::from_secs(2),
            load_timeout: Duration::from_secs(600),
        };
        let graphs = GraphCache::new(Arc::clone(&store), Arc::clone(&clock), limits);
        Ok(Self {
            directory: Directory::new(Arc::clone(&store), graphs, clock),
            tokens,
            store,
        })
    }

    /// The store beneath, for whole entities that need no planning.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Leaves the database as it should be found by the next one.
    pub async fn close(self) {
        self.store.close().await;
    }
}
