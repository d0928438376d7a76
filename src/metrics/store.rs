//! How long the calls of the database take, by their fixed names.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Histogram, Unit, describe_histogram, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

pub(super) const STORE_SECONDS: &str = "ambit_store_transaction_seconds";

pub(super) const STORE_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// Cheap to clone.
#[derive(Clone)]
pub struct StoreMetrics(Arc<Inner>);

struct Inner {
    recorder: Arc<PrometheusRecorder>,
    /// Both words are of the program's text, so there are as many as are written there.
    series: RwLock<HashMap<(&'static str, &'static str), Histogram>>,
}

impl StoreMetrics {
    pub(super) fn new(recorder: Arc<PrometheusRecorder>) -> Self {
        with_local_recorder(&recorder, || {
            describe_histogram!(
                STORE_SECONDS,
                Unit::Seconds,
                "Time that calls of the database took, the wait for a connection included"
            );
        });
        Self(Arc::new(Inner {
            recorder,
            series: RwLock::default(),
        }))
    }

    pub fn took(&self, name: &'static str, outcome: &'static str, time: Duration) {
        let known = {
            let series = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
            series.get(&(name, outcome)).cloned()
        };
        let histogram = known.unwrap_or_else(|| {
            let made = with_local_recorder(
                &self.0.recorder,
                || histogram!(STORE_SECONDS, "name" => name, "outcome" => outcome),
            );
            let mut series = self
                .0
                .series
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            series.entry((name, outcome)).or_insert(made).clone()
        });
        histogram.record(time);
    }
}
