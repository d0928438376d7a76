//! The composition root: which parts there are and how they hang together. The only file that
//! names a database.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{self, Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::feed::Feed;
use crate::graph_cache::{CacheLimits, GraphCache};
use crate::grpc::server::{Backend, ServerLimits};
use crate::http::Telling;
use crate::metrics::{Metrics, MetricsError};
use crate::retention::Retention;
use crate::shutdown::Shutdown;
pub use crate::store::sqlite::Examination as StoreExamination;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::{grpc, http};

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
    #[error(transparent)]
    Metrics(#[from] MetricsError),
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
    store: SqliteStore,
    shutdown: Shutdown,
    shutdown_grace: Duration,
    /// Ends the feed, the retention and the HTTP port: after the calls, which need the one and are told by the
    /// other.
    last: CancellationToken,
    grpc: Task,
    http: Task,
    feed: Task,
    retention: Task,
    /// Dropped last: connections of the store may have been opened there.
    _background: Background,
}

impl App {
    /// Binds the ports, opens and migrates the store, and serves. When it answers, a client can
    /// connect; readiness follows with the first pass of the feed.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<Self, AppError> {
        for name in &config.ignored_variables {
            tracing::warn!(name, "environment variable is no setting of the server");
        }
        raise_descriptor_limit();
        // First what fails fast: a second server on the same ports must not migrate anything.
        let (grpc_listener, grpc_address) = bind("gRPC", config.grpc_address).await?;
        let (http_listener, http_address) = bind("HTTP", config.http_address).await?;
        let store = open(&config.data_dir).await?;
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let graphs = GraphCache::new(Arc::clone(&shared), Arc::clone(&clock), limits(config));
        let directory = Directory::new(Arc::clone(&shared), graphs.clone(), Arc::clone(&clock));

        let last = CancellationToken::new();
        let metrics = Arc::new(Metrics::new()?);
        let background = Background::start()?;
        let feed = Feed::new(
            Arc::clone(&shared),
            graphs.clone(),
            Arc::clone(&clock),
            config.feed_poll_interval,
            metrics.catch_up_seconds(),
        );
        let telling = Telling {
            graphs,
            feed: feed.status(),
            metrics,
            shutdown: shutdown.clone(),
        };
        let retention = Retention::new(
            Arc::clone(&shared),
            Arc::clone(&clock),
            config.history_retention,
        );
        let routes = grpc::services::routes(&Backend {
            directory: directory.clone(),
            store: shared,
            clock,
            shutdown: shutdown.clone(),
        });
        let grpc = grpc::server::serve(
            grpc_listener,
            ServerLimits {
                connections_max: config.connections_max,
                streams_per_connection_max: config.streams_per_connection_max,
                request_timeout: config.request_timeout,
            },
            routes,
            shutdown.clone(),
        );
        let http = http::serve(http_listener, telling, last.clone());
        tracing::info!(
            grpc = %grpc_address,
            http = %http_address,
            data_dir = %config.data_dir.display(),
            "serving without authentication"
        );
        Ok(Self {
            grpc_address,
            http_address,
            directory,
            store,
            shutdown,
            shutdown_grace: config.shutdown_grace,
            feed: background.spawn("feed", feed.run(last.clone())),
            retention: background.spawn("retention", retention.run(last.clone())),
            _background: background,
            grpc: Task::spawn("gRPC server", grpc),
            http: Task::spawn("HTTP server", http),
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
            error = self.feed.died() => Some(error),
            error = self.retention.died() => Some(error),
            error = self.grpc.died() => Some(error),
            error = self.http.died() => Some(error),
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
            self.feed.ended().await;
            self.retention.ended().await;
            self.http.ended().await;
            self.store.close().await;
        };
        if tokio::time::timeout(closing, close).await.is_err() {
            // Nothing is lost: what was acknowledged is in the write-ahead log.
            tracing::warn!("the database was not closed in time");
        }
        tracing::info!("ended");
        died.map_or(Ok(()), Err)
    }
}

/// A store that a command works on without a server, beside a running one too.
pub struct DirectStore {
    pub directory: Directory,
    store: SqliteStore,
}

impl DirectStore {
    pub async fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let store = open(data_dir).await?;
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        // Nothing follows the store here, so reads are fully consistent or fail at the bound.
        let limits = CacheLimits {
            bytes_max: u64::MAX,
            staleness_bound: Duration::from_secs(2),
            load_timeout: Duration::from_secs(600),
        };
        let graphs = GraphCache::new(Arc::clone(&shared), Arc::clone(&clock), limits);
        Ok(Self {
            directory: Directory::new(shared, graphs, clock),
            store,
        })
    }

    /// The store beneath, for whole entities that need no planning.
    pub fn store(&self) -> &dyn Store {
        &self.store
    }

    /// Leaves the file as it should be found by the next one.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// What is in a data directory, without changing it; `None`: no database yet.
pub async fn examine_store(data_dir: &Path) -> Result<Option<StoreExamination>, AppError> {
    SqliteStore::examine(data_dir)
        .await
        .map_err(|source| AppError::Store {
            data_dir: data_dir.display().to_string(),
            source,
        })
}

/// A thread beside those that answer requests: however busy they are, the feed gets its turn, and
/// whoever is past the staleness bound is so because of the database.
struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    fn start() -> Result<Self, AppError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ambit-feed")
            .enable_all()
            .build()
            .map_err(AppError::Thread)?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    fn spawn(&self, part: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Task {
        let work = async move {
            work.await;
            Ok(())
        };
        Task {
            part,
            handle: self.handle.spawn(work),
            has_ended: false,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Not by its own drop, which waits and so must not happen where requests are answered.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A part of the server that runs until it is told to end.
struct Task {
    part: &'static str,
    handle: JoinHandle<Result<(), String>>,
    has_ended: bool,
}

impl Task {
    fn spawn<E: std::fmt::Display>(
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let work = async move { work.await.map_err(|error| error.to_string()) };
        Self {
            part,
            handle: tokio::spawn(work),
            has_ended: false,
        }
    }

    /// Answers when the part has ended though nobody told it to.
    async fn died(&mut self) -> AppError {
        let problem = match self.join().await {
            Ok(Ok(())) => "it returned".to_owned(),
            Ok(Err(problem)) => problem,
            Err(panic) => panic.to_string(),
        };
        AppError::Died {
            part: self.part,
            problem,
        }
    }

    /// Waits for the end of a part that was told to end.
    async fn ended(&mut self) {
        if self.has_ended {
            return;
        }
        match self.join().await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::warn!(part = self.part, problem, "ended with an error"),
            Err(panic) => tracing::error!(part = self.part, problem = %panic, "ended in a panic"),
        }
    }

    async fn join(&mut self) -> Result<Result<(), String>, JoinError> {
        let joined = pin!(&mut self.handle).await;
        self.has_ended = true;
        joined
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

async fn open(data_dir: &Path) -> Result<SqliteStore, AppError> {
    SqliteStore::open(data_dir)
        .await
        .map_err(|source| AppError::Store {
            data_dir: data_dir.display().to_string(),
            source,
        })
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), AppError> {
    let error = |source| AppError::Bind {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}

fn limits(config: &Config) -> CacheLimits {
    CacheLimits {
        bytes_max: config.cache_bytes_max,
        staleness_bound: config.staleness_bound,
        load_timeout: config.load_timeout,
    }
}

/// Each connection is a descriptor, and the usual soft limit is low for a server.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
}
