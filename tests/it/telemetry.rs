//! Traces, metrics and decisions: what a collector is told of a call, over its real protocol, by a real server process.
//! A caller's decision to trace is kept, what is not sampled is not exported, log lines name the
//! trace, and a collector that is away is nobody's trouble.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ambit::callers::Role;
use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::callers::{MINE, Scene, make, wire::with};
use crate::database::Database;
use crate::faults::replica::until;
use crate::grpc::names;
use crate::grpc::server::{TestServer, check};
use crate::served::{Ended, Served};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CHECK: &str = "ambit.v1.DecisionService/Check";

/// A collector that keeps what it is told.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let metrics = MetricsServiceServer::new(collector.clone());
        let logs = LogsServiceServer::new(collector.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .add_service(metrics)
                .add_service(logs)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.traces.lock().unwrap().clone();
        let resources = requests
            .into_iter()
            .flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// In the order in which they began; they come in the order in which they ended, and a call ends
    /// after its client has the answer.
    fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    fn records(&self) -> Vec<LogRecord> {
        let requests = self.logs.lock().unwrap().clone();
        let resources = requests
            .into_iter()
            .flat_map(|request| request.resource_logs);
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }

    fn told(&self) -> String {
        format!("{:?}", self.traces.lock().unwrap())
    }
}

/// A server that exports, on a database with the account `acme` and its contacts.
async fn traced(database: &Database, collector: &str, ratio: &str) -> Served {
    let arguments = [
        "--otlp-endpoint",
        collector,
        "--trace-sample-ratio",
        ratio,
        "--log-format",
        "json",
        "--log-filter",
        "info,ambit=debug",
    ];
    Served::start(database, &arguments, &[]).await
}

/// One check, with the header of a caller that traces.
async fn ask(server: &Served, contact: &str, traceparent: Option<&str>) {
    let mut request = Request::new(check("acme", contact));
    if let Some(traceparent) = traceparent {
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", traceparent.parse().unwrap());
    }
    server.decisions().check(request).await.unwrap();
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|found| found.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn filled() -> (Database, Vec<String>) {
    let database = Database::new();
    let server = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
    let contacts = names("c", 3);
    server.make_account("acme", &contacts).await;
    server.stop().await;
    (database, contacts)
}

/// The call is one span of the caller's trace, with what was asked and answered; below it are the
/// load of the account and the calls of the database that it took; and a line of the log that the
/// call wrote names the trace.
#[tokio::test]
async fn a_check_is_a_span_of_its_callers_trace_with_the_load_below_it() {
    let (database, contacts) = filled().await;
    let (collector, url) = Collector::start().await;
    // By lot nothing is traced, so it is the caller's decision that counts.
    let server = traced(&database, &url, "0").await;
    let header = format!("00-{TRACE}-{CALLER}-01");
    ask(&server, &contacts[0], Some(&header)).await;
    ask(&server, &contacts[1], Some(&header)).await;
    let Ended { stderr, .. } = server.end().await;
    let calls = collector.named(CHECK);
    let [call, again] = calls.as_slice() else {
        panic!("{calls:#?}");
    };
    assert_eq!(hex(&call.trace_id), TRACE);
    assert_eq!(hex(&call.parent_span_id), CALLER);
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", CHECK),
        ("rpc.response.status_code", "OK"),
        ("ambit.account_id", "acme"),
        ("ambit.action", "view"),
        ("ambit.resource_type", "contact"),
        ("ambit.decision", "allow"),
        ("ambit.cache", "load"),
    ] {
        assert_eq!(
            attribute(call, key).as_deref(),
            Some(value),
            "{key} in {call:#?}"
        );
    }
    for key in ["ambit.reason", "ambit.revision"] {
        assert!(attribute(call, key).is_some(), "{key} in {call:#?}");
    }
    assert_eq!(attribute(again, "ambit.cache").as_deref(), Some("hit"));
    let load = collector.named("graph.load");
    let [load] = load.as_slice() else {
        panic!("{load:#?}");
    };
    assert_eq!(load.parent_span_id, call.span_id);
    let snapshot = collector.named("store.snapshot");
    let [snapshot] = snapshot.as_slice() else {
        panic!("{snapshot:#?}");
    };
    assert_eq!(snapshot.parent_span_id, load.span_id);
    assert_eq!(hex(&snapshot.trace_id), TRACE);
    assert_eq!(attribute(snapshot, "outcome").as_deref(), Some("ok"));
    let line = stderr
        .lines()
        .find(|line| line.contains("account loaded"))
        .unwrap_or_else(|| panic!("{stderr}"));
    assert!(line.contains(TRACE), "{line}");
}

/// A caller that does not trace is not traced, nor is a call that draws no lot; with a ratio of one
/// the same call is: the control.
#[tokio::test]
async fn what_is_not_sampled_is_not_exported() {
    let (database, contacts) = filled().await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    for (ratio, header, is_traced) in [
        ("0", None, false),
        ("1", Some(unsampled.as_str()), false),
        ("1", None, true),
    ] {
        let (collector, url) = Collector::start().await;
        let server = traced(&database, &url, ratio).await;
        ask(&server, &contacts[0], header).await;
        let ended = server.end().await;
        let calls = collector.named(CHECK);
        assert_eq!(!calls.is_empty(), is_traced, "{ratio} {header:?}");
        if !is_traced {
            assert!(
                collector.named("graph.load").is_empty(),
                "{ratio} {header:?}"
            );
        }
        // What is not exported is named in the log all the same, where the caller names it.
        let loaded = ended
            .stderr
            .lines()
            .find(|line| line.contains("account loaded"))
            .unwrap();
        assert_eq!(loaded.contains(TRACE), header.is_some(), "{loaded}");
    }
}

/// With nobody at the collector's address answers go on, and the server ends in its grace; what is
/// lost is a number.
#[tokio::test]
async fn a_collector_that_is_away_costs_a_counter() {
    let (database, contacts) = filled().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let server = traced(&database, &url, "1").await;
    for contact in &contacts {
        ask(&server, contact, None).await;
    }
    until("the failure is counted", async || {
        let series = "ambit_otlp_export_failures_total{signal=\"traces\"}";
        server.metric(series).await > 0.0
    })
    .await;
    let dropped = server
        .metric("ambit_otlp_dropped_total{signal=\"traces\"}")
        .await;
    assert!(dropped >= 1.0, "{dropped}");
    ask(&server, &contacts[0], None).await;
    server.end().await;
}

/// One that takes connections and never answers: nobody waits for it but the thread that exports, the
/// end of the server included.
#[tokio::test]
async fn a_collector_that_hangs_is_not_waited_for() {
    let (database, contacts) = filled().await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let server = traced(&database, &url, "1").await;
    for _ in 0..200 {
        ask(&server, &contacts[0], None).await;
    }
    let begun = SystemClock::new();
    server.end().await;
    // The grace is ten seconds, and waiting for the collector once would take five.
    let took = begun.monotonic();
    assert!(took.as_secs() < 5, "{took:?}");
}

/// The collector is told by push what Prometheus is told by pull: the same metrics, with the calls that
/// were made before the end.
#[tokio::test]
async fn metrics_are_sent_as_they_are_told_to_prometheus() {
    let (database, contacts) = filled().await;
    let (collector, url) = Collector::start().await;
    let arguments = [
        "--otlp-endpoint",
        &url,
        "--otlp-metrics",
        "--trace-sample-ratio",
        "0",
    ];
    let server = Served::start(&database, &arguments, &[]).await;
    for contact in &contacts {
        ask(&server, contact, None).await;
    }
    let told = server.get("/metrics").await;
    let told: BTreeSet<String> = told
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
        .collect();
    assert!(
        collector.metrics.lock().unwrap().is_empty(),
        "not before the minute is over"
    );
    // At the end what there is is sent.
    server.end().await;
    let sent = collector.metrics.lock().unwrap().clone();
    let [sent] = sent.as_slice() else {
        panic!("{} messages", sent.len());
    };
    let scopes = sent
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics);
    let metrics: Vec<&Metric> = scopes.flat_map(|scope| &scope.metrics).collect();
    let names: BTreeSet<String> = metrics.iter().map(|metric| metric.name.clone()).collect();
    assert_eq!(names, told);
    let calls = metrics
        .iter()
        .find(|metric| metric.name == "ambit_grpc_request_duration_seconds")
        .unwrap();
    let Some(Data::Histogram(calls)) = &calls.data else {
        panic!("{calls:?}");
    };
    let checks = calls
        .data_points
        .iter()
        .find(|point| format!("{:?}", point.attributes).contains(CHECK))
        .unwrap();
    assert_eq!(checks.count, 3);
    assert_eq!(checks.bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(checks.bucket_counts.len(), checks.explicit_bounds.len() + 1);
}

/// The decision log as log records: one a decision, with the fields of its line, in the trace of the
/// call, and masked like a line. The control without a destination sends none.
#[tokio::test]
async fn the_decision_log_is_sent_as_log_records() {
    let (database, contacts) = filled().await;
    for (destination, expected) in [("otlp", 3), ("off", 0)] {
        let (collector, url) = Collector::start().await;
        let arguments = [
            "--otlp-endpoint",
            &url,
            "--trace-sample-ratio",
            "0",
            "--decision-log",
            destination,
            "--decision-log-allow-ratio",
            "1",
            "--decision-log-mask",
            "user_id",
        ];
        let server = Served::start(&database, &arguments, &[]).await;
        let header = format!("00-{TRACE}-{CALLER}-01");
        ask(&server, &contacts[0], Some(&header)).await;
        ask(&server, &contacts[1], None).await;
        ask(&server, &contacts[2], None).await;
        // What waits is sent before the end.
        server.end().await;
        let records = collector.records();
        assert_eq!(records.len(), expected);
        let Some(first) = records.first() else {
            continue;
        };
        assert_eq!(first.event_name, "ambit.decision");
        assert_eq!(hex(&first.trace_id), TRACE);
        assert!(records[1].trace_id.is_empty());
        assert!(first.time_unix_nano > 0 && first.time_unix_nano <= first.observed_time_unix_nano);
        let Some(Value::KvlistValue(body)) =
            first.body.as_ref().and_then(|body| body.value.as_ref())
        else {
            panic!("{first:#?}");
        };
        let field = |key: &str| {
            let found = body.values.iter().find(|field| field.key == key)?;
            found.value.as_ref()?.value.clone()
        };
        let text = |text: &str| Some(Value::StringValue(text.to_owned()));
        assert_eq!(field("method"), text("Check"));
        assert_eq!(field("account_id"), text("acme"));
        assert_eq!(field("resource_id"), text(&contacts[0]));
        assert_eq!(field("decision"), text("allow"));
        assert!(matches!(field("duration_us"), Some(Value::IntValue(_))));
        assert_eq!(field("user_id"), None, "it is masked");
    }
}

/// Records that the collector does not take are a number, and answers go on.
#[tokio::test]
async fn records_that_nobody_takes_are_counted() {
    let (database, contacts) = filled().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let arguments = [
        "--otlp-endpoint",
        &url,
        "--decision-log",
        "otlp",
        "--decision-log-allow-ratio",
        "1",
    ];
    let server = Served::start(&database, &arguments, &[]).await;
    for contact in &contacts {
        ask(&server, contact, None).await;
    }
    until("the loss is counted", async || {
        let series = "ambit_decision_log_dropped_total{reason=\"write_failed\"}";
        server.metric(series).await == 3.0
    })
    .await;
    let failures = "ambit_otlp_export_failures_total{signal=\"logs\"}";
    assert!(server.metric(failures).await >= 1.0);
    server.end().await;
}

/// Tokens and ids of people are in no span.
#[tokio::test]
async fn no_secret_and_nobody_is_in_a_trace() {
    let good = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&good]).await;
    let database = scene.stop().await;
    let (collector, url) = Collector::start().await;
    let arguments = [
        "--authentication",
        "required",
        "--otlp-endpoint",
        &url,
        "--trace-sample-ratio",
        "1",
    ];
    let server = Served::start(&database, &arguments, &[]).await;
    let forged = make(&[Role::Admin], &[]).text;
    let asked = wire::CheckRequest {
        user_id: "masked-user-4711".to_owned(),
        ..check(MINE, "masked-contact-4711")
    };
    let mut client = server.decisions();
    client
        .check(with(asked.clone(), Some(&good.text)))
        .await
        .unwrap();
    client.check(with(asked, Some(&forged))).await.unwrap_err();
    drop(client);
    server.end().await;
    assert_eq!(
        collector.named(CHECK).len(),
        2,
        "the control: both were told"
    );
    let told = collector.told();
    assert!(told.contains(MINE));
    for secret in [
        good.text.as_str(),
        &forged,
        "masked-user-4711",
        "masked-contact-4711",
    ] {
        assert!(!told.contains(secret), "{secret}");
    }
}
