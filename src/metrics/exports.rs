//! What became of what was sent to the collector.

use metrics::{Counter, counter, describe_counter};

use crate::telemetry::{self, Exports, logs, spans};

pub(super) struct ExportMetrics {
    traces: SignalMetrics,
    metrics: SignalMetrics,
    logs: SignalMetrics,
}

struct SignalMetrics {
    exports: &'static Exports,
    sent: Counter,
    failures: Counter,
    dropped: Counter,
}

impl ExportMetrics {
    pub(super) fn register() -> Self {
        describe_counter!(
            "ambit_otlp_exports_total",
            "Messages that the collector took"
        );
        describe_counter!(
            "ambit_otlp_export_failures_total",
            "Messages that the collector did not take"
        );
        describe_counter!(
            "ambit_otlp_dropped_total",
            "Spans, metrics and log records that found the queue of the export full, or that the collector did not take"
        );
        Self {
            traces: SignalMetrics::new("traces", spans()),
            metrics: SignalMetrics::new("metrics", telemetry::metrics()),
            logs: SignalMetrics::new("logs", logs()),
        }
    }

    pub(super) fn read(&self) {
        self.traces.read();
        self.metrics.read();
        self.logs.read();
    }
}

impl SignalMetrics {
    fn new(signal: &'static str, exports: &'static Exports) -> Self {
        Self {
            exports,
            sent: counter!("ambit_otlp_exports_total", "signal" => signal),
            failures: counter!("ambit_otlp_export_failures_total", "signal" => signal),
            dropped: counter!("ambit_otlp_dropped_total", "signal" => signal),
        }
    }

    fn read(&self) {
        self.sent.absolute(self.exports.sent());
        self.failures.absolute(self.exports.failures());
        self.dropped.absolute(self.exports.dropped());
    }
}
