//! The schema: brought up, compared with what this version knows, and whose database it is.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;
use sqlx::migrate::{Migration, Migrator};

use super::connect::{Mode, SMALL, bounded};
use super::error::store_error;
use super::session::Session;
use crate::store::rows::inconsistent;
use crate::store::{StoreError, StoreIdentity};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

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
pub(super) async fn roles_missing(connection: &mut Session) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT name FROM unnest(ARRAY['ambit_server', 'ambit_writer', 'ambit_reader']) AS name
            WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name)",
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// `None`: nothing of ours is there yet.
pub(super) async fn installed(connection: &mut Session) -> Result<Option<Installed>, StoreError> {
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
pub(super) async fn migrate(session: &mut Session) -> Result<(), StoreError> {
    session.begin(Mode::Read).await?;
    let present = bounded(SMALL, installed(session)).await?;
    session.commit(SMALL).await?;
    if let Some(present) = present
        && present.version >= newest()
    {
        return present.verify();
    }
    bounded(MIGRATING, async {
        while step(session).await? == Step::Done {}
        Ok(())
    })
    .await?;
    grant(session).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    NoneMissing,
}

/// The first step that is missing, in a transaction of its own. Nothing of the session outlives it,
/// not even the lock, since it may be a pooler's. Whoever meets an error gives up the connection,
/// and with it the transaction.
async fn step(session: &mut Session) -> Result<Step, StoreError> {
    sqlx::raw_sql(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SELECT pg_advisory_xact_lock(hashtextextended('ambit migrations', 0))",
    )
    .execute(&mut *session)
    .await
    .map_err(store_error)?;
    let applied = applied(session).await?;
    let mut missing = None;
    for migration in MIGRATIONS.iter() {
        match applied.get(&migration.version) {
            Some(checksum) if **checksum == *migration.checksum => {}
            Some(_) => {
                return Err(StoreError::Schema(format!(
                    "its step {} is not the one that this version knows",
                    migration.version
                )));
            }
            None => missing = missing.or(Some(migration)),
        }
    }
    if let Some(migration) = missing {
        apply(session, migration).await?;
    }
    sqlx::raw_sql("COMMIT")
        .execute(session)
        .await
        .map_err(store_error)?;
    Ok(missing.map_or(Step::NoneMissing, |_| Step::Done))
}

/// Steps that are in the database, by their checksums. Those of a later version are none of this
/// one's business: whether it can work on them is what the database itself says.
async fn applied(session: &mut Session) -> Result<BTreeMap<i64, Vec<u8>>, StoreError> {
    let is_there: bool =
        sqlx::query_scalar("SELECT to_regclass('ambit.schema_migration') IS NOT NULL")
            .fetch_one(&mut *session)
            .await
            .map_err(store_error)?;
    if !is_there {
        sqlx::raw_sql(
            "CREATE SCHEMA IF NOT EXISTS ambit;
            CREATE TABLE ambit.schema_migration (
                version bigint PRIMARY KEY,
                description text NOT NULL,
                installed_on timestamptz NOT NULL DEFAULT now(),
                success boolean NOT NULL,
                checksum bytea NOT NULL,
                execution_time bigint NOT NULL
            )",
        )
        .execute(&mut *session)
        .await
        .map_err(store_error)?;
    }
    sqlx::query("SELECT version, checksum FROM ambit.schema_migration")
        .fetch_all(session)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| {
            let version = row.try_get(0).map_err(store_error)?;
            Ok((version, row.try_get(1).map_err(store_error)?))
        })
        .collect()
}

async fn apply(session: &mut Session, migration: &Migration) -> Result<(), StoreError> {
    sqlx::raw_sql(migration.sql.clone())
        .execute(&mut *session)
        .await
        .map_err(store_error)?;
    sqlx::query(
        "INSERT INTO ambit.schema_migration
            (version, description, success, checksum, execution_time)
            VALUES ($1, $2, true, $3, -1)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .execute(session)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Lets the roles do what they need and no more.
pub(super) async fn grant(connection: &mut Session) -> Result<(), StoreError> {
    let granting = sqlx::raw_sql(GRANTS).execute(connection);
    bounded(SMALL, async { granting.await.map_err(store_error) }).await?;
    Ok(())
}

/// Who the database is, now: one round trip.
pub(super) async fn identity(
    connection: &mut Session,
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
