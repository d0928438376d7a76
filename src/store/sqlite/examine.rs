//! Looking at a store from outside, changing nothing: for `ambit doctor`.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

use super::error::store_error;
use super::open::{APPLICATION_ID, BUSY_TIMEOUT, DATABASE_FILE, newest_schema};
use crate::store::StoreError;

/// What is found in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    pub is_ours: bool,
    pub schema: i64,
    /// The schema that this version writes; an older one is brought up when a server starts.
    pub schema_newest: i64,
    /// What SQLite's own check of the whole file complains about, at most ten lines.
    pub damage: Vec<String>,
    pub accounts: u64,
}

/// `None`: there is no database yet.
pub(super) async fn examine(data_dir: &Path) -> Result<Option<Examination>, StoreError> {
    let path = data_dir.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    // Not `read_only`: a reader of a write-ahead log takes part in its index.
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "on")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(store_error)?;
    let number = async |connection: &mut sqlx::SqliteConnection, sql: &'static str| {
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(connection)
            .await
            .map_err(store_error)
    };
    let schema = number(&mut connection, "PRAGMA user_version").await?;
    let application = number(&mut connection, "PRAGMA application_id").await?;
    let is_ours = application == APPLICATION_ID;
    let damage = sqlx::query("PRAGMA integrity_check(10)")
        .fetch_all(&mut connection)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| row.try_get::<String, _>(0).map_err(store_error))
        .filter(|line| !matches!(line, Ok(line) if line == "ok"))
        .collect::<Result<_, _>>()?;
    let accounts = if is_ours && schema == newest_schema() {
        number(&mut connection, "SELECT count(*) FROM account").await?
    } else {
        0
    };
    connection.close().await.map_err(store_error)?;
    Ok(Some(Examination {
        is_ours,
        schema,
        schema_newest: newest_schema(),
        damage,
        accounts: u64::try_from(accounts).unwrap_or(0),
    }))
}
