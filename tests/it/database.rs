//! The database that a test's server or store works on. `AMBIT_TEST_STORE` says which kind all of
//! them get, `sqlite` (the default) or `postgres`: so every test that doesn't name a database itself
//! is one of both, and `tests/run` runs them twice.

use std::sync::{Arc, OnceLock};

use ambit::store::Store;
use ambit::store::batches::BatchStore;
use ambit::store::forms::FormStore;
use ambit::store::outbox::Outbox;
use ambit::store::postgres::{OpenOptions, PostgresStore};
use ambit::store::segment_jobs::SegmentJobs;
use ambit::store::sqlite::SqliteStore;
use ambit::store::tokens::TokenStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::postgres::cluster;

const OPEN: OpenOptions = OpenOptions {
    migrate: true,
    connections_max: 8,
};

const STORE_VARIABLE: &str = "AMBIT_TEST_STORE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// The kind that this run of the tests is about.
pub fn kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| match std::env::var(STORE_VARIABLE).as_deref() {
        Err(_) | Ok("sqlite") => Kind::Sqlite,
        Ok("postgres") => Kind::Postgres,
        Ok(other) => panic!("{STORE_VARIABLE} is `{other}`: sqlite or postgres"),
    })
}

/// A new place for data, gone with this value.
pub enum Database {
    Sqlite(TempDir),
    Postgres(cluster::Database),
}

/// The tokens of callers on the database of a URL.
pub async fn open_postgres_tokens(url: &str) -> Arc<dyn TokenStore> {
    Arc::new(PostgresStore::open(url, OPEN).await.unwrap())
}

impl Database {
    pub fn new() -> Self {
        match kind() {
            Kind::Sqlite => Self::Sqlite(tempfile::tempdir().unwrap()),
            Kind::Postgres => Self::Postgres(cluster::Database::empty()),
        }
    }

    /// The setting of the server that leads to it.
    pub fn setting(&self) -> (&'static str, &str) {
        match self {
            Self::Sqlite(directory) => ("data_dir", directory.path().to_str().unwrap()),
            Self::Postgres(database) => ("database_url", database.url()),
        }
    }

    /// A store on it, beside any other.
    pub async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Postgres(database) => {
                Arc::new(PostgresStore::open(database.url(), OPEN).await.unwrap())
            }
        }
    }

    /// The same in both of its roles.
    pub async fn open_both(&self) -> (Arc<dyn Store>, Arc<dyn Outbox>) {
        match self {
            Self::Sqlite(directory) => {
                let store = Arc::new(SqliteStore::open(directory.path()).await.unwrap());
                (store.clone(), store)
            }
            Self::Postgres(database) => {
                let store = PostgresStore::open(database.url(), OPEN).await.unwrap();
                let store = Arc::new(store);
                (store.clone(), store)
            }
        }
    }

    /// The bulks that are kept on it.
    pub async fn open_batches(&self) -> Arc<dyn BatchStore> {
        match self {
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Postgres(database) => {
                Arc::new(PostgresStore::open(database.url(), OPEN).await.unwrap())
            }
        }
    }

    /// The forms that are kept on it.
    pub async fn open_forms(&self) -> Arc<dyn FormStore> {
        match self {
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Postgres(database) => {
                Arc::new(PostgresStore::open(database.url(), OPEN).await.unwrap())
            }
        }
    }

    /// How far the rules of segments are, on it.
    pub async fn open_segment_jobs(&self) -> Arc<dyn SegmentJobs> {
        match self {
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Postgres(database) => {
                Arc::new(PostgresStore::open(database.url(), OPEN).await.unwrap())
            }
        }
    }

    /// The tokens of callers on it.
    pub async fn open_tokens(&self) -> Arc<dyn TokenStore> {
        match self {
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Postgres(database) => open_postgres_tokens(database.url()).await,
        }
    }

    /// Another with the same in it; nobody may have this one open.
    pub fn copy(&self) -> Self {
        match self {
            Self::Sqlite(directory) => {
                let copy = tempfile::tempdir().unwrap();
                for file in std::fs::read_dir(directory.path()).unwrap() {
                    let file = file.unwrap();
                    std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
                }
                Self::Sqlite(copy)
            }
            Self::Postgres(database) => Self::Postgres(database.copy()),
        }
    }

    /// Runs one statement as a plain SQL writer does; answers how many rows it changed.
    pub async fn execute(&self, sql: String) -> u64 {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(directory) => {
                let mut connection = SqliteConnectOptions::new()
                    .filename(directory.path().join("ambit.db"))
                    .connect()
                    .await
                    .unwrap();
                let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                done.rows_affected()
            }
            Self::Postgres(database) => {
                let mut connection = cluster::connect(database.url()).await;
                let path = sqlx::query("SET search_path = ambit");
                path.execute(&mut connection).await.unwrap();
                let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                done.rows_affected()
            }
        }
    }

    /// The arguments of a command that lead to it.
    pub fn arguments(&self) -> [&str; 2] {
        match self.setting() {
            ("data_dir", directory) => ["--data-dir", directory],
            (_, url) => ["--database-url", url],
        }
    }
}
