//! The gRPC face: `api.md` over the use cases, thin.

pub mod wire;
