//! The gRPC face: `api.md` over the use cases, thin.

pub mod health;
pub mod server;
pub mod wire;
