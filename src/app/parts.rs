//! The parts of a server, each put together from the settings and from the parts that it stands on.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::ports::Reserved;
use super::task::Task;
use crate::access_requests::{AccessRequests, ConsoleSettings};
use crate::authentication::{Authentication, AuthenticationError};
use crate::clock::Clock;
use crate::config::Config;
use crate::decision_log::{DecisionLog, DecisionLogError};
use crate::directory::Directory;
use crate::feed::Feed;
use crate::graph_cache::{CacheLimits, Computing, GraphCache};
use crate::grpc::observed::{Observe, methods};
use crate::grpc::server::Transport;
use crate::http::{self, Console, LanguageError, Telling};
use crate::metrics::{Metrics, Pushed};
use crate::notifications::{Notifications, NotificationsError, Surroundings};
use crate::partitions::Partitions;
use crate::partitions::segments::Segments;
use crate::partitions::segments::reconciler::Reconciler;
use crate::partners::Partners;
use crate::randomness::{RandomnessError, SystemRandomness};
use crate::retention::Retention;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::batches::BatchStore;
use crate::store::forms::FormStore;
use crate::store::outbox::Outbox;
use crate::store::partners::PartnerStore;
use crate::store::segment_jobs::SegmentJobs;
use crate::store::tokens::TokenStore;
use crate::telemetry::{MetricsExport, Sampling, TelemetryError};
use crate::tls::{Tls, TlsError};

/// Knows the callers of the moment at once, where the database answers.
pub(super) async fn authentication_of(
    config: &Config,
    tls: &Option<Arc<Tls>>,
    tokens: Arc<dyn TokenStore>,
    clock: &Arc<dyn Clock>,
) -> Result<Authentication, AuthenticationError> {
    let authentication = Authentication::new(
        &config.authentication,
        tls.clone(),
        tokens,
        Arc::clone(clock),
        config.staleness_bound,
    )?;
    authentication.begin().await;
    Ok(authentication)
}

/// Serves the HTTP port from before there is anything to tell.
pub(super) fn serve_http(
    config: &Config,
    http: Reserved,
    tls: &Option<Arc<Tls>>,
    telling: &Arc<OnceLock<Telling>>,
    shutdown: &Shutdown,
    last: &CancellationToken,
) -> Result<Task, AppError> {
    let port = http::Port {
        listener: http.listen()?,
        tls: tls.clone().filter(|_| config.http_tls),
        handshake_timeout: config.transport.handshake_timeout,
    };
    let http = http::serve(port, Arc::clone(telling), shutdown.clone(), last.clone());
    Ok(Task::spawn("HTTP server", http))
}

pub(super) fn requests_of(
    directory: &Directory,
    store: &Arc<dyn Store>,
    outbox: &Arc<dyn Outbox>,
    clock: &Arc<dyn Clock>,
    console: ConsoleSettings,
) -> AccessRequests {
    AccessRequests::new(
        directory.clone(),
        Arc::clone(store),
        Arc::clone(outbox),
        Arc::clone(clock),
        Arc::new(SystemRandomness),
        console,
    )
}

pub(super) fn partitions_of(
    directory: &Directory,
    store: &Arc<dyn Store>,
    (batches, forms): (Arc<dyn BatchStore>, Arc<dyn FormStore>),
    clock: &Arc<dyn Clock>,
) -> Partitions {
    Partitions::new(
        directory.clone(),
        Arc::clone(store),
        batches,
        forms,
        Arc::clone(clock),
        Arc::new(SystemRandomness),
    )
}

/// With what brings them to the records.
pub(super) fn segments_of(
    directory: &Directory,
    store: &Arc<dyn Store>,
    jobs: Arc<dyn SegmentJobs>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<(Segments, Reconciler), RandomnessError> {
    let segments = Segments::new(
        directory.clone(),
        Arc::clone(store),
        jobs,
        Arc::clone(clock),
    );
    let reconciler = Reconciler::new(segments.clone(), metrics.segments(), &SystemRandomness)?;
    Ok((segments, reconciler))
}

pub(super) fn partners_of(
    directory: &Directory,
    store: Arc<dyn PartnerStore>,
    clock: &Arc<dyn Clock>,
    written: Arc<Notify>,
) -> Partners {
    Partners::new(
        directory.clone(),
        store,
        Arc::clone(clock),
        Arc::new(SystemRandomness),
        written,
    )
}

pub(super) fn console_of(
    requests: &AccessRequests,
    graphs: &GraphCache,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    url: &str,
) -> Result<Console, LanguageError> {
    Console::new(
        requests.clone(),
        graphs.clone(),
        Arc::clone(store),
        Arc::clone(clock),
        url,
    )
}

/// What tells people of access requests and of partnerships.
pub(super) fn notifications_of(
    config: &Config,
    (store, outbox, graphs): (&Arc<dyn Store>, Arc<dyn Outbox>, GraphCache),
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    (requests, console_url): (&AccessRequests, String),
) -> Result<Notifications, NotificationsError> {
    let around = Surroundings {
        store: Arc::clone(store),
        outbox,
        graphs,
        clock: Arc::clone(clock),
        randomness: Arc::new(SystemRandomness),
        metrics: metrics.notifications(),
        written: requests.written(),
        console_url,
    };
    Notifications::new(around, config.notifications.clone())
}

pub(super) fn feed_of(
    config: &Config,
    store: &Arc<dyn Store>,
    graphs: &GraphCache,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Feed {
    Feed::new(
        Arc::clone(store),
        graphs.clone(),
        Arc::clone(clock),
        config.feed_poll_interval,
        metrics.catch_up_seconds(),
    )
}

/// Gives the HTTP port what it tells of.
pub(super) fn tell(
    telling: &OnceLock<Telling>,
    graphs: &GraphCache,
    feed: &Feed,
    metrics: &Arc<Metrics>,
    console: Console,
) {
    // Set once, here.
    let _first = telling.set(Telling {
        graphs: graphs.clone(),
        feed: feed.status(),
        metrics: Arc::clone(metrics),
        console,
    });
}

/// What sends metrics to a collector, where there is one that is to have them.
pub(super) fn pushed_of(
    config: &Config,
    graphs: &GraphCache,
    feed: &Feed,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Pushed>, TelemetryError> {
    let settings = &config.tracing;
    let (Some(endpoint), Some(interval)) = (&settings.endpoint, settings.metrics_interval) else {
        return Ok(None);
    };
    Ok(Some(Pushed {
        export: MetricsExport::new(endpoint, clock.now())?,
        graphs: graphs.clone(),
        feed: feed.status(),
        clock: Arc::clone(clock),
        interval,
    }))
}

pub(super) fn observe_of(
    config: &Config,
    metrics: &Metrics,
    clock: Arc<dyn Clock>,
) -> Result<Observe, TelemetryError> {
    let sampling = Sampling::of(&config.tracing, &SystemRandomness)?;
    Ok(Observe::new(metrics.calls(methods()), clock, sampling))
}

pub(super) fn decision_log_of(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<DecisionLog, DecisionLogError> {
    DecisionLog::open(
        &config.decision_log,
        Arc::clone(clock),
        &SystemRandomness,
        metrics.decision_log(),
    )
}

pub(super) fn retention_of(
    config: &Config,
    store: &Arc<dyn Store>,
    batches: Arc<dyn BatchStore>,
    clock: &Arc<dyn Clock>,
) -> Retention {
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    Retention::new(
        store,
        batches,
        clock,
        config.history_retention,
        config.audit_retention,
    )
}

/// Where people reach the console: at the HTTP port itself unless they are told otherwise.
pub(super) fn console_url(config: &Config, http_address: SocketAddr) -> String {
    match &config.notifications.console_url {
        Some(url) => url.clone(),
        None if config.http_tls => format!("https://{http_address}"),
        None => format!("http://{http_address}"),
    }
}

pub(super) fn linking(config: &Config, console_url: &str) -> ConsoleSettings {
    ConsoleSettings {
        url: console_url.into(),
        link_ttl: config.notifications.link_ttl,
    }
}

pub(super) fn limits(config: &Config) -> CacheLimits {
    CacheLimits {
        bytes_max: config.cache_bytes_max,
        staleness_bound: config.staleness_bound,
        load_timeout: config.load_timeout,
    }
}

pub(super) fn graphs_of(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> GraphCache {
    let graphs = GraphCache::new(Arc::clone(store), Arc::clone(clock), limits(config));
    match config.computations_max {
        Some(most) => graphs.computing(Computing::new(most.get())),
        None => graphs,
    }
}

/// `None` where it is not configured.
pub(super) fn tls_of(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let loaded = config.transport.tls.as_ref().map(Tls::load).transpose()?;
    Ok(loaded.map(Arc::new))
}

pub(super) fn transport_of(config: &Config, tls: Option<Arc<Tls>>, metrics: &Metrics) -> Transport {
    Transport {
        settings: Arc::new(config.transport.clone()),
        tls,
        metrics: metrics.transport(),
        randomness: Arc::new(SystemRandomness),
    }
}
