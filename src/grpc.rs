//! The gRPC face: `api.md` over the use cases, thin.

pub mod server;
pub mod wire;
