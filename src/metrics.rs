//! What the server measures of itself, in the text format of Prometheus.
//!
//! One recorder for each server, not one for the process: several servers in one process don't add
//! up. What is known elsewhere is read when it is asked for, so that nothing is counted twice. No
//! label carries an account or a user: those are as many as there are customers, and theirs.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::feed::{FeedMode, FeedStatus};
use crate::graph_cache::GraphCache;

mod transport;

pub use transport::{ConnectionEnd, Running, TransportMetrics};

const CATCH_UP_SECONDS: &str = "ambit_feed_catch_up_seconds";

/// From a tenth of a millisecond, which is a good local database, to the default staleness bound
/// and beyond.
const CATCH_UP_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
    5.0,
];

pub struct Metrics {
    handle: PrometheusHandle,
    feed: FeedMetrics,
    graphs: GraphMetrics,
    catch_up_seconds: Histogram,
    notifications: NotificationMetrics,
    transport: TransportMetrics,
}

/// The ways in which people are told of access requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationChannel {
    Webhook,
    Email,
}

/// What the worker of notifications counts; cheap to clone.
#[derive(Clone)]
pub struct NotificationMetrics {
    webhook: ChannelMetrics,
    email: ChannelMetrics,
    oldest_seconds: Gauge,
}

#[derive(Clone)]
struct ChannelMetrics {
    sent: Counter,
    failed: Counter,
    dead: Counter,
}

struct FeedMetrics {
    lag_seconds: Gauge,
    by_notify: Gauge,
    by_poll: Gauge,
    reconnects: Counter,
    passes: Counter,
    failed_passes: Counter,
    notifications: Counter,
    foreign: Counter,
    queue_usage: Gauge,
}

struct GraphMetrics {
    accounts: Gauge,
    bytes: Gauge,
    loads: Counter,
    reloads: Counter,
    catch_ups: Counter,
}

#[derive(Debug, thiserror::Error)]
#[error("the buckets of a histogram are not usable")]
pub struct MetricsError;

impl Metrics {
    /// # Errors
    /// [`MetricsError`] where the buckets of a histogram are none, which is a defect of this file.
    pub fn new() -> Result<Self, MetricsError> {
        let matcher = Matcher::Full(CATCH_UP_SECONDS.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(matcher, CATCH_UP_BUCKETS)
            .map_err(|_empty| MetricsError)?
            .build_recorder();
        let handle = recorder.handle();
        Ok(with_local_recorder(&recorder, || Self {
            handle,
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
            transport: TransportMetrics::register(),
        }))
    }

    /// What the feed tells how long its catch-ups take.
    pub fn catch_up_seconds(&self) -> Histogram {
        self.catch_up_seconds.clone()
    }

    /// What the worker of notifications counts by.
    pub fn notifications(&self) -> NotificationMetrics {
        self.notifications.clone()
    }

    /// What the gRPC port counts by.
    pub fn transport(&self) -> TransportMetrics {
        self.transport.clone()
    }

    /// Everything as it is now, in the text format of Prometheus.
    pub async fn render(&self, graphs: &GraphCache, feed: &FeedStatus) -> String {
        self.feed.read(graphs, feed);
        self.graphs.read(graphs).await;
        self.transport.read();
        self.text()
    }

    /// What is counted, without what is read when it is asked for.
    pub fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

impl NotificationMetrics {
    fn register() -> Self {
        describe_counter!(
            "ambit_notifications_sent_total",
            "Webhooks and mails about access requests that were taken"
        );
        describe_counter!(
            "ambit_notification_failures_total",
            "Attempts that failed and are made again"
        );
        describe_counter!(
            "ambit_notifications_dead_total",
            "Webhooks and mails about access requests that were given up"
        );
        describe_gauge!(
            "ambit_notification_oldest_undelivered_seconds",
            Unit::Seconds,
            "Age of the oldest webhook or mail that is still to be taken; 0 where there is none"
        );
        Self {
            webhook: ChannelMetrics::register("webhook"),
            email: ChannelMetrics::register("email"),
            oldest_seconds: gauge!("ambit_notification_oldest_undelivered_seconds"),
        }
    }

    fn of(&self, channel: NotificationChannel) -> &ChannelMetrics {
        match channel {
            NotificationChannel::Webhook => &self.webhook,
            NotificationChannel::Email => &self.email,
        }
    }

    pub fn sent(&self, channel: NotificationChannel) {
        self.of(channel).sent.increment(1);
    }

    pub fn failed(&self, channel: NotificationChannel) {
        self.of(channel).failed.increment(1);
    }

    pub fn dead(&self, channel: NotificationChannel) {
        self.of(channel).dead.increment(1);
    }

    pub fn oldest_undelivered(&self, age: Duration) {
        self.oldest_seconds.set(age.as_secs_f64());
    }
}

impl ChannelMetrics {
    fn register(channel: &'static str) -> Self {
        Self {
            sent: counter!("ambit_notifications_sent_total", "channel" => channel),
            failed: counter!("ambit_notification_failures_total", "channel" => channel),
            dead: counter!("ambit_notifications_dead_total", "channel" => channel),
        }
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
        Self {
            lag_seconds: gauge!("ambit_feed_lag_seconds"),
            by_notify: gauge!("ambit_feed_mode", "mode" => "notify"),
            by_poll: gauge!("ambit_feed_mode", "mode" => "poll"),
            reconnects: counter!("ambit_feed_reconnects_total"),
            passes: counter!("ambit_feed_passes_total"),
            failed_passes: counter!("ambit_feed_failed_passes_total"),
            notifications: counter!("ambit_feed_notifications_total", "of" => "account"),
            foreign: counter!("ambit_feed_notifications_total", "of" => "foreign"),
            queue_usage: gauge!("ambit_notification_queue_usage_ratio"),
        }
    }

    fn read(&self, graphs: &GraphCache, feed: &FeedStatus) {
        let staleness = graphs.staleness();
        self.lag_seconds
            .set(staleness.map_or(f64::NAN, |age| age.as_secs_f64()));
        let listens = feed.mode() == FeedMode::Notify;
        self.by_notify.set(f64::from(u8::from(listens)));
        self.by_poll.set(f64::from(u8::from(!listens)));
        self.reconnects.absolute(feed.reconnects());
        self.passes.absolute(feed.passes());
        self.failed_passes.absolute(feed.failed_passes());
        self.notifications.absolute(feed.notifications());
        self.foreign.absolute(feed.foreign());
        self.queue_usage.set(feed.queue_usage().unwrap_or(f64::NAN));
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
        Self {
            accounts: gauge!("ambit_graph_accounts"),
            bytes: gauge!("ambit_graph_bytes"),
            loads: counter!("ambit_graph_loads_total"),
            reloads: counter!("ambit_graph_reloads_total"),
            catch_ups: counter!("ambit_graph_catch_ups_total"),
        }
    }

    async fn read(&self, graphs: &GraphCache) {
        self.bytes.set(number(graphs.bytes().await));
        self.accounts.set(number(graphs.accounts()));
        self.loads.absolute(graphs.loads_begun());
        self.reloads.absolute(graphs.reloads_begun());
        self.catch_ups.absolute(graphs.catch_ups_begun());
    }
}

/// Exact up to 2^53, which no memory has.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
fn number(value: u64) -> f64 {
    value as f64
}
