//! Who makes a write, out of its request, for the audit.

use tonic::Request;
use tonic::metadata::MetadataMap;

use super::admission::Admission;
use crate::store::audit::Author;

/// The caller that authentication found; without authentication nobody is known.
pub fn author<T>(request: &Request<T>, method: &'static str) -> Author {
    let admission = request.extensions().get::<Admission>();
    let author = match admission.and_then(Admission::caller) {
        Some(caller) => Author::named(&caller.name, method),
        None => Author::anyone(method),
    };
    author.in_request(request_id(request.metadata()))
}

/// The id of the trace that the caller is in, or else what it calls the request.
fn request_id(metadata: &MetadataMap) -> Option<&str> {
    let text = |name: &str| metadata.get(name)?.to_str().ok();
    trace_id(text("traceparent").unwrap_or_default()).or_else(|| text("x-request-id"))
}

/// Out of a W3C trace context: `00-TRACE-SPAN-FLAGS`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_trace =
        trace.len() == 32 && trace.bytes().all(is_hex) && trace.bytes().any(|byte| byte != b'0');
    is_trace.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_before_a_request_and_junk_is_not_one() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let mut metadata = MetadataMap::new();
        assert_eq!(request_id(&metadata), None);
        metadata.insert("x-request-id", "r-17".parse().unwrap());
        assert_eq!(request_id(&metadata), Some("r-17"));
        let context = format!("00-{trace}-b7ad6b7169203331-01");
        metadata.insert("traceparent", context.parse().unwrap());
        assert_eq!(request_id(&metadata), Some(trace));
        for junk in [
            "",
            "00",
            "00-xyz-1-01",
            &format!("00-{}-1-01", "0".repeat(32)),
        ] {
            assert_eq!(trace_id(junk), None, "{junk}");
        }
    }
}
