//! The schema: brought up, compared with what this version knows, and whose database it is.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, Row};

use super::connect::{SMALL, bounded};
use super::error::store_error;
use crate::store::rows::inconsistent;
use crate::store::{StoreError, StoreIdentity};

/// Steps of a later version that are in the database are none of this one's business: whether it
/// can work on them is what the database itself says.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("src/store/migrations/postgres");
    migrator.set_ignore_missing(true);
    migrator.create_schema("ambit");
    migrator.dangerous_set_table_name("ambit.schema_migration");
    migrator
});

/// What the roles of the server, of writers and of readers may do; run again with each migration.
static GRANTS: &str = include_str!("../migrations/postgres_grants.sql");

/// The longest that bringing up a database may take, waiting for others that do it included.
const MIGRATING: Duration = Duration::from_secs(600);

/// The schema that this version writes.
pub(super) fn newest() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// The schema that is in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) version: i64,
    /// The oldest version whose readers and writers can work on it.
    pub(super) compatible_from: i64,
}

impl Installed {
    /// Whether this version can work on it; an older one must be brought up first.
    pub(super) fn verify(self) -> Result<(), StoreError> {
        let newest = newest();
        if self.version < newest {
            return Err(StoreError::Schema(format!(
                "it has schema {}, this version needs {newest}; run `ambit migrate`, or start without --no-migrate",
                self.version
            )));
        }
        if self.compatible_from > newest {
            return Err(StoreError::Schema(format!(
                "it has schema {}, which versions that know schema {} or later can use, this one knows schemas up to {newest}; use a newer ambit",
                self.version, self.compatible_from
            )));
        }
        Ok(())
    }
}

/// Those of the roles of least privilege that are not there.
pub(super) async fn roles_missing(
    connection: &mut PgConnection,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT name FROM unnest(ARRAY['ambit_server', 'ambit_writer', 'ambit_reader']) AS name
            WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name)",
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// `None`: nothing of ours is there yet.
pub(super) async fn installed(
    connection: &mut PgConnection,
) -> Result<Option<Installed>, StoreError> {
    let is_there: bool =
        sqlx::query_scalar("SELECT to_regclass('ambit.store_identity') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
    if !is_there {
        return Ok(None);
    }
    let row =
        sqlx::query("SELECT schema_version::int8, compatible_from::int8 FROM ambit.store_identity")
            .fetch_one(connection)
            .await
            .map_err(store_error)?;
    Ok(Some(Installed {
        version: row.try_get(0).map_err(store_error)?,
        compatible_from: row.try_get(1).map_err(store_error)?,
    }))
}

/// Brings a database to this version's schema, unless it has that or a later one; several that do
/// this at a time wait for each other.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    let present = bounded(SMALL, installed(connection)).await?;
    if let Some(present) = present
        && present.version >= newest()
    {
        return present.verify();
    }
    bounded(MIGRATING, async {
        // Not `run`, whose bounds keep the future from being spawned.
        MIGRATIONS
            .run_direct(None, connection, false)
            .await
            .map_err(migrate_error)
    })
    .await?;
    grant(connection).await
}

/// Lets the roles do what they need and no more.
pub(super) async fn grant(connection: &mut PgConnection) -> Result<(), StoreError> {
    let granting = sqlx::raw_sql(GRANTS).execute(connection);
    bounded(SMALL, async { granting.await.map_err(store_error) }).await?;
    Ok(())
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMismatch(version) => StoreError::Schema(format!(
            "its step {version} is not the one that this version knows"
        )),
        MigrateError::Dirty(version) => StoreError::Schema(format!(
            "its step {version} was begun and not ended; restore a backup"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => StoreError::Unavailable(Box::new(other)),
    }
}

/// Who the database is, now: one round trip.
pub(super) async fn identity(
    connection: &mut PgConnection,
) -> Result<(StoreIdentity, Installed), StoreError> {
    let row = sqlx::query(
        "SELECT ambit.epoch(), token_key, schema_version::int8, compatible_from::int8
            FROM ambit.store_identity",
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?
    .ok_or_else(|| inconsistent("store_identity", "one", "1", "it is not there"))?;
    let wrong = |column| inconsistent("store_identity", column, "1", "not of the right length");
    let epoch: &[u8] = row.try_get(0).map_err(store_error)?;
    let token_key: &[u8] = row.try_get(1).map_err(store_error)?;
    let identity = StoreIdentity {
        epoch: epoch.try_into().map_err(|_| wrong("epoch"))?,
        token_key: token_key.try_into().map_err(|_| wrong("token_key"))?,
    };
    let installed = Installed {
        version: row.try_get(2).map_err(store_error)?,
        compatible_from: row.try_get(3).map_err(store_error)?,
    };
    Ok((identity, installed))
}
