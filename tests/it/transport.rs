//! The transport of the gRPC port: TLS, the life of a connection, floods, and overload.

mod bounds;
mod fairness;
pub mod floods;
pub mod lives;
pub mod processes;
mod tls;
