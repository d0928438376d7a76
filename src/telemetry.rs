//! Logs and traces.
//!
//! Logs: for people on a terminal, JSON lines otherwise. Always on stderr; stdout is for answers.
//!
//! One event is one line. What a client sent may be in a field, so control characters are escaped
//! before they are written: nobody forges a line or recolours a terminal through an id.
//!
//! Traces: spans of calls that are sampled, and of what they wait for, sent to a collector by OTLP.
//! Whoever makes the first span of a trace has drawn for it; below it every span of ours is exported,
//! and elsewhere none is made.
//!
//! Metrics and the decision log: made elsewhere, and sent to the same collector where they are to be.
//!
//! Never logged or traced: tokens, keys, attributes of records, documents.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::time::Duration;

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Config, LogFormat};
use crate::randomness::RandomnessError;

mod collector;
mod logs;
mod metrics;
mod sampling;
mod spans;
pub mod trace_context;

pub use collector::Exports;
pub use logs::{LogsExport, logs};
pub use metrics::{MetricsExport, metrics};
pub use sampling::Sampling;
pub use spans::spans;

/// Target of the first spans of traces, for which was drawn.
pub const SAMPLED: &str = "ambit::sampled";

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`log_filter` must be a filter as info,ambit=debug, this is `{filter}`: {problem}")]
    Filter { filter: String, problem: String },
    #[error("the log is already set up in this process")]
    AlreadySet,
    #[error("no lots can be drawn for traces: {0}")]
    Randomness(#[from] RandomnessError),
    #[error("no thread can be started for what is exported: {0}")]
    Thread(#[source] std::io::Error),
    #[error("nothing can be sent to `otlp_endpoint`: {0}")]
    Endpoint(String),
}

/// What was set up, to be ended with the process.
pub struct Telemetry {
    spans: Option<spans::SpanExport>,
}

impl Telemetry {
    /// Sends the spans that wait, for at most that long.
    pub fn end(&self, longest: Duration) {
        if let Some(spans) = &self.spans {
            spans.end(longest);
        }
    }
}

/// Sets up the log and the traces of the process; once.
pub fn init(config: &Config) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&config.log_filter)
        .map_err(|error| TelemetryError::Filter {
            filter: config.log_filter.clone(),
            problem: error.to_string(),
        })?;
    let terminal = std::io::stderr().is_terminal();
    let human = match config.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let spans = match &config.tracing.endpoint {
        Some(endpoint) => Some(spans::SpanExport::start(endpoint)?),
        None => None,
    };
    let registry = tracing_subscriber::registry().with(spans.as_ref().map(exporting));
    let set = if human {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .with_target(false)
            .fmt_fields(
                debug_fn(|writer, field, value| match field.name() {
                    "message" => write!(Escaping(writer), "{value:?}"),
                    name => write!(Escaping(writer), "{name}={value:?}"),
                })
                .delimited(" "),
            )
            .with_filter(filter);
        registry.with(lines).try_init()
    } else {
        // JSON escapes by itself.
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(filter);
        registry.with(lines).try_init()
    };
    set.map_err(|_already_set| TelemetryError::AlreadySet)?;
    log_panics();
    Ok(Telemetry { spans })
}

/// Hands to the export what is below a span that was drawn; a call that was not makes no span,
/// whatever it does.
fn exporting<S>(spans: &spans::SpanExport) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let is_ours = |found: &Metadata<'_>| found.is_span() && found.target().starts_with("ambit");
    let filter = dynamic_filter_fn(|found: &Metadata<'_>, context: &Context<'_, S>| {
        found.target() == SAMPLED || context.lookup_current().is_some()
    })
    .with_callsite_filter(move |found| {
        if is_ours(found) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    })
    .with_max_level_hint(LevelFilter::DEBUG);
    tracing_opentelemetry::layer()
        .with_tracer(spans.tracer())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(filter)
}

/// A panic is a defect: one event with its place, in the form of the others.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(place, backtrace = %backtrace, "panicked: {message}");
    }));
}

/// Writes control characters as Rust would write them in a literal.
struct Escaping<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // The two separators end a line for some readers of logs.
            if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_forge_a_line_or_colour_a_terminal() {
        let mut line = String::new();
        let sent = "acme\r\n2026 INFO forged\u{1b}[31m\u{2028}\u{85}é";
        write!(Escaping(&mut line), "account={sent}").unwrap();
        assert_eq!(
            line,
            "account=acme\\r\\n2026 INFO forged\\u{1b}[31m\\u{2028}\\u{85}é"
        );
    }
}
