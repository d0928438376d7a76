//! The way to a collector that takes OTLP over gRPC, and what became of what was sent there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::TelemetryError;
use crate::authz::model::Timestamp;

/// A collector that takes longer has not taken it.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of what this process sent of one kind; it has one collector.
#[derive(Debug)]
pub struct Exports {
    sent: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl Exports {
    pub(super) const fn none() -> Self {
        Self {
            sent: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Messages that the collector took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages that the collector did not take.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What found the queue full, or was in a message that was not taken.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes note of a message with so many things in it. An outage is told of once, at its
    /// beginning and at its end.
    pub(super) fn note(
        &self,
        what: &str,
        count: u64,
        sent: Result<(), String>,
        failing: &mut bool,
    ) {
        let was_failing = *failing;
        match sent {
            Ok(()) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                if was_failing {
                    tracing::info!("the collector takes {what} again");
                }
                *failing = false;
            }
            Err(problem) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.lose(count);
                if !was_failing {
                    tracing::warn!(problem, "the collector takes no {what}; answers go on");
                }
                *failing = true;
            }
        }
    }
}

/// As OTLP counts time; nothing was before 1970.
pub(super) fn unix_nanos(time: Timestamp) -> u64 {
    u64::try_from(time.unix_micros())
        .unwrap_or(0)
        .saturating_mul(1_000)
}

/// Connects when something is first sent, and again after the connection was lost. To be called
/// where there is a runtime to do so on.
pub(super) fn channel(endpoint: &str) -> Result<Channel, TelemetryError> {
    let wrong = |error: tonic::transport::Error| TelemetryError::Endpoint(error.to_string());
    let mut way = Endpoint::from_shared(endpoint.to_owned())
        .map_err(wrong)?
        .connect_timeout(EXPORT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT);
    if endpoint.starts_with("https:") {
        way = way
            .tls_config(ClientTlsConfig::new().with_enabled_roots())
            .map_err(wrong)?;
    }
    Ok(way.connect_lazy())
}

/// What the server is called: by `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or by its own
/// name.
pub(super) fn resource() -> Resource {
    let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let builder = Resource::builder();
    let builder = if is_named {
        builder
    } else {
        builder.with_service_name("ambit")
    };
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    builder.with_attribute(version).build()
}

/// The same as it is sent.
pub(super) fn resource_to_wire() -> ResourceAttributesWithSchema {
    ResourceAttributesWithSchema::from(&resource())
}
