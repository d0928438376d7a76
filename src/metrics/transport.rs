//! What the gRPC port counts of its connections and of what it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use crate::authz::model::Timestamp;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// By the client, or as it was told to.
    Closed,
    /// Against its protocol, in silence, or torn.
    Failed,
    /// By us, with calls that had not ended in their grace.
    Cut,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct TransportMetrics {
    accepted: Counter,
    accept_failures: Counter,
    handshake_failures: Counter,
    connections: Gauge,
    closed: Counter,
    failed: Counter,
    cut: Counter,
    aged: Counter,
    tls_reloads: Counter,
    tls_reload_failures: Counter,
    tls_certificate_end: Gauge,
    shed: Counter,
    account_shed: Counter,
    stalled: Counter,
    calls: Gauge,
    streams: Gauge,
    arriving: Gauge,
    calls_arriving: Arc<AtomicU64>,
    calls_running: Arc<AtomicU64>,
    streams_open: Arc<AtomicU64>,
}

/// One of what is counted as running, until it is dropped.
#[derive(Debug)]
pub struct Running(Arc<AtomicU64>);

impl Running {
    /// `None` where there are as many as may be.
    fn begin(count: &Arc<AtomicU64>, most: u64) -> Option<Self> {
        let began = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(began)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TransportMetrics {
    fn describe() {
        describe_counter!(
            "ambit_connections_accepted_total",
            "gRPC connections that were accepted"
        );
        describe_counter!(
            "ambit_accept_failures_total",
            "Connections that could not be accepted, e.g. for want of file descriptors"
        );
        describe_counter!(
            "ambit_tls_handshake_failures_total",
            "TLS handshakes that failed or took too long"
        );
        describe_gauge!("ambit_connections", "gRPC connections that are open");
        describe_counter!(
            "ambit_connections_ended_total",
            "gRPC connections by how they ended: closed, failed, or cut by the server"
        );
        describe_counter!(
            "ambit_connections_aged_total",
            "gRPC connections that were told to end for their age"
        );
        describe_counter!(
            "ambit_tls_reloads_total",
            "Times that changed TLS files were taken"
        );
        describe_counter!(
            "ambit_tls_reload_failures_total",
            "Times that the TLS files could not be used, and those before were kept"
        );
        describe_gauge!(
            "ambit_tls_certificate_expiry_timestamp_seconds",
            "When the TLS certificate that is served expires, in seconds since 1970; NaN without one"
        );
        describe_counter!(
            "ambit_calls_shed_total",
            "gRPC calls that were refused as OVERLOADED"
        );
        describe_counter!(
            "ambit_account_calls_shed_total",
            "gRPC calls that were refused as ACCOUNT_OVERLOADED"
        );
        describe_counter!(
            "ambit_answers_stalled_total",
            "Answers that were cut off because their client did not read them"
        );
        describe_gauge!(
            "ambit_calls_in_flight",
            "gRPC calls of accounts that have no answer yet, streams aside"
        );
        describe_gauge!(
            "ambit_calls_arriving",
            "gRPC calls whose account the server has not read yet"
        );
        describe_gauge!(
            "ambit_streams_open",
            "Answers of gRPC calls that are streams and open"
        );
    }

    pub(super) fn register() -> Self {
        Self::describe();
        let tls_certificate_end = gauge!("ambit_tls_certificate_expiry_timestamp_seconds");
        tls_certificate_end.set(f64::NAN);
        Self {
            shed: counter!("ambit_calls_shed_total"),
            account_shed: counter!("ambit_account_calls_shed_total"),
            stalled: counter!("ambit_answers_stalled_total"),
            calls: gauge!("ambit_calls_in_flight"),
            arriving: gauge!("ambit_calls_arriving"),
            calls_arriving: Arc::default(),
            streams: gauge!("ambit_streams_open"),
            calls_running: Arc::default(),
            streams_open: Arc::default(),
            accepted: counter!("ambit_connections_accepted_total"),
            accept_failures: counter!("ambit_accept_failures_total"),
            handshake_failures: counter!("ambit_tls_handshake_failures_total"),
            connections: gauge!("ambit_connections"),
            closed: counter!("ambit_connections_ended_total", "how" => "closed"),
            failed: counter!("ambit_connections_ended_total", "how" => "failed"),
            cut: counter!("ambit_connections_ended_total", "how" => "cut"),
            aged: counter!("ambit_connections_aged_total"),
            tls_reloads: counter!("ambit_tls_reloads_total"),
            tls_reload_failures: counter!("ambit_tls_reload_failures_total"),
            tls_certificate_end,
        }
    }

    /// Counts nothing: for a server that nobody asks for its metrics.
    pub fn unseen() -> Self {
        Self {
            shed: Counter::noop(),
            account_shed: Counter::noop(),
            stalled: Counter::noop(),
            calls: Gauge::noop(),
            arriving: Gauge::noop(),
            calls_arriving: Arc::default(),
            streams: Gauge::noop(),
            calls_running: Arc::default(),
            streams_open: Arc::default(),
            accepted: Counter::noop(),
            accept_failures: Counter::noop(),
            handshake_failures: Counter::noop(),
            connections: Gauge::noop(),
            closed: Counter::noop(),
            failed: Counter::noop(),
            cut: Counter::noop(),
            aged: Counter::noop(),
            tls_reloads: Counter::noop(),
            tls_reload_failures: Counter::noop(),
            tls_certificate_end: Gauge::noop(),
        }
    }

    /// `None` where so many arrive already.
    pub fn arrive(&self, most: u64) -> Option<Running> {
        Running::begin(&self.calls_arriving, most)
    }

    /// `None` where so many run already.
    pub fn begin_call(&self, most: u64) -> Option<Running> {
        Running::begin(&self.calls_running, most)
    }

    /// `None` where so many are open already.
    pub fn open_stream(&self, most: u64) -> Option<Running> {
        Running::begin(&self.streams_open, most)
    }

    /// Of so many places for calls, those that nobody has.
    pub fn free_calls(&self, most: u64) -> u64 {
        most.saturating_sub(self.calls_running.load(Ordering::Relaxed))
    }

    /// The same for streams.
    pub fn free_streams(&self, most: u64) -> u64 {
        most.saturating_sub(self.streams_open.load(Ordering::Relaxed))
    }

    pub fn shed(&self) {
        self.shed.increment(1);
    }

    pub fn account_shed(&self) {
        self.account_shed.increment(1);
    }

    pub fn stalled(&self) {
        self.stalled.increment(1);
    }

    /// What is counted beside the calls, brought to where it is shown.
    pub(super) fn read(&self) {
        let shown = |count: &AtomicU64| super::number(count.load(Ordering::Relaxed));
        self.calls.set(shown(&self.calls_running));
        self.arriving.set(shown(&self.calls_arriving));
        self.streams.set(shown(&self.streams_open));
    }

    pub fn accepted(&self) {
        self.accepted.increment(1);
        self.connections.increment(1.0);
    }

    pub fn accept_failed(&self) {
        self.accept_failures.increment(1);
    }

    pub fn handshake_failed(&self) {
        self.handshake_failures.increment(1);
    }

    pub fn aged(&self) {
        self.aged.increment(1);
    }

    pub fn ended(&self, how: ConnectionEnd) {
        self.connections.decrement(1.0);
        match how {
            ConnectionEnd::Closed => self.closed.increment(1),
            ConnectionEnd::Failed => self.failed.increment(1),
            ConnectionEnd::Cut => self.cut.increment(1),
        }
    }

    pub fn tls_reloaded(&self) {
        self.tls_reloads.increment(1);
    }

    pub fn tls_reload_failed(&self) {
        self.tls_reload_failures.increment(1);
    }

    /// Of what is served now; `None` where it can't be told.
    pub fn tls_certificate_ends(&self, at: Option<Timestamp>) {
        let seconds = |at: Timestamp| super::seconds(at.unix_micros());
        self.tls_certificate_end.set(at.map_or(f64::NAN, seconds));
    }
}
