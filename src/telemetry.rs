//! Logs: for people on a terminal, JSON lines otherwise. Always on stderr; stdout is for answers.
//!
//! One event is one line. What a client sent may be in a field, so control characters are escaped
//! before they are written: nobody forges a line or recolours a terminal through an id.
//!
//! Never logged: tokens, keys, attributes of records, documents.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogFormat};

pub mod trace_context;

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`log_filter` must be a filter as info,ambit=debug, this is `{filter}`: {problem}")]
    Filter { filter: String, problem: String },
    #[error("the log is already set up in this process")]
    AlreadySet,
}

/// Sets up the log of the process; once.
pub fn init(config: &Config) -> Result<(), TelemetryError> {
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
    let registry = tracing_subscriber::registry().with(filter);
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
            );
        registry.with(lines).try_init()
    } else {
        // JSON escapes by itself.
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(lines).try_init()
    };
    set.map_err(|_already_set| TelemetryError::AlreadySet)?;
    log_panics();
    Ok(())
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
