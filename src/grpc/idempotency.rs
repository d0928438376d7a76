//! Idempotency keys: a caller's name for a write, with a digest of what is written, so that the same
//! key with another request is told.

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::convert;
use super::status::Failure;
use crate::directory::Idempotency;

/// Adds a part with its length, so that no two requests are digested alike.
pub fn update(digest: &mut Sha256, part: &[u8]) {
    let bytes = u64::try_from(part.len()).unwrap_or(u64::MAX);
    digest.update(bytes.to_be_bytes());
    digest.update(part);
}

/// `None` where the caller gave no key.
pub fn idempotency(key: &str, digest: Sha256) -> Result<Option<Idempotency>, Failure> {
    Ok(
        convert::optional_id(key, "idempotency_key")?.map(|key| Idempotency {
            key,
            request_digest: digest.finalize().into(),
        }),
    )
}

/// The same for a request that is one message, which is given without its key.
pub fn idempotency_of(
    rpc: &str,
    key: &str,
    unkeyed: &impl Message,
) -> Result<Option<Idempotency>, Failure> {
    let mut digest = Sha256::new();
    update(&mut digest, rpc.as_bytes());
    update(&mut digest, &unkeyed.encode_to_vec());
    idempotency(key, digest)
}
