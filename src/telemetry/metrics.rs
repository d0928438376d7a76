//! Sends to a collector what `/metrics` tells: the same numbers, read from the same text, so that
//! nothing is counted twice or in another way.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::Channel;

use super::TelemetryError;
use super::collector::{EXPORT_TIMEOUT, Exports, channel, resource_to_wire, unix_nanos};
use crate::authz::model::Timestamp;

mod text;

static METRICS: Exports = Exports::none();

/// What became of the metrics that this process sent.
pub fn metrics() -> &'static Exports {
    &METRICS
}

/// The way of metrics to the collector.
pub struct MetricsExport {
    client: MetricsServiceClient<Channel>,
    begun_at: Timestamp,
    is_failing: bool,
}

impl MetricsExport {
    /// Counting began at the given moment. To be called on the runtime that sends.
    pub fn new(endpoint: &str, begun_at: Timestamp) -> Result<Self, TelemetryError> {
        Ok(Self {
            client: MetricsServiceClient::new(channel(endpoint)?),
            begun_at,
            is_failing: false,
        })
    }

    /// Sends what a text in the format of Prometheus says at a moment; within the timeout of exports
    /// it is taken or counted as a failure.
    pub async fn send(&mut self, text: &str, now: Timestamp) {
        let metrics = text::metrics(text, unix_nanos(self.begun_at), unix_nanos(now));
        let count = u64::try_from(metrics.len()).unwrap_or(u64::MAX);
        let resource = resource_to_wire();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes: resource.attributes.0,
                    ..Resource::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: "ambit".to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    metrics,
                    schema_url: String::new(),
                }],
                schema_url: resource.schema_url.unwrap_or_default(),
            }],
        };
        let sent = match tokio::time::timeout(EXPORT_TIMEOUT, self.client.export(request)).await {
            Ok(Ok(_taken)) => Ok(()),
            Ok(Err(status)) => Err(status.to_string()),
            Err(_elapsed) => Err("it did not answer in time".to_owned()),
        };
        METRICS.note("metrics", count, sent, &mut self.is_failing);
    }
}
