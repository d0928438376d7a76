//! Sends spans to a collector, never in the way of what they tell of: a bounded queue, a thread of
//! its own, and counters of what did not get through.

use std::sync::mpsc as ending;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::TelemetryError;
use super::collector::{EXPORT_TIMEOUT, Exports, channel, resource, resource_to_wire};

/// Spans that wait to be sent.
const QUEUE_SPANS_MAX: usize = 4_096;
/// Spans of one message.
const BATCH_SPANS_MAX: usize = 512;
/// Longest that a span waits for others to be sent with.
const BATCH_WAIT: Duration = Duration::from_secs(1);

static SPANS: Exports = Exports::none();

/// What became of the spans of this process.
pub fn spans() -> &'static Exports {
    &SPANS
}

/// What the thread is handed.
enum Handed {
    Span(Box<SpanData>),
    /// Send what is there, say so, and end.
    End(ending::SyncSender<()>),
}

/// The way of spans to the collector.
pub(super) struct SpanExport {
    queue: mpsc::Sender<Handed>,
    provider: SdkTracerProvider,
}

impl SpanExport {
    pub(super) fn start(endpoint: &str) -> Result<Self, TelemetryError> {
        let (queue, handed) = mpsc::channel(QUEUE_SPANS_MAX);
        let provider = SdkTracerProvider::builder()
            // Whoever makes a root span has decided.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource())
            .with_span_processor(Queue(queue.clone()))
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(TelemetryError::Thread)?;
        let client = {
            let _on = runtime.enter();
            TraceServiceClient::new(channel(endpoint)?)
        };
        std::thread::Builder::new()
            .name("ambit-spans".to_owned())
            .spawn(move || runtime.block_on(send_all(client, handed)))
            .map_err(TelemetryError::Thread)?;
        Ok(Self { queue, provider })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("ambit")
    }

    /// Sends what waits, for at most that long.
    pub(super) fn end(&self, longest: Duration) {
        let (say, said) = ending::sync_channel(1);
        if self.queue.try_send(Handed::End(say)).is_err() || said.recv_timeout(longest).is_err() {
            tracing::warn!("spans that were not exported in time are lost");
        }
    }
}

#[derive(Debug)]
struct Queue(mpsc::Sender<Handed>);

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(Handed::Span(Box::new(span))).is_err() {
            SPANS.lose(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _longest: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Until it is told to end, or until nobody is left to hand anything over.
async fn send_all(mut client: TraceServiceClient<Channel>, mut handed: mpsc::Receiver<Handed>) {
    let resource = resource_to_wire();
    let mut is_failing = false;
    while let Some(first) = handed.recv().await {
        let (batch, end) = batch(first, &mut handed).await;
        if !batch.is_empty() {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let request = ExportTraceServiceRequest {
                resource_spans: group_spans_by_resource_and_scope(batch, &resource),
            };
            let sent = match tokio::time::timeout(EXPORT_TIMEOUT, client.export(request)).await {
                Ok(Ok(answer)) => {
                    let refused = answer.into_inner().partial_success;
                    let refused = refused.map_or(0, |partial| partial.rejected_spans);
                    SPANS.lose(u64::try_from(refused).unwrap_or(0));
                    Ok(())
                }
                Ok(Err(status)) => Err(status.to_string()),
                Err(_elapsed) => Err("it did not answer in time".to_owned()),
            };
            SPANS.note("traces", count, sent, &mut is_failing);
        }
        if let Some(say) = end {
            // Whoever asked may have gone on by now.
            let _ = say.try_send(());
            return;
        }
    }
}

/// What is sent together, and whom to tell where nothing comes after it.
async fn batch(
    first: Handed,
    handed: &mut mpsc::Receiver<Handed>,
) -> (Vec<SpanData>, Option<ending::SyncSender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    let mut waited = std::pin::pin!(tokio::time::sleep(BATCH_WAIT));
    loop {
        match next.take() {
            Some(Handed::Span(span)) => batch.push(*span),
            Some(Handed::End(say)) => return (batch, Some(say)),
            None => return (batch, None),
        }
        if batch.len() >= BATCH_SPANS_MAX {
            return (batch, None);
        }
        tokio::select! {
            more = handed.recv() => next = more,
            () = &mut waited => {}
        }
    }
}
