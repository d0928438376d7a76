//! The gRPC face as a client meets it: the real server on a port of its own, over the real store.

mod agreement;
mod bulk;
mod errors;
mod hostile;
mod lists;
pub mod server;
mod standard;
mod writes;

use ambit::grpc::status::Reason;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The reason of an error, and the field that it blames.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Reason, Option<String>) {
    let status = answer.expect_err("this must be refused");
    let reason = Reason::of(&status).unwrap_or_else(|| panic!("no reason of ours: {status:?}"));
    assert_eq!(status.code(), reason.code(), "{status:?}");
    let details = status.get_error_details();
    let field = details
        .bad_request()
        .map(|bad| bad.field_violations[0].field.clone());
    (reason, field)
}

pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Reason {
    refused(answer).0
}

/// All chunks of a stream, or the error that it ends with.
pub async fn collect<T>(mut stream: tonic::Streaming<T>) -> Result<Vec<T>, Status> {
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number:05}"))
        .collect()
}
