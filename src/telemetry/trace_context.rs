//! The trace that a call belongs to, as W3C Trace Context writes it in headers.

use std::fmt;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId as OtelTraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header, in and out.
pub const TRACEPARENT: &str = "traceparent";

/// A trace; in the extensions of a request the one that its call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// In lower-case hexadecimal; `None` for what is no trace.
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).filter(|id| *id != [0; 16]).map(Self)
    }

    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Of a span that is exported.
    pub fn of(span: &Span) -> Self {
        Self(span.context().span().span_context().trace_id().to_bytes())
    }
}

/// In lower-case hexadecimal.
impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a caller says of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    span_id: [u8; 8],
    /// The caller exports its part of the trace, and wants ours.
    pub is_sampled: bool,
}

impl TraceParent {
    /// `None` for what is no `traceparent`: then the call begins a trace of its own, as the
    /// specification asks.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let [version] = bytes(parts.next()?)?;
        let trace_id = TraceId::parse(parts.next()?)?;
        let span_id = bytes(parts.next()?)?;
        let [flags] = bytes::<1>(parts.next()?)?;
        // A later version may have more parts, this one has not.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        (span_id != [0; 8]).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// Makes a span that was just made one of the caller's trace.
    pub fn adopt(&self, span: &Span) {
        let context = SpanContext::new(
            OtelTraceId::from_bytes(self.trace_id.0),
            SpanId::from_bytes(self.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let context = opentelemetry::Context::new().with_remote_span_context(context);
        // Refused only where the span is not exported, and then there is nothing to adopt.
        let _ = span.set_parent(context);
    }
}

/// Lower-case hexadecimal, of just that many bytes.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = TraceParent::parse(good.as_bytes()).unwrap();
        assert!(parsed.is_sampled);
        assert_eq!(
            parsed.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parsed.span_id[7], 0xb7);
        let off = good.replace("-01", "-00");
        assert!(!TraceParent::parse(off.as_bytes()).unwrap().is_sampled);
        let later = format!("{}-more", good.replacen("00", "01", 1));
        assert!(TraceParent::parse(later.as_bytes()).is_some());
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceParent::parse(b"\xff"), None);
    }
}
