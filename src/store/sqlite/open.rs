//! Opening the file: its place, its schema, its identity.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::error::store_error;
use crate::store::rows::{inconsistent, unavailable};
use crate::store::{StoreError, StoreIdentity};

pub(super) const DATABASE_FILE: &str = "ambit.db";
/// Held while a process creates or migrates the file, so that two that start together don't both.
const LOCK_FILE: &str = "ambit.lock";

/// "ambt", so that `file` and other tools can tell whose database this is.
pub(super) const APPLICATION_ID: i64 = 0x616d_6274;

/// How long a writer waits for another process's transaction before it gives up.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 8;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// Which file is open. A running process keeps a file that was moved away or replaced (by a backup
/// that is put in its place, say), and would acknowledge writes that nobody will ever see.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenFile {
    fn at(path: PathBuf) -> Result<Self, StoreError> {
        let metadata = path.metadata().map_err(io_error)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            path,
        })
    }

    /// Fails where the path leads to another file than the one that is open, or to none.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let metadata = self.path.metadata().map_err(io_error)?;
        if (metadata.dev(), metadata.ino()) == (self.device, self.inode) {
            return Ok(());
        }
        Err(unavailable(
            "the database file was replaced under the running process, which must be restarted",
        ))
    }
}

fn io_error(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(super) struct Opened {
    pub(super) file: OpenFile,
    pub(super) identity: StoreIdentity,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) options: SqliteConnectOptions,
}

pub(super) async fn open(data_dir: &Path) -> Result<Opened, StoreError> {
    let path = data_dir.join(DATABASE_FILE);
    let lock = locked(data_dir.to_owned()).await?;
    migrate(&path).await?;

    // Pages are fsynced with every commit (FULL): what was acknowledged survives a power loss.
    let options = plain_options(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Integrity is held by triggers, for every writer alike.
        .foreign_keys(false)
        // Rollback images of single statements, for which SQLite would make files.
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", "67108864");
    let writer = pool_options(1).connect_lazy_with(options.clone().pragma("cache_size", "-65536"));
    let readers = pool_options(READERS_MAX).connect_lazy_with(
        options
            .clone()
            .pragma("cache_size", "-16384")
            .pragma("query_only", "on"),
    );
    let identity = identity(&writer).await?;
    drop(lock);
    Ok(Opened {
        file: OpenFile::at(path)?,
        identity,
        writer,
        readers,
        options,
    })
}

fn plain_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Connections of a file neither age nor go away, and keep their prepared statements for good.
fn pool_options(connections_max: u32) -> PoolOptions<sqlx::Sqlite> {
    PoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the directory where it is absent, readable by its owner only, and takes the lock in it.
async fn locked(data_dir: PathBuf) -> Result<File, StoreError> {
    let taken = tokio::task::spawn_blocking(move || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data_dir)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join(LOCK_FILE))?;
        file.lock()?;
        Ok::<File, std::io::Error>(file)
    })
    .await;
    match taken {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(io_error(error)),
        Err(error) => Err(StoreError::Unavailable(Box::new(error))),
    }
}

/// Brings an older or empty file to the schema of this version, and refuses every other.
async fn migrate(path: &Path) -> Result<(), StoreError> {
    let mut connection = plain_options(path).connect().await.map_err(store_error)?;
    let newest = newest_schema();
    let stored = pragma(&mut connection, "PRAGMA user_version").await?;
    let application = pragma(&mut connection, "PRAGMA application_id").await?;
    let tables = pragma(&mut connection, "SELECT count(*) FROM sqlite_schema").await?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(StoreError::Schema(
            "the file is the database of another application".to_owned(),
        ));
    }
    if stored > newest {
        return Err(StoreError::Schema(format!(
            "it has schema {stored}, this version knows schemas up to {newest}; use the version of ambit that wrote it, or a newer one"
        )));
    }
    if stored < newest {
        // First of all the name, so that a creation that is cut short can be taken up again.
        set_pragma(&mut connection, "application_id", APPLICATION_ID).await?;
        // Not `run`, whose bounds keep the future from being spawned.
        MIGRATIONS
            .run_direct(None, &mut connection, false)
            .await
            .map_err(migrate_error)?;
        set_pragma(&mut connection, "user_version", newest).await?;
    }
    connection.close().await.map_err(store_error)
}

/// The schema that this version writes.
pub(super) fn newest_schema() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

async fn pragma(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

/// A pragma takes no bound values.
async fn set_pragma(
    connection: &mut SqliteConnection,
    name: &'static str,
    value: i64,
) -> Result<(), StoreError> {
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA {name} = {value}")))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Schema(format!(
            "it has step {version}, which this version does not know; use a newer ambit"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Schema(format!(
            "its step {version} is not the one that this version knows"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => StoreError::Unavailable(Box::new(other)),
    }
}

/// Made once for each database: of two processes that create it together, one makes it.
#[expect(
    clippy::disallowed_methods,
    reason = "a new database is told from all others by what the system says is random"
)]
async fn identity(writer: &SqlitePool) -> Result<StoreIdentity, StoreError> {
    let random = |error: getrandom::Error| StoreError::Unavailable(Box::new(error));
    let (mut epoch, mut token_key) = ([0; 8], [0; 32]);
    getrandom::fill(&mut epoch).map_err(random)?;
    getrandom::fill(&mut token_key).map_err(random)?;
    sqlx::query(
        "INSERT INTO store_identity (one, epoch, token_key) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
    )
    .bind(&epoch[..])
    .bind(&token_key[..])
    .execute(writer)
    .await
    .map_err(store_error)?;
    let row = sqlx::query("SELECT epoch, token_key FROM store_identity")
        .fetch_one(writer)
        .await
        .map_err(store_error)?;
    let wrong = |column| inconsistent("store_identity", column, "1", "not of the right length");
    let stored_epoch: Vec<u8> = row.try_get(0).map_err(store_error)?;
    let stored_key: Vec<u8> = row.try_get(1).map_err(store_error)?;
    Ok(StoreIdentity {
        epoch: stored_epoch.try_into().map_err(|_| wrong("epoch"))?,
        token_key: stored_key.try_into().map_err(|_| wrong("token_key"))?,
    })
}
