//! Sends records of the decision log to a collector.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::TelemetryError;
use super::collector::{EXPORT_TIMEOUT, Exports, channel, resource_to_wire, unix_nanos};
use super::trace_context::TraceId;
use crate::authz::model::Timestamp;

/// What all records are.
const EVENT: &str = "ambit.decision";

static LOGS: Exports = Exports::none();

/// What became of the log records that this process sent.
pub fn logs() -> &'static Exports {
    &LOGS
}

/// The way of log records to the collector, for a thread that may wait.
pub struct LogsExport {
    client: LogsServiceClient<Channel>,
    runtime: Ending,
    is_failing: bool,
}

impl LogsExport {
    pub fn start(endpoint: &str) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(TelemetryError::Thread)?;
        let channel = {
            let _on = runtime.enter();
            channel(endpoint)
        };
        let runtime = Ending(Some(runtime));
        Ok(Self {
            client: LogsServiceClient::new(channel?),
            runtime,
            is_failing: false,
        })
    }

    /// Sends JSON lines, each as a record with the fields of its line; within the timeout of exports
    /// they are taken, or counted as lost.
    ///
    /// # Errors
    /// What the collector answered where it did not take them all.
    pub fn send(&mut self, lines: &[u8], now: Timestamp) -> Result<(), String> {
        let records: Vec<LogRecord> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| serde_json::from_slice(line).ok())
            .map(|line| record(line, now))
            .collect();
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let request = request(records);
        let Some(runtime) = &self.runtime.0 else {
            return Err("it has ended".to_owned());
        };
        let client = &mut self.client;
        let sent = runtime
            .block_on(async { tokio::time::timeout(EXPORT_TIMEOUT, client.export(request)).await });
        let sent = match sent {
            Ok(Ok(answer)) => match answer.into_inner().partial_success {
                Some(partial) if partial.rejected_log_records > 0 => Err(format!(
                    "{} records were rejected: {}",
                    partial.rejected_log_records, partial.error_message
                )),
                _ => Ok(()),
            },
            Ok(Err(status)) => Err(status.to_string()),
            Err(_elapsed) => Err("it did not answer in time".to_owned()),
        };
        LOGS.note("log records", count, sent.clone(), &mut self.is_failing);
        sent
    }
}

/// A runtime, there until the drop, which may happen where others run and nobody may wait.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn request(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let resource = resource_to_wire();
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: resource.attributes.0,
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "ambit".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records: records,
                schema_url: String::new(),
            }],
            schema_url: resource.schema_url.unwrap_or_default(),
        }],
    }
}

fn record(line: Value, now: Timestamp) -> LogRecord {
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    let decided = text("time").and_then(|time| Timestamp::parse(time).ok());
    let trace_id = text("trace_id").and_then(TraceId::parse);
    LogRecord {
        time_unix_nano: unix_nanos(decided.unwrap_or(now)),
        observed_time_unix_nano: unix_nanos(now),
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        event_name: EVENT.to_owned(),
        trace_id: trace_id.map(TraceId::to_bytes).unwrap_or_default(),
        body: Some(value(line)),
        ..LogRecord::default()
    }
}

fn value(value: Value) -> AnyValue {
    let kind = match value {
        Value::Null => None,
        Value::Bool(switch) => Some(Kind::BoolValue(switch)),
        Value::String(text) => Some(Kind::StringValue(text)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Kind::IntValue(whole),
            None => Kind::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::Array(values) => Some(Kind::ArrayValue(ArrayValue {
            values: values.into_iter().map(self::value).collect(),
        })),
        Value::Object(fields) => Some(Kind::KvlistValue(KeyValueList {
            values: fields
                .into_iter()
                .map(|(key, field)| KeyValue {
                    key,
                    value: Some(self::value(field)),
                    ..KeyValue::default()
                })
                .collect(),
        })),
    };
    AnyValue { value: kind }
}
