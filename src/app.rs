//! The composition root: which parts there are and how they hang together. The only file that
//! names a database.

mod background;
mod direct;
mod opening;
mod parts;
mod ports;
mod task;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use self::direct::DirectStore;
use crate::access_requests::keeper::Keeper;
use crate::authentication::AuthenticationError;
use crate::clock::Clock;
use crate::config::{Config, Database, DatabaseUrl};
use crate::decision_log::{DecisionLog, DecisionLogError};
use crate::directory::Directory;
use crate::grpc;
use crate::grpc::server::Backend;
use crate::http::LanguageError;
use crate::metrics::{Metrics, MetricsError};
use crate::notifications::NotificationsError;
use crate::randomness::RandomnessError;
use crate::shutdown::Shutdown;
pub use crate::store::postgres::Examination as PostgresExamination;
use crate::store::postgres::{Migrated, OpenError, PostgresStore};
pub use crate::store::sqlite::Examination as EmbeddedExamination;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::telemetry::TelemetryError;
use crate::tls::TlsError;

use background::Background;
use opening::{Opened, in_directory, open_directory, open_until_ended};
use parts::{
    authentication_of, console_of, console_url, decision_log_of, feed_of, graphs_of, linking,
    notifications_of, observe_of, partitions_of, partners_of, pushed_of, requests_of, retention_of,
    segments_of, serve_http, tell, tls_of, transport_of,
};
use ports::{Reserved, raise_descriptor_limit};
use task::{Task, Tasks};

/// Of the shutdown grace, what is kept back for closing the database after the calls have ended.
const CLOSING_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{what} address {address} can't be used: {source}")]
    Bind {
        what: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("data directory `{data_dir}`: {source}")]
    Store {
        data_dir: String,
        source: StoreError,
    },
    #[error("PostgreSQL: {0}")]
    Postgres(#[source] OpenError),
    #[error("it was told to end before the database could be reached")]
    Ended,
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    #[error(transparent)]
    Notifications(#[from] NotificationsError),
    #[error(transparent)]
    Language(#[from] LanguageError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    DecisionLog(#[from] DecisionLogError),
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    #[error("no thread can be started for the feed: {0}")]
    Thread(#[source] std::io::Error),
    #[error("the {part} ended by itself: {problem}")]
    Died { part: &'static str, problem: String },
}

/// A server that runs. Dropped without [`App::run`], its tasks are aborted.
pub struct App {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    directory: Directory,
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    shutdown_grace: Duration,
    /// Ends what runs beside the calls: after them, since they need the feed, and the HTTP port tells
    /// of them.
    last: CancellationToken,
    grpc: Task,
    /// Those that end after the calls, one after the other in this order.
    beside: Tasks,
    /// Tells of the others until they have ended.
    upkeep: Task,
    decision_log: DecisionLog,
    /// Dropped last: connections of the store may have been opened there.
    _background: Background,
}

impl App {
    /// Binds the ports, opens and migrates the store, and serves. When it answers, a client can
    /// connect; readiness follows with the first pass of the feed.
    ///
    /// A database server that can't be reached is waited for, alive and not ready: what starts
    /// first is nobody's business. One that refuses is an error at once.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<Self, AppError> {
        prepare(config);
        let tls = tls_of(config)?;
        // First what fails fast: a second server on the same ports must not migrate anything.
        let grpc = Reserved::new("gRPC", config.grpc_address)?;
        let http = Reserved::new("HTTP", config.http_address)?;
        let (grpc_address, http_address) = (grpc.address, http.address);
        let last = CancellationToken::new();
        let telling = Arc::new(OnceLock::new());
        let http = serve_http(config, http, &tls, &telling, &shutdown, &last)?;
        let metrics = Arc::new(Metrics::new()?);
        let opened = open_until_ended(config, &clock, &metrics, &shutdown).await?;
        let (store, outbox) = (opened.store, opened.outbox);
        let authentication = authentication_of(config, &tls, opened.tokens, &clock).await?;
        let graphs = graphs_of(config, &store, &clock);
        graphs.tell_load_seconds(metrics.load_seconds());
        let directory = Directory::new(Arc::clone(&store), graphs.clone(), Arc::clone(&clock));
        let console_url = console_url(config, http_address);
        let linking = linking(config, &console_url);
        let requests = requests_of(&directory, &store, &outbox, &clock, linking);
        let kept = (Arc::clone(&opened.batches), opened.forms);
        let partitions = partitions_of(&directory, &store, kept, &clock);
        let jobs = opened.segment_jobs;
        let (segments, reconciler) = segments_of(&directory, &store, jobs, &clock, &metrics)?;
        let partners = partners_of(&directory, opened.partners, &clock, requests.written());
        let decision_log = decision_log_of(config, &clock, &metrics)?;
        let background = Background::start()?;
        let feed = feed_of(config, &store, &graphs, &clock, &metrics);
        let console = console_of(&requests, &graphs, &store, &clock, &console_url)?;
        tell(&telling, &graphs, &feed, &metrics, console);
        let pushed = pushed_of(config, &graphs, &feed, &clock)?;
        let retention = retention_of(config, &store, opened.batches, &clock);
        let keeper = Keeper::new(requests.clone());
        let sending = (&store, outbox, graphs);
        let notifying = (&requests, console_url);
        let notifications = notifications_of(config, sending, &clock, &metrics, notifying)?;
        let routes = grpc::services::routes(&Backend {
            authentication: authentication.clone(),
            directory: directory.clone(),
            requests,
            partitions,
            segments,
            partners,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            shutdown: shutdown.clone(),
            decisions: metrics.decisions(),
            decision_log: decision_log.clone(),
            stall_timeout: config.transport.stream_stall_timeout,
        });
        let transport = transport_of(config, tls.clone(), &metrics);
        let observe = observe_of(config, &metrics, clock)?;
        let grpc =
            grpc::server::serve(grpc.listen()?, transport, routes, observe, shutdown.clone());
        announce(config, grpc_address, http_address);
        let mut beside = Tasks::from([
            background.spawn("feed", feed.run(last.clone())),
            background.spawn("retention", retention.run(last.clone())),
            background.spawn("keeper", keeper.run(last.clone())),
            background.spawn("notifications", notifications.run(last.clone())),
            background.spawn("segments", reconciler.run(last.clone())),
            background.spawn("callers", authentication.follow(last.clone())),
        ]);
        // Where there are files of TLS to follow.
        let tls =
            tls.map(|tls| background.spawn("TLS", tls.follow(metrics.transport(), last.clone())));
        beside.extend(tls.into_iter().chain([http]));
        Ok(Self {
            grpc_address,
            http_address,
            directory,
            store,
            shutdown,
            shutdown_grace: config.shutdown_grace,
            beside,
            upkeep: background.spawn("metrics", metrics.keep_up(pushed, last.clone())),
            decision_log,
            _background: background,
            grpc: Task::spawn("gRPC server", grpc),
            last,
        })
    }

    /// The address that was bound: with the port that was taken where the configured one is 0.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Serves until the shutdown begins, then ends within the grace. An error is a part that
    /// ended by itself: then the others are ended too.
    pub async fn run(mut self) -> Result<(), AppError> {
        let died = tokio::select! {
            // First: a part that ends because it was told to has not died.
            biased;
            () = self.shutdown.soft().cancelled() => None,
            error = self.beside.died() => Some(error),
            error = self.upkeep.died() => Some(error),
            error = self.grpc.died() => Some(error),
        };
        if let Some(error) = &died {
            tracing::error!(error = %error, "shutting down");
            self.shutdown.begin();
        }
        let closing = CLOSING_MAX.min(self.shutdown_grace / 5);
        let draining = self.shutdown_grace.saturating_sub(closing);
        let drained = self.shutdown.bounded(draining, self.grpc.ended()).await;
        if drained.is_none() {
            tracing::warn!(
                grace_ms = self.shutdown_grace.as_millis(),
                "calls that did not end in the grace are cut off"
            );
        }
        self.last.cancel();
        let close = async {
            self.beside.ended().await;
            // Beside each other: neither a reader of the log that is stuck nor a collector keeps the
            // database open.
            tokio::join!(
                self.decision_log.close(),
                self.upkeep.ended(),
                self.store.close()
            );
        };
        if tokio::time::timeout(closing, close).await.is_err() {
            // No write is lost: what was acknowledged is in the write-ahead log.
            tracing::warn!("the database or the decision log was not closed in time");
        }
        tracing::info!("ended");
        died.map_or(Ok(()), Err)
    }
}

/// Brings a database to this version's schema.
pub async fn migrate(database: &Database) -> Result<Migrated, AppError> {
    match database {
        Database::Directory(data_dir) => {
            open_directory(data_dir).await?.close().await;
            let examined = examine_directory(data_dir).await?;
            Ok(Migrated {
                schema: examined.map_or(0, |examined| examined.schema),
                roles_missing: Vec::new(),
            })
        }
        Database::Url(url) => PostgresStore::migrate(url.reveal())
            .await
            .map_err(AppError::Postgres),
    }
}

/// What is in a data directory, without changing it; `None`: no database yet.
pub async fn examine_directory(data_dir: &Path) -> Result<Option<EmbeddedExamination>, AppError> {
    SqliteStore::examine(data_dir)
        .await
        .map_err(|source| in_directory(data_dir, source))
}

/// What is in a PostgreSQL database, without changing it.
pub async fn examine_postgres(url: &DatabaseUrl) -> Result<PostgresExamination, AppError> {
    PostgresStore::examine(url.reveal())
        .await
        .map_err(AppError::Postgres)
}

/// Where accounts are kept, as it may be shown.
pub fn place(database: &Database) -> String {
    match database {
        Database::Directory(data_dir) => data_dir.display().to_string(),
        Database::Url(_) => "PostgreSQL".to_owned(),
    }
}

fn prepare(config: &Config) {
    for name in &config.ignored_variables {
        tracing::warn!(name, "environment variable is no setting of the server");
    }
    raise_descriptor_limit();
}

fn announce(config: &Config, grpc: SocketAddr, http: SocketAddr) {
    tracing::info!(
        grpc = %grpc,
        http = %http,
        database = %place(&config.database),
        "{}",
        if config.authentication.is_required {
            "serving callers that are known"
        } else {
            "serving without authentication"
        }
    );
}
