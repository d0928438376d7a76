//! What the server measures of itself, in the text format of Prometheus.
//!
//! One recorder for each server, not one for the process: several servers in one process don't add
//! up. What is known elsewhere is read when it is asked for, so that nothing is counted twice. No
//! label carries an account or a user: those are as many as there are customers, and theirs.

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::feed::{FeedMode, FeedStatus};
use crate::graph_cache::{GraphCache, LoadSeconds};
use crate::telemetry::MetricsExport;

mod calls;
mod decision_log;
mod decisions;
mod exports;
mod notifications;
mod segments;
mod store;
mod transport;

pub use calls::{CODES, CallMetrics, MethodId};
pub use decision_log::DecisionLogMetrics;
pub use decisions::{DecidingMethod, DecisionMetrics, Tally};
use exports::ExportMetrics;
pub use notifications::{NotificationChannel, NotificationMetrics};
pub use segments::SegmentMetrics;
pub use store::StoreMetrics;
pub use transport::{ConnectionEnd, Running, TransportMetrics};

const CATCH_UP_SECONDS: &str = "ambit_feed_catch_up_seconds";

/// From a tenth of a millisecond, which is a good local database, to the default staleness bound
/// and beyond.
const CATCH_UP_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
    5.0,
];

const LOAD_SECONDS: &str = "ambit_graph_load_seconds";

/// From an account of a few rows to one of many millions.
const LOAD_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
];

const HISTOGRAMS: [(&str, &[f64]); 4] = [
    (CATCH_UP_SECONDS, CATCH_UP_BUCKETS),
    (LOAD_SECONDS, LOAD_BUCKETS),
    (calls::CALL_SECONDS, calls::CALL_BUCKETS),
    (store::STORE_SECONDS, store::STORE_BUCKETS),
];

/// Histograms keep what they are told until it is put into buckets; this bounds how much that is
/// where nobody asks for the metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    process: Collector,
    ready: Gauge,
    exports: ExportMetrics,
    feed: FeedMetrics,
    graphs: GraphMetrics,
    catch_up_seconds: Histogram,
    notifications: NotificationMetrics,
    segments: SegmentMetrics,
    transport: TransportMetrics,
    decisions: DecisionMetrics,
    store: StoreMetrics,
    decision_log: DecisionLogMetrics,
}

/// What metrics are sent by, and what is read for them.
pub struct Pushed {
    pub export: MetricsExport,
    pub graphs: GraphCache,
    pub feed: Arc<FeedStatus>,
    pub clock: Arc<dyn Clock>,
    pub interval: Duration,
}

struct FeedMetrics {
    lag_seconds: Gauge,
    bound_seconds: Gauge,
    revision_age_seconds: Gauge,
    by_notify: Gauge,
    by_poll: Gauge,
    reconnects: Counter,
    passes: Counter,
    failed_passes: Counter,
    notifications: Counter,
    foreign: Counter,
    queue_usage: Gauge,
    clock_skew_seconds: Gauge,
}

struct GraphMetrics {
    accounts: Gauge,
    bytes: Gauge,
    bytes_max: Gauge,
    resources: Gauge,
    users: Gauge,
    loads: Counter,
    reloads: Counter,
    catch_ups: Counter,
    hits: Counter,
    misses: Counter,
    evictions: Counter,
}

#[derive(Debug, thiserror::Error)]
#[error("the buckets of a histogram are not usable")]
pub struct MetricsError;

impl Metrics {
    /// # Errors
    /// [`MetricsError`] where the buckets of a histogram are none, which is a defect of this file.
    pub fn new() -> Result<Self, MetricsError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in HISTOGRAMS {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .map_err(|_empty| MetricsError)?;
        }
        let recorder = Arc::new(builder.build_recorder());
        let handle = recorder.handle();
        let process = Collector::default();
        let decisions = DecisionMetrics::new(Arc::clone(&recorder));
        let store = StoreMetrics::new(Arc::clone(&recorder));
        Ok(with_local_recorder(&recorder, || Self {
            recorder: Arc::clone(&recorder),
            handle,
            ready: {
                process.describe();
                describe_gauge!(
                    "ambit_build_info",
                    "1, with the version of the program as a label"
                );
                gauge!("ambit_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
                describe_gauge!(
                    "ambit_ready",
                    "1 where the server says that it is ready, else 0"
                );
                gauge!("ambit_ready")
            },
            process,
            exports: ExportMetrics::register(),
            feed: FeedMetrics::register(),
            graphs: GraphMetrics::register(),
            catch_up_seconds: {
                describe_histogram!(
                    CATCH_UP_SECONDS,
                    Unit::Seconds,
                    "Time from the news that an account changed to the graph that has it"
                );
                histogram!(CATCH_UP_SECONDS)
            },
            notifications: NotificationMetrics::register(),
            segments: SegmentMetrics::register(),
            transport: TransportMetrics::register(),
            decisions,
            store,
            decision_log: DecisionLogMetrics::register(),
        }))
    }

    /// What the feed tells how long its catch-ups take.
    pub fn catch_up_seconds(&self) -> Histogram {
        self.catch_up_seconds.clone()
    }

    /// What the cache tells how long its loads take.
    pub fn load_seconds(&self) -> LoadSeconds {
        with_local_recorder(&self.recorder, || {
            describe_histogram!(
                LOAD_SECONDS,
                Unit::Seconds,
                "Time that whole loads of accounts took, reloads aside"
            );
            LoadSeconds {
                ok: histogram!(LOAD_SECONDS, "outcome" => "ok"),
                failed: histogram!(LOAD_SECONDS, "outcome" => "failed"),
            }
        })
    }

    /// What the worker of notifications counts by.
    pub fn notifications(&self) -> NotificationMetrics {
        self.notifications.clone()
    }

    /// What counts how rules of segments are brought to records.
    pub fn segments(&self) -> SegmentMetrics {
        self.segments.clone()
    }

    /// What the decision log counts by.
    pub fn decision_log(&self) -> DecisionLogMetrics {
        self.decision_log.clone()
    }

    /// What the gRPC port counts by.
    pub fn transport(&self) -> TransportMetrics {
        self.transport.clone()
    }

    /// What those who decide count by.
    pub fn decisions(&self) -> DecisionMetrics {
        self.decisions.clone()
    }

    /// What the calls of the database are timed by.
    pub fn store(&self) -> StoreMetrics {
        self.store.clone()
    }

    /// What calls of these methods are timed by.
    pub fn calls(&self, methods: Vec<String>) -> CallMetrics {
        CallMetrics::new(Arc::clone(&self.recorder), methods)
    }

    /// Puts into buckets what histograms were told, and sends everything to a collector where there
    /// is one, until told to end.
    pub async fn keep_up(self: Arc<Self>, pushed: Option<Pushed>, ending: CancellationToken) {
        let upkeep = ending.run_until_cancelled(async {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                self.handle.run_upkeep();
            }
        });
        let pushes = async {
            if let Some(pushed) = pushed {
                self.push(pushed, &ending).await;
            }
        };
        tokio::join!(upkeep, pushes);
    }

    /// At intervals, and once more when it is told to end.
    async fn push(&self, pushed: Pushed, ending: &CancellationToken) {
        let Pushed {
            mut export,
            graphs,
            feed,
            clock,
            interval,
        } = pushed;
        loop {
            let waited = ending
                .run_until_cancelled(tokio::time::sleep(interval))
                .await;
            let is_ready = waited.is_some() && graphs.is_fresh();
            let text = self.render(&graphs, &feed, is_ready).await;
            export.send(&text, clock.now()).await;
            if waited.is_none() {
                return;
            }
        }
    }

    /// Everything as it is now, in the text format of Prometheus.
    pub async fn render(&self, graphs: &GraphCache, feed: &FeedStatus, is_ready: bool) -> String {
        self.ready.set(f64::from(u8::from(is_ready)));
        self.exports.read();
        self.feed.read(graphs, feed);
        self.graphs.read(graphs).await;
        self.transport.read();
        with_local_recorder(&self.recorder, || self.process.collect());
        self.text()
    }

    /// What is counted, without what is read when it is asked for.
    pub fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

impl FeedMetrics {
    fn register() -> Self {
        describe_gauge!(
            "ambit_feed_lag_seconds",
            Unit::Seconds,
            "Age of the moment at which the feed last knew every cached account to be current; no value before the first time"
        );
        describe_gauge!(
            "ambit_feed_staleness_bound_seconds",
            Unit::Seconds,
            "Age of a picture above which reads are refused"
        );
        describe_gauge!(
            "ambit_revision_age_seconds",
            Unit::Seconds,
            "Time since an account in memory last took on a new revision; no value before the first"
        );
        describe_gauge!(
            "ambit_feed_mode",
            "1 for the way in which changes are found: notify, or poll alone"
        );
        describe_counter!(
            "ambit_feed_reconnects_total",
            "Channels of notifications that were given up, and attempts at one that failed"
        );
        describe_counter!(
            "ambit_feed_passes_total",
            "Passes of the poll that succeeded"
        );
        describe_counter!(
            "ambit_feed_failed_passes_total",
            "Passes of the poll that the database refused or did not answer in time"
        );
        describe_counter!(
            "ambit_feed_notifications_total",
            "Notifications by what they told of: an account, or nothing that is Ambit's"
        );
        describe_gauge!(
            "ambit_notification_queue_usage_ratio",
            "How full the database's queue of notifications is; no number where it is not known"
        );
        describe_gauge!(
            "ambit_clock_skew_seconds",
            Unit::Seconds,
            "How far the clock of the database is ahead of this machine's; no number where it is not known"
        );
        Self {
            lag_seconds: gauge!("ambit_feed_lag_seconds"),
            bound_seconds: gauge!("ambit_feed_staleness_bound_seconds"),
            revision_age_seconds: gauge!("ambit_revision_age_seconds"),
            by_notify: gauge!("ambit_feed_mode", "mode" => "notify"),
            by_poll: gauge!("ambit_feed_mode", "mode" => "poll"),
            reconnects: counter!("ambit_feed_reconnects_total"),
            passes: counter!("ambit_feed_passes_total"),
            failed_passes: counter!("ambit_feed_failed_passes_total"),
            notifications: counter!("ambit_feed_notifications_total", "of" => "account"),
            foreign: counter!("ambit_feed_notifications_total", "of" => "foreign"),
            queue_usage: gauge!("ambit_notification_queue_usage_ratio"),
            clock_skew_seconds: gauge!("ambit_clock_skew_seconds"),
        }
    }

    fn read(&self, graphs: &GraphCache, feed: &FeedStatus) {
        let staleness = graphs.staleness();
        self.lag_seconds
            .set(staleness.map_or(f64::NAN, |age| age.as_secs_f64()));
        self.bound_seconds
            .set(graphs.limits().staleness_bound.as_secs_f64());
        let revision_age = graphs.revision_age();
        self.revision_age_seconds
            .set(revision_age.map_or(f64::NAN, |age| age.as_secs_f64()));
        let listens = feed.mode() == FeedMode::Notify;
        self.by_notify.set(f64::from(u8::from(listens)));
        self.by_poll.set(f64::from(u8::from(!listens)));
        self.reconnects.absolute(feed.reconnects());
        self.passes.absolute(feed.passes());
        self.failed_passes.absolute(feed.failed_passes());
        self.notifications.absolute(feed.notifications());
        self.foreign.absolute(feed.foreign());
        self.queue_usage.set(feed.queue_usage().unwrap_or(f64::NAN));
        self.clock_skew_seconds
            .set(feed.clock_skew().unwrap_or(f64::NAN));
    }
}

impl GraphMetrics {
    fn register() -> Self {
        describe_gauge!("ambit_graph_accounts", "Accounts in memory");
        describe_gauge!(
            "ambit_graph_bytes",
            Unit::Bytes,
            "Memory of all graphs, as they were last weighed"
        );
        describe_counter!(
            "ambit_graph_loads_total",
            "Loads of whole accounts that were begun, reloads included"
        );
        describe_counter!(
            "ambit_graph_reloads_total",
            "Loads of accounts that were in memory but could not be followed in steps"
        );
        describe_counter!(
            "ambit_graph_catch_ups_total",
            "Questions to the database what changed in an account in memory"
        );
        describe_gauge!(
            "ambit_graph_bytes_max",
            Unit::Bytes,
            "Memory that graphs may take"
        );
        describe_gauge!(
            "ambit_graph_resources",
            "Resources of all accounts in memory"
        );
        describe_gauge!("ambit_graph_users", "Users of all accounts in memory");
        describe_counter!(
            "ambit_cache_hits_total",
            "Reads whose account was in memory"
        );
        describe_counter!("ambit_cache_misses_total", "Reads that waited for a load");
        describe_counter!(
            "ambit_cache_evictions_total",
            "Accounts that were dropped from memory for want of room"
        );
        Self {
            bytes_max: gauge!("ambit_graph_bytes_max"),
            resources: gauge!("ambit_graph_resources"),
            users: gauge!("ambit_graph_users"),
            hits: counter!("ambit_cache_hits_total"),
            misses: counter!("ambit_cache_misses_total"),
            evictions: counter!("ambit_cache_evictions_total"),
            accounts: gauge!("ambit_graph_accounts"),
            bytes: gauge!("ambit_graph_bytes"),
            loads: counter!("ambit_graph_loads_total"),
            reloads: counter!("ambit_graph_reloads_total"),
            catch_ups: counter!("ambit_graph_catch_ups_total"),
        }
    }

    async fn read(&self, graphs: &GraphCache) {
        self.bytes.set(number(graphs.bytes().await));
        self.bytes_max.set(number(graphs.limits().bytes_max));
        self.accounts.set(number(graphs.accounts()));
        let (mut resources, mut users) = (0, 0);
        for live in graphs.cached() {
            let read = live.snapshot();
            resources += read.graph.resources_total();
            users += read.graph.users_total();
        }
        self.resources.set(number(resources));
        self.users.set(number(users));
        self.hits.absolute(graphs.hits());
        self.misses.absolute(graphs.misses());
        self.evictions.absolute(graphs.evictions());
        self.loads.absolute(graphs.loads_begun());
        self.reloads.absolute(graphs.reloads_begun());
        self.catch_ups.absolute(graphs.catch_ups_begun());
    }
}

/// Microseconds since 1970, in seconds: exact to the microsecond for some thousand years.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
fn seconds(unix_micros: i64) -> f64 {
    unix_micros as f64 / 1e6
}

/// Exact up to 2^53, which no memory has.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
fn number(value: u64) -> f64 {
    value as f64
}
