//! How long calls take, by method and code.
//!
//! A call finds its method by one look into a table that is never changed; the series of a code
//! is made when the first call ends with it, so that a scrape has no hundreds of empty ones.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use metrics::{Histogram, Unit, describe_histogram, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

pub(super) const CALL_SECONDS: &str = "ambit_grpc_request_duration_seconds";

/// From a check in memory to a list of everything.
pub(super) const CALL_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// The codes of gRPC by their numbers.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const UNKNOWN: usize = 2;

/// The label of what no service has: anyone may call anything.
const OTHER: &str = "other";

/// Cheap to clone.
#[derive(Clone)]
pub struct CallMetrics(Arc<Calls>);

struct Calls {
    recorder: Arc<PrometheusRecorder>,
    methods: HashMap<String, MethodId, RandomState>,
    series: Vec<Method>,
}

/// A method in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodId(usize);

struct Method {
    name: String,
    codes: [OnceLock<Histogram>; CODES.len()],
}

impl Method {
    fn new(name: String) -> Self {
        Self {
            name,
            codes: [const { OnceLock::new() }; CODES.len()],
        }
    }
}

impl CallMetrics {
    /// Full names as `ambit.v1.DecisionService/Check`.
    pub(super) fn new(recorder: Arc<PrometheusRecorder>, methods: Vec<String>) -> Self {
        with_local_recorder(&recorder, || {
            describe_histogram!(
                CALL_SECONDS,
                Unit::Seconds,
                "Time from the head of a gRPC request to the end of its answer"
            );
        });
        let mut series = vec![Method::new(OTHER.to_owned())];
        let mut table = HashMap::default();
        for name in methods {
            table.insert(format!("/{name}"), MethodId(series.len()));
            series.push(Method::new(name));
        }
        Self(Arc::new(Calls {
            recorder,
            methods: table,
            series,
        }))
    }

    /// By the path of the request.
    pub fn method(&self, path: &str) -> MethodId {
        self.0.methods.get(path).copied().unwrap_or(MethodId(0))
    }

    /// The full name; `other` for what no service has.
    pub fn name(&self, method: MethodId) -> &str {
        let method = self.0.series.get(method.0);
        method.map_or(OTHER, |method| &method.name)
    }

    /// Takes note of a call that ended with a code by its number.
    pub fn ended(&self, method: MethodId, code: usize, took: Duration) {
        let code = if code < CODES.len() { code } else { UNKNOWN };
        let Some(method) = self.0.series.get(method.0) else {
            return;
        };
        let (Some(series), Some(name)) = (method.codes.get(code), CODES.get(code)) else {
            return;
        };
        series
            .get_or_init(|| {
                with_local_recorder(
                    &self.0.recorder,
                    || histogram!(CALL_SECONDS, "method" => method.name.clone(), "code" => *name),
                )
            })
            .record(took);
    }
}
