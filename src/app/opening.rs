//! Opening the database that the configuration names, in all of its roles.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::feed::Backoff;
use crate::measured_store::Measured;
use crate::metrics::{Metrics, StoreMetrics};
use crate::shutdown::Shutdown;
use crate::store::batches::BatchStore;
use crate::store::forms::FormStore;
use crate::store::outbox::Outbox;
use crate::store::partners::PartnerStore;
use crate::store::postgres::{OpenOptions, PostgresStore};
use crate::store::segment_jobs::SegmentJobs;
use crate::store::sqlite::SqliteStore;
use crate::store::tokens::TokenStore;
use crate::store::{Store, StoreError};

/// Waits between attempts to reach a database at the start.
const FIRST_REACH: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(2),
};

/// One database in all of its roles.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) tokens: Arc<dyn TokenStore>,
    pub(super) batches: Arc<dyn BatchStore>,
    pub(super) forms: Arc<dyn FormStore>,
    pub(super) segment_jobs: Arc<dyn SegmentJobs>,
    pub(super) partners: Arc<dyn PartnerStore>,
}

impl Opened {
    pub(super) fn of<S>(database: Arc<S>) -> Self
    where
        S: Store + Outbox + TokenStore + BatchStore + FormStore + SegmentJobs + PartnerStore,
    {
        Self {
            outbox: Arc::clone(&database) as Arc<dyn Outbox>,
            tokens: Arc::clone(&database) as Arc<dyn TokenStore>,
            batches: Arc::clone(&database) as Arc<dyn BatchStore>,
            forms: Arc::clone(&database) as Arc<dyn FormStore>,
            segment_jobs: Arc::clone(&database) as Arc<dyn SegmentJobs>,
            partners: Arc::clone(&database) as Arc<dyn PartnerStore>,
            store: database,
        }
    }
}

/// Opens the database of a server that may be told to end before it answers. Its calls are timed.
pub(super) async fn open_until_ended(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Result<Opened, AppError> {
    let opening = open(config, clock, metrics.store());
    match shutdown.soft().run_until_cancelled(opening).await {
        Some(opened) => opened,
        None => Err(AppError::Ended),
    }
}

/// Opens the database of a server, waiting for one that can't be reached.
async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: StoreMetrics,
) -> Result<Opened, AppError> {
    let url = match &config.database {
        Database::Directory(data_dir) => {
            let database = open_directory(data_dir).await?;
            return Ok(measured(database, clock, metrics));
        }
        Database::Url(url) => url,
    };
    let options = OpenOptions {
        migrate: config.migrate,
        connections_max: config.database_connections_max,
    };
    let mut failures = 0;
    loop {
        let error = match PostgresStore::open(url.reveal(), options).await {
            Ok(store) => return Ok(measured(Arc::new(store), clock, metrics)),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(AppError::Postgres(error)),
        };
        failures += 1;
        if failures == 1 {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "waiting for the database");
        } else {
            tracing::debug!(error = %error, failures, "still waiting for the database");
        }
        tokio::time::sleep(FIRST_REACH.after(failures, clock.as_ref())).await;
    }
}

fn measured<D>(database: Arc<D>, clock: &Arc<dyn Clock>, metrics: StoreMetrics) -> Opened
where
    D: Store + Outbox + TokenStore + BatchStore + FormStore + SegmentJobs + PartnerStore,
{
    Opened::of(Arc::new(Measured::new(
        database,
        Arc::clone(clock),
        metrics,
    )))
}

pub(super) async fn open_directory(data_dir: &Path) -> Result<Arc<SqliteStore>, AppError> {
    let opened = SqliteStore::open(data_dir).await;
    opened
        .map(Arc::new)
        .map_err(|source| in_directory(data_dir, source))
}

pub(super) fn in_directory(data_dir: &Path, source: StoreError) -> AppError {
    AppError::Store {
        data_dir: data_dir.display().to_string(),
        source,
    }
}
